//! What a socket says of itself. Knows no maps and no agents.

use aya_ebpf::{
    Global,
    cty::c_void,
    helpers::generated::{bpf_skc_to_tcp_sock, bpf_sock_from_file},
};
use monitoring_common::net::protocol;
use monitoring_ebpf::{ABSENT, object::Object};

/// Offsets in `struct sock`.
#[unsafe(no_mangle)]
static SK_FAMILY: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static SK_STATE: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static SK_TYPE: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static SK_PROTOCOL: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static SK_ERR: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static SK_DADDR: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static SK_RCV_SADDR: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static SK_DPORT: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static SK_FLAGS: Global<u32> = Global::new(ABSENT);
/// Absent in kernels without IPv6.
#[unsafe(no_mangle)]
static SK_V6_DADDR: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static SK_V6_RCV_SADDR: Global<u32> = Global::new(ABSENT);

/// Offset in `struct socket`.
#[unsafe(no_mangle)]
static SOCKET_SK: Global<u32> = Global::new(ABSENT);

/// Offsets in `struct tcp_sock`.
#[unsafe(no_mangle)]
static TP_SRTT_US: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static TP_MSTAMP: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static TP_TOTAL_RETRANS: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static TP_SEGS_OUT: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static TP_SND_UNA: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static TP_RCV_NXT: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static TP_BYTES_ACKED: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static TP_BYTES_RECEIVED: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static TP_BYTES_SENT: Global<u32> = Global::new(ABSENT);
#[unsafe(no_mangle)]
static TP_BYTES_RETRANS: Global<u32> = Global::new(ABSENT);
/// The local port in the order of the network. It stays when the socket gives the port back.
#[unsafe(no_mangle)]
static TP_SPORT: Global<u32> = Global::new(ABSENT);

/// The bit of `SK_FLAGS` that says that the other side has said it was done (`SOCK_DONE`).
#[unsafe(no_mangle)]
static DONE_MASK: Global<u32> = Global::new(0);

/// Address families, of the kernel's `include/linux/socket.h`.
pub(crate) const AF_UNIX: u16 = 1;
pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;
pub(crate) const AF_NETLINK: u16 = 16;
pub(crate) const AF_VSOCK: u16 = 40;

/// Protocols, of the kernel's `include/uapi/linux/in.h`.
pub(crate) const IPPROTO_TCP: u16 = 6;
pub(crate) const IPPROTO_UDP: u16 = 17;
const IPPROTO_SCTP: u16 = 132;
const IPPROTO_MPTCP: u16 = 262;

/// Socket types, of the kernel's `include/linux/net.h`.
const SOCK_STREAM: u16 = 1;
pub(crate) const SOCK_RAW: u16 = 3;

/// TCP's states, of the kernel's `include/net/tcp_states.h`; datagram sockets use two of them.
pub(crate) const TCP_ESTABLISHED: i32 = 1;
pub(crate) const TCP_SYN_SENT: i32 = 2;
pub(crate) const TCP_CLOSE: i32 = 7;
pub(crate) const TCP_LISTEN: i32 = 10;

/// An address in the four words in which it stands in memory. IPv4 ones are mapped into IPv6.
pub(crate) type Words = [u32; 4];

/// The third word of every mapped IPv4 address.
const MAPPED: u32 = 0xffff_u32.to_be();

/// What bytes on a socket are counted under.
pub(crate) struct Facts {
    /// Index into `PROTOCOLS`.
    pub(crate) protocol: usize,
    /// Whether they stay on this machine, as far as the addresses tell.
    pub(crate) loopback: bool,
    /// The other side's address; all zero where there is none or it differs by message.
    pub(crate) remote: Words,
}

/// A socket that the verifier knows as one: an argument of a program, or an open file's.
#[derive(Clone, Copy)]
pub(crate) struct Socket(Object);

impl Socket {
    pub(crate) fn from_argument(socket: *mut c_void) -> Self {
        Self(Object::from_argument(socket))
    }

    /// The socket behind an open file, `None` when it is another kind of file. Since 5.11.
    #[inline(always)]
    pub(crate) fn of_file(file: *mut c_void) -> Option<Self> {
        // SAFETY: the verifier knows `file` as a file.
        let socket = unsafe { bpf_sock_from_file(file.cast()) };
        if socket.is_null() {
            return None;
        }
        let sk: *mut c_void = Object::from_argument(socket).read(SOCKET_SK.load());
        (!sk.is_null()).then(|| Self::from_argument(sk))
    }

