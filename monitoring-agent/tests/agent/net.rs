//! The network on two nodes of the tests' own: every connection and every byte, round-trip times as
//! ss has them, retransmits as the kernel counts them.

use std::{fs, net::IpAddr, time::Duration};

use crate::{
    poll::poll_until,
    process::{Agent, sum, value},
    rig::{Loss, Plan, Program, Role, Wire, retransmitted, smoothed_rtts},
};

/// Names of the watched agents, and of the nodes that they run on, by role.
const NAMES: [(Role, &str, &str); 2] = [
    (Role::Client, "fetcher", "node-1"),
    (Role::Server, "keeper", "node-2"),
];

/// A peer whose networks hold the wire's addresses, too, by shorter prefixes: none of its traffic.
const AROUND: &str = "around";
const NETWORKS_AROUND: [&str; 2] = ["10.77.0.0/24", "fd77::/32"];

/// Protocols of the wire's addresses, in their order.
const PROTOCOLS: [&str; 2] = ["tcp", "tcp6"];

const DIRECTIONS: [&str; 2] = ["receive", "transmit"];

/// An agent that watches both ends of a wire, and the ends' programs, which are labelled and have
/// not begun.
struct Watched {
    wire: Wire,
    agent: Agent,
    server: Program,
    client: Program,
    before: String,
    folder: tempfile::TempDir,
}

impl Watched {
    fn start(wire: Wire, plan: &Plan) -> Self {
        Self::start_with(&(agents() + &peers()), wire, plan)
    }

    fn start_with(config: &str, wire: Wire, plan: &Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = Agent::with_config(folder.path(), config);
        let server = Program::start(&wire.server, Role::Server, plan);
        let client = Program::start(&wire.client, Role::Client, plan);
        poll_until("both programs are labelled", || {
            let metrics = agent.fresh_metrics();
            let calls = |name| sum(&metrics, "syscall_total", &format!("agent=\"{name}\""));
            NAMES
                .iter()
                .all(|(_, name, _)| calls(name) > 0.0)
                .then_some(())
        });
        let before = agent.fresh_metrics();
        Self {
            wire,
            agent,
            server,
            client,
            before,
            folder,
        }
    }

    /// Has the agent go over to another configuration.
    fn reload(&mut self, config: &str) {
        fs::write(self.folder.path().join("monitoring.toml"), config).unwrap();
        self.agent.process.signal(libc::SIGHUP);
        self.agent
            .process
            .wait_for("the new configuration is in force");
        self.before = self.agent.fresh_metrics();
    }

    /// Lets the programs exchange everything. Their last connections are open afterwards.
    fn exchange(&mut self, patience: Duration) {
        self.server.begin();
        self.client.begin();
        self.client.wait_until_exchanged(patience);
        self.server.wait_until_exchanged(patience);
    }

    /// Ends the programs. The agent's numbers from then on.
    fn end(self) -> Numbers {
        self.client.end();
        self.server.end();
        let after = self.agent.fresh_metrics();
        Numbers {
            before: self.before,
            after,
        }
    }
}

/// Both programs, by what their environment has.
fn agents() -> String {
    let agents = NAMES.map(|(role, name, _)| {
        let glob = Program::environment(role);
        format!("[[agents]]\nname = {name:?}\nenvironment = {glob:?}\n")
    });
    agents.concat()
}

/// Both nodes, by their addresses, and what is around them.
fn peers() -> String {
    let peer = |(name, addresses): (&str, [String; 2])| {
        format!("[[peers]]\nname = {name:?}\naddresses = {addresses:?}\n")
    };
    let text = |address: IpAddr| address.to_string();
    let [client, server] = [Wire::client_addresses(), Wire::server_addresses()];
    let [(_, _, client_node), (_, _, server_node)] = NAMES;
    let peers = [
        (AROUND, NETWORKS_AROUND.map(str::to_owned)),
        (client_node, client.map(text)),
        (server_node, server.map(text)),
    ];
    peers.map(peer).concat()
}

/// The agent's metrics before and after what was done.
struct Numbers {
    before: String,
    after: String,
}

impl Numbers {
    /// By how much a counter grew, over all series with these labels.
    fn grown(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let total = |metrics: &str| -> u64 {
            let samples = with_labels(metrics, name, labels);
            samples
                .map(|(_, value)| value.parse::<u64>().unwrap())
                .sum()
        };
        let (before, after) = (total(&self.before), total(&self.after));
        let grown = after.checked_sub(before);
        grown.unwrap_or_else(|| panic!("{name} {labels:?} fell from {before} to {after}"))
    }

