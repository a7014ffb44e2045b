//! Where the kernel has no hook for messages: bytes packet by packet, at the root of the cgroup
//! hierarchy. A segment that is sent once more counts once more, and a message is not told from
//! another.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::bpf_sk_fullsock,
    macros::{btf_tracepoint, cgroup_skb, cgroup_sock},
    programs::{BtfTracePointContext, SkBuffContext, SockContext},
};
use monitoring_common::{
    agents::OTHER,
    net::{
        NO_PEER, RECEIVE, TRANSMIT,
        lost::{PACKET_UNREADABLE, SOCKET_STATE},
        protocol, stage,
    },
};
use monitoring_ebpf::{agents::agent_of, lost::lost};

use crate::{
    connections::{SOCKETS, sample_if_due},
    socket::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SOCK_RAW, Socket, Words, is_loopback},
    totals::{add, add_peer_bytes, find_peer, flow, has_peers, on_own_level, packets_of},
};

/// Lengths of headers without options, and where TCP's says how long it is.
const V4_HEADER: u32 = 20;
const V6_HEADER: u32 = 40;
const UDP_HEADER: u32 = 8;
const TCP_LENGTH_AT: u32 = 12;

/// Where IPv6's header says what follows it, and what follows it before TCP or UDP: packets of more
/// than 64 KiB, which only exist inside a machine, have an extension header.
const NEXT_AT: u32 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;

/// Most extension headers of a packet that are looked at; more than one is unheard of.
const MAX_EXTENSIONS: usize = 3;

/// The packet may pass.
const PASS: i32 = 1;

/// `BPF_CGROUP_INET_INGRESS`, since 4.10. Runs in a soft interrupt, before the socket has room for
/// the packet or not.
#[cgroup_skb(ingress)]
fn packet_received(ctx: SkBuffContext) -> i32 {
    count(&ctx, RECEIVE);
    PASS
}

/// `BPF_CGROUP_INET_EGRESS`, since 4.10. Runs in whatever sends: a process or a soft interrupt.
/// The packet may be larger than the network's, to be cut up later.
#[cgroup_skb(egress)]
fn packet_sent(ctx: SkBuffContext) -> i32 {
    count(&ctx, TRANSMIT);
    PASS
}

/// `BPF_CGROUP_INET_SOCK_CREATE`, since 4.10; with the calling process's number since 5.7. Runs in
/// the process that makes the socket.
#[cgroup_sock(sock_create)]
fn socket_made(ctx: SockContext) -> i32 {
    // SAFETY: the verifier turns reads of the context into reads of the socket.
    let (protocol, kind) = unsafe { ((*ctx.sock).protocol, (*ctx.sock).type_) };
    if protocol == u32::from(IPPROTO_UDP) && kind != u32::from(SOCK_RAW) {
        let pid = (aya_ebpf::helpers::bpf_get_current_pid_tgid() >> 32) as u32;
        match SOCKETS.get_or_create(ctx.sock.cast()) {
            Some(state) => state.owner = agent_of(pid),
            None => lost(SOCKET_STATE),
        }
    }
    PASS
}

/// `TP_PROTO(struct sock *sk, const struct sk_buff *skb)`, since 4.16. Runs in a soft interrupt for
/// every segment of an established connection, with the socket locked.
#[btf_tracepoint(function = "tcp_probe")]
fn tcp_probe(ctx: BtfTracePointContext) -> i32 {
    let socket = Socket::from_argument(ctx.arg(0));
    if let Some(tcp_socket) = socket.tcp()
        && let Some(state) = SOCKETS.get(socket.as_ptr())
        && state.stage == stage::OPEN
    {
        sample_if_due(socket, tcp_socket, state);
    }
    0
}

