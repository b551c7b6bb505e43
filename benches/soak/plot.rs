//! The samples as an SVG: each as a share of its own median, so that all fit on one scale.

use std::error::Error;
use std::path::Path;

use plotters::prelude::{
    BLACK, ChartBuilder, Color, IntoDrawingArea, IntoFont, LineSeries, PathElement, RGBColor,
    SVGBackend, SeriesLabelPosition, WHITE,
};

use crate::counted;
use crate::sample::{SERIES, Sample};
use crate::support::stats::Spread;

const SIZE: (u32, u32) = (860, 480);
/// Points of a line: more than that cannot be told apart.
const POINTS: usize = 400;

/// Okabe and Ito's colours, which the colour-blind can tell apart.
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

pub fn draw(samples: &[Sample], file: &Path) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let minutes = samples.last().map_or(1.0, |last| last.second / 60.0);
    let lines: Vec<(f64, Vec<(f64, f64)>)> = SERIES
        .iter()
        .filter_map(|series| {
            let median = Spread::of(counted(samples).iter().map(series.of))?.median;
            let step = samples.len().div_ceil(POINTS).max(1);
            let points = samples.iter().step_by(step);
            let share = |sample: &Sample| {
                let value = (series.of)(sample);
                (sample.second / 60.0, 100.0 * value / median.max(1e-9))
            };
            Some((median, points.map(share).collect()))
        })
        .collect();
    let values = lines.iter().flat_map(|(_, points)| points);
    let most = values.map(|point| point.1).fold(150.0, f64::max).min(400.0);
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..minutes, 0.0..most)?;
    chart
        .configure_mesh()
        .light_line_style(BLACK.mix(0.04))
        .bold_line_style(BLACK.mix(0.12))
        .x_desc("minutes")
        .y_desc("of its median, %")
        .label_style(("sans-serif", 14).into_font())
        .draw()?;
    for ((series, color), (median, points)) in SERIES.iter().zip(COLORS).zip(&lines) {
        let style = color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(format!("{} (median {median:.1})", series.name))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.2))
        .label_font(("sans-serif", 14).into_font())
        .draw()?;
    root.present()?;
    Ok(())
}
