//! Collectors that do what no collector should. Spans are kept for a while, the queue stays within
//! its bounds, every span is counted once, and all is well again by itself when a good collector
//! takes the bad one's place.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use monitoring::otlp::Protocol;
use monitoring_agent::spans::{DropReason, QueueLimits};

use crate::{
    exporter::{Exporter, LONG, target},
    poll::poll_until,
    stub::{Answer, Stub},
};

/// Room for some hundred spans.
const ROOM: QueueLimits = QueueLimits {
    spans: 1 << 20,
    bytes: 512 << 10,
};

/// How much the process may grow while a hundred times more spans than there is room for come by: it
/// has other tests besides.
const GROWTH: u64 = 64 << 20;

/// Does with each connection what it is told to. Lives as long as this process.
fn listening(
    with_each: impl Fn(TcpStream) + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&connections);
    let with_each = Arc::new(with_each);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, SeqCst);
            let with_each = Arc::clone(&with_each);
            thread::spawn(move || with_each(stream));
        }
    });
    (address, connections)
}

/// Bytes of memory of this process.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// Sends to a bad collector while spans come without end, and then to a good one.
fn suffer(protocol: Protocol, bad: &str, connections: Option<&AtomicU64>) {
    let mut exporter = Exporter::idle(ROOM);
    let mut bad_target = target(protocol, bad);
    bad_target.timeout = Duration::from_millis(200);
    exporter.apply(bad_target, Duration::from_millis(100));
    // The collector has seen some tries, and some spans were given up.
    let before = resident();
    let mut pushed = 0;
    poll_until("spans are given up, and others have no room", || {
        exporter.push(pushed..pushed + 2000);
        pushed += 2000;
        assert!(exporter.spans.queue.memory_bytes() <= ROOM.bytes);
        let tries = connections.is_none_or(|count| count.load(SeqCst) >= 2);
        let given_up = exporter.dropped(DropReason::Unreachable) > 0;
        let full = exporter.dropped(DropReason::QueueFull) > 0;
        (tries && given_up && full && pushed >= 50_000).then_some(())
    });
    let grown = resident().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} bytes after {pushed} spans");
    assert_eq!(exporter.exported(), 0);

    let good = Stub::start(protocol, move |_| Answer::yes(protocol));
    exporter.apply(target(protocol, &good.url()), LONG);
    exporter.settle(pushed);
    let taken = exporter.exported();
    assert!(taken > 0);
    let arrived: usize = good.asked().iter().map(|asked| asked.spans().len()).sum();
    assert_eq!(arrived as u64, taken);
    exporter.stop();
}

const BOTH: [Protocol; 2] = [Protocol::HttpProtobuf, Protocol::Grpc];

#[test]
fn one_that_refuses_connections() {
    for protocol in BOTH {
        suffer(protocol, &format!("http://{}", crate::ports::kept()), None);
    }
}

#[test]
fn one_that_never_answers() {
    let (address, connections) = listening(|mut stream| {
        // Until the other side gives up.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    for protocol in BOTH {
        suffer(protocol, &format!("http://{address}"), Some(&connections));
    }
}

#[test]
fn one_that_answers_a_byte_at_a_time() {
    let (address, connections) = listening(|mut stream| {
        stream
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
            .iter()
            .cycle();
        let mut buffer = [0; 4096];
        // A byte for what was read, or after a moment in which nothing was.
        while stream.write_all(&[*answer.next().unwrap()]).is_ok() {
            let _ = stream.read(&mut buffer);
        }
    });
    suffer(
        Protocol::HttpProtobuf,
        &format!("http://{address}"),
        Some(&connections),
    );
}

#[test]
fn one_that_sends_garbage() {
    let (address, connections) = listening(|mut stream| {
        let _ = stream.write_all(&vec![0xa5; 100_000]);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    for protocol in BOTH {
        suffer(protocol, &format!("http://{address}"), Some(&connections));
    }
}

#[test]
fn one_that_never_stops_answering() {
    let (address, connections) = listening(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\n");
        while stream.write_all(b"5\r\nhello\r\n").is_ok() {}
    });
    suffer(
        Protocol::HttpProtobuf,
        &format!("http://{address}"),
        Some(&connections),
    );
}

#[test]
fn one_that_closes_in_the_middle() {
    let (address, connections) = listening(|mut stream| {
        let mut some = [0; 100];
        let _ = stream.read(&mut some);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
    });
    for protocol in BOTH {
        suffer(protocol, &format!("http://{address}"), Some(&connections));
    }
}

#[test]
fn one_that_hangs_before_it_speaks_tls() {
    let (address, connections) = listening(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    for protocol in BOTH {
        suffer(protocol, &format!("https://{address}"), Some(&connections));
    }
}

#[test]
fn one_that_is_not_trusted() {
    let certificates = crate::certificates::Certificates::new();
    let address = certificates.before(crate::ports::kept().port());
    for protocol in BOTH {
        suffer(protocol, &format!("https://{address}"), None);
    }
}

#[test]
fn one_that_does_not_trust() {
    let certificates = crate::certificates::Certificates::new();
    let stub = Stub::start(Protocol::Grpc, |_| Answer::yes(Protocol::Grpc));
    let address = certificates.before(stub.address.port());
    let mut target = target(Protocol::Grpc, &format!("https://{address}"));
    target.tls = certificates.trusting();
    let mut exporter = Exporter::new(target.clone(), Duration::from_millis(100));
    exporter.push(0..10);
    exporter.settle(10);
    assert_eq!(exporter.dropped(DropReason::Unreachable), 10);
    target.tls = certificates.trusted();
    exporter.apply(target, LONG);
    exporter.push(10..20);
    exporter.settle(20);
    assert_eq!(exporter.exported(), 10);
    exporter.stop();
}

#[test]
fn a_name_that_nobody_has() {
    suffer(Protocol::Grpc, "http://collector.invalid:4317", None);
}

#[test]
fn one_that_does_each_of_these_in_turn() {
    let bad = Arc::new(AtomicBool::new(true));
    let is_bad = Arc::clone(&bad);
    let mut turn = 0;
    let stub = Stub::start(Protocol::HttpProtobuf, move |_| {
        turn += 1;
        match turn % 4 {
            _ if !is_bad.load(SeqCst) => Answer::yes(Protocol::HttpProtobuf),
            0 => Answer::status(503),
            1 => Answer::status(400),
            2 => Answer::partly(Protocol::HttpProtobuf, 1, "one of them"),
            _ => Answer::message(Protocol::HttpProtobuf, b"<html>".to_vec()),
        }
    });
    let mut exporter = Exporter::idle(ROOM);
    exporter.apply(target(Protocol::HttpProtobuf, &stub.url()), LONG);
    let mut pushed = 0;
    poll_until("each was answered", || {
        exporter.push(pushed..pushed + 500);
        pushed += 500;
        (stub.asked().len() >= 8).then_some(())
    });
    bad.store(false, SeqCst);
    exporter.settle(pushed);
    let (taken, rejected) = (exporter.exported(), exporter.dropped(DropReason::Rejected));
    assert!(taken > 0 && rejected > 0);
    assert_eq!(
        taken + rejected + exporter.dropped(DropReason::QueueFull),
        pushed
    );
    exporter.stop();
}
