//! Tests of the configuration as a whole: its layers, its defaults and its file of examples.

mod broken;
mod cuda;
mod notes;
mod otlp_section;
mod peers;
mod profile;
mod properties;
mod trace;

use std::{ffi::OsString, fs, net::SocketAddr, path::Path, time::Duration};

use super::{document, layers::load_with, settings::Draft, *};
use crate::cli::Flags;

const EXAMPLE: &str = include_str!("../../config.example.toml");

/// Loads a file with this text, these variables and flags, in an empty world otherwise.
fn load_all(
    file: impl AsRef<[u8]>,
    environment: &[(&str, &str)],
    flags: &Flags,
) -> Result<Loaded, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.toml");
    fs::write(&path, file).unwrap();
    load_with(flags, variables(environment), &path)
}

fn load_file(file: &str) -> Result<Loaded, ConfigError> {
    load_all(file, &[], &Flags::default())
}

fn variables(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    let pair = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
    variables.iter().map(pair).collect()
}

#[test]
fn nothing_given_means_the_defaults() {
    let loaded = load_with(&Flags::default(), [], Path::new("/nonexistent/m.toml")).unwrap();
    let want = Loaded {
        config: Config::default(),
        file: None,
        log_level: tracing::Level::INFO,
        notes: Vec::new(),
    };
    assert_eq!(loaded, want);
}

#[test]
fn the_defaults_are_the_specified_ones() {
    let config = Config::default();
    assert_eq!(config.listen, SocketAddr::from(([0, 0, 0, 0], 9090)));
    assert_eq!(config.metrics_path, "/metrics");
    assert_eq!(config.collection_interval, Duration::from_secs(10));
    assert!(config.profiling_enabled && config.tracing_enabled && config.gpu_monitoring_enabled);
    assert_eq!(
        (config.profile_sample_rate, config.trace_sample_rate),
        (0.1, 0.01)
    );
    assert_eq!(
        config.otlp_endpoint.as_deref(),
        Some("http://localhost:4318")
    );
    assert_eq!(config.gpu_poll_interval, Duration::from_secs(5));
    assert_eq!(config.metrics_retention_days, 30);
    assert!(!config.node.is_empty() && !config.bpf_stats && !config.ebpf_debug);
    let names: Vec<_> = config
        .agents
        .iter()
        .map(|rule| rule.name.as_str())
        .collect();
    assert_eq!(names, ["swarmlet", "gpu-agents", "stratoswarm"]);
    assert!(config.sources.host.enabled && config.sources.process.enabled);
    assert!(config.sources.syscalls.enabled && !config.sources.syscalls.watched_only);
}

#[test]
fn the_example_is_the_defaults_and_names_every_key() {
    let loaded = load_file(EXAMPLE).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
    let has = |key: &str| {
        EXAMPLE.lines().any(|line| {
            line.trim_start_matches('#')
                .starts_with(&format!("{key} = "))
        })
    };
    for setting in settings::MONITORING {
        assert!(has(setting.key), "{}", setting.key);
    }
    for (family, settings) in settings::SOURCES {
        let (_, section) = EXAMPLE.split_once(&format!("[sources.{family}]")).unwrap();
        let section = section.split("\n[").next().unwrap();
        for setting in *settings {
            assert!(
                section.contains(&format!("\n{} = ", setting.key))
                    || section.contains(&format!("\n#{} = ", setting.key)),
                "{family}.{}",
                setting.key
            );
        }
    }
    let (_, section) = EXAMPLE.split_once("\n[otlp]").unwrap();
    for setting in otlp::OTLP {
        let key = setting.key;
        let is_there = section.contains(&format!("\n{key} = "));
        assert!(
            is_there || section.contains(&format!("\n#{key} = ")),
            "otlp.{key}"
        );
    }
    // What is commented out is good, too.
    let all = EXAMPLE
        .replace("\n#node", "\nnode")
        .replace("\n#otlp", "\notlp")
        .replace("\n#jaeger", "\njaeger")
        .replace("\n#nvml", "\nnvml")
        .replace("\n#libraries", "\nlibraries")
        .replace("\n#hertz", "\nhertz")
        .replace("\n#protocol", "\nprotocol")
        .replace("\n#headers", "\nheaders")
        .replace("\n#ca_file", "\nca_file")
        .replace("\n#certificate_file", "\ncertificate_file")
        .replace("\n#key_file", "\nkey_file")
        .replace("\n#[[", "\n[[");
    let all = ["name", "addresses", "type"].iter().fold(all, |all, key| {
        all.replace(&format!("\n#{key}"), &format!("\n{key}"))
    });
    let config = load_file(&all).unwrap().config;
    assert_eq!((config.node.as_str(), config.peers.len()), ("gpu-01", 1));
    assert!(config.sources.gpu.nvml_library.is_some());
    assert!(!config.sources.cuda.libraries.is_empty());
    assert!(config.sources.profile.hertz.is_some());
    assert!(config.otlp.spans.protocol.is_some() && config.otlp.spans.tls.key.is_some());
    assert_eq!(config.otlp.metrics.headers.count(), 1);
}

