//! Paths, methods, codings, and what is wrong with a configuration.

use std::{
    io::Read as _,
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
};

use flate2::read::GzDecoder;
use monitoring::{
    MetricsCollector,
    prometheus::{ExporterConfig, ExporterError, PrometheusExporter},
};
use tokio::runtime::Builder;

use crate::{Exporter, at_loopback, poll::PATIENCE, value};

fn collector() -> MetricsCollector {
    let collector = MetricsCollector::isolated().with_prefix("swarm");
    collector.counter("steps_total", "Steps taken.").inc_by(42);
    collector
}

#[test]
fn paths_have_their_answers() {
    let exporter = Exporter::start(at_loopback(&collector()).path("/own"));
    let check = |method: &str, path: &str, status: u16, wants: &[&str]| {
        let answer = exporter.ask(method, path, "");
        let whole = answer.head + "\n" + &String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, status, "{whole}");
        for want in wants {
            assert!(
                whole.contains(want),
                "{method} {path}: {whole} lacks {want:?}"
            );
        }
    };
    let text = "content-type: text/plain; version=0.0.4; charset=utf-8";
    check(
        "GET",
        "/own",
        200,
        &[text, "\nswarm_steps_total 42\n", "# TYPE swarm_steps_total"],
    );
    check("GET", "/own?x=y", 200, &["swarm_steps_total 42"]);
    check("GET", "/healthz", 200, &["ok\n"]);
    check(
        "GET",
        "/",
        200,
        &["text/html", "href=\"/own\"", "default-src 'none'"],
    );
    check("GET", "/metrics", 404, &["There are: / /own /healthz"]);
    check(
        "POST",
        "/own",
        405,
        &["allow: get, head", "only GET and HEAD"],
    );
    check("DELETE", "/healthz", 405, &["only GET and HEAD"]);
    let head = exporter.ask("HEAD", "/own", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let text = String::from_utf8(exporter.ask("GET", "/own", "").body).unwrap();
    assert!(
        value(&text, "monitoring_exporter_responses_total{class=\"2xx\"}") == "5",
        "{text}"
    );
    assert_eq!(
        value(&text, "monitoring_exporter_responses_total{class=\"4xx\"}"),
        "3"
    );
}

#[test]
fn clients_get_what_they_ask_for() {
    let exporter = Exporter::start(at_loopback(&collector()));
    let plain = exporter.metrics();
    let newest = exporter.ask("GET", "/metrics", "accept: text/plain;version=1.0.0\r\n");
    assert!(newest.head.contains("version=1.0.0"), "{}", newest.head);
    let open = "accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n";
    let open = exporter.ask("GET", "/metrics", open);
    let name = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(open.head.contains(name), "{}", open.head);
    let text = String::from_utf8(open.body).unwrap();
    assert!(
        text.starts_with(
            "# HELP swarm_steps Steps taken.\n# TYPE swarm_steps counter\nswarm_steps_total 42\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("\n# TYPE monitoring_exporter_responses counter\n"),
        "{text}"
    );
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    // Protobuf is not offered.
    let protobuf = "accept: application/vnd.google.protobuf;encoding=delimited;\
                    proto=io.prometheus.client.MetricFamily,text/plain;q=0.1\r\n";
    let protobuf = exporter.ask("GET", "/metrics", protobuf);
    assert!(protobuf.head.contains("version=0.0.4"), "{}", protobuf.head);
    let gzip = exporter.ask(
        "GET",
        "/metrics",
        "accept-encoding: gzip;q=0.5, identity;q=0.1\r\n",
    );
    assert!(
        gzip.head.contains("content-encoding: gzip"),
        "{}",
        gzip.head
    );
    let mut text = String::new();
    GzDecoder::new(&gzip.body[..])
        .read_to_string(&mut text)
        .unwrap();
    let lines = |text: &str| text.lines().filter(|line| line.starts_with('#')).count();
    assert_eq!(lines(&text), lines(&plain));
    assert!(text.contains("\nswarm_steps_total 42\n"), "{text}");
    let refused = exporter.ask("GET", "/metrics", "accept-encoding: gzip;q=0\r\n");
    assert!(
        !refused.head.contains("content-encoding"),
        "{}",
        refused.head
    );
}

#[test]
fn a_scrape_that_comes_too_late_is_told_so() {
    let exporter = Exporter::start(at_loopback(&collector()));
    let header = "x-prometheus-scrape-timeout-seconds: 0.000000001\r\n";
    assert_eq!(exporter.ask("GET", "/metrics", header).status, 503);
    let header = "x-prometheus-scrape-timeout-seconds: 60\r\n";
    assert_eq!(exporter.ask("GET", "/metrics", header).status, 200);
}

fn error_of(config: ExporterConfig) -> ExporterError {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime
        .block_on(PrometheusExporter::new(config).start())
        .unwrap_err()
}

#[test]
fn what_cannot_be_is_refused_with_the_cure() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = at_loopback(&MetricsCollector::isolated());
    let check = |config: ExporterConfig, wants: &[&str]| {
        let message = error_of(config).to_string();
        for want in wants {
            assert!(message.contains(want), "{message:?} lacks {want:?}");
        }
    };
    let address = format!("listen at 127.0.0.1:{port}");
    check(
        config.clone().port(port),
        &[&address, "another process listens", "choose another port"],
    );
    // An address of the range that is reserved for documentation.
    let elsewhere: IpAddr = "192.0.2.1".parse().unwrap();
    check(
        config.clone().address(elsewhere),
        &["192.0.2.1:0", "no interface", "0.0.0.0"],
    );
    check(
        config.clone().path("metrics"),
        &["path \"metrics\"", "does not begin with /"],
    );
    check(
        config.clone().path("/"),
        &["path \"/\"", "serves something else there"],
    );
    check(config.path("/a b"), &["contains ' '"]);
}

#[test]
fn handles_stop_exporters_only_when_asked() {
    // A port that is free again may be another test's at once, but hardly three times.
    let is_stopped = (0..3).any(|_| {
        let mut exporter = Exporter::start(at_loopback(&collector()));
        exporter.metrics();
        exporter.shutdown();
        TcpStream::connect_timeout(&exporter.address, PATIENCE).is_err()
    });
    assert!(is_stopped, "something still listens");
    let mut exporter = Exporter::start(at_loopback(&collector()));
    drop(exporter.handle.take());
    for _ in 0..3 {
        exporter.metrics();
    }
}
