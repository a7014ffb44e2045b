//! Which names get a series, and when.

use super::*;

/// A look in which each function has grown to its count.
fn look(totals: &mut Totals, counts: &[(u64, &str, u64)]) -> Vec<Launches> {
    totals.begin();
    for (function, name, count) in counts {
        totals.add(key(*function, 0), *count, named(name));
    }
    totals.end()
}

fn key(function: u64, device: u16) -> LaunchKey {
    LaunchKey {
        function,
        process: 7 << 32,
        agent: 1,
        device,
        padding: 0,
    }
}

fn named(name: &str) -> Arc<Name> {
    Arc::new(Name::new(name.as_bytes(), false))
}

fn count(rows: &[Launches], name: &str) -> Option<u64> {
    let row = rows.iter().find(|row| *row.kernel_type == *name);
    row.map(|row| row.count)
}

/// As many names as get a series at once.
fn filled() -> Totals {
    let mut totals = Totals::new();
    let names: Vec<_> = (0..FIRST_NAMES).map(|each| format!("k{each}")).collect();
    let counts: Vec<_> = (0..).zip(&names).map(|(f, name)| (f, &**name, 1)).collect();
    let rows = look(&mut totals, &counts);
    assert_eq!(rows.len(), FIRST_NAMES);
    assert!(rows.iter().all(|row| row.count == 1));
    totals
}

#[test]
fn a_name_that_is_big_later_gets_a_series_from_then_on() {
    let mut totals = filled();
    let rows = look(&mut totals, &[(1_000, "late", BIG_LAUNCHES - 1)]);
    assert_eq!(count(&rows, OTHER), Some(BIG_LAUNCHES - 1));
    assert_eq!(count(&rows, "late"), None);
    let rows = look(&mut totals, &[(1_000, "late", BIG_LAUNCHES + 9)]);
    assert_eq!(count(&rows, OTHER), Some(BIG_LAUNCHES - 1));
    assert_eq!(count(&rows, "late"), Some(10));
}

#[test]
fn a_name_keeps_its_series_and_other_names_stay_out() {
    let mut totals = filled();
    let mut other = 0;
    for step in 1..50 {
        let growth = step % 7;
        other += growth;
        let rows = look(&mut totals, &[(0, "k0", 1 + step), (1_000, "late", other)]);
        assert_eq!(count(&rows, "k0"), Some(1 + step));
        assert_eq!(count(&rows, OTHER).unwrap_or(0), other);
        assert_eq!(count(&rows, "late"), None);
    }
}

#[test]
fn a_row_that_begins_anew_adds_what_it_has() {
    let mut totals = Totals::new();
    look(&mut totals, &[(1, "k", 10)]);
    look(&mut totals, &[(1, "k", 4)]);
    let rows = look(&mut totals, &[(1, "k", 5)]);
    assert_eq!(count(&rows, "k"), Some(15));
}

#[test]
fn a_function_with_another_name_counts_there_from_then_on() {
    let mut totals = Totals::new();
    look(&mut totals, &[(1, "k", 10)]);
    let rows = look(&mut totals, &[(1, "l", 12)]);
    assert_eq!((count(&rows, "k"), count(&rows, "l")), (Some(10), Some(2)));
}

#[test]
fn a_name_with_a_small_share_stays_in_other() {
    let mut totals = filled();
    let big = BIG_LAUNCHES * BIG_SHARE * 10;
    look(&mut totals, &[(0, "k0", big)]);
    let rows = look(&mut totals, &[(1_000, "late", BIG_LAUNCHES)]);
    assert_eq!(count(&rows, "late"), None);
    let rows = look(&mut totals, &[(1_000, "late", big)]);
    assert_eq!(count(&rows, "late"), Some(big - BIG_LAUNCHES));
}

#[test]
fn no_more_names_than_there_is_room_for() {
    let mut totals = filled();
    for late in 0..100 {
        let name = format!("late{late}");
        look(&mut totals, &[(1_000 + late, &name, 1 << (20 + late / 4))]);
    }
    let rows = totals.end();
    assert_eq!(rows.len(), FIRST_NAMES + LATER_NAMES + 1);
    // A kernel of that name counts where the rest does, in one row.
    let before = count(&rows, OTHER).unwrap();
    let rows = look(&mut totals, &[(5_000, OTHER, 3)]);
    assert_eq!(rows.len(), FIRST_NAMES + LATER_NAMES + 1);
    assert_eq!(count(&rows, OTHER), Some(before + 3));
}

#[test]
fn watching_is_bounded_and_keeps_the_big() {
    let mut totals = filled();
    let nearly = BIG_LAUNCHES - 1;
    look(&mut totals, &[(1_000, "nearly", nearly)]);
    for small in 0..10 * MAX_WATCHED as u64 {
        totals.add(key(10_000 + small, 0), 1, named(&format!("small{small}")));
        assert!(totals.agents[&1].watched.len() <= MAX_WATCHED);
    }
    let rows = look(&mut totals, &[(1_000, "nearly", nearly + 1)]);
    assert_eq!(count(&rows, "nearly"), Some(1));
    let watched = 10 * MAX_WATCHED as u64;
    assert_eq!(count(&rows, OTHER), Some(nearly + watched));
}

#[test]
fn devices_that_cannot_be_are_one() {
    let mut totals = Totals::new();
    for device in [0, MAX_DEVICES - 1, MAX_DEVICES, u16::MAX] {
        totals.add(key(1, device), 2, named("k"));
    }
    let rows = totals.end();
    let rows: Vec<_> = rows.iter().map(|row| (row.device_id, row.count)).collect();
    assert_eq!(rows, [(None, 4), (Some(0), 2), (Some(MAX_DEVICES - 1), 2)]);
}

#[test]
fn counts_of_processes_that_nobody_told_the_end_of_are_bounded() {
    let mut totals = Totals::new();
    for step in 0..10 {
        totals.begin();
        for function in 0..MAX_LAUNCHED as u64 {
            totals.add(key(step << 32 | function, 0), 1, named("k"));
        }
        let rows = totals.end();
        assert_eq!(rows[0].count, (step + 1) * MAX_LAUNCHED as u64);
        assert!(totals.counts.len() <= MAX_COUNTS);
    }
}
