//! What the benches compute with: statistics, and reading what agentsight says.

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::float_cmp, dead_code)]

#[path = "../benches/support/stats.rs"]
mod stats;
#[path = "../benches/support/told.rs"]
mod told;

use agentsight::pipeline::Summary;
use agentsight::stream::Cause;

use stats::{Interval, Line, Spread};
use told::{Lost, Told};

/// A figure in the docs would be another one than the median of the rounds.
#[test]
fn spread_of_odd_and_even_counts() {
    let spread = |values: &[f64]| Spread::of(values.iter().copied());
    assert_eq!(spread(&[]), None);
    let odd = spread(&[9.0, 1.0, 2.0]).unwrap();
    assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 9.0));
    assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]).unwrap().median, 3.0);
}

/// Pairs that agree would get an interval, or those that differ get none.
#[test]
fn equal_ratios_have_no_width() {
    let same = Interval::of_pairs(&[(1.0, 1.1), (10.0, 11.0), (3.0, 3.3)]).unwrap();
    assert!((same.ratio - 1.1).abs() < 1e-9);
    assert!(same.high - same.low < 1e-9);
    let differing = Interval::of_pairs(&[(1.0, 1.1), (1.0, 1.2)]).unwrap();
    assert!(differing.low < differing.ratio && differing.ratio < differing.high);
    assert_eq!(Interval::of_pairs(&[(1.0, 1.1)]), None);
    assert_eq!(Interval::of_pairs(&[(1.0, 0.0), (1.0, 1.0)]), None);
}

/// The interval would be too narrow: of many samples of one distribution, about 95 of 100 intervals
/// must hold its true ratio.
#[test]
fn interval_holds_the_truth_as_often_as_it_says() {
    let mut state = 1_u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    // The sum of twelve uniform numbers is close to normal, with a variance of 1.
    let mut normal = || (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
    let mut held = 0;
    for _ in 0..2_000 {
        let pairs: Vec<_> = (0..8)
            .map(|_| (1.0, (0.2 * normal() + 0.05).exp()))
            .collect();
        let interval = Interval::of_pairs(&pairs).unwrap();
        held += u32::from(interval.low <= 0.05_f64.exp() && 0.05_f64.exp() <= interval.high);
    }
    assert!((1_860..=1_940).contains(&held), "{held} of 2000");
}

/// Growth would be told where there is none, or none where there is some, whatever the noise on it.
#[test]
fn a_line_through_points_has_their_slope() {
    let noisy = |slope: f64| -> Vec<(f64, f64)> {
        let at = |n: i32| {
            let noise = if n % 2 == 0 { 1.0 } else { -1.0 };
            (f64::from(n), 5.0 + slope * f64::from(n) + noise)
        };
        (0..1_001).map(at).collect()
    };
    let slope = |points: &[(f64, f64)]| Line::fit(points).unwrap().slope;
    assert!(slope(&noisy(0.0)).abs() < 1e-3);
    assert!((slope(&noisy(0.3)) - 0.3).abs() < 1e-3);
    assert_eq!(Line::fit(&[(1.0, 2.0)]), None);
}

/// The bench would compare with numbers that agentsight never said.
#[test]
fn summary_is_read_as_it_is_written() {
    let mut summary = Summary::default();
    summary.totals.events = 7;
    summary.totals.connections = 2;
    summary.totals.bytes = [100, 20];
    summary.totals.gaps.insert(Cause::BadResult, (300, 4));
    let lost = Lost::from([(Cause::BadResult.as_str().to_owned(), [300, 4])]);
    let expected = Told {
        events: 7,
        bytes: 120,
        lost,
    };
    assert_eq!(
        Told::from_summary(&summary.to_string()),
        Some(expected.clone())
    );
    summary.totals.gaps.clear();
    let whole = Told::from_summary(&summary.to_string()).unwrap();
    assert_eq!(whole.lost, Lost::new());
    assert_eq!(Told::from_summary("attached: 1 function"), None);
}
