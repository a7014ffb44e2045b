//! SIGTERM, SIGINT and SIGHUP, with bpftool as the witness of what is in the kernel.

use std::{
    collections::BTreeSet,
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use crate::{
    poll::poll_until,
    process::{Agent, try_get},
};

/// Ids of all programs and maps in the kernel, as bpftool lists them.
fn kernel_objects() -> BTreeSet<String> {
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
            .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
        let ids = heads.filter_map(|line| line.split(':').next().map(str::to_owned));
        ids.map(|id| format!("{kind} {id}"))
            .collect::<BTreeSet<_>>()
    };
    &list("prog") | &list("map")
}

/// Starts an agent, ends it with a signal, and waits until what it had in the kernel is gone.
fn ended_by(signal: libc::c_int) -> (ExitStatus, Duration) {
    let before = kernel_objects();
    let mut agent = Agent::start(&[]);
    let own = &kernel_objects() - &before;
    assert!(own.len() > 10, "4 programs and their maps: {own:?}");
    let begun = Instant::now();
    agent.process.signal(signal);
    let status = agent.process.wait();
    let took = begun.elapsed();
    // The kernel frees programs and maps a little after their last user is gone.
    poll_until("no program or map is left behind", || {
        kernel_objects().is_disjoint(&own).then_some(())
    });
    (status, took)
}

#[test]
fn sigterm_and_sigint_leave_nothing_behind() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let (status, took) = ended_by(signal);
        assert!(status.success(), "{status}");
        assert!(took < Duration::from_secs(1), "took {took:?}");
    }
}

#[test]
fn sigkill_leaves_nothing_behind() {
    assert!(!ended_by(libc::SIGKILL).0.success());
}

#[test]
fn sighup_moves_the_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::with_config(folder.path(), "");
    let file = folder.path().join("monitoring.toml");
    std::fs::write(&file, "[monitoring]\nmetrics_path = \"/other\"\n").unwrap();
    agent.process.signal(libc::SIGHUP);
    poll_until("the other path", || {
        // Between two servers nobody answers.
        let (status, _) = try_get(&agent.address, "/other").ok()?;
        (status == 200).then_some(())
    });
    assert_eq!(agent.get("/metrics").0, 404);
    agent.process.wait_for("the new configuration is in force");
    agent.process.signal(libc::SIGTERM);
    assert!(agent.process.wait().success());
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
