//! The `[monitoring]` table: the specification's example, defaults, and every kind of mistake.

use std::{fs, net::IpAddr, path::Path, time::Duration};

use monitoring::{
    ProfileScope,
    config::{Config, Place},
};
use proptest::prelude::*;

/// As in the specification, but for the address of Jaeger's OTLP.
const SPECIFIED: &str = r#"
[monitoring]
# Metrics settings
metrics_port = 9090
metrics_path = "/metrics"
collection_interval = "10s"

# Profiling settings
profiling_enabled = true
profile_sample_rate = 0.1  # 10% sampling

# Tracing settings
tracing_enabled = true
trace_sample_rate = 0.01  # 1% sampling
jaeger_endpoint = "http://localhost:14268/api/traces"

# GPU monitoring
gpu_monitoring_enabled = true
gpu_poll_interval = "5s"

# Retention
metrics_retention_days = 30
"#;

#[test]
fn the_specified_example_is_the_defaults() {
    let config = Config::from_toml(SPECIFIED).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.metrics_port, 9090);
    assert_eq!(config.metrics_path, "/metrics");
    assert_eq!(config.collection_interval, Duration::from_secs(10));
    assert!(config.profiling_enabled && config.tracing_enabled && config.gpu_monitoring_enabled);
    assert_eq!(
        (config.profile_sample_rate, config.trace_sample_rate),
        (0.1, 0.01)
    );
    assert_eq!(config.otlp_endpoint, "http://localhost:4318");
    assert_eq!(config.gpu_poll_interval, Duration::from_secs(5));
    assert_eq!(config.metrics_retention_days, 30);
}

#[test]
fn each_key_sets_its_value() {
    let config = Config::from_toml(
        r#"
        title = "an application's own"
        [monitoring]
        metrics_port = 1
        bind_address = "::1"
        metrics_path = "/own"
        collection_interval = "1m 30s"
        profiling_enabled = false
        profile_sample_rate = 1
        tracing_enabled = false
        trace_sample_rate = 0.5
        jaeger_endpoint = "http://lost:14268"
        otlp_endpoint = "https://wins:4318/v1/traces"
        gpu_monitoring_enabled = false
        gpu_poll_interval = "100ms"
        metrics_retention_days = 7
        [monitor]
        colour = "blue"
        "#,
    );
    let mut want = Config::default();
    want.metrics_port = 1;
    want.bind_address = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
    want.metrics_path = "/own".to_owned();
    want.collection_interval = Duration::from_secs(90);
    want.profiling_enabled = false;
    want.profile_sample_rate = 1.0;
    want.tracing_enabled = false;
    want.trace_sample_rate = 0.5;
    want.otlp_endpoint = "https://wins:4318".to_owned();
    want.gpu_monitoring_enabled = false;
    want.gpu_poll_interval = Duration::from_millis(100);
    want.metrics_retention_days = 7;
    assert_eq!(config.unwrap(), want);
}

#[test]
fn nothing_is_the_defaults() {
    for text in ["", "[monitoring]", "[database]\nurl = 'x'", "# nothing"] {
        assert_eq!(
            Config::from_toml(text).unwrap(),
            Config::default(),
            "{text}"
        );
    }
}

/// Checks that this text has one problem, and that its message has each of these parts.
fn check(text: &str, wants: &[&str]) {
    let error = Config::from_toml(text).unwrap_err();
    assert_eq!(error.0.len(), 1, "{text}: {error}");
    let message = error.to_string();
    for want in wants {
        assert!(message.contains(want), "{text}: {message:?} lacks {want:?}");
    }
}

