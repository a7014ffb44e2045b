//! Family `net`: bytes and messages of sockets, TCP connections, peers.

use crate::{agents::MAX_AGENTS, histogram::Histogram};

/// What bytes are counted under: the protocol, IPv4 and IPv6 told apart by what is on the wire.
pub const PROTOCOLS: [&str; 12] = [
    "tcp", "tcp6", "udp", "udp6", "mptcp", "mptcp6", "sctp", "sctp6", "unix", "netlink", "vsock",
    "other",
];

/// Indices into [`PROTOCOLS`]. Of protocols over IP, the one over IPv6 follows the one over IPv4.
pub mod protocol {
    /// TCP.
    pub const TCP: usize = 0;
    /// UDP.
    pub const UDP: usize = 2;
    /// Multipath TCP.
    pub const MPTCP: usize = 4;
    /// SCTP.
    pub const SCTP: usize = 6;
    /// Unix sockets of every type.
    pub const UNIX: usize = 8;
    /// Netlink.
    pub const NETLINK: usize = 9;
    /// Between a virtual machine and its host.
    pub const VSOCK: usize = 10;
    /// Everything else, raw sockets among it.
    pub const OTHER: usize = 11;
}

/// The directions' label values, as `node_exporter` names them.
pub const DIRECTIONS: [&str; 2] = ["receive", "transmit"];
/// Index into [`DIRECTIONS`].
pub const RECEIVE: usize = 0;
/// Index into [`DIRECTIONS`].
pub const TRANSMIT: usize = 1;

/// What went through sockets of one protocol in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// Sends or receives that moved at least one byte.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The part of `bytes` that stayed on this machine, by way of IP.
    pub loopback_bytes: u64,
}

const _: () = assert!(size_of::<Flow>() == 3 * 8);

/// What one agent sent and received, on one CPU.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Traffic {
    /// By protocol, then by direction.
    pub flows: [[Flow; DIRECTIONS.len()]; PROTOCOLS.len()],
}

const _: () = assert!(size_of::<Traffic>() == size_of::<Flow>() * 2 * 12);

/// Programs that run in the middle of each other on one CPU count in different elements: one level
/// for what is interrupted, one for what interrupts.
pub const LEVELS: u32 = 2;

/// Agents' totals, one element for each agent and level: 100 KiB of TCP for each CPU. The loader
/// makes the array of traffic half as large, 36 KiB, where it is not needed on two levels.
pub const MAX_TOTALS: usize = MAX_AGENTS * LEVELS as usize;

/// How an attempt to connect ended.
pub const OUTCOMES: [&str; 8] = [
    "success",
    "refused",
    "timed_out",
    "unreachable",
    "reset",
    "local_error",
    "abandoned",
    "other",
];

/// Indices into [`OUTCOMES`].
pub mod outcome {
    /// The connection was established.
    pub const SUCCESS: usize = 0;
    /// The other side refused.
    pub const REFUSED: usize = 1;
    /// The other side did not answer.
    pub const TIMED_OUT: usize = 2;
    /// Some machine on the way, or this one, said that there is no way.
    pub const UNREACHABLE: usize = 3;
    /// The other side broke off.
    pub const RESET: usize = 4;
    /// This machine could not send anything: no free port, no memory.
    pub const LOCAL_ERROR: usize = 5;
    /// The process closed the socket before there was an answer.
    pub const ABANDONED: usize = 6;
    /// Any other error.
    pub const OTHER: usize = 7;
}

/// One agent's TCP connections, on one CPU.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tcp {
    /// Attempts to connect that have ended, by outcome.
    pub connects: [u64; OUTCOMES.len()],
    /// Connections that came in and were established.
    pub accepts: u64,
    /// Segments sent once more.
    pub retransmits: u64,
    /// From the first segment to the establishment, of connections that went out.
    pub connect: Histogram,
    /// From the establishment to the end.
    pub lifetime: Histogram,
    /// Smoothed round-trip times, sampled.
    pub rtt: Histogram,
}

const _: () = assert!(size_of::<Tcp>() == 8 * (8 + 1 + 1) + 3 * size_of::<Histogram>());

impl Tcp {
    /// No connections.
    pub const EMPTY: Self = Self {
        connects: [0; OUTCOMES.len()],
        accepts: 0,
        retransmits: 0,
        connect: Histogram::EMPTY,
        lifetime: Histogram::EMPTY,
        rtt: Histogram::EMPTY,
    };

    /// Adds what another CPU counted.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.connects.iter_mut().zip(other.connects) {
            *count = count.wrapping_add(more);
        }
        self.accepts = self.accepts.wrapping_add(other.accepts);
        self.retransmits = self.retransmits.wrapping_add(other.retransmits);
        self.connect.merge(&other.connect);
        self.lifetime.merge(&other.lifetime);
        self.rtt.merge(&other.rtt);
    }
}

/// An IP address as it stands in memory, IPv4 ones mapped into IPv6 (`::ffff:a.b.c.d`).
pub type Address = [u8; 16];

/// Most networks of all peers together. An entry takes about 100 bytes.
pub const MAX_NETWORKS: usize = 1_024;