#[inline(always)]
fn count(ctx: &SkBuffContext, direction: usize) {
    // SAFETY: the verifier turns reads of the context into reads of the packet.
    let (sk, length) = unsafe { ((*ctx.skb.skb).__bindgen_anon_2.sk, (*ctx.skb.skb).len) };
    if sk.is_null() {
        return;
    }
    // SAFETY: the verifier has seen that the pointer is good.
    let sk = unsafe { bpf_sk_fullsock(sk) };
    if sk.is_null() {
        return;
    }
    let Some(transport) = transport_of(sk) else {
        return;
    };
    let Some(packet) = read_headers(ctx, transport, length) else {
        lost(PACKET_UNREADABLE);
        return;
    };
    if packet.payload == 0 {
        return;
    }
    let state = SOCKETS.get(sk.cast());
    let owner = state.as_ref().map_or(OTHER, |state| state.owner);
    let [remote, local] = if direction == RECEIVE {
        [packet.source, packet.destination]
    } else {
        [packet.destination, packet.source]
    };
    let loopback = is_loopback(&remote, &local);
    let peer = match state {
        _ if !has_peers() => NO_PEER,
        Some(state) if state.peer != 0 => state.peer,
        _ => find_peer(&remote),
    };
    on_own_level(|level| {
        let place = packets_of(owner, level);
        if let Some(flow) = flow(place, transport + packet.v6, direction) {
            add(&mut flow.bytes, packet.payload);
            if loopback {
                add(&mut flow.loopback_bytes, packet.payload);
            }
        }
        add_peer_bytes(peer, direction, packet.payload, level);
    });
}

/// Whether a socket is TCP's or UDP's.
#[inline(always)]
fn transport_of(sk: *mut bpf_sock) -> Option<usize> {
    // SAFETY: the caller has seen that the pointer is good.
    let (family, number, kind) = unsafe { ((*sk).family, (*sk).protocol, (*sk).type_) };
    let over_ip = family == u32::from(AF_INET) || family == u32::from(AF_INET6);
    if !over_ip || kind == u32::from(SOCK_RAW) {
        return None;
    }
    if number == u32::from(IPPROTO_TCP) {
        Some(protocol::TCP)
    } else if number == u32::from(IPPROTO_UDP) {
        Some(protocol::UDP)
    } else {
        None
    }
}

struct Packet {
    source: Words,
    destination: Words,
    payload: u64,
    /// 1 for IPv6.
    v6: usize,
}

#[inline(always)]
fn read_headers(ctx: &SkBuffContext, transport: usize, length: u32) -> Option<Packet> {
    let first: u8 = ctx.load(0).ok()?;
    let (source, destination, header, v6) = if first >> 4 == 4 {
        let header = u32::from(first & 0xf) * 4;
        if header < V4_HEADER {
            return None;
        }
        let [source, destination]: [u32; 2] = ctx.load(12).ok()?;
        (mapped(source), mapped(destination), header, 0)
    } else {
        let [source, destination]: [Words; 2] = ctx.load(8).ok()?;
        (source, destination, v6_headers(ctx)?, 1)
    };
    let transport_header = if transport == protocol::TCP {
        let byte: u8 = ctx.load((header + TCP_LENGTH_AT) as usize).ok()?;
        u32::from(byte >> 4) * 4
    } else {
        UDP_HEADER
    };
    Some(Packet {
        source,
        destination,
        payload: length.saturating_sub(header + transport_header).into(),
        v6,
    })
}

/// The length of IPv6's header and its extensions.
#[inline(always)]
fn v6_headers(ctx: &SkBuffContext) -> Option<u32> {
    let mut length = V6_HEADER;
    let mut next: u8 = ctx.load(NEXT_AT as usize).ok()?;
    for _ in 0..MAX_EXTENSIONS {
        if !matches!(next, HOP_BY_HOP | ROUTING | DESTINATION) {
            break;
        }
        // What follows, and the extension's length beyond the first eight bytes, in such.
        let [following, eights]: [u8; 2] = ctx.load(length as usize).ok()?;
        next = following;
        length += (u32::from(eights) + 1) * 8;
    }
    Some(length)
}

#[inline(always)]
fn mapped(address: u32) -> Words {
    [0, 0, 0xffff_u32.to_be(), address]
}