#[test]
fn later_layers_win() {
    let file = "[monitoring]\nnode = 'file'\nnode_type = 'file'\nmetrics_port = 1\nbind_address = '::1'\nmetrics_path = '/file'";
    let environment = [
        ("MONITORING_NODE", "env"),
        ("MONITORING_NODE_TYPE", "env"),
        ("MONITORING_METRICS_PORT", "2"),
    ];
    let flags = Flags {
        node: Some("flag".to_owned()),
        bpf_stats: true,
        ..Flags::default()
    };
    let config = load_all(file, &environment, &flags).unwrap().config;
    assert_eq!(config.node, "flag");
    assert_eq!(config.node_type, "env");
    assert_eq!(config.metrics_path, "/file");
    assert_eq!(config.listen, "[::1]:2".parse().unwrap());
    assert_eq!(config.collection_interval, Duration::from_secs(10));
    assert!(config.bpf_stats && !config.ebpf_debug);
}

#[test]
fn listen_wins_within_and_over_its_layer() {
    let check = |environment: &[(&str, &str)], flag: Option<&str>, want: &str| {
        let flags = Flags {
            listen: flag.map(str::to_owned),
            ..Flags::default()
        };
        let loaded = load_all("[monitoring]\nmetrics_port = 1", environment, &flags).unwrap();
        assert_eq!(
            loaded.config.listen,
            want.parse().unwrap(),
            "{environment:?} {flag:?}"
        );
    };
    check(&[], None, "0.0.0.0:1");
    check(&[("MONITORING_LISTEN", "127.0.0.1:2")], None, "127.0.0.1:2");
    check(
        &[
            ("MONITORING_LISTEN", "127.0.0.1:2"),
            ("MONITORING_METRICS_PORT", "3"),
        ],
        None,
        "127.0.0.1:2",
    );
    check(&[("MONITORING_BIND_ADDRESS", "::")], None, "[::]:1");
    check(
        &[("MONITORING_LISTEN", "127.0.0.1:2")],
        Some("[::1]:4"),
        "[::1]:4",
    );
}

#[test]
#[rustfmt::skip] // A case a line.
fn every_key_has_its_variable() {
    let check = |name: &str, value: &str, want: &Config| {
        let loaded = load_all("", &[(name, value)], &Flags::default()).unwrap();
        assert_eq!(loaded.config, *want, "{name}");
        assert_ne!(loaded.config, Config::default(), "{name}");
    };
    let default = Config::default;
    let listen = |listen: &str| Config { listen: listen.parse().unwrap(), ..default() };
    let text = |text: &str| text.to_owned();
    check("MONITORING_METRICS_PORT", "1", &listen("0.0.0.0:1"));
    check("MONITORING_BIND_ADDRESS", "::1", &listen("[::1]:9090"));
    check("MONITORING_LISTEN", "[::1]:1", &listen("[::1]:1"));
    check("MONITORING_METRICS_PATH", "/m", &Config { metrics_path: text("/m"), ..default() });
    check("MONITORING_COLLECTION_INTERVAL", "1m", &Config { collection_interval: Duration::from_mins(1), ..default() });
    check("MONITORING_NODE", "a", &Config { node: text("a"), ..default() });
    check("MONITORING_NODE_TYPE", "storage", &Config { node_type: text("storage"), ..default() });
    check("MONITORING_BPF_STATS", "1", &Config { bpf_stats: true, ..default() });
    check("MONITORING_EBPF_DEBUG", "true", &Config { ebpf_debug: true, ..default() });
    check("MONITORING_PROFILING_ENABLED", "0", &Config { profiling_enabled: false, ..default() });
    check("MONITORING_PROFILE_SAMPLE_RATE", "1", &Config { profile_sample_rate: 1.0, ..default() });
    check("MONITORING_TRACING_ENABLED", "false", &Config { tracing_enabled: false, ..default() });
    check("MONITORING_TRACE_SAMPLE_RATE", "0", &Config { trace_sample_rate: 0.0, ..default() });
    check("MONITORING_OTLP_ENDPOINT", "http://o:1", &Config { otlp_endpoint_given: true, otlp_endpoint: Some(text("http://o:1")), ..default() });
    check("MONITORING_JAEGER_ENDPOINT", "http://j:14268", &Config { otlp_endpoint_given: true, otlp_endpoint: Some(text("http://j:4318")), ..default() });
    check("MONITORING_GPU_MONITORING_ENABLED", "false", &Config { gpu_monitoring_enabled: false, ..default() });
    check("MONITORING_GPU_POLL_INTERVAL", "100ms", &Config { gpu_poll_interval: Duration::from_millis(100), ..default() });
    check("MONITORING_METRICS_RETENTION_DAYS", "7", &Config { metrics_retention_days: 7, ..default() });
}