/// Most peers that can be told apart. Each has some 16 series of the metric of round-trip times, of
/// which 10,000 are exported. The loader makes the map as large as there are peers.
pub const MAX_PEERS: usize = 256;

/// Elements for them, one for each level.
pub const MAX_PEER_TOTALS: usize = MAX_PEERS * LEVELS as usize;

/// What was exchanged with one peer, on one CPU.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Peer {
    /// By direction.
    pub bytes: [u64; DIRECTIONS.len()],
    /// Smoothed round-trip times of TCP connections with it, sampled.
    pub rtt: Histogram,
}

const _: () = assert!(size_of::<Peer>() == 2 * 8 + size_of::<Histogram>());

impl Peer {
    /// Nothing exchanged.
    pub const EMPTY: Self = Self {
        bytes: [0; DIRECTIONS.len()],
        rtt: Histogram::EMPTY,
    };

    /// Adds what another CPU counted.
    pub fn merge(&mut self, other: &Self) {
        for (bytes, more) in self.bytes.iter_mut().zip(other.bytes) {
            *bytes = bytes.wrapping_add(more);
        }
        self.rtt.merge(&other.rtt);
    }
}

/// What a socket remembers. Kernel side only.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SocketState {
    /// When the present stage began; 0 when that was before the agent started.
    pub began_ns: u64,
    /// The kernel's time of the last packet when the round-trip time was last sampled.
    pub sampled_us: u64,
    /// How many of the connection's retransmitted segments have been counted.
    pub retransmits: u32,
    /// The agent that its connection counts under.
    pub owner: u16,
    /// The peer's number plus one, [`NO_PEER`], or 0 when it has not been looked up.
    pub peer: u16,
    /// One of the constants of [`stage`].
    pub stage: u32,
    /// 1 when the owner was found among open files and not by an event.
    pub found: u16,
    /// One of [`crate::trace::detail::role`].
    pub role: u8,
    /// 1 once it is known which thread a span of the connection is of.
    pub held: u8,
}

const _: () = assert!(size_of::<SocketState>() == 8 + 8 + 4 + 2 + 2 + 4 + 2 + 1 + 1);

/// [`SocketState::peer`] of a socket that talks to none of the peers.
pub const NO_PEER: u16 = u16::MAX;

/// Values of [`SocketState::stage`].
pub mod stage {
    /// Nothing is known yet.
    pub const NEW: u32 = 0;
    /// Waits for connections, or was made by a socket that does.
    pub const LISTENING: u32 = 1;
    /// Waits for an answer.
    pub const CONNECTING: u32 = 2;
    /// Established, or on the way to its end.
    pub const OPEN: u32 = 3;
    /// Ended.
    pub const CLOSED: u32 = 4;
}

/// What a task remembers. Kernel side only.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TaskAgent {
    /// The epoch under which `agent` was read; see [`crate::agents::LABEL_EPOCH`].
    pub epoch: u32,
    /// The task's agent.
    pub agent: u32,
}

const _: () = assert!(size_of::<TaskAgent>() == 4 + 4);
crate::plain_data!(Traffic, Tcp, Peer);

/// Slots of the per-CPU array `LOST`.
pub mod lost {
    /// The kernel had no memory for a socket's state: its connection counts under `other`, without
    /// durations. Or none for whose it is: it becomes no span.
    pub const SOCKET_STATE: u32 = 0;
    /// An agent or a peer has no element in the array of totals.
    pub const TOTALS_FULL: u32 = 1;
    /// A packet whose headers could not be read.
    pub const PACKET_UNREADABLE: u32 = 2;
    /// The reasons' label values, by slot.
    pub const REASONS: [&str; 3] = ["socket_state", "totals_full", "packet_unreadable"];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_at_their_indices() {
        let check = |index: usize, name| assert_eq!(PROTOCOLS[index], name);
        check(protocol::TCP, "tcp");
        check(protocol::UDP + 1, "udp6");
        check(protocol::MPTCP, "mptcp");
        check(protocol::SCTP + 1, "sctp6");
        check(protocol::UNIX, "unix");
        check(protocol::NETLINK, "netlink");
        check(protocol::VSOCK, "vsock");
        check(protocol::OTHER, "other");
        assert_eq!(DIRECTIONS[TRANSMIT], "transmit");
        assert_eq!(OUTCOMES[outcome::UNREACHABLE], "unreachable");
        assert_eq!(OUTCOMES[outcome::ABANDONED], "abandoned");
    }

    #[test]
    fn what_several_cpus_counted_is_added() {
        let mut tcp = Tcp::EMPTY;
        let mut other = Tcp::EMPTY;
        other.connects[outcome::RESET] = 2;
        (other.accepts, other.retransmits) = (3, 4);
        other.rtt.observe(5);
        tcp.merge(&other);
        tcp.merge(&other);
        assert_eq!(tcp.connects[outcome::RESET], 4);
        assert_eq!((tcp.accepts, tcp.retransmits), (6, 8));
        assert_eq!(tcp.rtt.count(), 2);
        let mut peer = Peer::EMPTY;
        peer.merge(&Peer {
            bytes: [1, 2],
            rtt: other.rtt,
        });
        assert_eq!((peer.bytes, peer.rtt.count()), ([1, 2], 1));
    }
}
