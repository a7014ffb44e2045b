//! What is rendered once, what at each scrape, and that both together are one valid answer.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use flate2::{bufread::GzDecoder, read::MultiGzDecoder};
use proptest::prelude::*;
use tokio::sync::watch;

use super::*;
use crate::families::Family;

const FORMS: [Form; super::FORMS] = [Form::Text, Form::OpenMetrics, Form::Protobuf, Form::Json];

fn snapshot(number: u64, value: f64) -> Arc<Snapshot> {
    let families = vec![Family::gauge("g", "G.").with(&[("a", "b")], value).build()];
    Arc::new(Snapshot {
        number,
        families,
        ready: true,
        ..Snapshot::empty()
    })
}

fn joined(pieces: &[Bytes]) -> Vec<u8> {
    pieces.concat()
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = GzDecoder::new(bytes);
    let mut text = Vec::new();
    decoder.read_to_end(&mut text).unwrap();
    assert!(
        decoder.into_inner().is_empty(),
        "bytes behind the first member"
    );
    text
}

#[test]
fn scrapes_of_one_snapshot_share_their_bytes() {
    let (sender, latest) = watch::channel(snapshot(1, 1.0));
    let renders = Renders::new(latest, Arc::default());
    for form in FORMS {
        for gzip in [false, true] {
            let [first, _] = renders.scrape(form, gzip);
            let [second, _] = renders.scrape(form, gzip);
            assert_eq!(first.as_ptr(), second.as_ptr(), "{form:?}, gzip {gzip}");
            assert_eq!(first.len(), second.len());
        }
    }
    let [before, _] = renders.scrape(Form::Text, false);
    sender.send(snapshot(2, 2.0)).unwrap();
    let [after, _] = renders.scrape(Form::Text, false);
    assert!(before.starts_with(b"# HELP g G.\n# TYPE g gauge\ng{a=\"b\"} 1\n"));
    assert!(after.starts_with(b"# HELP g G.\n# TYPE g gauge\ng{a=\"b\"} 2\n"));
}

#[test]
fn renders_keep_no_old_snapshot() {
    let (sender, latest) = watch::channel(snapshot(1, 1.0));
    let renders = Renders::new(latest, Arc::default());
    let old = Arc::downgrade(&renders.snapshot());
    renders.scrape(Form::Text, true);
    sender.send(snapshot(2, 2.0)).unwrap();
    assert!(old.upgrade().is_none());
}

#[test]
fn age_belongs_to_the_scrape() {
    let mut old = Snapshot::empty();
    old.taken = old
        .taken
        .checked_sub(Duration::from_secs(5))
        .expect("the machine runs for longer");
    let (_sender, latest) = watch::channel(Arc::new(old));
    let renders = Renders::new(latest, Arc::default());
    let age = || -> f64 {
        let text = String::from_utf8(joined(&renders.scrape(Form::Text, false))).unwrap();
        let line = text.lines().last().unwrap();
        line.strip_prefix(AGE_NAME).unwrap().trim().parse().unwrap()
    };
    let first = age();
    assert!((5.0..60.0).contains(&first), "{first}");
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while age() <= first {
        assert!(
            std::time::Instant::now() < deadline,
            "the age does not grow"
        );
    }
}

#[test]
fn gzip_is_the_same_text() {
    let (_sender, latest) = watch::channel(snapshot(1, 1.0));
    let renders = Renders::new(latest, Arc::default());
    for form in FORMS {
        let [plain, _] = renders.scrape(form, false);
        let text = gunzip(&joined(&renders.scrape(form, true)));
        assert_eq!(text[..plain.len()], plain[..]);
        assert!(text.len() > plain.len(), "{form:?} has no tail");
    }
}

/// `gzip -dc`, an implementation that shares no code with ours.
#[test]
fn gzip_reads_it() {
    let shared = Shared::new(b"one\n".repeat(50_000));
    let member = joined(&shared.gzip(b"two\n"));
    let mut child = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs the gzip program: apt-get install gzip");
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&member).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    assert_eq!(
        output.stdout,
        [b"one\n".repeat(50_000), b"two\n".to_vec()].concat()
    );
}

#[test]
fn gzip_members_can_be_concatenated() {
    let shared = Shared::new(b"body ".to_vec());
    let two = [
        joined(&shared.gzip(b"tail ")),
        joined(&shared.gzip(b"other")),
    ]
    .concat();
    let mut text = String::new();
    MultiGzDecoder::new(&two[..])
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "body tail body other");
}

proptest! {
    #[test]
    fn gzip_round_trip(body in prop::collection::vec(any::<u8>(), 0..5000), tail in ".{0,300}") {
        let shared = Shared::new(body.clone());
        let plain = joined(&shared.identity(tail.clone().into_bytes()));
        prop_assert_eq!(&plain, &[&body, tail.as_bytes()].concat());
        prop_assert_eq!(gunzip(&joined(&shared.gzip(tail.as_bytes()))), plain);
    }
}
