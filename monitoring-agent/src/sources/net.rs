//! Source `net`: sockets, TCP connections and peers.
//!
//! Loads the programs that this kernel has hooks for, tells them the peers' networks and who holds
//! the sockets that are there already, and reads the sums. `sums` makes metrics of them.

mod machine;
mod peers;
mod sums;

use std::sync::Arc;

use aya::{Pod, include_bytes_aligned, maps::MapData};
use monitoring_common::{
    agents::MAX_AGENTS,
    net::{LEVELS, Tcp, Traffic, lost},
};
use tracing::warn;

use self::{peers::Peers, sums::Flows};
use super::StartContext;
use crate::{
    kernel_state::{self, Losses},
    labels::Labels,
    loader::{self, Attach, Family, Loaded},
    per_cpu::PerCpuElements,
    source::{Batch, Source, StartError},
    tracing_globals,
};

/// Connections, in every kernel.
const CONNECTIONS: [Attach; 5] = [
    Attach::BtfTracepoint("inet_sock_set_state", "inet_sock_set_state"),
    Attach::BtfTracepoint("inet_sock_set_state_again", "inet_sock_set_state"),
    Attach::BtfTracepoint("tcp_retransmit_skb", "tcp_retransmit_skb"),
    Attach::BtfTracepoint("tcp_retransmit_synack", "tcp_retransmit_synack"),
    Attach::Iterator("existing_sockets", "task_file"),
];

/// Bytes, where the kernel tells of every send and receive.
const MESSAGES: [Attach; 2] = [
    Attach::BtfTracepoint("sock_send_length", "sock_send_length"),
    Attach::BtfTracepoint("sock_recv_length", "sock_recv_length"),
];

/// Bytes, where it does not.
const PACKETS: [Attach; 4] = [
    Attach::Cgroup("packet_received"),
    Attach::Cgroup("packet_sent"),
    Attach::Cgroup("socket_made"),
    Attach::BtfTracepoint("tcp_probe", "tcp_probe"),
];

/// When the kernel refuses to run one of these in the middle of itself, nothing is lost: there are
/// two of the first, and what the third misses is in the connection's own count.
const MADE_GOOD: [&str; 3] = [
    "inet_sock_set_state",
    "inet_sock_set_state_again",
    "tcp_retransmit_skb",
];

struct Net {
    loaded: Loaded,
    losses: Losses,
    labels: Arc<Labels>,
    traffic: Totals<Traffic>,
    tcp: Totals<Tcp>,
    peers: Peers,
    sockets: MapData,
    by_message: bool,
}

/// Loads the family.
///
/// # Errors
///
/// See [`StartError`].
pub fn start(context: &mut StartContext<'_>) -> Result<Box<dyn Source>, StartError> {
    let mut globals = machine::globals(context.offsets)?;
    let by_message = machine::tells_of_messages(context.offsets)?;
    globals.push(("BY_PACKET", vec![u32::from(!by_message)]));
    globals.push((
        "HAS_PEERS",
        vec![u32::from(!context.config.peers.is_empty())],
    ));
    // Messages of one direction are counted by one program, which nothing interrupts that counts
    // the same.
    let traffic_levels = if by_message { 1 } else { LEVELS };
    let bytes: &[Attach] = if by_message { &MESSAGES } else { &PACKETS };
    let family = Family {
        name: "net",
        object: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/net")),
        globals,
        map_sizes: vec![
            ("PEERS", peers::entries(&context.config.peers)),
            ("TRAFFIC", traffic_entries(traffic_levels)),
        ],
        programs: &[&CONNECTIONS, bytes].concat(),
        tracing: tracing_globals::globals(context)?,
        debug: context.config.ebpf_debug,
    };
    let mut loaded = loader::load(&family, context.shared, context.offsets)?;
    context.labels.adopt(context.shared)?;
    for (_, attached) in &loaded.programs {
        if let Err(why) = attached {
            warn!("net: {why}; what it would count is absent");
        }
    }
    // Before the sockets: those that are there already look their peers up anew.
    let peers = Peers::new(&mut loaded, &context.config.peers)?;
    if loaded.is_attached("existing_sockets")
        && let Err(error) = loaded.iterate("existing_sockets")
    {
        warn!("connections that are there already count under `other`: {error:#}");
    }
    Ok(Box::new(Net {
        losses: Losses::new(&mut loaded, &lost::REASONS)?,
        labels: Arc::clone(context.labels),
        traffic: Totals::new(&mut loaded, "TRAFFIC", traffic_levels)?,
        tcp: Totals::new(&mut loaded, "TCP", LEVELS)?,
        peers,
        sockets: loaded.take_map("SOCKETS")?,
        by_message,
        loaded,
    }))
}

impl Source for Net {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        let names = self.labels.names();
        let mut traffic = Vec::new();
        let mut tcp = Vec::new();
        for (agent, index) in names.iter().zip(0..) {
            let mut flows = Flows::default();
            self.traffic.for_each(index, |cpu| merge(&mut flows, cpu))?;
            traffic.push((agent.as_str(), flows));
            let mut sum = Tcp::EMPTY;
            self.tcp.for_each(index, |cpu| sum.merge(cpu))?;
            tcp.push((agent.as_str(), sum));
        }
        let mut families = sums::traffic(&traffic, self.by_message);
        families.extend(sums::connections(&tcp));
        families.extend(self.peers.collect()?);
        let (programs, recursions) = kernel_state::programs_but(&self.loaded, &MADE_GOOD);
        let mut lost = self.losses.read()?;
        lost.push(("recursion", recursions));
        lost.push(("peers_full", self.peers.left_out()));
        let maps = vec![
            kernel_state::map("TRAFFIC", self.traffic.map.fd(), None),
            kernel_state::map("TCP", self.tcp.map.fd(), None),
            kernel_state::map("SOCKETS", self.sockets.fd(), None),
        ];
        Ok(Batch {
            families,
            lost,
            programs,
            maps,
            ..Batch::default()
        })
    }
}

/// Elements of the array of traffic.
fn traffic_entries(levels: u32) -> u32 {
    levels * u32::try_from(MAX_AGENTS).expect("a small constant")
}

/// A per-CPU array with an element for each agent or peer and each level.
struct Totals<T: Pod> {
    map: MapData,
    reader: PerCpuElements<T>,
    entries: u32,
    levels: u32,
}

impl<T: Pod> Totals<T> {
    fn new(loaded: &mut Loaded, name: &str, levels: u32) -> anyhow::Result<Self> {
        let map = loaded.take_map(name)?;
        Ok(Self {
            reader: PerCpuElements::new()?,
            entries: map.info()?.max_entries(),
            map,
            levels,
        })
    }

    /// Hands over what each CPU counted for an agent or a peer; nothing if the map is too small to
    /// have it.
    fn for_each(&mut self, number: u32, mut add: impl FnMut(&T)) -> anyhow::Result<()> {
        let first = number * self.levels;
        for index in first..(first + self.levels).min(self.entries) {
            self.reader
                .read(&self.map, index)?
                .iter()
                .for_each(&mut add);
        }
        Ok(())
    }
}

/// Adds what one CPU counted.
fn merge(sum: &mut Flows, cpu: &Traffic) {
    let flows = sum.iter_mut().flatten().zip(cpu.flows.iter().flatten());
    for (sum, flow) in flows {
        sum.messages += flow.messages;
        sum.bytes += flow.bytes;
        sum.loopback_bytes += flow.loopback_bytes;
    }
}
