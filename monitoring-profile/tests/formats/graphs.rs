//! Folded stacks and flame graphs hold what the profile holds.

use monitoring_profile::{
    Label, Line, Mapping, Profile, ValueType, folded,
    pprof::{self, Limits},
    svg,
};
use proptest::prelude::*;

use super::any;

fn folded(profile: &Profile, value: usize) -> String {
    let mut lines = Vec::new();
    folded::write(profile, value, &folded::Options::default(), &mut lines).unwrap();
    String::from_utf8(lines).unwrap()
}

fn drawn(profile: &Profile, value: usize) -> String {
    let mut picture = Vec::new();
    svg::write(profile, value, &svg::Options::default(), &mut picture).unwrap();
    String::from_utf8(picture).unwrap()
}

/// The sum of what readers take for the lines' values, the way inferno and speedscope read them.
fn sum(lines: &str) -> i64 {
    let values = lines.lines().map(|line| {
        let (stack, value) = line.rsplit_once(' ').unwrap();
        let last = stack.rsplit(' ').next().unwrap();
        let second = last != stack && last.parse::<f64>().is_ok();
        assert!(
            !stack.is_empty() && !stack.starts_with('#') && !second,
            "{line:?}"
        );
        value.parse::<i64>().unwrap()
    });
    values.sum()
}

/// The width of the lowest frame.
fn width(picture: &str) -> i64 {
    let Some((_, rest)) = picture.split_once("total_samples=\"") else {
        assert!(picture.contains("no samples"), "{picture}");
        return 0;
    };
    rest.split('"').next().unwrap().parse().unwrap()
}

#[test]
fn frames_are_named() {
    let mut profile = Profile::new(vec![ValueType::new("samples", "count")]);
    let mapping = |file: &str, start: u64, offset: u64| Mapping {
        start,
        offset,
        file: file.to_owned(),
        ..Mapping::default()
    };
    let library = profile.mapping(&mapping("/usr/lib/libx.so.1", 0x1000, 0x200));
    let kernel = profile.mapping(&mapping("[kernel]", 0, 0));
    let named = profile.function("vfs_read", "vfs_read", "", 0);
    let mangled = profile.function("", "_ZN1a1bEv", "", 0);
    let line = |function| [Line { function, line: 0 }];
    let stack = [
        profile.location(Some(kernel), 0xffff_ffff_8100_0010, &line(named)),
        profile.location(Some(kernel), 0xffff_ffff_8100_0020, &[]),
        profile.location(None, 0xffff_ffff_c000_0000, &[]),
        profile.location(Some(library), 0x1010, &line(mangled)),
        profile.location(Some(library), 0x1010, &[]),
        profile.location(None, 0x10, &[]),
    ];
    profile.sample(
        &stack,
        &[3],
        &[Label::text("process", "a;b"), Label::number("pid", 7)],
    );
    profile.sample(&[], &[4], &[]);
    profile.sample(&stack[5..], &[0], &[]);
    let want = "[unknown] 4\n\
                a:b;[unknown];[libx.so.1]+0x210;_ZN1a1bEv;[unknown]_[k];\
                [kernel]+0xffffffff81000020_[k];vfs_read_[k] 3\n";
    assert_eq!(folded(&profile, 0), want);
    let picture = drawn(&profile, 0);
    assert!(
        picture.contains("<title>vfs_read (3 count, 42.86%)</title>"),
        "the mark is not shown"
    );
    assert!(picture.contains("all (7 count, 100%)"));
}

#[test]
fn stacks_with_a_common_beginning_are_drawn_together() {
    // By their characters, `a b` comes between `a` and `a;c`.
    let mut profile = Profile::new(vec![ValueType::new("samples", "count")]);
    let mut place = |name: &str| {
        let function = profile.function(name, "", "", 0);
        profile.location(None, 0, &[Line { function, line: 0 }])
    };
    let (a, other, c) = (place("a"), place("a b"), place("c"));
    for stack in [&[a][..], &[other], &[c, a]] {
        profile.sample(stack, &[1], &[]);
    }
    assert_eq!(folded(&profile, 0), "a 1\na;c 1\na b 1\n");
    assert_eq!(
        drawn(&profile, 0)
            .matches("<title>a (2 count, 66.67%)</title>")
            .count(),
        1
    );
}