/// A line of the section, and what its message has to say.
const MISTAKES: &[(&str, [&str; 3])] = &[
    (
        "metrics_port = 0",
        ["monitoring.metrics_port = 0", "out of range", "1 to 65535"],
    ),
    (
        "metrics_port = \"9090\"",
        ["= \"9090\"", "a string where", "without quotes"],
    ),
    (
        "metrics_prot = 1",
        [
            "monitoring.metrics_prot",
            "unknown key",
            "did you mean metrics_port?",
        ],
    ),
    (
        "bind_address = \"host\"",
        ["bind_address", "not an IP address", "0.0.0.0"],
    ),
    (
        "metrics_path = \"metrics\"",
        ["metrics_path", "does not begin with /", "/metrics"],
    ),
    (
        "metrics_path = \"/healthz\"",
        ["metrics_path", "serves something else", "/metrics"],
    ),
    (
        "collection_interval = \"10\"",
        ["collection_interval", "without a unit", "\"10s\""],
    ),
    (
        "collection_interval = \"2h\"",
        ["collection_interval", "longer than one hour", "\"1h\""],
    ),
    (
        "profile_sample_rate = 10",
        ["profile_sample_rate = 10", "outside 0 to 1", "0.1 for 10 %"],
    ),
    (
        "trace_sample_rate = nan",
        ["trace_sample_rate", "not a number", "0 to 1"],
    ),
    (
        "tracing_enabled = 1",
        [
            "tracing_enabled = 1",
            "a whole number where",
            "true or false",
        ],
    ),
    (
        "jaeger_endpoint = \"localhost\"",
        ["jaeger_endpoint", "without http://", "14268"],
    ),
    (
        "otlp_endpoint = \"ftp://x\"",
        ["otlp_endpoint", "neither http nor https", "4318"],
    ),
    (
        "gpu_poll_interval = \"1ms\"",
        ["gpu_poll_interval", "shorter than 100 ms", "\"100ms\""],
    ),
    (
        "metrics_retention_days = -1",
        ["metrics_retention_days = -1", "out of range", "36500"],
    ),
    ("metrics_port 9090", ["line 2", "not TOML", "key = 10"]),
];

#[test]
fn mistakes_are_told_with_key_value_and_cure() {
    for (line, wants) in MISTAKES {
        check(&format!("[monitoring]\n{line}\n"), wants);
    }
}

#[test]
fn sections_that_are_not_meant_are_told() {
    check(
        "metrics_port = 1",
        &["line 1", "metrics_port = 1", "outside [monitoring]"],
    );
    check(
        "[monitorng]\nmetrics_port = 1",
        &["monitorng", "did you mean monitoring?"],
    );
    check(
        "monitoring = 1",
        &["a whole number where a table belongs", "[monitoring]"],
    );
    check(
        "[[monitoring]]\nmetrics_port = 1",
        &["a list where a table belongs"],
    );
}

#[test]
fn all_mistakes_are_told_at_once_by_line() {
    let text = "[monitoring]\nmetrics_port = 0\nnode = 'x'\ngpu_poll_interval = 5\n";
    let error = Config::from_toml(text).unwrap_err();
    let places: Vec<_> = error.0.iter().map(|problem| &problem.place).collect();
    assert_eq!(places, [&Place::Line(2), &Place::Line(3), &Place::Line(4)]);
}

#[test]
fn files_are_read_and_named_in_messages() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("monitoring.toml");
    fs::write(&path, SPECIFIED).unwrap();
    assert_eq!(Config::load(&path).unwrap(), Config::default());
    fs::write(&path, "[monitoring]\n\nmetrics_port = 0").unwrap();
    let message = Config::load(&path).unwrap_err().to_string();
    assert!(
        message.starts_with(&format!("{}:3: ", path.display())),
        "{message}"
    );
    fs::write(&path, [0xff]).unwrap();
    let message = Config::load(&path).unwrap_err().to_string();
    assert!(message.contains("not UTF-8 in line 1"), "{message}");
    let missing = Path::new("/nonexistent/monitoring.toml");
    let message = Config::load(missing).unwrap_err().to_string();
    assert!(
        message.contains("\"/nonexistent/monitoring.toml\": cannot be opened"),
        "{message}"
    );
}

#[test]
fn profilers_are_as_configured() {
    let count = |text: &str| {
        let profiler = Config::from_toml(text).unwrap().profiler();
        for _ in 0..1000 {
            drop(ProfileScope::new(&profiler, "scope"));
        }
        let report = profiler.report();
        (report.count("scope"), report.sampled_out())
    };
    assert_eq!(count("[monitoring]\nprofile_sample_rate = 1"), (1000, 0));
    assert_eq!(count("[monitoring]\nprofiling_enabled = false"), (0, 0));
    let (recorded, out) = count("");
    // Six standard deviations of the binomial distribution.
    assert!(
        (44..=156).contains(&recorded) && recorded + out == 1000,
        "{recorded} {out}"
    );
}

proptest! {
    /// Whatever stands in a file, it is read or refused with words that fit on a terminal.
    #[test]
    fn any_text_is_read_or_refused(text in "(\\[?monitoring\\]?|[ -~\n]|metrics_port = [0-9]{0,6}\n){0,20}") {
        if let Err(error) = Config::from_toml(&text) {
            prop_assert!(!error.0.is_empty());
            for problem in &error.0 {
                let message = problem.to_string();
                prop_assert!(!message.chars().any(char::is_control), "{message:?}");
                let line = problem.place.line().unwrap();
                prop_assert!((1..=text.lines().count().max(1) + 1).contains(&line));
            }
        }
    }
}