    /// The bucket, as its two bounds in seconds, in which the median of what came to a histogram
    /// lies, and how much came.
    fn median(&self, name: &str, label: (&str, &str)) -> (f64, f64, u64) {
        let bucket = format!("{name}_bucket");
        let mut ends: Vec<_> = with_labels(&self.after, &bucket, &[label])
            .map(|(sample, _)| {
                let (_, end) = sample.split_once("le=\"").unwrap();
                end.split('"').next().unwrap().to_owned()
            })
            .collect();
        ends.sort_by(|a, b| a.parse::<f64>().unwrap().total_cmp(&b.parse().unwrap()));
        let all = self.grown(&format!("{name}_count"), &[label]);
        assert!(all > 0, "{name} {label:?} is empty");
        let mut lower = 0.0;
        for end in ends {
            let upper = end.parse().unwrap();
            if self.grown(&bucket, &[label, ("le", &end)]) >= all.div_ceil(2) {
                return (lower, upper, all);
            }
            lower = upper;
        }
        panic!("{name} {label:?} has no bucket with half of {all}");
    }

    /// Losses of the families that these numbers come from.
    fn assert_nothing_lost(&self) {
        for source in ["net", "process"] {
            let labels = [("source", source)];
            let lost = self.grown("monitoring_agent_lost_total", &labels);
            let reasons: Vec<_> =
                with_labels(&self.after, "monitoring_agent_lost_total", &labels).collect();
            assert_eq!(lost, 0, "{reasons:?}");
        }
        let up = value(&self.after, "monitoring_agent_source_up{source=\"net\"}");
        assert_eq!(up, Some(1.0));
    }
}

/// A metric's samples that have all of these labels.
fn with_labels<'a>(
    metrics: &'a str,
    name: &'a str,
    labels: &'a [(&'a str, &'a str)],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let lines = metrics.lines().filter_map(|line| line.rsplit_once(' '));
    let has = |sample: &str, (label, value): &(&str, &str)| {
        // A label begins behind the brace or a comma: `le` is not the end of `role`.
        ["{", ","]
            .iter()
            .any(|before| sample.contains(&format!("{before}{label}=\"{value}\"")))
    };
    lines.filter(move |(sample, _)| {
        let rest = sample.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('{'))
            && labels.iter().all(|label| has(sample, label))
    })
}

fn plan(connections: usize, lanes: usize, rounds: usize, message_size: usize) -> Plan {
    Plan {
        addresses: Wire::server_addresses().to_vec(),
        connections,
        lanes,
        rounds,
        message_size,
    }
}

#[test]
fn every_connection_and_every_byte_is_counted() {
    let plan = plan(10_000, 4, 1, 1_000_000);
    let mut watched = Watched::start(Wire::fast(), &plan);
    watched.exchange(Duration::from_mins(3));
    let numbers = watched.end();
    let of_protocol = plan.bytes_per_address() as u64;
    for (_, agent, node) in NAMES {
        let agent = ("agent", agent);
        for direction in DIRECTIONS.map(|direction| ("direction", direction)) {
            for protocol in PROTOCOLS.map(|protocol| ("protocol", protocol)) {
                let labels = [agent, protocol, direction];
                let bytes = numbers.grown("net_socket_bytes_total", &labels);
                assert_eq!(bytes, of_protocol, "{labels:?}");
            }
            let all = numbers.grown("net_socket_bytes_total", &[agent, direction]);
            assert_eq!(all, 2 * of_protocol, "{agent:?} by other protocols");
            let peer = [("peer", node), direction];
            let bytes = numbers.grown("cluster_peer_bytes_total", &peer);
            assert_eq!(bytes, 2 * of_protocol, "{peer:?}");
        }
    }
    let around = numbers.grown("cluster_peer_bytes_total", &[("peer", AROUND)]);
    assert_eq!(around, 0, "a longer prefix decides");
    for ((_, agent, _), role) in NAMES.iter().zip(["connect", "accept"]) {
        let of_agent = [("agent", *agent)];
        let in_role = [("agent", *agent), ("role", role), ("outcome", "success")];
        let made = |labels| numbers.grown("tcp_connections_total", labels);
        assert_eq!(made(&in_role), plan.connections as u64, "{in_role:?}");
        assert_eq!(
            made(&of_agent),
            made(&in_role),
            "{agent}: other roles or outcomes"
        );
    }
    numbers.assert_nothing_lost();
}

