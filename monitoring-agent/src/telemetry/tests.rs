//! What the log says of a source that is off, fails and delivers: each once.

use std::{fs::File, io::Read as _, io::Seek as _, sync::Arc};

use super::*;

/// The lines that are logged meanwhile.
fn logged(speak: impl FnOnce()) -> Vec<String> {
    let mut file = tempfile::tempfile().unwrap();
    let writer: Arc<File> = Arc::new(file.try_clone().unwrap());
    let subscriber = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .finish();
    tracing::subscriber::with_default(subscriber, speak);
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

fn off(why: &str, is_usual: bool) -> Batch {
    let why = why.to_owned();
    Batch {
        off: Some(Off { why, is_usual }),
        ..Batch::default()
    }
}

fn stale() -> Batch {
    Batch {
        stale: Some("it hangs".to_owned()),
        ..Batch::default()
    }
}

/// What a source's batches have the log say, one after the other; none is an overdue collection.
fn check(batches: Vec<Option<Batch>>, want: &[&str]) {
    let mut state = SourceState::default();
    let lines = logged(|| {
        for batch in batches {
            match batch {
                Some(batch) => state.accept("gpu", batch, Instant::now(), true),
                None => state.failed("gpu", "overdue", "late"),
            }
        }
    });
    assert_eq!(lines.len(), want.len(), "{lines:#?}");
    for (line, want) in lines.iter().zip(want) {
        assert!(line.starts_with(want), "{line:?} is not {want:?}");
    }
}

#[test]
fn a_source_that_is_off_says_so_once() {
    let no_driver = || Some(off("no driver", false));
    let said = "WARN source off: no driver";
    check(vec![no_driver(), no_driver()], &[said]);
    // One late collection is no news about why it is off.
    check(
        vec![no_driver(), None, no_driver(), no_driver()],
        &[said, "WARN the source does not deliver: late"],
    );
    check(
        vec![no_driver(), Some(off("no GPU", false)), no_driver()],
        &[said, "WARN source off: no GPU", said],
    );
    check(
        vec![Some(off("no library", true))],
        &["INFO source off: no library"],
    );
}

#[test]
fn only_what_has_delivered_delivers_again() {
    let good = || Some(Batch::default());
    let off = || Some(off("no GPU", false));
    let said = "WARN source off: no GPU";
    let again = "INFO the source delivers again ";
    check(vec![good(), good()], &[]);
    check(
        vec![off(), good(), off(), good()],
        &[said, "INFO the source delivers source", said, again],
    );
    check(
        vec![good(), Some(stale()), Some(stale()), good()],
        &["WARN the source does not deliver: it hangs", again],
    );
}

#[test]
fn numbers_that_are_the_last_ones_again_count_as_a_failure() {
    let mut state = SourceState::default();
    let begun = Instant::now();
    state.accept("gpu", Batch::default(), begun, true);
    assert!(state.up);
    logged(|| state.accept("gpu", stale(), Instant::now(), true));
    assert!(!state.up && state.families.is_some());
    assert_eq!(state.missed.get("collect_failed"), Some(&1));
    assert_eq!(
        state.numbers_at,
        Some(begun),
        "they are as old as they were"
    );
}
