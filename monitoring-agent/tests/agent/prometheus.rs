//! The real Prometheus and its tools.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use crate::{
    gpu::{EVERYTHING, Node, is_complete, is_read_twice, without_errors},
    poll::poll_until,
    process::{Agent, Running, free_port, get, known_calls},
};

#[test]
fn promtool_has_no_remarks() {
    let gpus = Node::new(&without_errors());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monitoring.toml");
    std::fs::write(&file, gpus.config()).unwrap();
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
    let config = folder.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs: [{{job_name: agent, static_configs: [{{targets: ['{}']}}]}}]\n",
        agent.address
    );
    std::fs::write(&config, text).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("data").display()
        ))
        .arg(format!("--web.listen-address={address}"));
    let prometheus = Running::start(command.stdout(Stdio::null()));
    prometheus.wait_for("Server is ready");
    let query = |query: &str| {
        let (status, body) = get(&address, &format!("/api/v1/query?query={query}"));
        assert_eq!(status, 200, "{body}");
        // Prometheus answers in chunks when it likes; the JSON is what lies between the braces.
        let json = body.get(body.find('{')?..=body.rfind('}')?)?;
        let answer: serde_json::Value = serde_json::from_str(json).unwrap();
        answer["data"]["result"][0]["value"][1]
            .as_str()
            .map(str::to_owned)
    };
    let total = "syscall_total%7Bsyscall=%22getppid%22,agent=%22me%22%7D";
    poll_until("Prometheus has the exact count", || {
        (query(total)? == "12345").then_some(())
    });
    let errors = "syscall_errors_total%7Bsyscall=%22fchdir%22,errno=%22EBADF%22,agent=%22me%22%7D";
    assert_eq!(query(errors).as_deref(), Some("678"));
    let count = "syscall_duration_seconds_count%7Bsyscall=%22getppid%22,agent=%22me%22%7D";
    assert_eq!(query(count).as_deref(), Some("12345"));
    assert_eq!(query("up").as_deref(), Some("1"));
    assert!(query("count(node_cpu_seconds_total%7Bmode=%22idle%22%7D)%20%3E%200").is_some());
}
