//! Broken configurations: each message names the key, the value, the line and the cure.

use std::{collections::HashSet, os::unix::ffi::OsStringExt};

use super::*;

const MONITORING: &str = "[monitoring]\n";
const WHOLE: &str = "use a whole number from 1 to 65535";
const INTERVAL: &str = "use a number with a unit from \"100ms\" to \"1h\", for example \"10s\"";
const RATE: &str = "use a share from 0 to 1";
const PATH: &str = "use a path that begins with /";
const URL: &str = "use a base URL, for example \"http://localhost:4318\"";
const LIBRARY: &str = "use the path of a shared library, for example";
const GLOB: &str = "use a glob or a list of globs";

/// What a message must hold: the key, the value as written, why, what to do.
type Case = (&'static str, &'static str, &'static str, &'static str);

/// Problems of `[monitoring]`: key, value.
#[rustfmt::skip] // A case stays together.
const VALUES: &[Case] = &[
    ("metrics_port", "0", "out of range", WHOLE),
    ("metrics_port", "65536", "out of range", WHOLE),
    ("metrics_port", "-1", "out of range", WHOLE),
    ("metrics_port", "9999999999999999999", "out of range", WHOLE),
    ("metrics_port", "\"9090\"", "a string where", WHOLE),
    ("metrics_port", "9090.0", "a number with a fraction where", WHOLE),
    ("metrics_path", "\"metrics\"", "does not begin with /", PATH),
    ("metrics_path", "\"/\"", "serves something else", PATH),
    ("metrics_path", "\"/healthz\"", "serves something else", PATH),
    ("metrics_path", "\"/readyz\"", "serves something else", PATH),
    ("metrics_path", "\"/metrics.json\"", "serves something else", PATH),
    ("metrics_path", "\"/my metrics\"", "contains ' '", PATH),
    ("metrics_path", "\"/metrics?all\"", "contains '?'", PATH),
    ("metrics_path", "\"/metrics#all\"", "contains '#'", PATH),
    ("metrics_path", "\"/métrics\"", "contains 'é'", PATH),
    ("metrics_path", "[\"/metrics\"]", "a list where a path belongs", PATH),
    ("bind_address", "\"localhost\"", "not an IP address", "for example \"0.0.0.0\" or \"::1\""),
    ("bind_address", "\"[::1]\"", "not an IP address", "without port or brackets"),
    ("bind_address", "\"10.0.0.1:9090\"", "not an IP address", "without port"),
    ("collection_interval", "10", "a whole number where a duration belongs", INTERVAL),
    ("collection_interval", "\"10\"", "a number without a unit", INTERVAL),
    ("collection_interval", "\"10 parsecs\"", "unknown unit parsecs", INTERVAL),
    ("collection_interval", "\"\"", "empty", INTERVAL),
    ("collection_interval", "\"0s\"", "zero", INTERVAL),
    ("collection_interval", "\"99ms\"", "shorter than 100 ms", INTERVAL),
    ("collection_interval", "\"61m\"", "longer than one hour", INTERVAL),
    ("collection_interval", "\"-5s\"", "not a duration", INTERVAL),
    ("collection_interval", "\"18446744073709551615s 1000ms\"", "too many digits", INTERVAL),
    ("gpu_poll_interval", "\"1us\"", "shorter than 100 ms", INTERVAL),
    ("gpu_poll_interval", "true", "true or false where a duration belongs", INTERVAL),
    ("profile_sample_rate", "1.01", "outside 0 to 1", RATE),
    ("profile_sample_rate", "-0.1", "outside 0 to 1", RATE),
    ("profile_sample_rate", "10", "outside 0 to 1", RATE),
    ("profile_sample_rate", "nan", "not a number", RATE),
    ("profile_sample_rate", "inf", "outside 0 to 1", RATE),
    ("trace_sample_rate", "\"1%\"", "a string where a number belongs", RATE),
    ("profiling_enabled", "\"yes\"", "a string where true or false belongs", "use true or false"),
    ("gpu_monitoring_enabled", "1", "a whole number where", "use true or false without quotes"),
    ("metrics_retention_days", "0", "out of range", "from 1 to 36500"),
    ("metrics_retention_days", "\"30d\"", "a string where", "for example 30"),
    ("otlp_endpoint", "\"localhost:4318\"", "without http://", URL),
    ("otlp_endpoint", "\"grpc://localhost:4317\"", "neither http nor https", URL),
    ("otlp_endpoint", "\"http://\"", "not a URL", URL),
    ("otlp_endpoint", "\"http://:4318\"", "without a host", URL),
    ("otlp_endpoint", "\"http://o:4318/?a=b\"", "a query", URL),
    ("otlp_endpoint", "\"\"", "empty", "or leave it out"),
    ("jaeger_endpoint", "\"udp://localhost:6831\"", "udp is neither", "14268/api/traces"),
    ("jaeger_endpoint", "\"http://j:99999\"", "bad port", "14268/api/traces"),
    ("node", "\"\"", "empty", "use a text of 1 to 253 characters"),
    ("node_type", "\"a\\nb\"", "control character", "use a text of 1 to 64 characters"),
    ("metric_port", "9090", "unknown key", "did you mean metrics_port?"),
    ("interval", "\"10s\"", "unknown key", "known here: metrics_port, bind_address"),
    ("\"a b\"", "1", "unknown key", "known here: metrics_port"),
];