#[test]
fn differences_are_drawn_from_both_profiles() {
    let profile = |value: i64| {
        let mut profile = Profile::new(vec![ValueType::new("samples", "count")]);
        for (name, value) in [("grown", value), ("same", 5)] {
            let function = profile.function(name, "", "", 0);
            let location = profile.location(None, 0, &[Line { function, line: 0 }]);
            profile.sample(&[location], &[value], &[]);
        }
        profile
    };
    let (before, after) = (profile(10), profile(15));
    let mut lines = Vec::new();
    folded::write_difference(&before, &after, 0, &folded::Options::default(), &mut lines).unwrap();
    assert_eq!(String::from_utf8(lines).unwrap(), "grown 10 15\nsame 5 5\n");
    let mut picture = Vec::new();
    svg::write_difference(&before, &after, 0, &svg::Options::default(), &mut picture).unwrap();
    let picture = String::from_utf8(picture).unwrap();
    assert!(
        picture.contains("grown (15 count, 75.00%; +25.00%)"),
        "{picture}"
    );
    assert_eq!(width(&picture), after.total(0));
    let difference = Profile::difference(&after, &before).unwrap();
    assert_eq!(sum(&folded(&difference, 0)), -5);
    let refused = svg::write(&difference, 0, &svg::Options::default(), &mut Vec::new());
    assert!(matches!(refused, Err(svg::DrawError::Negative(stack)) if stack == "grown"));
}

#[test]
fn a_profile_without_samples_is_a_picture_too() {
    let options = svg::Options {
        title: "<none> & nothing".to_owned(),
        ..svg::Options::default()
    };
    let mut picture = Vec::new();
    svg::write(
        &Profile::new(vec![ValueType::default()]),
        0,
        &options,
        &mut picture,
    )
    .unwrap();
    let picture = String::from_utf8(picture).unwrap();
    assert!(
        picture.contains("&lt;none> &amp; nothing: no samples"),
        "{picture}"
    );
    assert!(picture.ends_with("</svg>\n"));
}

#[test]
fn lines_that_are_no_stacks_are_named() {
    let check = |lines: &str, want: Result<i64, &str>| {
        let limits = Limits {
            stack: 3,
            ..Limits::default()
        };
        let read = folded::read(lines.as_bytes(), limits);
        let total = read.map(|profile| profile.total(0));
        match (total, want) {
            (Ok(total), Ok(want)) => assert_eq!(total, want, "{lines:?}"),
            (Err(error), Err(want)) => {
                assert!(error.to_string().contains(want), "{error} says {want}");
            }
            (total, want) => panic!("{lines:?}: {total:?} instead of {want:?}"),
        }
    };
    check("a;b 1\na;b 2\n", Ok(3));
    check("a b 1\r\n\r\n# comment\nc -2", Ok(-1));
    check("a;b\n", Err("line 1 does not end in a number"));
    check("a 1\n5\n", Err("line 2 does not end in a number"));
    check("a 1.5\n", Err("line 1 does not end in a number"));
    check(" 1\n", Err("line 1 has no stack"));
    check("a;b;c;d 1\n", Err("more than 3 locations in a stack"));
    check("a 9223372036854775807\nb 1\n", Err("out of range"));
    check("", Err("it is empty"));
    check("\n\n", Err("it is empty"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_formats_hold_the_same(profile in any::profile()) {
        for value in 0..2 {
            let total = profile.total(value);
            let read = pprof::read(&pprof::write(&profile), Limits::default()).unwrap();
            prop_assert_eq!(read.total(value), total);
            prop_assert_eq!(sum(&folded(&profile, value)), total);
            prop_assert_eq!(width(&drawn(&profile, value)), total);
            prop_assert_eq!(folded(&read, value), folded(&profile, value));
            let lines = folded(&profile, value);
            match folded::read(lines.as_bytes(), Limits::default()) {
                Ok(unfolded) => prop_assert_eq!(folded(&unfolded, 0), lines),
                Err(error) => prop_assert!(lines.is_empty(), "{}", error),
            }
            prop_assert_eq!(drawn(&read, value), drawn(&profile, value));
        }
    }
}
