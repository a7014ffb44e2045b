//! Whatever answers in a node's place: it ends in words that say what is wrong, or in a screen that
//! is as wide as it should be, within bounds of time and memory.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    MONITOR,
    stand_in::{LIMIT, SECOND, StandIn, TEXT},
};

/// What the program may take, its stacks and all that it maps among it, in KiB.
const MEMORY_KIB: u32 = 1 << 20;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";

/// Something that answers each connection as it likes, until the tests end.
fn anything(answer: fn(&mut TcpStream) -> io::Result<()>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        for stream in listener.incoming() {
            // A client that goes away is none of our worry.
            thread::spawn(move || stream.and_then(|stream| asked(stream, answer)));
        }
    };
    thread::spawn(serve);
    address
}

fn asked(mut stream: TcpStream, answer: fn(&mut TcpStream) -> io::Result<()>) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    answer(&mut stream)
}

/// A screen as text, by a program that may not take all of the memory.
fn once(address: SocketAddr, more: &str) -> Output {
    let line = format!(
        "ulimit -v {MEMORY_KIB}; exec {MONITOR} --once --interval 100ms --url {address} {more}"
    );
    let mut command = Command::new("sh");
    let begun = Instant::now();
    let command = command.args(["-c", &line]).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(begun.elapsed() < 2 * LIMIT);
    output
}

/// That there is no answer, for this reason.
#[track_caller]
fn check(answer: fn(&mut TcpStream) -> io::Result<()>, want: &str) {
    let address = anything(answer);
    let output = once(address, "--wait 20s");
    let errors = String::from_utf8(output.stderr).unwrap();
    let want = format!("stratoswarm-monitor: no node has answered\n  {address}: {want}\n");
    assert_eq!((output.status.code(), errors), (Some(1), want));
}

/// The screen of a node that tells this again and again, each time as a snapshot of its own.
#[track_caller]
fn screen(text: &str, more: &str) -> String {
    let text = text.to_owned();
    let node = StandIn::new(move |_, before| (200, TEXT, format!("# {before}\n{text}")));
    let output = once(node.address, more);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_body_without_end() {
    let body = |stream: &mut TcpStream| {
        stream.write_all(format!("{HEAD}\r\n").as_bytes())?;
        let part = "# and so on\n".repeat(100_000);
        loop {
            stream.write_all(part.as_bytes())?;
        }
    };
    check(body, "its answer has more than 64 MiB");
}

#[test]
fn a_hundred_megabytes() {
    let body = |stream: &mut TcpStream| {
        let part = vec![b'#'; 1_000_000];
        stream.write_all(format!("{HEAD}Content-Length: 100000000\r\n\r\n").as_bytes())?;
        (0..100).try_for_each(|_| stream.write_all(&part))
    };
    check(body, "its answer has more than 64 MiB");
}

#[test]
fn a_body_that_is_no_text() {
    let body = |stream: &mut TcpStream| {
        stream.write_all(format!("{HEAD}\r\n").as_bytes())?;
        stream.write_all(&[0x1f, 0x8b, 0xff, 0x00, 0xc3, 0x28])
    };
    check(body, "its answer is no UTF-8 text");
}

#[test]
fn text_that_is_no_metrics() {
    let body =
        |stream: &mut TcpStream| stream.write_all(format!("{HEAD}\r\nhello \x1b[2J\n").as_bytes());
    let want = r"its answer is no metrics: line 1 has a value that is no number: hello \u{1b}[2J";
    check(body, want);
}

#[test]
fn a_connection_that_ends_within_the_body() {
    let body = |stream: &mut TcpStream| {
        stream.write_all(format!("{HEAD}Content-Length: 1000\r\n\r\nnode_load1 1\n").as_bytes())
    };
    check(body, "the connection ended in the middle of the answer");
}

#[test]
fn a_node_that_sends_elsewhere_for_ever() {
    let sends = |stream: &mut TcpStream| {
        stream.write_all(b"HTTP/1.1 302 X\r\nLocation: /metrics\r\nContent-Length: 0\r\n\r\n")
    };
    check(sends, "it sends elsewhere again and again");
}

#[test]
fn an_answer_of_a_byte_at_a_time() {
    let drips = |stream: &mut TcpStream| {
        stream.write_all(format!("{HEAD}\r\n").as_bytes())?;
        // The client asks nothing more: reading ends after this time, or with the client.
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        while stream.read(&mut [0]).is_err() {
            stream.write_all(b"#")?;
        }
        Ok(())
    };
    check(drips, "no answer within 5s");
}

#[test]
fn a_label_of_megabytes() {
    let label = "\u{1b}".repeat(20_000_000);
    let text = format!("agent_threads{{agent=\"x{label}\"}} 7\n");
    let shown = screen(&text, "--view agents --size 80x24 --wait 2s");
    let row = shown.lines().nth(3).unwrap();
    assert!(row.starts_with(r"x\u{1b}\u{1b}"), "{shown}");
    let fits = |line: &str| line.chars().count() <= 80;
    assert!(shown.lines().all(fits), "{shown}");
}

#[test]
fn names_in_wide_letters_and_in_both_directions() {
    let evil = "群れ群れ群れ群れ群れ群れ\u{202e}\u{2066}\u{200f}\u{7}\u{9b}2J";
    let text = SECOND.replace("swarmlet", evil).replace("matmul", evil);
    for view in ["node", "agents", "cuda", "latency"] {
        let shown = screen(&text, &format!("--view {view} --size 80x24 --wait 2s"));
        let is_shown =
            |letter: char| !letter.is_control() && !"\u{202e}\u{2066}\u{200f}".contains(letter);
        assert!(shown.contains("群れ群れ"), "{view}: {shown}");
        for line in shown.lines() {
            assert!(line.chars().all(is_shown), "{view}: {line:?}");
            // A wide letter takes two columns.
            let width: usize = line
                .chars()
                .map(|letter| 1 + usize::from(letter >= '\u{3000}'))
                .sum();
            assert!(width <= 80, "{view}: {line:?}");
        }
    }
}

/// Values of any kind in the place of each, in every view.
#[test]
fn numbers_that_are_none() {
    for number in ["NaN", "+Inf", "-Inf", "-5", "1e308", "-1e308", "1e-308"] {
        let value = |line: &str| match line.rsplit_once(' ') {
            // Counts of distributions are whole, or the answer is no metrics.
            Some((series, _)) if !line.starts_with('#') && !is_of_histogram(series) => {
                format!("{series} {number}\n")
            }
            _ => format!("{line}\n"),
        };
        let text: String = SECOND.lines().map(value).collect();
        for view in ["node", "agents", "gpus", "cuda", "latency", "losses"] {
            let shown = screen(&text, &format!("--view {view} --size 80x24 --wait 2s"));
            let said = shown.to_lowercase();
            assert!(
                !said.contains("nan") && !said.contains(" inf"),
                "{number} {view}: {shown}"
            );
            assert!(!said.contains("00000"), "{number} {view}: {shown}");
            assert!(shown.lines().count() == 24, "{number} {view}: {shown}");
        }
    }
}

fn is_of_histogram(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or(series);
    ["_bucket", "_count", "_sum"]
        .iter()
        .any(|end| name.ends_with(end))
}
