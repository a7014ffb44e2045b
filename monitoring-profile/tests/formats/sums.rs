//! What is put together, taken apart and listed adds up.

use std::collections::BTreeMap;

use monitoring_profile::{
    Filter, Label, LabelFilter, Line, MergeError, Profile, ValueType,
    top::{self, Order},
};
use proptest::prelude::*;
use regex::Regex;

use super::any;

fn merged(one: &Profile, other: &Profile) -> Profile {
    let mut merged = one.clone();
    merged.merge(other).unwrap();
    merged
}

/// A profile of stacks of names, leaf first, each with a process and a value.
fn profile(samples: &[(&[&str], &str, i64)]) -> Profile {
    let mut profile = Profile::new(vec![ValueType::new("samples", "count")]);
    for (stack, process, value) in samples {
        let mut locations = Vec::new();
        for name in *stack {
            let function = profile.function(name, "", &format!("{name}.c"), 0);
            locations.push(profile.location(None, 0, &[Line { function, line: 0 }]));
        }
        profile.sample(&locations, &[*value], &[Label::text("process", *process)]);
    }
    profile
}

#[test]
fn only_what_measures_the_same_goes_together() {
    let other = Profile::new(vec![ValueType::new("samples", "bytes")]);
    let mut one = profile(&[(&["main"], "p", 3)]);
    let before = any::content(&one);
    let error = one.merge(&other).expect_err("units differ");
    assert_eq!(
        error.to_string(),
        "the profiles measure different things: samples/count and samples/bytes"
    );
    assert!(Profile::difference(&other, &one).is_err());
    let mut sampled = one.clone();
    sampled.set_period(ValueType::new("cpu", "nanoseconds"), 1);
    let mut otherwise = one.clone();
    otherwise.set_period(ValueType::new("cycles", "count"), 1);
    assert!(matches!(
        sampled.merge(&otherwise),
        Err(MergeError::PeriodTypes(..))
    ));
    let large = profile(&[(&["main"], "p", i64::MAX - 2)]);
    assert_eq!(
        one.merge(&large),
        Err(MergeError::Overflow("samples".to_owned()))
    );
    assert_eq!(any::content(&one), before, "nothing has changed");
}

#[test]
fn times_span_both_profiles() {
    let check = |one: (i64, i64), other: (i64, i64), want: (i64, i64)| {
        let mut profiles = [profile(&[]), profile(&[])];
        profiles[0].set_time(one.0, one.1);
        profiles[1].set_time(other.0, other.1);
        let merged = merged(&profiles[0], &profiles[1]);
        assert_eq!(
            (merged.time_ns(), merged.duration_ns()),
            want,
            "{one:?} {other:?}"
        );
    };
    check((100, 10), (110, 10), (100, 20));
    check((110, 10), (100, 10), (100, 20));
    check((100, 10), (200, 50), (100, 150));
    check((100, 90), (110, 10), (100, 90));
    check((0, 10), (110, 10), (110, 20));
    check((0, 10), (0, 5), (0, 15));
}

#[test]
fn filters_leave_what_passes_all_parts() {
    let all = profile(&[
        (&["work", "main"], "a", 1),
        (&["idle", "main"], "a", 2),
        (&["work", "main"], "b", 4),
        (&["work", "start"], "b", 8),
    ]);
    let check = |focus: &str, ignore: &str, label: &str, want: i64| {
        let regex = |text: &str| {
            Some(text)
                .filter(|text| !text.is_empty())
                .map(|text| Regex::new(text).unwrap())
        };
        let label = label.split_once('=').map(|(key, value)| LabelFilter {
            key: key.to_owned(),
            value: value.to_owned(),
        });
        let mut profile = all.clone();
        profile.retain(&Filter {
            focus: regex(focus),
            ignore: regex(ignore),
            labels: label.into_iter().collect(),
        });
        assert_eq!(profile.total(0), want, "{focus} {ignore}");
        let used = profile
            .samples()
            .flat_map(|sample| sample.stack)
            .collect::<std::collections::HashSet<_>>();
        assert_eq!(
            used.len(),
            profile.locations().len(),
            "nothing else is kept"
        );
    };
    check("", "", "", 15);
    check("work", "", "", 13);
    check("^work$", "main", "", 8);
    check("", "work", "", 2);
    check("", "", "process=b", 12);
    check("main", "", "process=b", 4);
    check(r"start\.c", "", "", 8);
    check("nothing", "", "", 0);
    check("", "", "thread=b", 0);
}

