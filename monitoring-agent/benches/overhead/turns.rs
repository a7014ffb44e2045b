//! Conditions that take turns, so that whatever else the machine does falls on all of them, and the
//! medians of what is measured under each.

use crate::process::Running;

/// Its name, and what has to run for it. The first one is that nobody watches.
pub(crate) type Condition<'a> = (&'static str, &'a dyn Fn() -> Vec<Running>);

/// Nobody watches.
pub(crate) const NOBODY: Condition<'_> = ("nobody watches", &Vec::new);

/// Takes `FIGURES` figures in each round under each condition; the medians, by condition.
pub(crate) fn medians<const CONDITIONS: usize, const FIGURES: usize>(
    rounds: usize,
    conditions: &[Condition<'_>; CONDITIONS],
    mut measure: impl FnMut() -> [f64; FIGURES],
) -> [[f64; FIGURES]; CONDITIONS] {
    let mut samples = conditions.map(|_| [const { Vec::new() }; FIGURES]);
    for round in 0..rounds {
        // Forwards and backwards in turn: a drift of the machine falls on all alike.
        let mut order: Vec<_> = (0..CONDITIONS).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for condition in order {
            let running = conditions[condition].1();
            for (samples, figure) in samples[condition].iter_mut().zip(measure()) {
                samples.push(figure);
            }
            drop(running);
        }
    }
    samples.map(|figures| figures.map(median))
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Prints a figure under each condition, and what that adds to the first one's.
pub(crate) fn print_added<const CONDITIONS: usize>(
    conditions: &[Condition<'_>; CONDITIONS],
    figures: [f64; CONDITIONS],
) {
    let base = figures[0];
    for (at, ((name, _), figure)) in conditions.iter().zip(figures).enumerate() {
        print!("  {name:<46}{figure:>9.1}");
        if at > 0 {
            let added = figure - base;
            print!("  adds {added:>8.1} ({:.1} %)", added / base * 100.0);
        }
        println!();
    }
}
