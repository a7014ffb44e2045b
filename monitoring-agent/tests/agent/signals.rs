//! SIGTERM, SIGINT and SIGHUP, with bpftool as the witness of what is in the kernel.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::process::{Agent, poll_until};

/// Ids of all programs and maps in the kernel, as bpftool lists them.
fn kernel_objects() -> Vec<String> {
    let list = |kind: &str| {
        let output = Command::new("bpftool").args([kind, "list"]).output();
        let output = output.expect("bpftool; `cargo xtask setup` installs it");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let heads = text
            .lines()
            .filter(|line| line.starts_with(|start: char| start.is_ascii_digit()));
        heads
            .map(|line| format!("{kind} {line}"))
            .collect::<Vec<_>>()
    };
    [list("prog"), list("map")].concat()
}

fn ends_cleanly_by(signal: libc::c_int) {
    let before = kernel_objects();
    let mut agent = Agent::start(&[]);
    let running = kernel_objects()
        .into_iter()
        .filter(|object| !before.contains(object));
    assert!(running.count() >= 6, "programs and maps of a running agent");
    let begun = Instant::now();
    agent.process.signal(signal);
    let status = agent.process.wait();
    assert!(status.success(), "{status}: {}", agent.process.log());
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "took {:?}",
        begun.elapsed()
    );
    // The kernel frees programs and maps a little after their last user is gone.
    poll_until("no program or map is left behind", || {
        kernel_objects()
            .iter()
            .all(|object| before.contains(object))
            .then_some(())
    });
}

#[test]
fn sigterm_leaves_nothing_behind() {
    ends_cleanly_by(libc::SIGTERM);
}

#[test]
fn sigint_leaves_nothing_behind() {
    ends_cleanly_by(libc::SIGINT);
}

#[test]
fn sigkill_leaves_nothing_behind() {
    let before = kernel_objects();
    let mut agent = Agent::start(&[]);
    agent.process.signal(libc::SIGKILL);
    assert!(!agent.process.wait().success());
    poll_until("no program, map or pin is left behind", || {
        kernel_objects()
            .iter()
            .all(|object| before.contains(object))
            .then_some(())
    });
}

#[test]
fn sighup_reads_the_configuration_again() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::with_config(folder.path(), "[monitoring]\nnode = \"before\"\n");
    assert!(agent.fresh_metrics().contains("node_info{node=\"before\""));
    let file = folder.path().join("monitoring.toml");
    std::fs::write(&file, "[monitoring]\nnode = \"after\"\n").unwrap();
    agent.process.signal(libc::SIGHUP);
    agent.process.wait_for("the new configuration is in force");
    poll_until("the new node name", || {
        agent
            .fresh_metrics()
            .contains("node_info{node=\"after\"")
            .then_some(())
    });
}

#[test]
fn sighup_with_a_broken_file_keeps_the_old_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::with_config(folder.path(), "[monitoring]\nnode = \"before\"\n");
    let file = folder.path().join("monitoring.toml");
    std::fs::write(&file, "[monitoring]\nnode = 7\n").unwrap();
    agent.process.signal(libc::SIGHUP);
    let line = agent
        .process
        .wait_for("the old configuration stays in force");
    assert!(line.contains("monitoring.node"), "{line}");
    assert!(agent.fresh_metrics().contains("node_info{node=\"before\""));
}
