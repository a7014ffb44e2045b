//! Captures take time: others do not notice, timeouts do not end them, and those who leave do.

use std::{net::Shutdown, sync::atomic::Ordering::SeqCst, time::Duration};

use monitoring_agent::export::http::HttpOptions;

use super::{capture::Site, get};
use crate::server::{Client, until};

const CAPTURE: &str = "GET /folded?seconds=3600 HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn begin(site: &Site) -> Client {
    let before = site.running();
    let mut client = site.server.connect();
    client.send(CAPTURE);
    until("it is captured", || site.running() == before + 1);
    client
}

#[test]
fn scrapes_are_answered_meanwhile_and_too_many_captures_are_not() {
    let site = Site::start(true);
    let mut clients = [begin(&site), begin(&site)];
    assert_eq!(site.server.get("/metrics").status, 200);
    let busy = get(&site, "/flamegraph");
    assert_eq!(busy.status, 503, "{busy:?}");
    assert!(busy.text().contains("at one time (2)"), "{}", busy.text());
    let wait: u64 = busy.header("retry-after").unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&wait), "{wait}");
    site.release();
    for client in &mut clients {
        assert_eq!(client.reply().text(), "demo;main 10\ndemo;main;work 30\n");
    }
    until("places are free", || site.running() == 0);
    assert_eq!(get(&site, "/folded").status, 200);
}

#[test]
fn no_timeout_ends_a_capture() {
    let options = HttpOptions {
        header_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(200),
        write_timeout: Duration::from_millis(200),
        ..HttpOptions::default()
    };
    let site = Site::with(true, options);
    let mut client = begin(&site);
    // Several times longer than any of these is allowed to do nothing.
    for _ in 0..5 {
        assert_eq!(
            site.server.connect().rest(),
            b"",
            "an idle connection is closed"
        );
    }
    assert_eq!(site.running(), 1, "the capture goes on");
    site.release();
    assert_eq!(client.reply().status, 200);
    client.send("GET /healthz HTTP/1.1\r\n\r\n");
    assert_eq!(
        client.reply().status,
        200,
        "the connection is as good as before"
    );
}

#[test]
fn who_goes_away_ends_the_capture() {
    let site = Site::start(true);
    let leave: [fn(Client); 3] = [
        drop,
        |client| {
            client.stream.shutdown(Shutdown::Write).unwrap();
            let rest = client.rest();
            assert!(rest.starts_with(b"HTTP/1.1 499"), "{rest:?}");
        },
        |mut client| {
            // What comes before the end does not hide it.
            client.send("GET /healthz HTTP/1.1\r\n\r\n");
            drop(client);
        },
    ];
    for (count, leave) in leave.into_iter().enumerate() {
        leave(begin(&site));
        until("it is abandoned", || {
            site.captures.abandoned.load(SeqCst) == count + 1
        });
        assert_eq!(site.running(), 0);
    }
}

#[test]
fn an_early_next_request_is_answered_in_its_turn() {
    let site = Site::start(true);
    let mut client = begin(&site);
    client.send("GET /healthz HTTP/1.1\r\n\r\n");
    assert_eq!(site.server.get("/metrics").status, 200);
    assert_eq!(site.running(), 1);
    site.release();
    assert_eq!(client.reply().text(), "demo;main 10\ndemo;main;work 30\n");
    assert_eq!(client.reply().text(), "ok\n");
}

#[test]
fn the_end_of_the_server_ends_captures() {
    let site = Site::start(true);
    let client = begin(&site);
    let Site {
        server, captures, ..
    } = site;
    assert!(server.stop() < Duration::from_secs(5));
    until("it is abandoned", || captures.abandoned.load(SeqCst) == 1);
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_connection_that_waits_for_a_capture_is_evicted_last() {
    let options = HttpOptions {
        max_connections: 2,
        ..crate::server::patient()
    };
    let site = Site::with(true, options);
    let mut client = begin(&site);
    for _ in 0..5 {
        assert_eq!(site.server.get("/healthz").status, 200);
    }
    site.release();
    assert_eq!(client.reply().status, 200);
}

#[test]
fn captures_that_run_count_under_a_new_limit() {
    let site = Site::start(true);
    let _one = begin(&site);
    let captures = site.profiles.borrow().captures.clone().unwrap();
    captures.set_limit(1);
    let busy = get(&site, "/folded");
    assert!(busy.text().contains("at one time (1)"), "{}", busy.text());
    captures.set_limit(2);
    let _two = begin(&site);
    assert_eq!(get(&site, "/folded").status, 503);
    site.release();
}
