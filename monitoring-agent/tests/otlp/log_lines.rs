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

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lines with this text, of all that was logged.
fn lines(with: &str) -> Vec<String> {
    let all = LINES.lock().unwrap();
    let all = String::from_utf8_lossy(&all);
    all.lines()
        .filter(|line| line.contains(with))
        .map(str::to_owned)
        .collect()
}

fn listen() {
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
