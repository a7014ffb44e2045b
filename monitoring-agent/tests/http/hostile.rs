//! Clients that send anything but one well-formed request.

use std::sync::atomic::Ordering::Relaxed;

use monitoring_agent::export::http::HttpOptions;

use crate::server::Server;

const REQUEST: &[u8] =
    b"GET /metrics HTTP/1.1\r\nHost: node:9090\r\nAccept: text/plain\r\nUser-Agent: x\r\n\r\n";

/// Splitmix64: the same requests at each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("smaller than the bound")
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

fn malformed(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0 => {
            let length = 1 + random.below(600);
            random.bytes(length)
        }
        1 => REQUEST[..random.below(REQUEST.len())].to_vec(),
        2 => {
            let mut request = REQUEST.to_vec();
            for _ in 0..=random.below(4) {
                let at = random.below(request.len());
                request[at] = random.next().to_le_bytes()[0];
            }
            request
        }
        3 => {
            let value = "a".repeat(10_000 + random.below(50_000));
            format!("GET /metrics HTTP/1.1\r\nX-Long: {value}\r\n\r\n").into_bytes()
        }
        4 => {
            let lines = "X-Many: 1\r\n".repeat(50 + random.below(300));
            format!("GET /metrics HTTP/1.1\r\n{lines}\r\n").into_bytes()
        }
        5 => {
            let method = random.one_of(&["get", "G ET", "", "CONNECT", "\u{e9}", "PRI", "A\0B"]);
            let path = random.one_of(&["/metrics", "*", "", "a:1", "/%00", "/../../etc", "//"]);
            let version = random.one_of(&["1.1", "2.0", "0.9", "1.12", "x", "1.0", ""]);
            format!("{method} {path} HTTP/{version}\r\nHost: x\r\n\r\n").into_bytes()
        }
        6 => smuggling(random),
        7 => {
            let mut request = REQUEST.repeat(1 + random.below(30));
            let length = random.below(100);
            request.extend(random.bytes(length));
            request
        }
        8 => {
            // How TLS, SOCKS, HTTP/2 and RDP begin.
            let start = random.one_of(&[
                "\x16\x03\x01\x02\0\x01\0\x01\u{7f}\x03\x03",
                "\x05\x01\0",
                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
                "\x03\0\0\x13\x0e",
            ]);
            let length = random.below(300);
            [start.as_bytes(), &random.bytes(length)].concat()
        }
        _ => {
            let path = "/x".repeat(1 + random.below(20_000));
            format!("GET {path} HTTP/1.1\r\n\r\n").into_bytes()
        }
    }
}

fn smuggling(random: &mut Random) -> Vec<u8> {
    let headers = random.one_of(&[
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: -1",
        "Content-Length: +5",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding:\x0bchunked",
        "X: y\r\n Content-Length: 5",
        "X: y\nContent-Length: 5",
        "Expect: 100-continue\r\nContent-Length: 5",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQ",
    ]);
    let body = random.one_of(&["0\r\n\r\n", "ffffffffffffffff1\r\n", "5;x=\n\r\nGET /", ""]);
    let request = format!("POST /metrics HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{body}");
    [request.as_bytes(), REQUEST].concat()
}

#[test]
fn ten_thousand_malformed_requests() {
    let server = Server::start(HttpOptions::default());
    let mut random = Random(20);
    for round in 0..10_000 {
        let request = malformed(&mut random);
        let mut client = server.connect();
        if round % 4 == 0 {
            // This one leaves without waiting for an answer.
            _ = std::io::Write::write_all(&mut client.stream, &request);
        } else {
            let answer = client.exchange(&request);
            let readable = String::from_utf8_lossy(&request);
            assert!(
                answer.is_empty() || answer.starts_with(b"HTTP/1."),
                "{readable:?}"
            );
        }
        if round % 100 == 0 {
            // The client itself fails where it has to wait for too long.
            assert_eq!(server.get("/metrics").status, 200);
        }
    }
    assert!(
        server.stats.answered_4xx.load(Relaxed) > 3_000,
        "{:?}",
        server.stats
    );
    assert_eq!(server.stats.evicted_connections.load(Relaxed), 0);
}

fn check_status(server: &Server, request: &str, want: &str) {
    let answer = String::from_utf8(server.connect().exchange(request.as_bytes())).unwrap();
    let start = answer.split("\r\n").next().unwrap();
    assert_eq!(
        start.get(9..12).unwrap_or(""),
        want,
        "{request:.80?}: {answer:?}"
    );
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}

#[test]
fn what_is_no_request_is_refused() {
    let server = Server::start(HttpOptions::default());
    let long = "a".repeat(16 * 1024);
    check_status(&server, "hello\r\n\r\n", "400");
    check_status(&server, "GET /metrics\r\n\r\n", "400");
    check_status(&server, "GET /metrics HTTP/3.7\r\n\r\n", "400");
    check_status(
        &server,
        "GET /metrics HTTP/1.1\r\nbad header: x\r\n\r\n",
        "400",
    );
    check_status(
        &server,
        &format!("GET / HTTP/1.1\r\nx: {long}\r\n\r\n"),
        "431",
    );
    let lines = "x: y\r\n".repeat(101);
    check_status(&server, &format!("GET / HTTP/1.1\r\n{lines}\r\n"), "431");
    let lines = "x: y\r\n".repeat(100);
    check_status(&server, &format!("GET / HTTP/1.1\r\n{lines}\r\n"), "200");
}

/// A request with a body is the last one of its connection: what follows is not taken for a
/// request, whichever way its length is told.
#[test]
fn nothing_is_smuggled_behind_a_body() {
    let server = Server::start(HttpOptions::default());
    for headers in [
        "Content-Length: 5",
        "Content-Length: 99999",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue\r\nContent-Length: 5",
    ] {
        let next = "GET /healthz HTTP/1.1\r\n\r\n";
        check_status(
            &server,
            &format!("POST /metrics HTTP/1.1\r\n{headers}\r\n\r\n0\r\n\r\n{next}"),
            "405",
        );
        check_status(
            &server,
            &format!("GET /metrics HTTP/1.1\r\n{headers}\r\n\r\n0\r\n\r\n{next}"),
            "200",
        );
    }
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked";
    check_status(
        &server,
        &format!("GET / HTTP/1.1\r\n{both}\r\n\r\n0\r\n\r\n"),
        "200",
    );
    let twice = "Content-Length: 5\r\nContent-Length: 6";
    check_status(
        &server,
        &format!("GET / HTTP/1.1\r\n{twice}\r\n\r\nhello"),
        "400",
    );
}
