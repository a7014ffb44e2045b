//! What each path answers.

use std::{io::Read as _, sync::atomic::Ordering::Relaxed};

use flate2::read::GzDecoder;
use monitoring_agent::{export::http::HttpOptions, snapshot::Snapshot};

use crate::server::{Reply, Server};

const HOSTILE_LINE: &str = "hostile_total{comm=\"a\\\"b\\\\c\\nd\u{fffd}\"} 1\n";

fn ask(server: &Server, request: &str) -> Reply {
    let mut client = server.connect();
    client.send(format!("{request}\r\n\r\n"));
    client.reply()
}

fn check(server: &Server, request: &str, status: u16, content_type: &str, body: &str) {
    let reply = ask(server, request);
    assert_eq!(reply.status, status, "{request}: {}", reply.head);
    assert_eq!(
        reply.header("content-type"),
        Some(content_type),
        "{request}"
    );
    assert!(reply.text().contains(body), "{request}: {}", reply.text());
}

#[test]
fn paths() {
    let server = Server::start(HttpOptions::default());
    let plain = "text/plain; charset=utf-8";
    let metrics = "text/plain; version=0.0.4; charset=utf-8";
    check(&server, "GET /metrics HTTP/1.1", 200, metrics, HOSTILE_LINE);
    check(
        &server,
        "GET /metrics?x=y HTTP/1.1",
        200,
        metrics,
        "node_load1 0.5\n",
    );
    check(
        &server,
        "GET /metrics HTTP/1.1",
        200,
        metrics,
        "snapshot_age_seconds 0.",
    );
    check(
        &server,
        "GET http://a/metrics HTTP/1.1\r\nhost: a",
        200,
        metrics,
        HOSTILE_LINE,
    );
    check(
        &server,
        "GET /metrics.json HTTP/1.1",
        200,
        "application/json",
        "\"node_load1\"",
    );
    check(&server, "GET /healthz HTTP/1.1", 200, plain, "ok\n");
    check(&server, "GET /readyz HTTP/1.1", 200, plain, "ready\n");
    check(
        &server,
        "GET / HTTP/1.1",
        200,
        "text/html; charset=utf-8",
        "href=\"/metrics\"",
    );
    check(
        &server,
        "GET /metrics/ HTTP/1.1",
        404,
        plain,
        "/ /metrics /metrics.json /healthz /rea",
    );
    check(&server, "GET /etc/passwd HTTP/1.1", 404, plain, "404");
    check(&server, "POST /nowhere HTTP/1.1", 404, plain, "404");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "BREW"] {
        let reply = ask(&server, &format!("{method} /metrics HTTP/1.1"));
        assert_eq!(reply.status, 405, "{method}");
        assert_eq!(reply.header("allow"), Some("GET, HEAD"), "{method}");
    }
    assert_eq!(server.stats.answered_2xx.load(Relaxed), 8);
    assert_eq!(server.stats.answered_4xx.load(Relaxed), 10);
}

#[test]
fn the_metrics_path_is_configurable() {
    let options = HttpOptions {
        metrics_path: "/custom".to_owned(),
        ..HttpOptions::default()
    };
    let server = Server::start(options);
    assert!(server.get("/custom").text().contains(HOSTILE_LINE));
    assert_eq!(server.get("/metrics").status, 404);
    assert!(server.get("/metrics").text().contains("/custom"));
    assert!(server.get("/").text().contains("href=\"/custom\""));
}

#[test]
fn the_page_may_be_kept_and_loads_nothing() {
    let server = Server::start(HttpOptions::default());
    let page = ask(&server, "GET / HTTP/1.1");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    for rule in [
        "default-src 'none'",
        "script-src 'sha256-",
        "style-src 'sha256-",
        "connect-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(rule), "{rule}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    let tag = page.header("etag").unwrap().to_owned();
    for known in [
        &tag,
        "*",
        &format!("\"a,b\", {tag}"),
        tag.trim_start_matches("W/"),
    ] {
        let mut client = server.connect();
        client.send(format!("GET / HTTP/1.1\r\nif-none-match: {known}\r\n\r\n"));
        let reply = client.head();
        assert_eq!(reply.status, 304, "{known}");
        assert_eq!(reply.header("etag"), Some(&*tag));
        // A body would be taken for the head of the next answer, and have no status line.
        client.send("GET /healthz HTTP/1.1\r\n\r\n");
        assert_eq!(client.reply().text(), "ok\n");
    }
    let reply = ask(&server, "GET / HTTP/1.1\r\nif-none-match: \"other\"");
    assert_eq!(reply.status, 200);
    let packed = ask(&server, "GET / HTTP/1.1\r\naccept-encoding: gzip");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    let mut reader = GzDecoder::new(&packed.body[..]);
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, page.text());
    assert_eq!(ask(&server, "POST / HTTP/1.1").status, 405);
}

#[test]
fn not_ready_before_the_first_collection() {
    let server = Server::serving(HttpOptions::default(), Snapshot::empty());
    let reply = server.get("/readyz");
    assert_eq!(reply.status, 503);
    assert!(reply.text().starts_with("not ready: "), "{}", reply.text());
    assert_eq!(server.get("/healthz").status, 200);
    let reply = server.get("/metrics");
    assert_eq!(reply.status, 200);
    assert!(
        reply
            .text()
            .starts_with("# HELP monitoring_agent_snapshot_age_seconds ")
    );
    assert_eq!(server.stats.answered_5xx.load(Relaxed), 1);
}