/// Whole files: text, key, value, line, why, cure.
#[rustfmt::skip] // A case stays together.
const FILES: &[(&str, &str, &str, usize, &str, &str)] = &[
    ("[monitoring]\nnode = 'a'\ncollection_interval = 10s",
        "monitoring.collection_interval", "10s", 3, "not TOML", "put quotes around"),
    ("[monitoring]\nmetrics_port = = 1",
        "monitoring.metrics_port", "= 1", 2, "not TOML", "write key = 10"),
    ("[monitoring]\nmetrics_port: 1",
        "monitoring.metrics_port", "1", 2, "not TOML", "key with no value"),
    ("\n[monitoring\nnode = 'a'",
        "line", "[monitoring", 2, "not TOML", "one key a line"),
    ("[monitoring]\nnode = 'a'\nnode = 'b'",
        "monitoring.node", "'b'", 3, "duplicate key", "keep one of them"),
    ("monitoring = 3",
        "monitoring", "3", 1, "a whole number where a table belongs", "write [monitoring] in single brackets"),
    ("metrics_port = 1",
        "metrics_port", "1", 1, "outside [monitoring]", "move it below a line [monitoring]"),
    ("[monitor]\nnode = 'a'",
        "monitor: ", "", 1, "unknown section", "did you mean monitoring?"),
    ("[[monitoring]]\nnode = 'a'",
        "monitoring", "[[monitoring]]", 1, "a list where a table belongs", "[monitoring] in single brackets"),
    ("[agents]\nname = 'a'\nexe = 'a'",
        "agents: ", "", 1, "a table where a list of tables belongs", "[[agents]] in double brackets"),
    ("agents = ['a']",
        "agents[0]", "'a'", 1, "a string where a table belongs", "[[agents]]"),
    ("[[agents]]\nexe = 'a'",
        "agents[0].name", "", 1, "missing", "give each agent a name"),
    ("[[agents]]\nname = 'a'",
        "agents[0]", "", 1, "no pattern", "at least one of comm, exe, cgroup, container, pod, environment"),
    ("[[agents]]\nname = 'b'\nexe = []",
        "agents[0].exe", "[]", 3, "an empty list", "for example exe = \"trainer*\""),
    ("[[agents]]\nname = 7\nexe = 'a'",
        "agents[0].name", "7", 2, "a whole number where a text belongs", "use a text of 1 to 64"),
    ("[[agents]]\nname = ''\nexe = 'a'",
        "agents[0].name", "''", 2, "empty", "use a text of 1 to 64"),
    ("[[agents]]\nname = 'other'\nexe = 'a'",
        "agents[0].name", "'other'", 2, "everything that no agent matches", "use another name"),
    ("[[agents]]\nname = 'a'\nexe = 'a'\n[[agents]]\nname = 'a'\nexe = 'b'",
        "agents[1].name", "'a'", 5, "the name of agents[0] already", "put all patterns into one entry"),
    ("[[agents]]\nname = 'a'\nexe = ['a', 'b[']",
        "agents[0].exe[1]", "'b['", 3, "at character 2", GLOB),
    ("[[agents]]\nname = 'a'\ncgroup = 'a**'",
        "agents[0].cgroup", "'a**'", 3, "recursive wildcards", GLOB),
    ("[[agents]]\nname = 'a'\ncomm = ''",
        "agents[0].comm", "''", 3, "empty", GLOB),
    ("[[agents]]\nname = 'a'\nenvironment = 7",
        "agents[0].environment", "7", 3, "a whole number where a glob belongs", GLOB),
    ("[[agents]]\nname = 'a'\ncomm = 'a'\nexec = 'a'",
        "agents[0].exec", "'a'", 4, "unknown key", "did you mean exe?"),
    ("[sources.sycalls]\nenabled = true",
        "sources.sycalls: ", "", 1, "unknown source", "did you mean syscalls?"),
    ("[sources.gravity]\nenabled = true",
        "sources.gravity", "", 1, "unknown source", "known here: host, process, sched"),
    ("[sources]\nhost = false",
        "sources.host", "false", 2, "true or false where a table belongs", "write [sources.host]"),
    ("[sources.host]\nenabled = 'no'",
        "sources.host.enabled", "'no'", 2, "a string where", "use true or false"),
    ("[sources.gpu]\nnvml_library = ''",
        "sources.gpu.nvml_library", "''", 2, "empty", LIBRARY),
    ("[sources.gpu]\nnvml_library = 7",
        "sources.gpu.nvml_library", "7", 2, "a whole number where a path belongs", LIBRARY),
    ("[sources.gpu]\nnvml_library = 'libnvidia-ml.so.1'",
        "sources.gpu.nvml_library", "'libnvidia-ml.so.1'", 2, "without a directory", LIBRARY),
    ("[sources.gpu]\nnvml_library = \"/a\\u0000b\"",
        "sources.gpu.nvml_library", "", 2, "control character", LIBRARY),
    ("[sources.gpu]\nnvml_libary = '/a/b'",
        "sources.gpu.nvml_libary", "'/a/b'", 2, "unknown key", "did you mean nvml_library?"),
    ("[sources.host]\nwatched_only = true",
        "sources.host.watched_only", "true", 2, "unknown key", "known here: enabled"),
];

