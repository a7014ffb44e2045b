//! Prometheus and Alertmanager, as Debian has them, with this repository's rules.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::sources::{Query, files};
use crate::{
    poll::{PATIENCE, poll_until},
    process::Running,
};

/// The port is the kernel's choice, so that no other program can have taken it.
const ANY_PORT: &str = "--web.listen-address=127.0.0.1:0";

/// A running Prometheus, which scrapes once a second and evaluates its rules as often.
pub(super) struct Prometheus {
    address: String,
    _process: Running,
    _folder: TempDir,
}

impl Prometheus {
    /// With jobs, by name, address and further configuration of the job; and with an Alertmanager.
    ///
    /// Its rules are copies in which alerts need to last a second only, where they say minutes.
    pub(super) fn start(jobs: &[(&str, &str, &str)], alertmanager: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files("alerts", ".rules.yml") {
            fs::write(folder.path().join(name), impatient(&text)).unwrap();
        }
        let mut config =
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n\
                          rule_files: ['*.rules.yml']\nscrape_configs:\n"
                .to_owned();
        for (name, address, more) in jobs {
            // Writing to a string does not fail.
            let _ = write!(
                config,
                "- job_name: {name}\n  static_configs: [{{targets: ['{address}']}}]\n{more}"
            );
        }
        if let Some(address) = alertmanager {
            let _ = writeln!(
                config,
                "alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{address}']}}]}}]}}"
            );
        }
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(ANY_PORT);
        let process = Running::start(command.stdout(Stdio::null()));
        process.wait_for("Server is ready");
        Self {
            address: listens_on(&process),
            _process: process,
            _folder: folder,
        }
    }

    /// Whether a query results in at least one sample that is a number.
    pub(super) fn has_data(&self, query: &Query) -> bool {
        let answer = self.ask(&format!(
            "/api/v1/query?query={}",
            encoded(&query.expression)
        ));
        assert_eq!(answer["status"], "success", "{query:?}: {answer}");
        let samples = answer["data"]["result"].as_array().unwrap();
        let number = |sample: &Value| {
            let value: f64 = sample["value"][1].as_str().unwrap().parse().unwrap();
            value.is_finite()
        };
        samples.iter().any(number)
    }

    /// Fails unless every rule has been evaluated without an error.
    pub(super) fn expect_healthy_rules(&self) {
        let answer = self.ask("/api/v1/rules");
        let mut count = 0;
        for group in answer["data"]["groups"].as_array().unwrap() {
            for rule in group["rules"].as_array().unwrap() {
                assert_eq!(rule["health"], "ok", "{rule:#}");
                count += 1;
            }
        }
        let written = files("alerts", ".rules.yml").into_iter().map(|(_, text)| {
            let rule = |line: &&str| line.contains("- alert: ") || line.contains("- record: ");
            text.lines().filter(rule).count()
        });
        assert_eq!(count, written.sum::<usize>());
    }

    fn ask(&self, path: &str) -> Value {
        json(&self.address, path)
    }
}

/// Rules that wait for a second where they would wait for minutes or hours.
fn impatient(rules: &str) -> String {
    let line = |line: &str| match line.split_once("for: ") {
        Some((before, _)) if before.trim().is_empty() => format!("{before}for: 1s\n"),
        _ => format!("{line}\n"),
    };
    rules.lines().map(line).collect()
}

/// A running Alertmanager with a copy of the example of how it may hand on alerts.
pub(super) struct Alertmanager {
    pub(super) address: String,
    _process: Running,
    _folder: TempDir,
}

impl Alertmanager {
    /// Its receivers are at this address.
    pub(super) fn start(receivers: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [(_, example)] = &files("alerts", "alertmanager.example.yml")[..] else {
            panic!("there is one example");
        };
        let file = folder.path().join("alertmanager.yml");
        fs::write(&file, example.replace("127.0.0.1:9095", receivers)).unwrap();
        let mut command = Command::new("prometheus-alertmanager");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.path={}",
                folder.path().join("data").display()
            ))
            .arg(ANY_PORT)
            // It has no others of its kind to speak with.
            .arg("--cluster.listen-address=");
        let process = Running::start(command.stdout(Stdio::null()));
        Self {
            address: listens_on(&process),
            _process: process,
            _folder: folder,
        }
    }

    /// The names of the alerts that it has.
    pub(super) fn alerts(&self) -> Vec<String> {
        let answer = json(&self.address, "/api/v2/alerts");
        let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap().to_owned();
        answer.as_array().unwrap().iter().map(name).collect()
    }
}

/// Where a server says that it listens.
fn listens_on(server: &Running) -> String {
    poll_until("the server listens", || {
        let log = server.log();
        let mut lines = log.split_inclusive('\n');
        // A line may be there in part.
        let line = lines.find(|line| line.contains("\"Listening on\"") && line.ends_with('\n'))?;
        let (_, address) = line.split_once(" address=")?;
        Some(address.split_whitespace().next()?.to_owned())
    })
}

/// The JSON at a path. Asked by HTTP 1.0, so that it comes in one piece.
fn json(address: &str, path: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
}

/// A text as a part of an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(byte.into());
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
