//! Loss against rate as an SVG: a line for each number of connections and size of the buffer.

use std::error::Error;
use std::path::Path;

use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color, IntoDrawingArea, IntoFont, IntoLogRange, LineSeries,
    PathElement, RGBColor, SVGBackend, SeriesLabelPosition, WHITE,
};

use crate::{BUFFERS, CONNECTIONS, Point};

const SIZE: (u32, u32) = (860, 480);

/// One for each number of connections: Okabe and Ito's colours, which the colour-blind can tell apart.
const COLORS: [RGBColor; 3] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
];

/// Draws the medians.
pub fn draw(points: &[Point], file: &Path) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let reached = || {
        points
            .iter()
            .filter_map(|point| Some(point.reached()?.median))
    };
    let lost = points.iter().filter_map(|point| Some(point.lost()?.max));
    let fastest = reached().fold(1.0, f64::max) * 1.2;
    let slowest = reached().fold(fastest, f64::min) / 1.2;
    let most = lost.fold(1.0, f64::max) * 1.05;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d((slowest..fastest).log_scale(), 0.0..most)?;
    chart
        .configure_mesh()
        .light_line_style(BLACK.mix(0.04))
        .bold_line_style(BLACK.mix(0.12))
        .x_desc("messages a second (4 KiB each, written and read)")
        .y_desc("bytes lost, %")
        .x_label_formatter(&|x| crate::thousands(x.round() as u64))
        .label_style(("sans-serif", 14).into_font())
        .draw()?;
    for of in lines(points) {
        let Some(first) = of.first() else { continue };
        let place = CONNECTIONS
            .iter()
            .position(|connections| *connections == first.connections);
        let color = *place.and_then(|at| COLORS.get(at)).unwrap_or(&BLACK);
        let is_smaller = BUFFERS
            .first()
            .is_some_and(|smallest| *smallest == first.buffer);
        let style = color.stroke_width(if is_smaller { 1 } else { 3 });
        let medians = || {
            of.iter()
                .filter_map(|point| Some((point.reached()?.median, point.lost()?.median)))
        };
        chart
            .draw_series(LineSeries::new(medians(), style))?
            .label(first.line())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
        chart.draw_series(medians().map(|at| Circle::new(at, 3, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.2))
        .label_font(("sans-serif", 14).into_font())
        .draw()?;
    root.present()?;
    Ok(())
}

/// The points of each line, in the order of the sweep.
fn lines(points: &[Point]) -> Vec<Vec<&Point>> {
    let mut lines: Vec<Vec<&Point>> = Vec::new();
    for point in points {
        match lines.last_mut() {
            Some(line)
                if line
                    .first()
                    .is_some_and(|first| first.line() == point.line()) =>
            {
                line.push(point)
            }
            _ => lines.push(vec![point]),
        }
    }
    lines
}