/// Variables: name, value, why, cure.
#[rustfmt::skip] // A case stays together.
const VARIABLES: &[Case] = &[
    ("MONITORING_METRICS_PORT", "http", "not a whole number", WHOLE),
    ("MONITORING_METRICS_PORT", "", "not a whole number", WHOLE),
    ("MONITORING_METRICS_PORT", "70000", "out of range", WHOLE),
    ("MONITORING_METRICS_PORT", "tcp://10.0.0.1:9090", "as Kubernetes sets", "enableServiceLinks: false"),
    ("MONITORING_TRACE_SAMPLE_RATE", "1%", "not a number", RATE),
    ("MONITORING_TRACE_SAMPLE_RATE", "NaN", "not a number", RATE),
    ("MONITORING_BPF_STATS", "on", "not true or false", "use true or false"),
    ("MONITORING_COLLECTION_INTERVAL", "10", "without a unit", INTERVAL),
    ("MONITORING_LISTEN", ":9090", "not an IP address and a port", "for example 0.0.0.0:9090"),
    ("MONITORING_LOG_LEVEL", "loud", "not a level", "use error, warn, info, debug or trace"),
    ("MONITORING_CONFIG", "/nonexistent/c.toml", "No such file", "name a file that exists"),
    ("MONITORING_OTLP_ENDPOINT", "4318", "without http://", URL),
    ("MONITORING_METRIC_PORT", "1", "not a setting", "did you mean MONITORING_METRICS_PORT?"),
    ("MONITORING_metrics_port", "1", "not a setting", "did you mean MONITORING_METRICS_PORT?"),
    ("MONITORING_LOGLEVEL", "warn", "not a setting", "did you mean MONITORING_LOG_LEVEL?"),
    ("MONITORING_CONFIGS", "/x", "not a setting", "did you mean MONITORING_CONFIG?"),
];

