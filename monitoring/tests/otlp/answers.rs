//! What a collector may answer, and what is done then. The collector is this test's own, which
//! answers as it is told and does not look at the spans.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use monitoring::trace::{Protocol, Tracer, TracerBuilder};

use crate::collector::DEADLINE;

/// A request: its first line, and its headers in small letters.
pub(crate) type Request = Vec<String>;

/// Answers so, one request after the other, and then no more. Returns where, and what was asked.
pub(crate) fn answering(statuses: &[u16]) -> (String, JoinHandle<Vec<Request>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let statuses = statuses.to_vec();
    let answers = thread::spawn(move || {
        let mut requests = Vec::new();
        for status in statuses {
            let (connection, _) = listener.accept().unwrap();
            requests.push(answer(connection, status, "").unwrap());
        }
        requests
    });
    (url, answers)
}

/// With more lines of headers. An error where the other side hangs up before it has said all.
pub(crate) fn answer(mut connection: TcpStream, status: u16, more: &str) -> io::Result<Request> {
    connection.set_read_timeout(Some(DEADLINE))?;
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut request = Request::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        request.push(match line.split_once(": ") {
            Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
            None => line.to_owned(),
        });
    }
    let length = request
        .iter()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.ok_or_else(|| io::Error::other(format!("no length in {request:?}")))?;
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body)?;
    assert!(!body.is_empty());
    let head =
        format!("HTTP/1.1 {status} Answer\r\n{more}content-length: 0\r\nconnection: close\r\n\r\n");
    connection.write_all(head.as_bytes())?;
    Ok(request)
}

pub(crate) fn builder(url: &str) -> TracerBuilder {
    Tracer::builder("answers")
        .sample_rate(1.0)
        .endpoint(url)
        .protocol(Protocol::HttpProtobuf)
        // However busy the machine is, no request is made twice for want of an answer.
        .timeout(DEADLINE)
}

/// What becomes of a span, by what is answered.
fn check(statuses: &[u16], exported: u64, refused: u64) {
    let (url, answers) = answering(statuses);
    let tracer = builder(&url).build().unwrap();
    tracer.start_span("work").end();
    assert!(tracer.flush(DEADLINE));
    let stats = tracer.stats();
    assert_eq!(
        (stats.exported, stats.dropped_refused),
        (exported, refused),
        "{statuses:?}"
    );
    assert_eq!(answers.join().unwrap().len(), statuses.len());
}

#[test]
fn what_may_pass_is_tried_again_and_what_does_not_is_refused() {
    check(&[200], 1, 0);
    check(&[503, 200], 1, 0);
    check(&[429, 502, 504, 503, 200], 1, 0);
    check(&[400], 0, 1);
    check(&[503, 401], 0, 1);
    check(&[413], 0, 1);
}

#[test]
fn a_request_says_what_it_is_to_say() {
    let (url, answers) = answering(&[200]);
    let tracer = builder(&format!("{url}/tenants/a/"));
    let tracer = tracer.header("X-Tenant", "50%25 of=it").build().unwrap();
    tracer.start_span("work").end();
    assert!(tracer.flush(DEADLINE));
    let request = &answers.join().unwrap()[0];
    assert_eq!(request[0], "POST /tenants/a/v1/traces HTTP/1.1");
    for want in [
        "content-type: application/x-protobuf",
        "x-tenant: 50%25 of=it",
    ] {
        assert!(
            request.iter().any(|line| line == want),
            "no {want} in {request:?}"
        );
    }
}

#[test]
fn a_collector_that_takes_too_long_is_asked_again() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&is_over);
    let answers = thread::spawn(move || {
        // The first one is never answered, and all others are: on a busy machine more than one may
        // take too long.
        let unanswered = listener.accept().unwrap();
        let mut answered = 0;
        loop {
            let (connection, _) = listener.accept().unwrap();
            if ends.load(SeqCst) {
                break;
            }
            answered += u32::from(answer(connection, 200, "").is_ok());
        }
        drop(unanswered);
        answered
    });
    let tracer = builder(&format!("http://{address}"))
        .timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    tracer.start_span("work").end();
    assert!(tracer.flush(DEADLINE));
    assert_eq!(tracer.stats().exported, 1);
    is_over.store(true, SeqCst);
    TcpStream::connect(address).unwrap();
    assert!(answers.join().unwrap() > 0);
}

#[test]
fn a_collector_that_says_when_is_not_asked_before() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers = thread::spawn(move || {
        let ask = |status, more: &str| {
            let (connection, _) = listener.accept().unwrap();
            let asked = Instant::now();
            answer(connection, status, more).unwrap();
            asked
        };
        let first = ask(503, "retry-after: 2\r\n");
        ask(200, "") - first
    });
    let tracer = builder(&url).build().unwrap();
    tracer.start_span("work").end();
    // Each asks for a try, and none is made.
    let end = Instant::now() + DEADLINE;
    while !tracer.flush(Duration::from_millis(50)) {
        assert!(Instant::now() < end, "it is never asked again");
    }
    assert_eq!(tracer.stats().exported, 1);
    let waited = answers.join().unwrap();
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
}