#[test]
fn lists_count_recursion_once() {
    let profile = profile(&[
        (&["f", "g", "f", "main"], "a", 3),
        (&["g", "f", "main"], "b", 4),
        (&["main"], "b", 10),
    ]);
    let mut functions = top::by_function(&profile, 0);
    let rows = |top: &top::Top| -> Vec<(String, i64, i64)> {
        top.rows
            .iter()
            .map(|row| (row.name.clone(), row.flat, row.cumulative))
            .collect()
    };
    let row = |name: &str, flat, cumulative| (name.to_owned(), flat, cumulative);
    assert_eq!(
        rows(&functions),
        [row("main", 10, 17), row("g", 4, 7), row("f", 3, 7)]
    );
    functions.sort(Order::Cumulative);
    assert_eq!(
        rows(&functions),
        [row("main", 10, 17), row("f", 3, 7), row("g", 4, 7)]
    );
    functions.shorten(1);
    assert_eq!((functions.rows.len(), functions.all_rows), (1, 3));
    let labels = top::by_label(&profile, 0, "process");
    assert_eq!(rows(&labels), [row("b", 14, 14), row("a", 3, 3)]);
    let calls = top::calls(&profile, 0, "f").unwrap();
    let list = |calls: &[top::Call]| -> Vec<(String, i64)> {
        calls
            .iter()
            .map(|call| (call.name.clone(), call.value))
            .collect()
    };
    assert_eq!(
        list(&calls.callers),
        [("main".to_owned(), 7), ("g".to_owned(), 3)]
    );
    assert_eq!(list(&calls.callees), [("g".to_owned(), 7)]);
    assert_eq!(top::calls(&profile, 0, "h"), None);
}

proptest! {
    #[test]
    fn merging_adds_up(one in any::profile(), other in any::profile()) {
        let both = merged(&one, &other);
        let mut want = any::content(&one);
        for (sample, values) in any::content(&other) {
            let sums = want.entry(sample).or_insert_with(|| vec![0; values.len()]);
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += value;
            }
        }
        prop_assert_eq!(any::content(&both), want);
        prop_assert_eq!(any::content(&merged(&other, &one)), any::content(&both));
    }

    #[test]
    fn what_was_added_is_the_difference(before in any::profile(), added in any::profile()) {
        let after = merged(&before, &added);
        let difference = Profile::difference(&before, &after).unwrap();
        let mut want: BTreeMap<_, _> = any::content(&added);
        want.retain(|_, values| values.iter().any(|value| *value != 0));
        prop_assert_eq!(any::content(&difference), want);
        let nothing = Profile::difference(&after, &after).unwrap();
        prop_assert_eq!(nothing.samples().len(), 0);
    }

    #[test]
    fn what_functions_take_themselves_is_the_total(profile in any::profile()) {
        for value in 0..2 {
            // What has no stack is in no function.
            let without = profile.samples().filter(|sample| sample.stack.is_empty());
            let without: i64 = without.map(|sample| sample.values[value]).sum();
            let top = top::by_function(&profile, value);
            let flat: i64 = top.rows.iter().map(|row| row.flat).sum();
            prop_assert_eq!(flat + without, profile.total(value));
            for row in &top.rows {
                prop_assert!(row.flat <= row.cumulative && row.cumulative <= top.total);
            }
        }
    }
}
