//! `[otlp]`, and OpenTelemetry's variables below it.

use monitoring::otlp::{Compression, Headers, Protocol, Signal};

use super::{broken::expect, *};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

fn url(file: &str, environment: &[(&str, &str)], signal: Signal) -> Option<String> {
    let config = load_all(file, environment, &Flags::default())
        .unwrap()
        .config;
    config.otlp_target(signal).map(|target| target.url)
}

#[test]
fn an_endpoint_is_whose_is_nearest() {
    let check =
        |file: &str, environment: &[(&str, &str)], traces: Option<&str>, metrics: Option<&str>| {
            let what = format!("{file} {environment:?}");
            assert_eq!(
                url(file, environment, Signal::Traces).as_deref(),
                traces,
                "{what}"
            );
            assert_eq!(
                url(file, environment, Signal::Metrics).as_deref(),
                metrics,
                "{what}"
            );
        };
    let file = "[monitoring]\notlp_endpoint = 'http://file:1/p'";
    let base = (ENDPOINT, "http://env:2/q/");
    let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:3/own");
    let own = ("MONITORING_OTLP_ENDPOINT", "http://own:4317");
    check("", &[], None, None);
    check(
        file,
        &[base, whole],
        Some("http://file:1/p/v1/traces"),
        Some("http://file:1/p/v1/metrics"),
    );
    check(
        "",
        &[base],
        Some("http://env:2/q/v1/traces"),
        Some("http://env:2/q/v1/metrics"),
    );
    check(
        "",
        &[base, whole],
        Some("http://traces:3/own"),
        Some("http://env:2/q/v1/metrics"),
    );
    check("", &[whole], Some("http://traces:3/own"), None);
    check(
        file,
        &[own, base],
        Some("http://own:4317"),
        Some("http://own:4317"),
    );
    let jaeger = "[monitoring]\njaeger_endpoint = 'http://j:14268/api/traces'";
    check(
        jaeger,
        &[base],
        Some("http://j:4318/v1/traces"),
        Some("http://j:4318/v1/metrics"),
    );
}

#[test]
fn an_endpoint_of_the_environment_is_one_that_was_given() {
    let tracing = |environment: &[(&str, &str)]| {
        let loaded = load_all("", environment, &Flags::default()).unwrap();
        loaded.config.is_tracing()
    };
    assert!(!tracing(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "5")]));
    assert!(!tracing(&[(
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "http://c:1"
    )]));
    assert!(tracing(&[(ENDPOINT, "http://c:1")]));
}

#[test]
fn what_the_file_says_wins_key_by_key() {
    let file = "[monitoring]\notlp_endpoint = 'https://c'\n[otlp]\nprotocol = 'grpc'\ntimeout = '2s'\n\
                headers = { a = 'file' }\nca_file = '/ca'\nmax_waiting_bytes = '2MiB'\n\
                retry_time = '3s'\nmetrics_enabled = true\nmetrics_interval = '5s'";
    let environment = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "7"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=env,b=env"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip"),
    ];
    let config = load_all(file, &environment, &Flags::default())
        .unwrap()
        .config;
    let mut headers = Headers::default();
    headers.set("a", "file").unwrap();
    headers.set("b", "env").unwrap();
    for (signal, compression) in [
        (Signal::Traces, Compression::None),
        (Signal::Metrics, Compression::Gzip),
    ] {
        let target = config.otlp_target(signal).unwrap();
        assert_eq!(
            (&*target.url, target.protocol),
            ("https://c", Protocol::Grpc)
        );
        assert_eq!(target.timeout, Duration::from_secs(2));
        assert_eq!(target.headers, headers);
        assert_eq!(target.compression, compression);
        assert_eq!(target.tls.ca.as_deref(), Some(Path::new("/ca")));
    }
    assert_eq!(config.otlp.max_waiting_bytes, 2 << 20);
    assert_eq!(config.otlp.retry_time, Duration::from_secs(3));
    assert!(config.otlp.metrics_enabled);
    assert_eq!(config.otlp.metrics_interval, Duration::from_secs(5));
}