#[test]
fn head_is_get_without_the_body() {
    let server = Server::start(HttpOptions::default());
    let mut client = server.connect();
    for path in [
        "/",
        "/metrics",
        "/metrics.json",
        "/healthz",
        "/readyz",
        "/nowhere",
    ] {
        client.send(format!("HEAD {path} HTTP/1.1\r\n\r\n"));
        let head = client.head();
        // A body would be taken for the head of the next answer, and have no status line.
        client.send(format!("GET {path} HTTP/1.1\r\n\r\n"));
        let get = client.reply();
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-length", "content-type"] {
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
            assert!(head.header(name).is_some(), "{path}: {name}");
        }
    }
}

#[test]
fn accept_decides_the_format() {
    let server = Server::start(HttpOptions::default());
    let check = |accept: &str, content_type: &str, begin: &str, end: &str| {
        let reply = ask(
            &server,
            &format!("GET /metrics HTTP/1.1\r\naccept: {accept}"),
        );
        assert_eq!(reply.header("content-type"), Some(content_type), "{accept}");
        assert_eq!(reply.header("vary"), Some("Accept, Accept-Encoding"));
        let text = String::from_utf8_lossy(&reply.body);
        assert!(text.starts_with(begin), "{accept}: {text}");
        assert!(text.ends_with(end), "{accept}: {text}");
    };
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
        text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    check(
        prometheus_3,
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        "# HELP hostile Help with a \\\\ and\\na line.\n# TYPE hostile counter\nhostile_total{",
        "\n# EOF\n",
    );
    let protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                    encoding=delimited";
    // The length of a family, and its name in the first field; the unit of the last one.
    check(protobuf, protobuf, "M\n\rhostile_total", "*\u{7}seconds");
    let hostile = "# HELP hostile_total ";
    check(
        "text/plain;version=0.0.4;q=0.2\r\naccept: text/plain;version=1.0.0;q=0.3",
        "text/plain; version=1.0.0; charset=utf-8; escaping=underscores",
        hostile,
        "\n",
    );
    for accept in [
        "*/*",
        "",
        "\u{fc},;;q=\"",
        "application/json",
        "image/*;q=1",
    ] {
        check(
            accept,
            "text/plain; version=0.0.4; charset=utf-8",
            hostile,
            "\n",
        );
    }
}

#[test]
fn gzip_where_it_is_wanted() {
    let server = Server::start(HttpOptions::default());
    for path in ["/metrics", "/metrics.json"] {
        let plain = ask(
            &server,
            &format!("GET {path} HTTP/1.1\r\naccept-encoding: gzip;q=0"),
        );
        assert_eq!(plain.header("content-encoding"), None);
        let packed = ask(
            &server,
            &format!("GET {path} HTTP/1.1\r\naccept-encoding: br, gzip"),
        );
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        assert_eq!(packed.header("vary"), Some("Accept, Accept-Encoding"));
        let mut text = String::new();
        GzDecoder::new(&packed.body[..])
            .read_to_string(&mut text)
            .unwrap();
        // All but the digits of the age.
        let common = plain
            .text()
            .rfind(|c: char| !"0123456789.}]\n".contains(c))
            .unwrap();
        assert_eq!(text[..common], plain.text()[..common]);
    }
}

#[test]
fn the_scrapers_deadline() {
    let server = Server::start(HttpOptions::default());
    let status = |value: &str| {
        let header = "X-Prometheus-Scrape-Timeout-Seconds";
        ask(
            &server,
            &format!("GET /metrics HTTP/1.1\r\n{header}: {value}"),
        )
        .status
    };
    assert_eq!(status("10"), 200);
    assert_eq!(status("0.000000001"), 503);
    for bad in ["0", "-1", "NaN", "inf", "soon", "", "1e999"] {
        assert_eq!(status(bad), 200, "{bad}");
    }
}

#[test]
fn connections_are_kept_open_where_the_client_wants_it() {
    let server = Server::start(HttpOptions::default());
    let mut client = server.connect();
    for _ in 0..3 {
        client.send("GET /metrics HTTP/1.1\r\n\r\n");
        assert_eq!(client.reply().status, 200);
    }
    client.send("GET /metrics HTTP/1.1\r\nconnection: close\r\n\r\n");
    assert_eq!(client.reply().status, 200);
    assert_eq!(client.rest(), b"");

    let mut old = server.connect();
    old.send("GET /metrics HTTP/1.0\r\n\r\n");
    let answer = String::from_utf8(old.rest()).unwrap();
    assert!(
        answer.contains("content-length: ") && answer.contains(HOSTILE_LINE),
        "{answer}"
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(HttpOptions::default());
    let mut client = server.connect();
    client.send(
        "GET /healthz HTTP/1.1\r\n\r\nGET /nowhere HTTP/1.1\r\n\r\nGET /readyz HTTP/1.1\r\n\r\n",
    );
    assert_eq!(client.reply().text(), "ok\n");
    assert_eq!(client.reply().status, 404);
    assert_eq!(client.reply().text(), "ready\n");
}