pub(super) fn expect(error: &ConfigError, wants: &[&str]) -> String {
    let message = error.to_string();
    for want in wants {
        assert!(message.contains(want), "{message:?} lacks {want:?}");
    }
    assert_eq!(error.0.len(), 1, "{message}");
    message
}

/// Without the folder, which differs from run to run.
fn portable(message: &str) -> String {
    message
        .split_once("m.toml")
        .map_or(message, |(_, rest)| rest)
        .to_owned()
}

#[test]
fn each_broken_file_has_its_own_clear_message() {
    let mut messages = HashSet::new();
    for (key, value, why, cure) in VALUES {
        let error = load_file(&format!("{MONITORING}{key} = {value}")).unwrap_err();
        let message = expect(
            &error,
            &[
                &format!("m.toml:2: monitoring.{key} = {value}: "),
                why,
                cure,
            ],
        );
        assert!(messages.insert(portable(&message)), "twice: {message}");
    }
    for (text, key, value, line, why, cure) in FILES {
        let error = load_file(text).unwrap_err();
        let message = expect(
            &error,
            &[&format!("m.toml:{line}: {key}"), value, why, cure],
        );
        assert!(messages.insert(portable(&message)), "twice: {message}");
    }
    assert_eq!(messages.len(), VALUES.len() + FILES.len());
}

#[test]
fn each_broken_variable_is_named() {
    for (name, value, why, cure) in VARIABLES {
        let error = load_all("", &[(name, value)], &Flags::default()).unwrap_err();
        expect(
            &error,
            &[&format!("environment: {name} = \"{value}\": "), why, cure],
        );
    }
    let bytes = OsString::from_vec(b"a\xff".to_vec());
    let error = load_with(
        &Flags::default(),
        [("MONITORING_NODE".into(), bytes)],
        Path::new("/nonexistent"),
    )
    .unwrap_err();
    expect(
        &error,
        &[
            "MONITORING_NODE = \"a\u{fffd}\"",
            "not UTF-8",
            "set it to plain text",
        ],
    );
}

#[test]
fn each_broken_flag_is_named() {
    let check = |flags: Flags, wants: &[&str]| {
        let error = load_with(&flags, [], Path::new("/nonexistent")).unwrap_err();
        expect(&error, &[&["command line: "], wants].concat());
    };
    let text = |value: &str| Some(value.to_owned());
    check(
        Flags {
            listen: text("9090"),
            ..Flags::default()
        },
        &["--listen = \"9090\"", "use ADDRESS:PORT"],
    );
    check(
        Flags {
            metrics_path: text("m"),
            ..Flags::default()
        },
        &["--metrics-path = \"m\"", PATH],
    );
    check(
        Flags {
            collection_interval: text("10"),
            ..Flags::default()
        },
        &["--collection-interval", INTERVAL],
    );
    check(
        Flags {
            node: text(""),
            ..Flags::default()
        },
        &["--node = \"\"", "empty", "use a text"],
    );
    check(
        Flags {
            node_type: text("\t"),
            ..Flags::default()
        },
        &["--node-type = \"\\t\"", "control"],
    );
    check(
        Flags {
            log_level: text("INFO"),
            ..Flags::default()
        },
        &["--log-level = \"INFO\"", "use error, warn"],
    );
    check(
        Flags {
            config: Some("/nonexistent/c".into()),
            ..Flags::default()
        },
        &["--config = \"/nonexistent/c\"", "No such file", "exists"],
    );
}