#[test]
fn mistakes_say_what_to_write() {
    let check = |line: &str, want: &[&str]| {
        let error = load_file(&format!("[otlp]\n{line}")).unwrap_err();
        expect(&error, want);
    };
    check(
        "protocol = 'http/json'",
        &["otlp.protocol", "not spoken", "\"grpc\""],
    );
    check(
        "protocol = 'thrift'",
        &["not a protocol", "\"http/protobuf\""],
    );
    check(
        "compression = 'zstd'",
        &["otlp.compression", "'zstd'", "\"gzip\" or \"none\""],
    );
    check("timeout = '1us'", &["otlp.timeout", "shorter than 100 ms"]);
    check(
        "ca_file = 'ca.pem'",
        &["otlp.ca_file", "does not begin with /", "in PEM"],
    );
    check("key_file = '/'", &["otlp.key_file", "a directory"]);
    check("certificate_file = '/c'", &["otlp.key_file", "give both"]);
    check("key_file = '/k'", &["otlp.certificate_file", "give both"]);
    check(
        "max_waiting_bytes = 1000",
        &["otlp.max_waiting_bytes", "out of range"],
    );
    check(
        "headers = { a-bin = 'x' }",
        &["otlp.headers", "a-bin", "-bin"],
    );
    check("headers = { 'a b' = 'x' }", &["\"a b\"", "cannot be sent"]);
    check(
        "headers = { a = 1 }",
        &["\"a\": a whole number where a text"],
    );
    check("retries = 3", &["unknown key", "retry_time"]);
    let error = load_all("", &[(ENDPOINT, "c:4318")], &Flags::default()).unwrap_err();
    expect(
        &error,
        &[
            "environment",
            ENDPOINT,
            "c:4318",
            "http://localhost:4318",
            "unset it",
        ],
    );
    assert_eq!(error.0.len(), 1);
}

#[test]
fn what_headers_say_is_told_to_nobody() {
    for section in [
        "headers = 'authorization=Bearer hush'",
        "headers = ['hush']",
        "headers = { authorization = 'hush\\n' }\nheaders = 'hush'",
        "headers = { authorization = \"hush\\n\" }",
        "headers = { authorization = 'hush' \ntimeout = 'x'",
        "headers = { authorization = hush }",
        "authorization = 'hush'",
        "Bearer hush = 7 hush",
        "hush",
        "[otlp.headers]\nauthorization = Bearer hush",
        "[otlp.headers]\nauthorization = ['hush']",
        "[otlp.headers.hush]\na = 'hush'",
    ] {
        let error = load_file(&format!("[otlp]\n{section}")).unwrap_err();
        let said = error
            .to_string()
            .replace("\"hush\":", "")
            .replace("otlp.headers.hush", "");
        assert!(!said.contains("hush"), "{section}: {said}");
    }
    let mistakes = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization,hush"),
        (ENDPOINT, "http://me:hush@c"),
    ];
    let error = load_all("", &mistakes, &Flags::default()).unwrap_err();
    assert!(!error.to_string().contains("hush"), "{error}");
    let file = "[otlp.headers]\nauthorization = 'hush'";
    let loaded = load_file(file).unwrap();
    assert_eq!(loaded.config.otlp.spans.headers.count(), 1);
    assert!(!format!("{loaded:?}").contains("hush"));
}

#[test]
fn files_that_are_not_used_are_noted() {
    let notes = |endpoint: &str| {
        let file = format!("[monitoring]\notlp_endpoint = '{endpoint}'\n[otlp]\nca_file = '/ca'");
        load_file(&file).unwrap().notes
    };
    assert!(notes("https://c").is_empty());
    let notes = notes("http://c");
    assert!(
        notes.len() == 1 && notes[0].contains("not used"),
        "{notes:?}"
    );
}
