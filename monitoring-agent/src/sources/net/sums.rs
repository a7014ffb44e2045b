//! Agents' sums as metrics.

use monitoring_common::{
    histogram::Histogram,
    net::{DIRECTIONS, Flow, OUTCOMES, PROTOCOLS, Tcp, protocol},
};
use prometheus::proto::MetricFamily;

use crate::families::Family as Metrics;

const BYTES_HELP: &str = "Bytes that processes sent and received through sockets. What they take \
                          from a TCP socket by splice or zero-copy receive is not seen.";
const PACKET_BYTES_HELP: &str = "Bytes of payload in TCP and UDP packets, by the process that \
                                 connected, listened or made the socket. This kernel does not tell \
                                 of sends and receives: packets sent once more count once more, \
                                 and other protocols are not seen.";
const LOOPBACK_HELP: &str = "The part of net_socket_bytes_total that stayed on this machine by way \
                             of IP, as the addresses tell.";
const MESSAGES_HELP: &str = "Sends and receives on sockets of any kind that moved at least a byte.";
const MESSAGE_BYTES_HELP: &str = "Bytes of the sends and receives in agent_messages_total.";
const CONNECTIONS_HELP: &str = "TCP connections, counted when they are established or when the \
                                attempt to connect has failed, for the process that connected or \
                                listened. Incoming ones that fail before that are not seen.";
const CONNECT_HELP: &str = "Time from the first segment to the establishment of TCP connections \
                            that went out.";
const LIFETIME_HELP: &str = "Time from the establishment of TCP connections to their end, \
                             TIME_WAIT not included. Without those from before the agent's start.";
const RTT_HELP: &str = "Smoothed round-trip time of TCP connections, as the kernel measures it; \
                        sampled when they are established and at most every 100 ms afterwards.";
const RETRANSMITS_HELP: &str = "TCP segments sent once more, answers to first segments included.";

/// What an agent sent and received, by protocol and direction.
pub(super) type Flows = [[Flow; DIRECTIONS.len()]; PROTOCOLS.len()];

/// Bytes, and messages where the kernel tells of them.
pub(super) fn traffic(agents: &[(&str, Flows)], by_message: bool) -> Vec<MetricFamily> {
    let help = if by_message {
        BYTES_HELP
    } else {
        PACKET_BYTES_HELP
    };
    let mut bytes = Metrics::counter("net_socket_bytes_total", help);
    let mut loopback = Metrics::counter("net_loopback_bytes_total", LOOPBACK_HELP);
    let mut messages = Metrics::counter("agent_messages_total", MESSAGES_HELP);
    let mut message_bytes = Metrics::counter("agent_message_bytes_total", MESSAGE_BYTES_HELP);
    for (agent, flows) in agents {
        let mut all = [(0, 0); DIRECTIONS.len()];
        for ((protocol, by_direction), index) in PROTOCOLS.iter().zip(flows).zip(0..) {
            for ((direction, flow), all) in DIRECTIONS.iter().zip(by_direction).zip(&mut all) {
                if flow.bytes == 0 {
                    continue;
                }
                all.0 += flow.messages;
                all.1 += flow.bytes;
                let labels = [
                    ("agent", *agent),
                    ("direction", direction),
                    ("protocol", protocol),
                ];
                bytes.push(&labels, flow.bytes as f64);
                if index < protocol::UNIX {
                    loopback.push(&labels, flow.loopback_bytes as f64);
                }
            }
        }
        for (direction, (count, sum)) in DIRECTIONS.iter().zip(all) {
            let labels = [("agent", *agent), ("direction", direction)];
            messages.push(&labels, count as f64);
            message_bytes.push(&labels, sum as f64);
        }
    }
    let mut families = vec![bytes.build(), loopback.build()];
    if by_message {
        families.extend([messages.build(), message_bytes.build()]);
    }
    families
}

/// Connections, their durations, round-trip times and retransmits.
pub(super) fn connections(agents: &[(&str, Tcp)]) -> Vec<MetricFamily> {
    let mut connections = Metrics::counter("tcp_connections_total", CONNECTIONS_HELP);
    let mut retransmits = Metrics::counter("tcp_retransmits_total", RETRANSMITS_HELP);
    let mut connect = Metrics::histogram("tcp_connect_duration_seconds", CONNECT_HELP);
    let mut lifetime = Metrics::histogram("tcp_connection_duration_seconds", LIFETIME_HELP);
    let mut rtt = Metrics::histogram("tcp_rtt_seconds", RTT_HELP);
    for (agent, tcp) in agents {
        let mut count = |role, outcome, count| {
            if count > 0 {
                let labels = [("agent", *agent), ("outcome", outcome), ("role", role)];
                connections.push(&labels, count as f64);
            }
        };
        for (outcome, connects) in OUTCOMES.iter().zip(tcp.connects) {
            count("connect", *outcome, connects);
        }
        count("accept", "success", tcp.accepts);
        let agent = [("agent", *agent)];
        retransmits.push(&agent, tcp.retransmits as f64);
        let push = |family: &mut Metrics, durations: &Histogram| {
            if durations.count() > 0 {
                family.push_durations(&agent, durations);
            }
        };
        push(&mut connect, &tcp.connect);
        push(&mut lifetime, &tcp.lifetime);
        push(&mut rtt, &tcp.rtt);
    }
    [connections, retransmits, connect, lifetime, rtt]
        .map(Metrics::build)
        .into()
}
