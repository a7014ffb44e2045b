//! The rules for Prometheus in `alerts`: well-formed, and of the effect that their tests say.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The files of `alerts` with this ending, sorted.
fn files(ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../alerts");
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "alerts has no file *{ending}");
    files
}

/// What the specification says of alerts.
const SPECIFIED: &str = r#"
groups:
  - name: stratoswarm_alerts
    rules:
      - alert: HighGPUTemperature
        expr: gpu_temperature_celsius > 85
        for: 5m
        annotations:
          summary: "GPU temperature critical"

      - alert: LowMemory
        expr: (node_memory_available_bytes / node_memory_total_bytes) < 0.1
        for: 5m
        annotations:
          summary: "Less than 10% memory available"

      - alert: AgentCrashLoop
        expr: increase(agent_crashes_total[5m]) > 5
        annotations:
          summary: "Agent crashing repeatedly"
"#;

#[test]
fn alerts_of_the_specification_are_as_specified() {
    let [file] = &files("stratoswarm.rules.yml")[..] else {
        panic!("they are in one file");
    };
    let text = fs::read_to_string(file).unwrap();
    let mut lines = text.lines();
    // There may be more in between, such as labels; nothing is changed or missing.
    for line in SPECIFIED.lines().filter(|line| !line.is_empty()) {
        assert!(lines.any(|written| written == line), "{line}");
    }
    let count = text.matches("- alert:").count();
    assert_eq!((count, text.matches("for:").count()), (3, 2));
}

fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let mut command = Command::new("promtool");
    let ran = command.args(arguments).args(files).output();
    let output = ran.expect("promtool; `cargo xtask setup` installs it");
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

#[test]
fn rules_are_well_formed() {
    promtool(
        &["check", "rules", "--lint=all", "--lint-fatal"],
        &files(".rules.yml"),
    );
}

#[test]
fn rules_do_what_their_tests_say() {
    let tests = files(".test.yml");
    for rules in files(".rules.yml") {
        let tested_by = rules.to_str().unwrap().replace(".rules.yml", ".test.yml");
        let named = format!("- {}\n", rules.file_name().unwrap().to_str().unwrap());
        assert!(
            tests.contains(&PathBuf::from(&tested_by)),
            "{tested_by} is missing"
        );
        let text = fs::read_to_string(&tested_by).unwrap();
        assert!(text.contains(&named), "{tested_by} does not test its rules");
    }
    promtool(&["test", "rules"], &tests);
}

#[test]
fn the_example_for_alertmanager_is_well_formed() {
    let mut amtool = Command::new("amtool");
    let ran = amtool
        .arg("check-config")
        .args(files("alertmanager.example.yml"));
    let output = ran
        .output()
        .expect("amtool; `cargo xtask setup` installs it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
