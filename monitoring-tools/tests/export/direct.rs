//! A node without an agent.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::{
    EXPORT, export,
    stand_in::{StandIn, TEXT},
};

fn families(json: &[u8]) -> Vec<Value> {
    serde_json::from_slice(json).unwrap()
}

fn has(families: &[Value], name: &str) -> bool {
    families.iter().any(|family| family["name"] == name)
}

#[test]
fn a_node_can_be_read_without_an_agent_and_without_privileges() {
    // Nobody's account; it may read the program, wherever that lies.
    let program = tempfile::tempdir().unwrap();
    let copy = program.path().join("metrics-export");
    std::fs::copy(EXPORT, &copy).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(program.path(), open).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy);
    let output = command
        .args(["--direct", "--format", "json"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let families = families(&output.stdout);
    for name in [
        "node_cpu_seconds_total",
        "node_memory_total_bytes",
        "node_uname_info",
        "node_info",
    ] {
        assert!(has(&families, name), "{name}");
    }
    assert!(
        errors.contains("missing, because only an agent can tell: processes"),
        "{errors}"
    );
    assert!(!errors.contains("unreadable"), "{errors}");
}

#[test]
fn gpus_need_no_agent() {
    let folder = tempfile::tempdir().unwrap();
    let library = nvml_sim::install(folder.path(), "[[gpus]]\nmodel = \"h200\"\n");
    let library = library.display().to_string();
    let output = export(
        Path::new("."),
        &["--direct", "--nvml-library", &library, "--match", "gpu_*"],
    );
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && !errors.contains("GPUs:"),
        "{errors}"
    );
    let families = families(&output.stdout);
    let info = families
        .iter()
        .find(|family| family["name"] == "gpu_info")
        .unwrap();
    assert_eq!(info["metrics"][0]["labels"]["device_id"], "0");
    assert!(has(&families, "gpu_temperature_celsius"));
}

#[test]
fn missing_gpus_are_named() {
    let output = export(
        Path::new("."),
        &[
            "--direct",
            "--nvml-library",
            "/none.so",
            "--match",
            "node_*",
        ],
    );
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    assert!(
        errors.contains("missing: GPUs: ") && errors.contains("/none.so"),
        "{errors}"
    );
}

/// As on a machine on which nothing has been started yet: a network of its own has no agent.
#[test]
fn where_no_agent_answers_the_node_is_read_without_one() {
    let mut command = Command::new("unshare");
    command.args(["--net", EXPORT, "--format", "json"]);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    assert!(has(&families(&output.stdout), "node_load1"));
    assert!(
        errors.contains(
            "there is no agent at http://localhost:9090/metrics: this node is read without one"
        ),
        "{errors}"
    );
}

/// Prometheus itself listens on the agents' port by default.
#[test]
fn who_answers_in_the_place_of_an_agent_is_said() {
    let node = StandIn::new(|_, _| (200, TEXT, "prometheus_ready 1\n".to_owned()));
    let output = export(Path::new("."), &["--url", &node.url()]);
    assert!(output.status.success() && has(&families(&output.stdout), "prometheus_ready"));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        errors.contains("it is no monitoring-agent that answers"),
        "{errors}"
    );
}
