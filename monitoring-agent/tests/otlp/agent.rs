//! The program itself: from its file and its environment to what a collector gets.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use monitoring::otlp::Protocol;

use crate::{
    poll::poll_until,
    stub::{Answer, Stub},
};

const AGENT: &str = env!("CARGO_BIN_EXE_monitoring-agent");

/// No source but the host's, so that no privilege is needed.
const SOURCES: [&str; 9] = [
    "process", "sched", "block", "net", "syscalls", "cuda", "swarm", "gpu", "profile",
];

fn command(folder: &tempfile::TempDir, section: &str) -> Command {
    let off = SOURCES.map(|source| format!("[sources.{source}]\nenabled = false\n"));
    let file = folder.path().join("monitoring.toml");
    let text = format!(
        "[monitoring]\nbind_address = '127.0.0.1'\ncollection_interval = '200ms'\n{section}\n{}",
        off.concat()
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(AGENT);
    command.args(["--config"]).arg(&file).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_pushes_its_metrics_where_the_environment_says() {
    let protocol = Protocol::HttpProtobuf;
    let stub = Stub::start(protocol, move |_| Answer::yes(protocol));
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let section = "[otlp]\nmetrics_enabled = true\nmetrics_interval = '200ms'\n\
                   compression = 'gzip'\nheaders = { authorization = 'Bearer hush' }";
    let child = command(&folder, section)
        .args(["--listen", "127.0.0.1:0", "--log-level", "trace"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", stub.url())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=hush")
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let asked = poll_until("metrics are pushed", || {
        let ended = running.0.try_wait().unwrap();
        assert!(ended.is_none(), "{}", fs::read_to_string(&log).unwrap());
        stub.asked().into_iter().next()
    });
    assert_eq!(asked.path, "/v1/metrics");
    assert_eq!(asked.headers["authorization"], "Bearer hush");
    assert_eq!(asked.headers["x-tenant"], "hush");
    let names = String::from_utf8_lossy(&asked.message);
    assert!(names.contains("monitoring_agent_build_info"), "{names}");
    drop(running);
    let said = fs::read_to_string(&log).unwrap();
    assert!(!said.contains("hush"), "{said}");
}

#[test]
fn check_says_where_it_would_send_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let check = |section: &str| {
        let output = command(&folder, section).arg("check").output().unwrap();
        let said =
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("hush"), "{said}");
        said
    };
    let endpoint = "otlp_endpoint = 'https://c:4317'";
    let headers = "headers = { authorization = 'Bearer hush' }";
    let said = check(&format!(
        "{endpoint}\n[otlp]\n{headers}\nca_file = '/nonexistent/ca.pem'"
    ));
    assert!(
        said.contains(
            "BROKEN  spans cannot be sent to https://c:4317: /nonexistent/ca.pem cannot be read"
        ),
        "{said}"
    );
    let said = check(&format!(
        "otlp_endpoint = 'http://c:4317'\n[otlp]\n{headers}\nmetrics_enabled = true"
    ));
    assert!(
        said.contains("ok      spans go to http://c:4317 by grpc"),
        "{said}"
    );
    assert!(
        said.contains("ok      metrics go to http://c:4317 by grpc"),
        "{said}"
    );
    assert!(!check("node = 'a'").contains(" go to "));
}
