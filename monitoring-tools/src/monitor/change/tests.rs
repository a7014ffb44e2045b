//! Increases and rates: exact, or absent.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// The change from one text to another, two seconds later.
fn change<T>(old: &str, new: &str, ask: impl Fn(Change<'_>) -> T) -> T {
    let then = Instant::now();
    let old = Snapshot::read(old, then).unwrap();
    let new = Snapshot::read(new, then + Duration::from_secs(2)).unwrap();
    ask(Change::between(Some(&old), &new))
}

fn check(old: &str, new: &str, want: Option<f64>) {
    assert_eq!(
        change(old, new, |change| change.rate("a", &[])),
        want,
        "{old:?} {new:?}"
    );
}

#[test]
fn rates() {
    check("a 1\n", "a 5\n", Some(2.0));
    check("a 5\n", "a 5\n", Some(0.0));
    check(
        "a{x=\"1\"} 1\na{x=\"2\"} 1\n",
        "a{x=\"2\"} 4\na{x=\"1\"} 2\n",
        Some(2.0),
    );
    let labelled = |wanted: Wanted<'_>| {
        change(
            "a{x=\"1\"} 1\na{x=\"2\"} 1\n",
            "a{x=\"1\"} 2\na{x=\"2\"} 9\n",
            |change| change.increase("a", wanted),
        )
    };
    assert_eq!(labelled(&[("x", "1")]), Some(1.0));
    assert_eq!(labelled(&[("x", "3")]), None);
}

#[test]
fn what_begins_anew_has_no_rate() {
    check("a 5\n", "a 1\n", None);
    check(
        "a{x=\"1\"} 5\na{x=\"2\"} 1\n",
        "a{x=\"1\"} 1\na{x=\"2\"} 9\n",
        None,
    );
    // The agent was started: that a count is larger than before says nothing.
    let start = "process_start_time_seconds";
    check(
        &format!("a 1\n{start} 100\n"),
        &format!("a 5\n{start} 200\n"),
        None,
    );
    check(
        &format!("a 1\n{start} 100\n"),
        &format!("a 5\n{start} 100\n"),
        Some(2.0),
    );
}

#[test]
fn what_is_new_counts_from_0_if_its_family_is_not() {
    check("a{x=\"1\"} 1\n", "a{x=\"1\"} 1\na{x=\"2\"} 4\n", Some(2.0));
    check("b 1\n", "a 5\n", None);
    check("a 1\n", "b 5\n", None);
}

#[test]
fn one_snapshot_alone_has_no_rates() {
    let snapshot = Snapshot::read("a 1\n", Instant::now()).unwrap();
    let alone = Change::between(None, &snapshot);
    assert_eq!((alone.rate("a", &[]), alone.seconds()), (None, None));
    // Nor have two of the same moment.
    let same = Change::between(Some(&snapshot), &snapshot);
    assert_eq!(same.rate("a", &[]), None);
}

#[test]
fn distributions_are_put_together() {
    let text = |one: u64, two: u64| {
        format!(
            "# TYPE h histogram\nh_bucket{{x=\"1\",le=\"1\"}} {one}\nh_count{{x=\"1\"}} {one}\n\
             h_bucket{{x=\"2\",le=\"1\"}} 0\nh_count{{x=\"2\"}} {two}\n"
        )
    };
    change(&text(5, 7), &text(8, 8), |change| {
        let all = change.distribution("h", &[]).unwrap();
        assert_eq!(all.count, 4);
        assert_eq!(
            all.quantile(0.75)
                .map(super::super::distribution::Quantile::least),
            Some(1.0)
        );
        assert_eq!(change.distribution("h", &[("x", "2")]).unwrap().count, 1);
        assert_eq!(change.distribution("h", &[("x", "3")]), None);
    });
    change(&text(5, 7), &text(4, 8), |change| {
        assert_eq!(
            change.distribution("h", &[]),
            None,
            "one of them began anew"
        );
        assert_eq!(change.distribution("h", &[("x", "2")]).unwrap().count, 1);
    });
}

proptest! {
    /// Never a negative rate, and never one of what was not there.
    #[test]
    fn increases_are_sums_of_increases(
        before in prop::collection::vec(0_u32..100, 1..6),
        grown in prop::collection::vec(0_u32..100, 1..6),
    ) {
        let text = |values: &mut dyn Iterator<Item = u32>| -> String {
            values.enumerate().map(|(at, value)| format!("a{{x=\"{at}\"}} {value}\n")).collect::<Vec<_>>().concat()
        };
        let pairs = || before.iter().zip(&grown);
        let old = text(&mut pairs().map(|(before, _)| *before));
        let new = text(&mut pairs().map(|(before, grown)| before + grown));
        let want: u32 = pairs().map(|(_, grown)| grown).sum();
        let got = change(&old, &new, |change| change.increase("a", &[]));
        prop_assert_eq!(got, Some(f64::from(want)));
        let back = change(&new, &old, |change| change.increase("a", &[]));
        prop_assert_eq!(back, (want == 0).then_some(0.0));
    }
}
