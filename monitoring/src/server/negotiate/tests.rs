//! Which format and coding an answer has, by what the client says.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const NEWEST: &str = "text/plain; version=1.0.0; charset=utf-8; escaping=underscores";
const NEWEST_UTF8: &str = "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

const ALL: [Kind; 3] = [Kind::Text1_0_0, Kind::OpenMetrics1_0_0, Kind::Protobuf];

fn check_offered(accept: &str, offered: &[Kind], want: &str) {
    let got = Format::negotiate([accept.as_bytes()], offered).content_type();
    assert_eq!(got, want, "{accept}");
}

/// Of all formats.
fn check_accept(accept: &str, want: &str) {
    check_offered(accept, &ALL, want);
}

#[test]
fn accept_of_scrapers() {
    // Prometheus 1, and 2.0, which asks for a version of OpenMetrics that is no more.
    check_accept("text/plain;version=0.0.4;q=1,*/*;q=0.1", CLASSIC);
    check_accept(
        "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        CLASSIC,
    );
    // 2.42 as Debian has it, without and with native histograms.
    let debian = "application/openmetrics-text;version=1.0.0,\
                  application/openmetrics-text;version=0.0.1;q=0.75,\
                  text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    check_accept(debian, OPEN);
    let native = "application/vnd.google.protobuf;\
                  proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                  application/openmetrics-text;version=1.0.0;q=0.8,\
                  application/openmetrics-text;version=0.0.1;q=0.75,\
                  text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    check_accept(native, PROTOBUF);
    check_offered(native, &[Kind::Text1_0_0, Kind::OpenMetrics1_0_0], OPEN);
    check_offered(native, &[Kind::Text1_0_0], CLASSIC);
    // 2.49 and later, before 3.
    check_accept(
        "application/openmetrics-text;version=1.0.0;q=0.5,\
         application/openmetrics-text;version=0.0.1;q=0.4,\
         text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        OPEN,
    );
}