#[test]
fn round_trip_times_agree_with_ss() {
    // A round-trip time of 20 ms is low in its bucket, so that a busy machine, which only adds to it,
    // does not move it into the next.
    let plan = plan(16, 16, 100, 1000);
    let mut watched = Watched::start(Wire::slow(Duration::from_millis(10)), &plan);
    watched.server.begin();
    watched.client.begin();
    // The histogram has samples of the whole time, so ss is asked all the time.
    let mut of_ss = [Vec::new(), Vec::new()];
    poll_until("all is exchanged", || {
        let nodes = [&watched.wire.client, &watched.wire.server];
        for (rtts, node) in of_ss.iter_mut().zip(nodes) {
            rtts.extend(smoothed_rtts(node));
        }
        watched.client.has_exchanged().then_some(())
    });
    watched.server.wait_until_exchanged(Duration::from_mins(1));
    for rtts in &mut of_ss {
        rtts.sort();
    }
    let numbers = watched.end();
    // What is far from one end is the other's node.
    let far = NAMES.iter().rev().map(|(_, _, node)| *node);
    for (((_, agent, _), node), rtts) in NAMES.iter().zip(far).zip(&of_ss) {
        assert!(rtts.len() > plan.connections, "{agent}: {}", rtts.len());
        let median = rtts[rtts.len() / 2].as_secs_f64();
        for (name, label) in [
            ("tcp_rtt_seconds", ("agent", *agent)),
            ("cluster_peer_rtt_seconds", ("peer", node)),
        ] {
            let (lower, upper, count) = numbers.median(name, label);
            assert!(
                lower < median && median <= upper,
                "{name} {label:?}: {count} in ({lower}, {upper}], ss {median}"
            );
            assert!(
                count >= plan.connections as u64,
                "{name} {label:?}: {count}"
            );
        }
    }
    numbers.assert_nothing_lost();
}

/// Retransmits on a wire that loses every 50th packet, against the kernel's own count.
fn check_retransmits(wire: Wire) {
    let losses = [&wire.client, &wire.server].map(|node| Loss::every(50, node));
    let mut watched = Watched::start(wire, &plan(200, 4, 1, 1_000_000));
    watched.exchange(Duration::from_mins(3));
    let dropped = losses.map(|loss| loss.packets_and_drops().1);
    let nodes = [&watched.wire.client, &watched.wire.server];
    let kernel: u64 = nodes.map(retransmitted).iter().sum();
    let numbers = watched.end();
    let of_agent = |agent| numbers.grown("tcp_retransmits_total", &[("agent", agent)]);
    let ours: u64 = NAMES.iter().map(|(_, agent, _)| of_agent(agent)).sum();
    assert!(kernel >= 100, "{kernel} sent again, {dropped:?} dropped");
    assert!(
        ours.abs_diff(kernel) <= kernel / 100,
        "ours {ours}, the kernel's {kernel}, {dropped:?} dropped"
    );
    numbers.assert_nothing_lost();
}

#[test]
fn retransmits_agree_with_the_kernel() {
    check_retransmits(Wire::fast());
}

#[test]
fn retransmits_of_single_segments_agree_with_the_kernel() {
    check_retransmits(Wire::fast().without_offload());
}

#[test]
fn peers_come_with_a_reload() {
    let plan = plan(8, 4, 2, 50_000);
    let mut watched = Watched::start_with(&agents(), Wire::fast(), &plan);
    assert!(
        !watched.before.contains("cluster_peer_"),
        "there are no peers"
    );
    watched.reload(&(agents() + &peers()));
    watched.exchange(Duration::from_mins(1));
    let numbers = watched.end();
    let bytes = 2 * plan.bytes_per_address() as u64;
    for (_, agent, node) in NAMES {
        for direction in DIRECTIONS.map(|direction| ("direction", direction)) {
            let grown = |name, label| numbers.grown(name, &[label, direction]);
            assert_eq!(
                grown("net_socket_bytes_total", ("agent", agent)),
                bytes,
                "{agent}"
            );
            assert_eq!(
                grown("cluster_peer_bytes_total", ("peer", node)),
                bytes,
                "{node}"
            );
        }
    }
    numbers.assert_nothing_lost();
}
