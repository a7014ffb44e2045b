//! Whatever is written into the file, the answer is a configuration or an error that can be read.

use proptest::prelude::*;

use super::*;

/// Reads bytes as a file; every problem must be fit for a terminal and name a line of the file.
fn read_any(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        let error = load_all(bytes, &[], &Flags::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("not UTF-8"), "{error}");
        return;
    };
    let problems = document::read(
        Path::new("m.toml"),
        text,
        &mut Draft::new(),
        &mut Vec::new(),
    );
    for problem in &problems {
        let message = problem.to_string();
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert!(
            !problem.key.is_empty() && !problem.cure.is_empty(),
            "{message}"
        );
        let Place::File { line, .. } = problem.place else {
            panic!("{message} has no line");
        };
        assert!((1..=text.split('\n').count()).contains(&line), "{message}");
    }
}

/// Units of a duration that can be written, in milliseconds.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

fn toml_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}").replace("NaN", "nan")),
        any::<bool>().prop_map(|boolean| boolean.to_string()),
        any::<String>().prop_map(|text| toml::Value::String(text).to_string()),
        "\"[0-9]{1,20}(\\.[0-9]{1,12})?(ns|us|ms|s|m|h|d|y)[0-9]{1,12}(ms|s)?\"",
        "\"(http|https|ftp)://[a-z:@/?#%\\[\\].0-9]{0,20}\"",
        "\\[(\"[a-z*?\\[/]{0,6}\", ){0,3}1?\\]",
        "\\[(\"[0-9a-f.:/]{0,24}\", ){0,3}\\]",
        "\\{ (enabled|name|x) = (1|true|\"x\") \\}",
    ]
}

fn key() -> impl Strategy<Value = String> {
    let monitoring = settings::MONITORING.iter().map(|setting| setting.key);
    let known: Vec<_> = monitoring
        .chain(["name", "exe", "comm", "environment", "enabled"])
        .chain(["addresses", "type"])
        .collect();
    prop_oneof![
        4 => prop::sample::select(known).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| toml::Value::String(text).to_string()),
    ]
}

fn header() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "[monitoring]",
        "[[agents]]",
        "[agents]",
        "[[peers]]",
        "[sources]",
        "[sources.host]",
        "[sources.x]",
        "[x]",
    ])
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        read_any(&bytes);
    }

    #[test]
    fn any_text_is_survived(text in "[\\[\\]a-z=\".,{}#\n\r\t '0-9é\u{0}-]{0,64}") {
        read_any(text.as_bytes());
    }

    #[test]
    fn a_damaged_example_is_survived(at in 0..EXAMPLE.len(), byte: u8, cut in 0..64_usize) {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        let end = bytes.len().min(at + cut);
        bytes.splice(at..end, [byte]);
        read_any(&bytes);
    }

    #[test]
    fn any_document_is_survived(
        lines in prop::collection::vec((header(), key(), toml_value()), 0..8),
    ) {
        let lines = lines.iter().map(|(header, key, value)| format!("{header}\n{key} = {value}\n"));
        read_any(lines.collect::<String>().as_bytes());
    }

    #[test]
    fn any_interval_is_read_back(milliseconds in 100..=3_600_000_u64) {
        let (unit, size) = UNITS.iter().rev().find(|(_, size)| milliseconds.is_multiple_of(*size)).unwrap();
        let want = Duration::from_millis(milliseconds);
        for text in [format!("{}{unit}", milliseconds / size), humantime::format_duration(want).to_string()] {
            let config = load_file(&format!("[monitoring]\ncollection_interval = '{text}'")).unwrap().config;
            prop_assert_eq!(config.collection_interval, want, "{}", text);
        }
    }

    #[test]
    fn any_interval_outside_the_limits_is_refused(milliseconds in prop_oneof![0..100_u64, 3_600_001..1_u64 << 40]) {
        let text = format!("[monitoring]\ngpu_poll_interval = '{milliseconds}ms'");
        prop_assert!(load_file(&text).is_err());
    }

    #[test]
    fn any_valid_configuration_is_read_back(
        port in 1..=u16::MAX,
        rate in 0.0..=1.0_f64,
        days in 1..=36_500_u32,
        node in "[^\\p{Cc}]{1,64}",
        globs in prop::collection::vec("[a-z?/. -]{0,6}[*]?[a-z?/. -]{1,6}", 1..4),
        switches: [bool; 4],
    ) {
        let mut want = Config { profile_sample_rate: rate, metrics_retention_days: days, node: node.clone(), ..Config::default() };
        want.listen.set_port(port);
        want.profiling_enabled = switches[0];
        want.tracing_enabled = switches[1];
        want.sources.host.enabled = switches[2];
        want.sources.syscalls.watched_only = switches[3];
        want.agents.truncate(1);
        want.agents[0].exe = globs.iter().map(|glob| glob::Pattern::new(glob).unwrap()).collect();
        let node = toml::Value::String(node);
        let [profiling, tracing, host, watched] = switches;
        let file = format!(
            "[monitoring]\nmetrics_port = {port}\nprofile_sample_rate = {rate:?}\nnode = {node}\n\
             metrics_retention_days = {days}\nprofiling_enabled = {profiling}\ntracing_enabled = {tracing}\n\
             [[agents]]\nname = \"swarmlet\"\nexe = {globs:?}\n\
             [sources]\nhost.enabled = {host}\nsyscalls.watched_only = {watched}\n"
        );
        prop_assert_eq!(load_file(&file).unwrap().config, want);
    }
}
