//! Which format and coding an answer has, by what the client says.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const CLASSIC: &str = "version=0.0.4; charset=utf-8";
const NEWEST: &str = "version=1.0.0; charset=utf-8; escaping=underscores";
const NEWEST_UTF8: &str = "version=1.0.0; charset=utf-8; escaping=allow-utf-8";

fn check_accept(accept: &str, want: &str) {
    let got = TextFormat::negotiate([accept.as_bytes()]).content_type();
    assert_eq!(got, format!("text/plain; {want}"), "{accept}");
}

#[test]
fn accept_of_scrapers() {
    // Prometheus 1, 2.0, 2.49, 3.0 with UTF-8 names and with escaped ones, 3 with protobuf first.
    check_accept("text/plain;version=0.0.4;q=1,*/*;q=0.1", CLASSIC);
    check_accept(
        "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        CLASSIC,
    );
    check_accept(
        "application/openmetrics-text;version=1.0.0;q=0.5,\
         application/openmetrics-text;version=0.0.1;q=0.4,\
         text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        CLASSIC,
    );
    check_accept(
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
         application/openmetrics-text;version=0.0.1;q=0.4,\
         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
         text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        NEWEST_UTF8,
    );
    check_accept(
        "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,\
         application/openmetrics-text;version=0.0.1;q=0.4,\
         text/plain;version=1.0.0;escaping=underscores;q=0.3,\
         text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        NEWEST,
    );
    check_accept(
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
         encoding=delimited;escaping=allow-utf-8;q=0.6,\
         application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2",
        NEWEST_UTF8,
    );
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
    let classic = |escaping| format!("{CLASSIC}; escaping={escaping}");
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
    assert_eq!(
        TextFormat::negotiate(lines),
        TextFormat::V1_0_0(Escaping::Underscores)
    );
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

proptest! {
    #[test]
    fn any_bytes(value in prop::collection::vec(any::<u8>(), 0..200)) {
        TextFormat::negotiate([&value[..]]).content_type();
        wants_gzip([&value[..]]);
        scrape_timeout(&value);
    }

    /// Bytes that come close to the real thing reach further into the parser.
    #[test]
    fn nearly_accept(value in "([tex/plain*;,=\"\\\\ q01.]|text/plain|version=|1\\.0\\.0|;q=|gzip){0,40}") {
        TextFormat::negotiate([value.as_bytes()]).content_type();
        wants_gzip([value.as_bytes()]);
    }

    /// Two versions with any two qualities: the better one, and the newer of equals.
    #[test]
    fn qualities_decide(newest in 0_u16..=1000, classic in 0_u16..=1000) {
        let quality = |q: u16| format!("{}.{:03}", q / 1000, q % 1000);
        let accept = format!(
            "text/plain;version=0.0.4;q={},text/plain;version=1.0.0;q={}",
            quality(classic),
            quality(newest),
        );
        let is_newest = matches!(TextFormat::negotiate([accept.as_bytes()]), TextFormat::V1_0_0(_));
        prop_assert_eq!(is_newest, newest > 0 && newest >= classic);
        let accept = format!("identity;q={},gzip;q={}", quality(classic), quality(newest));
        prop_assert_eq!(wants_gzip([accept.as_bytes()]), newest > 0 && newest >= classic);
    }

    /// Any positive number of milliseconds comes back as it was sent.
    #[test]
    fn timeouts_round(ms in 1_u64..10_000_000) {
        let value = format!("{}.{:03}", ms / 1000, ms % 1000);
        let got = scrape_timeout(value.as_bytes()).expect("a positive number");
        prop_assert!(got.abs_diff(Duration::from_millis(ms)) < Duration::from_micros(1));
    }
}
