//! The real Prometheus and its tools.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use crate::{
    gpu::{EVERYTHING, Node, is_complete, is_read_twice, without_errors},
    poll::poll_until,
    process::{Agent, known_calls},
    scraper::{NATIVE, Scraper},
};

#[test]
fn promtool_has_no_remarks() {
    let gpus = Node::new(&without_errors());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monitoring.toml");
    let history = folder.path().join("profiles");
    let history = format!("[sources.profile]\nhistory_directory = {history:?}\n");
    std::fs::write(&file, gpus.config() + &history).unwrap();
    let agent = Agent::start(&["--bpf-stats", "--config", file.to_str().unwrap()]);
    known_calls(10, 10);
    poll_until("the GPUs are read twice", || {
        is_read_twice(&agent.fresh_metrics()).then_some(())
    });
    gpus.rewrite(EVERYTHING);
    let metrics = poll_until("GPUs tell what comes last", || {
        let metrics = agent.fresh_metrics();
        is_complete(&metrics).then_some(metrics)
    });
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = spawned.expect("promtool; `cargo xtask setup` installs it");
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(metrics.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let remarks = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && remarks.is_empty(), "{remarks}");
}

#[test]
fn prometheus_scrapes_and_answers() {
    let folder = tempfile::tempdir().unwrap();
    let exe = std::env::current_exe().unwrap();
    let agents = format!(
        "[[agents]]\nname = \"me\"\nexe = {:?}\n",
        exe.to_str().unwrap()
    );
    let agent = Agent::with_config(folder.path(), &agents);
    known_calls(12_345, 678);
    // OpenMetrics, and protobuf.
    for flags in [&[][..], &[NATIVE]] {
        let prometheus = Scraper::start(&agent.address, flags);
        let check = |query: &str, want: &str| prometheus.wait_for(query, want);
        check("syscall_total{syscall='getppid',agent='me'}", "12345");
        check(
            "syscall_errors_total{syscall='fchdir',errno='EBADF',agent='me'}",
            "678",
        );
        let (plain, native) = ("syscall_duration_seconds_count", "syscall_duration_seconds");
        let of = "{syscall='getppid',agent='me'}";
        if flags.is_empty() {
            check(&format!("{plain}{of}"), "12345");
        } else {
            check(&format!("histogram_count({native}{of})"), "12345");
        }
        check("up", "1");
        check("count(node_cpu_seconds_total{mode='idle'}) > bool 0", "1");
    }
}
