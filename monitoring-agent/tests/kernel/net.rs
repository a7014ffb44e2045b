//! Family `net`: what this process and another one send, receive, connect to and accept, counted
//! exactly.
//!
//! Where the kernel does not tell of messages, bytes are counted by packet; each test says what is
//! the same then and what is not.

mod busy;
pub(crate) mod connections;
mod fallback;
mod limits;
mod messages;
mod peers;
mod second;
mod wire;

use monitoring_agent::source::Batch;

use crate::node::{Node, counter, losses, sample};

const SOURCE: &str = "net";

/// Tracepoints that kernels before 6.3 lack.
const MESSAGE_HOOKS: &[&str] = &["sock_send_length", "sock_recv_length"];

fn bytes(batch: &Batch, agent: &str, protocol: &str, direction: &str) -> u64 {
    let labels = [
        ("agent", agent),
        ("protocol", protocol),
        ("direction", direction),
    ];
    counter(batch, "net_socket_bytes_total", &labels)
}

fn loopback_bytes(batch: &Batch, agent: &str, protocol: &str, direction: &str) -> u64 {
    let labels = [
        ("agent", agent),
        ("protocol", protocol),
        ("direction", direction),
    ];
    counter(batch, "net_loopback_bytes_total", &labels)
}

/// Messages of an agent in a direction, and their bytes.
fn messages(batch: &Batch, agent: &str, direction: &str) -> (u64, u64) {
    let labels = [("agent", agent), ("direction", direction)];
    (
        counter(batch, "agent_messages_total", &labels),
        counter(batch, "agent_message_bytes_total", &labels),
    )
}

fn connections(batch: &Batch, agent: &str, role: &str, outcome: &str) -> u64 {
    let labels = [("agent", agent), ("role", role), ("outcome", outcome)];
    counter(batch, "tcp_connections_total", &labels)
}

fn retransmits(batch: &Batch, agent: &str) -> u64 {
    counter(batch, "tcp_retransmits_total", &[("agent", agent)])
}

/// Count and sum in seconds of a histogram.
fn histogram(batch: &Batch, name: &str, labels: &[(&str, &str)]) -> (u64, f64) {
    sample(batch, name, labels).map_or((0, 0.0), |metric| {
        let histogram = metric.get_histogram();
        (histogram.get_sample_count(), histogram.get_sample_sum())
    })
}

/// Whether the kernel itself has all hooks that tell of messages, by its list of symbols.
fn kernel_tells_of_messages() -> bool {
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap();
    let has = |hook: &&str| {
        let name = format!("__traceiter_{hook}");
        let mut names = symbols
            .lines()
            .filter_map(|line| line.split_whitespace().nth(2));
        names.any(|symbol| symbol == name)
    };
    MESSAGE_HOOKS.iter().all(has)
}

/// Whether a node tells of messages. On older kernels there are none of their metrics.
fn tells_of_messages(batch: &Batch) -> bool {
    let mut programs = batch.programs.iter();
    let tells = programs.any(|program| program.name == "sock_send_length");
    let mut families = batch.families.iter();
    let exported = families.any(|family| family.name() == "agent_messages_total");
    assert_eq!(
        tells, exported,
        "messages are exported where they are counted"
    );
    tells
}

#[test]
fn every_program_attaches() {
    let mut node = Node::start(&["process", SOURCE]);
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    assert!(batch.programs.iter().all(|program| program.attached));
    tells_of_messages(&batch);
}