    pub(crate) fn as_ptr(self) -> *mut c_void {
        self.0.as_ptr()
    }

    #[inline(always)]
    fn read<T: Copy>(self, offset: u32) -> T {
        self.0.read(offset)
    }

    #[inline(always)]
    pub(crate) fn state(self) -> i32 {
        self.read::<u8>(SK_STATE.load()).into()
    }

    /// The error that its process has not been told yet, as a positive number.
    #[inline(always)]
    pub(crate) fn error(self) -> i32 {
        self.read(SK_ERR.load())
    }

    /// Whether it is a TCP socket, of whatever family.
    #[inline(always)]
    pub(crate) fn is_tcp(self) -> bool {
        self.read::<u16>(SK_PROTOCOL.load()) == IPPROTO_TCP
            && self.read::<u16>(SK_TYPE.load()) == SOCK_STREAM
    }

    /// Whether it is a UDP socket. A raw one for the same protocol is not.
    #[inline(always)]
    pub(crate) fn is_udp(self) -> bool {
        let family: u16 = self.read(SK_FAMILY.load());
        (family == AF_INET || family == AF_INET6)
            && self.read::<u16>(SK_PROTOCOL.load()) == IPPROTO_UDP
            && self.read::<u16>(SK_TYPE.load()) != SOCK_RAW
    }

    #[inline(always)]
    pub(crate) fn facts(self) -> Facts {
        let family: u16 = self.read(SK_FAMILY.load());
        if family == AF_INET || family == AF_INET6 {
            return self.facts_over_ip(family);
        }
        Facts {
            protocol: match family {
                AF_UNIX => protocol::UNIX,
                AF_NETLINK => protocol::NETLINK,
                AF_VSOCK => protocol::VSOCK,
                _ => protocol::OTHER,
            },
            loopback: false,
            remote: [0; 4],
        }
    }

    #[inline(always)]
    fn facts_over_ip(self, family: u16) -> Facts {
        let [remote, local] = self.addresses(family);
        let raw = self.read::<u16>(SK_TYPE.load()) == SOCK_RAW;
        let of_protocol = match self.read::<u16>(SK_PROTOCOL.load()) {
            _ if raw => protocol::OTHER,
            IPPROTO_TCP => protocol::TCP,
            IPPROTO_UDP => protocol::UDP,
            IPPROTO_MPTCP => protocol::MPTCP,
            IPPROTO_SCTP => protocol::SCTP,
            _ => protocol::OTHER,
        };
        // A socket for both families that talks to an IPv4 address sends IPv4 packets.
        let v6 = family == AF_INET6 && !is_mapped(&remote);
        Facts {
            protocol: if of_protocol == protocol::OTHER {
                of_protocol
            } else {
                of_protocol + usize::from(v6)
            },
            loopback: is_loopback(&remote, &local),
            remote,
        }
    }

    /// The remote and the local address.
    #[inline(always)]
    fn addresses(self, family: u16) -> [Words; 2] {
        if family == AF_INET6 && SK_V6_DADDR.load() != ABSENT {
            return [
                self.words(SK_V6_DADDR.load()),
                self.words(SK_V6_RCV_SADDR.load()),
            ];
        }
        let mapped = |address: u32| {
            if address == 0 {
                [0; 4]
            } else {
                [0, 0, MAPPED, address]
            }
        };
        [
            mapped(self.read(SK_DADDR.load())),
            mapped(self.read(SK_RCV_SADDR.load())),
        ]
    }

    /// The other side's address.
    #[inline(always)]
    pub(crate) fn remote(self) -> Words {
        let [remote, _] = self.both_addresses();
        remote
    }

    /// The remote and the local address.
    #[inline(always)]
    pub(crate) fn both_addresses(self) -> [Words; 2] {
        self.addresses(self.read(SK_FAMILY.load()))
    }

    /// The other side's port.
    #[inline(always)]
    pub(crate) fn remote_port(self) -> u16 {
        u16::from_be(self.read(SK_DPORT.load()))
    }