#[test]
fn each_broken_kind_of_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let check = |path: &Path, wants: &[&str]| {
        let flags = Flags {
            config: Some(path.to_owned()),
            ..Flags::default()
        };
        let error = load_with(&flags, [], Path::new("/nonexistent")).unwrap_err();
        expect(
            &error,
            &[&["--config", path.to_str().unwrap()], wants].concat(),
        );
        let error = load_with(&Flags::default(), [], path).unwrap_err();
        expect(
            &error,
            &[&["configuration file", path.to_str().unwrap()], wants].concat(),
        );
    };
    check(folder.path(), &["a directory", "name the file in it"]);
    let path = folder.path().join("m.toml");
    fs::write(&path, b"[monitoring]\nnode = 'a\xff'").unwrap();
    check(&path, &["not UTF-8 in line 2", "save the file as UTF-8"]);
    check(
        &path.join("x"),
        &["cannot be opened", "name a file that can be read"],
    );
    fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    check(&path, &["larger than 1 MiB", "name a configuration file"]);
    fs::write(&path, "#".repeat(1 << 20)).unwrap();
    assert_eq!(
        load_with(&Flags::default(), [], &path).unwrap().config,
        Config::default()
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let file = "[sources.x]\n[monitoring]\nnode = ''\nmetrics_port = 0\n[[agents]]\nname = 'other'\nexe = 'a['";
    let flags = Flags {
        log_level: Some("x".to_owned()),
        ..Flags::default()
    };
    let error = load_all(file, &[("MONITORING_NODE_TYPE", "")], &flags).unwrap_err();
    let keys: Vec<_> = error.0.iter().map(|problem| problem.key.as_str()).collect();
    let want = [
        "sources.x",
        "monitoring.node",
        "monitoring.metrics_port",
        "agents[0].name",
        "agents[0].exe",
        "MONITORING_NODE_TYPE",
        "--log-level",
    ];
    assert_eq!(keys, want);
    assert!(
        error
            .to_string()
            .starts_with("the configuration has 7 problems:\n  "),
        "{error}"
    );
}

#[test]
fn a_flood_of_problems_is_cut_short() {
    let lines: Vec<_> = (0..50).map(|at| format!("key_{at} = 1")).collect();
    let message = load_file(&lines.join("\n")).unwrap_err().to_string();
    assert_eq!(message.lines().count(), 22);
    assert!(message.ends_with("\n  and 30 more"), "{message}");
}

#[test]
fn the_number_and_the_names_of_agents_are_limited() {
    let agents = |count: usize| -> String {
        (0..count)
            .map(|at| format!("[[agents]]\nname = 'a{at}'\nexe = 'a'"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(load_file(&agents(63)).unwrap().config.agents.len(), 63);
    let error = load_file(&agents(64)).unwrap_err();
    expect(
        &error,
        &[":1: agents: 64 agents", "at most 63", "use fewer agents"],
    );
    let named = |length: usize| {
        load_file(&format!(
            "[[agents]]\nname = '{}'\nexe = 'a'",
            "é".repeat(length)
        ))
    };
    assert_eq!(named(64).unwrap().config.agents[0].name.chars().count(), 64);
    expect(
        &named(65).unwrap_err(),
        &["agents[0].name = 'ééé", "too long", "1 to 64 characters"],
    );
}

#[test]
fn passwords_are_not_told() {
    let error = load_file("[monitoring]\notlp_endpoint = \"http://me:secret@o:4318\"").unwrap_err();
    let message = expect(&error, &["http://***@o:4318", "credentials", URL]);
    assert!(!message.contains("secret"), "{message}");
}