#[test]
fn the_log_level_has_a_variable_and_a_flag() {
    let check = |variable: &[(&str, &str)], flag: Option<&str>, want: tracing::Level| {
        let flags = Flags {
            log_level: flag.map(str::to_owned),
            ..Flags::default()
        };
        assert_eq!(load_all("", variable, &flags).unwrap().log_level, want);
    };
    check(&[], None, tracing::Level::INFO);
    check(
        &[("MONITORING_LOG_LEVEL", "warn")],
        None,
        tracing::Level::WARN,
    );
    check(
        &[("MONITORING_LOG_LEVEL", "warn")],
        Some("trace"),
        tracing::Level::TRACE,
    );
    check(&[], Some("error"), tracing::Level::ERROR);
    check(&[], Some("debug"), tracing::Level::DEBUG);
}

#[test]
fn the_file_is_found_by_flag_then_variable_then_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("[monitoring]\nnode = '{name}'")).unwrap();
        path
    };
    let (flag, variable, place) = (file("flag"), file("variable"), file("place"));
    let check = |flags: Flags, environment: Vec<(OsString, OsString)>, want: &Path| {
        let loaded = load_with(&flags, environment, &place).unwrap();
        assert_eq!(loaded.file.as_deref(), Some(want));
        assert_eq!(Path::new(&loaded.config.node), want.file_name().unwrap());
        assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
    };
    let flags = Flags {
        config: Some(flag.clone()),
        ..Flags::default()
    };
    let environment = vec![("MONITORING_CONFIG".into(), variable.clone().into())];
    check(Flags::default(), Vec::new(), &place);
    check(Flags::default(), environment.clone(), &variable);
    check(flags, environment, &flag);
}

#[test]
fn agents_take_one_pattern_or_a_list() {
    let file = "[[agents]]\nname = 'a'\ncomm = 'x'\nexe = ['y', '/z/*']\n[[agents]]\nname = 'Ä b'\ncgroup = '*'\ncontainer = 'c*'\npod = ['p', 'q']";
    let agents = load_file(file).unwrap().config.agents;
    let globs = |list: &[glob::Pattern]| {
        list.iter()
            .map(|glob| glob.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(agents.len(), 2);
    assert_eq!(
        (agents[0].name.as_str(), agents[1].name.as_str()),
        ("a", "Ä b")
    );
    assert_eq!(
        (globs(&agents[0].comm), globs(&agents[0].exe)),
        (
            vec!["x".to_owned()],
            vec!["y".to_owned(), "/z/*".to_owned()]
        )
    );
    assert_eq!(globs(&agents[1].cgroup), ["*"]);
    assert_eq!(globs(&agents[1].container), ["c*"]);
    assert_eq!(globs(&agents[1].pod), ["p", "q"]);
    assert!(load_file("agents = []").unwrap().config.agents.is_empty());
}

#[test]
fn sources_are_switched_one_by_one() {
    let file = "[sources.host]\nenabled = false\n[sources.syscalls]\nwatched_only = true";
    let mut want = Sources::default();
    want.host.enabled = false;
    want.syscalls.watched_only = true;
    assert_eq!(load_file(file).unwrap().config.sources, want);
    let mut want = Sources::default();
    want.process.enabled = false;
    want.syscalls.enabled = false;
    let file = "sources.process.enabled = false\nsources.syscalls.enabled = false";
    assert_eq!(load_file(file).unwrap().config.sources, want);
    let file = "[sources.gpu]\nenabled = false\nnvml_library = './libnvidia-ml.so.1'";
    let want = GpuConfig {
        enabled: false,
        nvml_library: Some("./libnvidia-ml.so.1".into()),
    };
    assert_eq!(load_file(file).unwrap().config.sources.gpu, want);
}

#[test]
fn the_node_is_named_and_typed_after_the_machine() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(
        (
            host_name(root.path()).as_str(),
            node_type(root.path()).as_str()
        ),
        ("localhost", "cpu")
    );
    fs::create_dir_all(root.path().join("proc/sys/kernel")).unwrap();
    fs::write(root.path().join("proc/sys/kernel/hostname"), "gpu-01\n").unwrap();
    fs::create_dir_all(root.path().join("proc/driver/nvidia")).unwrap();
    assert_eq!(
        (
            host_name(root.path()).as_str(),
            node_type(root.path()).as_str()
        ),
        ("gpu-01", "gpu")
    );
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("dev")).unwrap();
    fs::write(root.path().join("dev/nvidiactl"), "").unwrap();
    assert_eq!(node_type(root.path()), "gpu");
}
