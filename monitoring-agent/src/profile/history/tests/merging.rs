//! What is found of a span of time.

use std::cell::Cell;

use super::*;

fn filled(folder: &Path) -> History {
    let history = History::open_at(options(folder), at(0));
    for (minute, value) in [(1, 1), (2, 2), (3, 4), (9, 8)] {
        history
            .keep_at(Type::Cpu, MINUTE, &bytes("f", value), at(minute))
            .unwrap();
    }
    history
}

#[test]
fn windows_that_overlap_are_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let history = filled(folder.path());
    let check = |from: u32, to: u32, value: i64, covered: &[(u32, u32)]| {
        let query = Query::of(Type::Cpu, wall(from), wall(to));
        let found = history.query(&query, &|| false).unwrap();
        let span = |(start, end): &(u32, u32)| Span::new(wall(*start), wall(*end));
        let want: Vec<_> = covered.iter().map(span).collect();
        assert_eq!(
            (found.profile.total(0), found.covered),
            (value, want),
            "{from} {to}"
        );
        assert_eq!(found.torn, 0);
        let comments = found.profile.comments().collect::<Vec<_>>();
        assert!(
            comments[0].contains(&format!("of {} windows", found.windows)),
            "{comments:?}"
        );
    };
    check(0, 20, 15, &[(0, 3), (8, 9)]);
    check(0, 1, 1, &[(0, 1)]);
    check(1, 3, 6, &[(1, 3)]);
    check(3, 9, 8, &[(8, 9)]);
    let halves = Query {
        span: Span {
            start_ms: at_ms(1) - 1,
            end_ms: at_ms(1) + 1,
        },
        ..Query::of(Type::Cpu, wall(0), wall(1))
    };
    assert_eq!(
        history.query(&halves, &|| false).unwrap().profile.total(0),
        3
    );
}

fn at_ms(minute: u64) -> u64 {
    1_700_000_000_000 + minute * 60_000
}

#[test]
fn where_nothing_is_kept_it_says_what_is() {
    let folder = tempfile::tempdir().unwrap();
    let history = filled(folder.path());
    let check = |kind: Type, want: &[&str]| {
        let query = Query::of(kind, wall(4), wall(8));
        let error = history.query(&query, &|| false).unwrap_err().to_string();
        for want in want {
            assert!(error.contains(want), "{want}: {error}");
        }
    };
    let there = "there is 2023-11-14T22:13:20.000Z/2023-11-14T22:22:20.000Z, with gaps";
    check(
        Type::Cpu,
        &["no cpu profile of 2023-11-14T22:17:20.000Z/", there],
    );
    check(Type::Memory, &["no memory profile", "none at all"]);
    let absent = History::open_at(options(Path::new("/proc/self/none")), at(0));
    let query = Query::of(Type::Cpu, wall(4), wall(8));
    assert!(
        absent
            .query(&query, &|| false)
            .unwrap_err()
            .to_string()
            .contains("none at all")
    );
}

#[test]
fn a_part_of_the_node_is_found_by_its_labels() {
    let folder = tempfile::tempdir().unwrap();
    let history = History::open_at(options(folder.path()), at(0));
    let mut both = profile("f", 1, "a", 7);
    both.merge(&profile("f", 2, "b", 8)).unwrap();
    both.merge(&profile("g", 4, "b", 9)).unwrap();
    for minute in [1, 2] {
        let kept = history.keep_at(Type::Cpu, MINUTE, &pprof::write(&both), at(minute));
        kept.unwrap();
    }
    let check = |agent: Option<&str>, pid: Option<u32>, want: i64| {
        let query = Query {
            agent: agent.map(str::to_owned),
            pid,
            ..Query::of(Type::Cpu, wall(0), wall(5))
        };
        let found = history.query(&query, &|| false).unwrap();
        assert_eq!(found.profile.total(0), want, "{agent:?} {pid:?}");
    };
    check(None, None, 14);
    check(Some("b"), None, 12);
    check(None, Some(9), 8);
    check(Some("c"), None, 0);
}

#[test]
fn memory_is_bounded_and_nobody_is_served_who_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let history = filled(folder.path());
    let query = Query::of(Type::Cpu, wall(0), wall(20));
    let error = history.query_within(&query, &|| false, 100).unwrap_err();
    assert!(matches!(error, QueryError::TooLarge), "{error}");
    assert!(
        error.to_string().contains("ask for a shorter time"),
        "{error}"
    );
    let asked = Cell::new(0);
    let after_two = || asked.replace(asked.get() + 1) == 2;
    let error = history.query(&query, &after_two).unwrap_err();
    assert!(matches!(error, QueryError::Abandoned), "{error}");
    assert_eq!(asked.get(), 3);
}