    /// Whether the other side has said that it sends nothing more.
    #[inline(always)]
    fn is_done(self) -> bool {
        self.read::<u32>(SK_FLAGS.load()) & DONE_MASK.load() != 0
    }

    #[inline(always)]
    fn words(self, offset: u32) -> Words {
        [
            self.read(offset),
            self.read(offset + 4),
            self.read(offset + 8),
            self.read(offset + 12),
        ]
    }

    /// TCP's own part of the socket, `None` when it is not TCP's. Since 5.9.
    #[inline(always)]
    pub(crate) fn tcp(self) -> Option<TcpSocket> {
        // SAFETY: the verifier knows the pointer as a socket.
        let tcp = unsafe { bpf_skc_to_tcp_sock(self.as_ptr()) };
        (!tcp.is_null()).then(|| TcpSocket(Self::from_argument(tcp.cast())))
    }
}

/// A socket as TCP sees it.
#[derive(Clone, Copy)]
pub(crate) struct TcpSocket(Socket);

impl TcpSocket {
    /// When it last sent or received a packet, in microseconds of the kernel's monotonic clock.
    #[inline(always)]
    pub(crate) fn last_packet_us(self) -> u64 {
        self.0.read(TP_MSTAMP.load())
    }

    /// The smoothed round-trip time in eighths of a microsecond; 0 before the first measurement.
    #[inline(always)]
    pub(crate) fn srtt_eighths_us(self) -> u32 {
        self.0.read(TP_SRTT_US.load())
    }

    /// Segments sent once more since the socket was made.
    #[inline(always)]
    pub(crate) fn retransmits(self) -> u32 {
        self.0.read(TP_TOTAL_RETRANS.load())
    }

    /// Segments sent since the last attempt to connect began.
    #[inline(always)]
    pub(crate) fn segments_sent(self) -> u32 {
        self.0.read(TP_SEGS_OUT.load())
    }

    #[inline(always)]
    pub(crate) fn local_port(self) -> u16 {
        u16::from_be(self.0.read(TP_SPORT.load()))
    }

    /// Bytes of payload that were sent, each once. What was sent again and again is not in it.
    #[inline(always)]
    pub(crate) fn sent_bytes(self) -> u64 {
        let all: u64 = self.0.read(TP_BYTES_SENT.load());
        all.wrapping_sub(self.0.read(TP_BYTES_RETRANS.load()))
    }

    /// Bytes of payload that were received, each once. The kernel counts the end (`FIN`) as one byte.
    #[inline(always)]
    pub(crate) fn received_bytes(self) -> u64 {
        let all: u64 = self.0.read(TP_BYTES_RECEIVED.load());
        all.wrapping_sub(self.0.is_done().into())
    }

    /// The initial sequence numbers of this side and of the other one, at any time after the handshake.
    ///
    /// What was acknowledged and what was received is counted since then by the very steps in which the
    /// numbers advance. Of the two first segments, which take one number each, the kernel counts that of
    /// the side that connected as acknowledged, and the other ones not.
    #[inline(always)]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "sequence numbers have 32 bits"
    )]
    pub(crate) fn initial_sequences(self, connected: bool) -> (u32, u32) {
        let acknowledged: u64 = self.0.read(TP_BYTES_ACKED.load());
        let received: u64 = self.0.read(TP_BYTES_RECEIVED.load());
        let local: u32 = self.0.read(TP_SND_UNA.load());
        let remote: u32 = self.0.read(TP_RCV_NXT.load());
        (
            local
                .wrapping_sub(acknowledged as u32)
                .wrapping_sub(u32::from(!connected)),
            remote.wrapping_sub(received as u32).wrapping_sub(1),
        )
    }
}

#[inline(always)]
pub(crate) fn is_mapped(address: &Words) -> bool {
    address[0] == 0 && address[1] == 0 && address[2] == MAPPED
}

/// Whether packets between these addresses stay on this machine: the remote one is a loopback
/// address, or the local one itself. A socket without a remote address stays where it is bound.
#[inline(always)]
pub(crate) fn is_loopback(remote: &Words, local: &Words) -> bool {
    let side = if *remote == [0; 4] { local } else { remote };
    let v4 = is_mapped(side) && side[3].to_ne_bytes()[0] == 127;
    let v6 = *side == [0, 0, 0, 1_u32.to_be()];
    v4 || v6 || (*remote == *local && *remote != [0; 4])
}
