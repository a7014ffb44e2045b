//! The specification's alerts, from what is wrong with a node to the one who is woken up: a simulated
//! GPU that heats up, a node that seems short of memory, and a process that crashes again and again.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use super::{
    JOB,
    servers::{Alertmanager, Prometheus},
    world::{crash, crasher},
};
use crate::{
    gpu::{Node, gpu, only_host_and_process},
    poll::poll_until,
    process::Agent,
};

const ALERTS: [&str; 3] = ["AgentCrashLoop", "HighGPUTemperature", "LowMemory"];

/// Has Prometheus take some thousand bytes for what is available: the number of open files.
const SHORT_OF_MEMORY: &str = "  metric_relabel_configs:
  - {source_labels: [__name__], regex: 'node_memory_total_bytes|node_filefd_allocated', action: keep}
  - {source_labels: [__name__], regex: node_filefd_allocated, target_label: __name__, \
     replacement: node_memory_available_bytes}
";

#[test]
fn alerts_of_the_specification_reach_whom_they_are_for() {
    let gpus = Node::new(&gpu(0, "temperature = 60"));
    let folder = tempfile::tempdir().unwrap();
    let config = gpus.config() + &only_host_and_process() + &crasher();
    let agent = Agent::with_config(folder.path(), &config);
    let pager = Pager::start();
    let alertmanager = Alertmanager::start(&pager.address);
    let jobs = [
        (JOB, &*agent.address, ""),
        ("short", &*agent.address, SHORT_OF_MEMORY),
    ];
    let prometheus = Prometheus::start(&jobs, Some(&alertmanager.address));
    let fired = |name: &str| alertmanager.alerts().iter().any(|alert| alert == name);
    poll_until("memory runs low", || fired("LowMemory").then_some(()));
    // Nothing else is wrong yet.
    for early in ["AgentCrashLoop", "HighGPUTemperature"] {
        assert!(!fired(early), "{early}");
    }
    gpus.rewrite(&gpu(
        0,
        "temperature = { from = 86, to = 92, period_seconds = 10 }",
    ));
    poll_until("the GPU is too hot", || {
        fired("HighGPUTemperature").then_some(())
    });
    poll_until("the agent crashes in a loop", || {
        crash();
        fired("AgentCrashLoop").then_some(())
    });
    poll_until("somebody is woken up for each", || {
        ALERTS
            .iter()
            .all(|alert| pager.was_told(alert))
            .then_some(())
    });
    prometheus.expect_healthy_rules();
    drop(agent);
}

/// Who takes critical alerts. Its thread ends with the process of the tests.
struct Pager {
    address: String,
    told: Arc<Mutex<Vec<String>>>,
}

impl Pager {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                log.lock().unwrap().push(message(&stream));
                // Who has closed the connection meanwhile comes again.
                let _ = (&stream).write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                );
            }
        });
        Self { address, told }
    }

    /// Whether this alert has come, by the way of critical ones, with a word on what to do.
    fn was_told(&self, alert: &str) -> bool {
        let told = self.told.lock().unwrap();
        let runbook = format!("docs/runbooks/{alert}.md");
        told.iter().any(|message| {
            message.starts_with("POST /pager ")
                && message.contains(&format!("\"alertname\":\"{alert}\""))
                && message.contains(&runbook)
        })
    }
}

/// The first line and the body of a request.
fn message(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut message = String::new();
    reader.read_line(&mut message).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    message.push_str(&String::from_utf8(body).unwrap());
    message
}
