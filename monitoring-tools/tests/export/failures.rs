//! What goes wrong, and what is said of it.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use crate::{
    complaint,
    stand_in::{Answer, FIRST, StandIn, TEXT},
};

#[track_caller]
fn check(url: &str, more: &[&str], code: i32, wants: &[&str]) {
    let (status, errors) = complaint(&[&["--url", url], more].concat());
    assert_eq!(status, Some(code), "{errors}");
    assert!(
        wants.iter().all(|want| errors.contains(want)),
        "{wants:?}: {errors}"
    );
    assert!(!errors.contains('\u{1b}'), "{errors:?}");
}

/// A node that answers everything so.
fn answers(answer: fn() -> Answer) -> StandIn {
    StandIn::new(move |_, _| answer())
}

#[test]
fn wrong_answers_are_told_apart() {
    let of = |answer, wants: &[&str]| check(&answers(answer).url(), &[], 4, wants);
    of(
        || {
            (
                404,
                "text/plain",
                "404: there is no \x1b[2Jsuch path\nmore\n".to_owned(),
            )
        },
        &[r"it answers 404: there is no \u{1b}[2Jsuch path"],
    );
    of(
        || (503, "text/html", "<html>no".to_owned()),
        &["it answers 503\n"],
    );
    of(
        || (200, "text/html", "<html>hello".to_owned()),
        &["a web page, and no metrics"],
    );
    of(
        || (200, "text/plain", "\n <!DOCTYPE html>".to_owned()),
        &["a web page"],
    );
    of(
        || (200, TEXT, String::new()),
        &["no metrics: it has no metrics"],
    );
    of(
        || (200, TEXT, "a 1\n{\"b\": \"\x1b\"}\n".to_owned()),
        &[
            "no metrics: line 2 does not begin with the name of a metric",
            r"\u{1b}",
        ],
    );
}

#[test]
fn nothing_asked_for_is_no_success() {
    let node = StandIn::agent("", "");
    check(
        &node.url(),
        &["--match", "none_*"],
        1,
        &["none of the ", " metrics is asked for"],
    );
    check(
        &node.url(),
        &["--label", "agent=nobody"],
        1,
        &["see --match and --label"],
    );
    check(
        &node.url(),
        &["-o", "/none/a.json"],
        1,
        &["write /none/a.json: No such file"],
    );
}

#[test]
fn a_node_that_does_not_answer_is_away() {
    let mut node = StandIn::agent("", "");
    node.go();
    let url = node.url();
    check(&url, &[], 3, &[&url, "connection refused"]);
    // One that listens and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/metrics", silent.local_addr().unwrap());
    check(
        &url,
        &["--timeout", "200ms"],
        3,
        &["no answer within 200ms"],
    );
    check("http://name.invalid/metrics", &[], 3, &["name.invalid"]);
}

#[test]
fn a_node_where_nothing_listens_is_named_and_leaves_no_file() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // The near end of a connection has its port for itself, and listens to nobody.
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let url = format!("http://{}/metrics", client.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("snapshot.json");
    let (status, errors) = complaint(&["--url", &url, "-o", file.to_str().unwrap()]);
    let want = format!("metrics-export: {url}: connection refused: nothing listens there\n");
    assert_eq!((status, errors), (Some(3), want));
    assert!(!file.exists(), "there is nothing to be written");
}

/// A server that answers one request by hand, for what no honest one would say.
fn by_hand(
    answer: impl FnOnce(&mut TcpStream) + Send + 'static,
) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let serve = move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head);
        answer(&mut stream);
    };
    (url, thread::spawn(serve))
}

#[test]
fn half_an_answer_is_none() {
    let (url, server) = by_hand(|stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 900000\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(FIRST.as_bytes());
    });
    check(
        &url,
        &[],
        3,
        &["the connection ended in the middle of the answer"],
    );
    server.join().unwrap();
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let (url, server) = by_hand(|stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
        let lines = "a 1\n".repeat(1 << 16);
        // Until nobody takes it any more.
        while stream.write_all(lines.as_bytes()).is_ok() {}
    });
    check(&url, &["--timeout", "60s"], 4, &["more than 64 MiB"]);
    server.join().unwrap();
}

#[test]
fn wrong_usage_is_named() {
    let check = |line: &str, want: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        let (status, errors) = complaint(&arguments);
        assert_eq!(status, Some(2), "{line}: {errors}");
        assert!(errors.contains(want), "{line}: {errors}");
    };
    check("--url https://a", "agents serve no TLS");
    check("--url a:port", "http://NODE:PORT/metrics");
    check("--format xml", "possible values");
    check("--label agent", "KEY=VALUE");
    check("--match [", "attern");
    check("--direct --url a", "cannot be used with");
}
