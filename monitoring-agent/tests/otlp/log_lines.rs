//! What the log is told: once when it goes wrong, and once when it is well again, and nothing of what
//! headers say.

use std::{
    io::Write,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use monitoring::otlp::Protocol;

use crate::{
    exporter::{Exporter, LONG, target},
    poll::poll_until,
    ports,
    stub::{Answer, Stub},
};

/// What a collector says so that the log's writing panics where a warning has it.
pub(crate) const PANIC: &str = "say this and it panics";

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // A line whose writing panicked stands before the next one of its thread.
        let lines = String::from_utf8_lossy(bytes);
        let line = lines.lines().next_back().unwrap_or_default();
        let is_told_to = line.contains("WARN") && line.contains(PANIC);
        assert!(!is_told_to, "as the test wants it");
        LINES.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lines with this text, of all that was logged.
pub(crate) fn lines(with: &str) -> Vec<String> {
    let all = LINES.lock().unwrap();
    let all = String::from_utf8_lossy(&all);
    all.lines()
        .filter(|line| line.contains(with))
        .map(str::to_owned)
        .collect()
}

pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(|| Lines)
            .with_ansi(false)
            .init();
    });
}

#[test]
fn a_line_when_it_goes_wrong_and_one_when_it_is_well() {
    listen();
    let protocol = Protocol::HttpProtobuf;
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let stub = Stub::start(protocol, move |_| {
        if away.load(SeqCst) {
            Answer::status(503)
        } else {
            Answer::yes(protocol)
        }
    });
    let mut target = target(protocol, &stub.url());
    target
        .headers
        .set("authorization", "Bearer hush-hush")
        .unwrap();
    let exporter = Exporter::new(target, LONG);
    exporter.push(0..10);
    poll_until("some tries", || (stub.asked().len() >= 4).then_some(()));
    is_away.store(false, SeqCst);
    exporter.settle(10);
    let url = stub.url();
    poll_until("it is well", || {
        lines(&url)
            .iter()
            .any(|line| line.contains("INFO"))
            .then_some(())
    });
    let said: Vec<_> = lines(&url)
        .into_iter()
        .filter(|line| !line.contains("TRACE") && !line.contains("DEBUG"))
        .collect();
    let [wrong, well] = &said[..] else {
        panic!("{said:#?}");
    };
    assert!(
        wrong.contains("WARN") && wrong.contains("503") && wrong.contains("spans"),
        "{wrong}"
    );
    assert!(well.contains("INFO") && well.contains("again"), "{well}");
    exporter.stop();
    assert!(lines("hush-hush").is_empty(), "{:?}", lines("hush-hush"));
}

#[test]
fn a_collector_that_takes_less_has_a_line_and_one_that_takes_nothing_another() {
    listen();
    let protocol = Protocol::HttpProtobuf;
    let is_away = Arc::new(AtomicBool::new(false));
    let away = Arc::clone(&is_away);
    let stub = Stub::start(protocol, move |asked| {
        if away.load(SeqCst) || asked.spans().len() > 10 {
            Answer::status(413)
        } else {
            Answer::yes(protocol)
        }
    });
    let exporter = Exporter::new(target(protocol, &stub.url()), LONG);
    let said = || -> Vec<_> {
        let lines = lines(&stub.url()).into_iter();
        lines
            .filter(|line| line.contains("WARN") || line.contains("INFO"))
            .collect()
    };
    exporter.push(0..1000);
    exporter.settle(1000);
    assert_eq!(exporter.exported(), 1000);
    let narrowed = said();
    assert_eq!(narrowed.len(), 1, "{narrowed:?}");
    assert!(
        narrowed[0].contains("too large") && narrowed[0].contains("413"),
        "{narrowed:?}"
    );
    is_away.store(true, SeqCst);
    exporter.push(1000..1100);
    let said = poll_until("it is said", || {
        let said = said();
        (said.len() >= 2).then_some(said)
    });
    assert!(
        said[1].contains("cannot be sent") && said[1].contains("413"),
        "{said:?}"
    );
    is_away.store(false, SeqCst);
    exporter.settle(1100);
    exporter.stop();
}

#[test]
fn a_file_that_is_missing_is_named() {
    listen();
    let url = format!("https://{}", ports::kept());
    let mut target = target(Protocol::Grpc, &url);
    target.tls.ca = Some("/nonexistent/ca.pem".into());
    let exporter = Exporter::new(target, LONG);
    exporter.push(0..1);
    let said = poll_until("it is said", || lines(&url).into_iter().next());
    assert!(
        said.contains("/nonexistent/ca.pem cannot be read"),
        "{said}"
    );
    exporter.stop();
}