#[test]
fn accept_of_prometheus_3() {
    let utf8 = |format: &str| format!("{format}; escaping=allow-utf-8");
    // As it is by default, and with names escaped.
    let of = |escaping: &str| {
        format!(
            "application/openmetrics-text;version=1.0.0;escaping={escaping};q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping={escaping};q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        )
    };
    check_accept(&of("allow-utf-8"), &utf8(OPEN));
    check_accept(&of("underscores"), &format!("{OPEN}; escaping=underscores"));
    check_offered(&of("allow-utf-8"), &[Kind::Text1_0_0], NEWEST_UTF8);
    check_offered(&of("underscores"), &[Kind::Text1_0_0], NEWEST);
    // With native histograms; 3.0 spoke of escaping behind every format.
    let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                  encoding=delimited;q=0.6,\
                  application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                  application/openmetrics-text;version=0.0.1;q=0.4,\
                  text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                  text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    check_accept(native, PROTOBUF);
    let every = native.replace(
        "encoding=delimited",
        "encoding=delimited;escaping=allow-utf-8",
    );
    check_accept(&every, &utf8(PROTOBUF));
    // Where it is told to scrape text only.
    check_accept(
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.5",
        NEWEST_UTF8,
    );
    check_accept("text/plain;version=0.0.4;q=0.6,*/*;q=0.5", CLASSIC);
}

#[test]
fn formats_are_named_in_full() {
    // Without a version it is the newest; others are not there.
    check_accept("application/openmetrics-text", OPEN);
    check_accept("Application/OpenMetrics-Text; Version=\"1.0.0\"", OPEN);
    check_accept("application/openmetrics-text;version=0.0.1", CLASSIC);
    check_accept("application/openmetrics-text;version=2.0.0", CLASSIC);
    check_accept("application/*", CLASSIC);
    // Only messages of this kind, each with its length.
    let proto = "application/vnd.google.protobuf";
    let family = "proto=io.prometheus.client.MetricFamily";
    check_accept(&format!("{proto};{family};encoding=delimited"), PROTOBUF);
    check_accept(
        &format!("{proto};encoding=\"delimited\" ; {family}"),
        PROTOBUF,
    );
    for lacking in [
        proto.to_owned(),
        format!("{proto};{family}"),
        format!("{proto};encoding=delimited"),
        format!("{proto};{family};encoding=text"),
        format!("{proto};{family};encoding=compact-text"),
        format!("{proto};proto=io.prometheus.client.Metric;encoding=delimited"),
        format!("{proto};{family};encoding=delimited;q=0"),
    ] {
        check_accept(&lacking, CLASSIC);
    }
}

#[test]
fn accept_of_others_and_parameters() {
    // A browser, curl, nothing, and things nobody can serve.
    check_accept(
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        CLASSIC,
    );
    check_accept("*/*", CLASSIC);
    check_accept("", CLASSIC);
    check_accept("application/json", CLASSIC);
    check_accept("text/plain;version=2.0.0", CLASSIC);

    // Parameters: order, case, spaces, quotes, each escaping, an unknown one, none.
    check_accept("text/plain;version=1.0.0", NEWEST);
    check_accept("TEXT/Plain ; Q=0.5 ; Version = 1.0.0", NEWEST);
    check_accept(
        "text/plain; version=\"1.0.0\"; escaping=\"allow-utf-8\"",
        NEWEST_UTF8,
    );
    check_accept("text/plain;version=1.0.0;escaping=Allow-UTF-8", NEWEST_UTF8);
    let classic = |escaping: &str| format!("{CLASSIC}; escaping={escaping}");
    check_accept(
        "text/plain;version=0.0.4;escaping=allow-utf-8",
        &classic("allow-utf-8"),
    );
    // Schemes that would need other names than are written are not claimed.
    for scheme in ["underscores", "dots", "VALUES", "rot13", "", "\"\""] {
        check_accept(
            &format!("text/plain;escaping={scheme};version=1.0.0"),
            NEWEST,
        );
        check_accept(
            &format!("text/plain;version=0.0.4;escaping={scheme}"),
            &classic("underscores"),
        );
    }
}

#[test]
fn accept_by_quality() {
    // Quality: the better liked wins, equals go to the newer, 0 is a refusal, nonsense is not there.
    check_accept(
        "text/plain;version=1.0.0;q=0.2,text/plain;version=0.0.4;q=0.3",
        CLASSIC,
    );
    check_accept("text/plain;version=0.0.4,text/plain;version=1.0.0", NEWEST);
    check_accept("text/plain;version=1.0.0;q=0.2,text/plain;q=0.9", CLASSIC);
    check_accept("text/plain;version=1.0.0;q=0", CLASSIC);
    check_accept("text/plain;version=1.0.0;q=0.000", CLASSIC);
    check_accept("text/plain;version=1.0.0;q=1.001", CLASSIC);
    check_accept("text/plain;version=1.0.0;q=nan", CLASSIC);
    check_accept("text/plain;version=1.0.0;q=0.5555", CLASSIC);
    check_accept("text/plain;version=1.0.0;q=", CLASSIC);
    // What is said of 0.0.4 itself weighs more than what is said of everything.
    check_accept(
        "*/*;q=0.9,text/plain;version=0.0.4;q=0.1,text/plain;version=1.0.0;q=0.2",
        NEWEST,
    );
    check_accept(
        "text/*;q=0.1,text/plain;version=1.0.0;q=0.2,*/*;q=0.9",
        NEWEST,
    );
    // Commas and semicolons in quotes separate nothing.
    check_accept("a/b;c=\"x,text/plain;version=1.0.0\"", CLASSIC);
    check_accept("a/b;c=\"\\\",text/plain;version=1.0.0\"", CLASSIC);
}

#[test]
fn accept_in_several_lines() {
    let lines = [
        &b"text/plain;version=0.0.4;q=0.2"[..],
        b"text/plain;version=1.0.0;q=0.3",
    ];
    let want = Format {
        kind: Kind::Text1_0_0,
        escaping: Some(Escaping::Underscores),
    };
    assert_eq!(Format::negotiate(lines, &ALL), want);
}

fn check_gzip(accept_encoding: &str, want: bool) {
    assert_eq!(
        wants_gzip([accept_encoding.as_bytes()]),
        want,
        "{accept_encoding}"
    );
}

#[test]
fn accept_encoding() {
    check_gzip("gzip", true);
    check_gzip("GZip", true);
    check_gzip("x-gzip", true);
    check_gzip("gzip, deflate, br, zstd", true);
    check_gzip("deflate;q=0.9 , gzip;q=0.1", true);
    check_gzip("*", true);
    check_gzip("*;q=0.5", true);
    check_gzip("identity, gzip", true);
    check_gzip("gzip;q=1.000", true);
    check_gzip("gzip;q=0.001", true);
    check_gzip("gzip;q=0, *;q=1, x-gzip", true);

    check_gzip("", false);
    check_gzip("br", false);
    check_gzip("identity", false);
    check_gzip("gzip;q=0", false);
    check_gzip("gzip;q=0.", false);
    check_gzip("gzip;q=0.000", false);
    check_gzip("gzip;q=0, *", false);
    check_gzip("*;q=0", false);
    check_gzip("identity, gzip;q=0.5", false);
    check_gzip("identity;q=1, *;q=0.5", false);
    check_gzip("gzip;q=2", false);
    check_gzip("gzip;q=-1", false);
    check_gzip("gzip;q=0.1234", false);
    check_gzip("gzipped", false);
    check_gzip("a;b=\",gzip,\"", false);
}

fn check_timeout(value: &str, want: Option<Duration>) {
    assert_eq!(scrape_timeout(value.as_bytes()), want, "{value}");
}

#[test]
fn scrape_timeouts() {
    check_timeout("10", Some(Duration::from_secs(10)));
    check_timeout("10.5", Some(Duration::from_millis(10_500)));
    check_timeout(" 0.25 ", Some(Duration::from_millis(250)));
    for bad in [
        "", "0", "-1", "-0", "NaN", "inf", "1e300", "1e-300", "10s", "1,5", "\u{ff11}",
    ] {
        check_timeout(bad, None);
    }
    assert_eq!(scrape_timeout(b"\xff"), None);
}

/// Bytes that come close to the real thing reach further into the parser.
const NEARLY: &str = "([tex/plain*;,=\"\\\\ q01.]|text/plain|application/openmetrics-text|version=|\
                      application/vnd.google.protobuf|encoding=delimited|1\\.0\\.0|;q=|gzip){0,40}";

proptest! {
    #[test]
    fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..200)) {
        Format::negotiate([&value[..]], &ALL).content_type();
        wants_gzip([&value[..]]);
        scrape_timeout(&value);
    }

    #[test]
    fn nearly_accept(value in NEARLY) {
        Format::negotiate([value.as_bytes()], &ALL).content_type();
        wants_gzip([value.as_bytes()]);
    }

    /// All formats with any qualities, in any order: the best liked, and of equals the one that
    /// says most.
    #[test]
    fn qualities_decide(
        qualities in prop::array::uniform4(prop_oneof![0_u16..=1000, 0_u16..=2]),
        order in Just([0, 1, 2, 3]).prop_shuffle(),
        offered in prop::sample::subsequence(&ALL[..], 0..=3),
    ) {
        let quality = |q: u16| format!("{}.{:03}", q / 1000, q % 1000);
        let named = [CLASSIC, NEWEST, OPEN, PROTOBUF];
        let kinds = [Kind::Text0_0_4, Kind::Text1_0_0, Kind::OpenMetrics1_0_0, Kind::Protobuf];
        let ranges = order.map(|at: usize| format!("{};q={}", named[at], quality(qualities[at])));
        let best = (1..4)
            .filter(|at| offered.contains(&kinds[*at]) && qualities[*at] > 0)
            .filter(|at| qualities[*at] >= qualities[0])
            .max_by_key(|at| (qualities[*at], kinds[*at]))
            .unwrap_or(0);
        let got = Format::negotiate([ranges.join(",").as_bytes()], &offered);
        prop_assert_eq!(got.kind, kinds[best]);
        // The same in lines of their own.
        let lines = ranges.iter().map(String::as_bytes);
        prop_assert_eq!(Format::negotiate(lines, &offered), got);
    }

    #[test]
    fn qualities_decide_on_codings(gzip in 0_u16..=1000, identity in 0_u16..=1000) {
        let quality = |q: u16| format!("{}.{:03}", q / 1000, q % 1000);
        let accept = format!("identity;q={},gzip;q={}", quality(identity), quality(gzip));
        prop_assert_eq!(wants_gzip([accept.as_bytes()]), gzip > 0 && gzip >= identity);
    }

    /// Any positive number of milliseconds comes back as it was sent.
    #[test]
    fn timeouts_round(ms in 1_u64..10_000_000) {
        let value = format!("{}.{:03}", ms / 1000, ms % 1000);
        let got = scrape_timeout(value.as_bytes()).expect("a positive number");
        prop_assert!(got.abs_diff(Duration::from_millis(ms)) < Duration::from_micros(1));
    }
}
