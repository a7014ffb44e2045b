//! TCP connections, from their first segment to their end.
//!
//! Every connection has one owner: the agent of the process that connected or listened. The kernel
//! hands a listening socket's state on to the connections that it accepts. Stages only ever follow
//! each other, so that a program may see the same event twice.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::{btf_map, btf_tracepoint},
    programs::BtfTracePointContext,
};
use monitoring_common::{
    agents::OTHER,
    net::{NO_PEER, SocketState, lost::SOCKET_STATE, outcome, stage},
    trace::detail::role,
};
use monitoring_ebpf::{lost::lost, sk_storage::SkStorage};

use crate::{
    socket::{Socket, TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN, TCP_SYN_SENT, TcpSocket},
    spans,
    totals::{Level, add, current_agent, find_peer, has_peers, observe, on_own_level, peer, tcp},
};

#[btf_map]
pub(crate) static SOCKETS: SkStorage<SocketState> = SkStorage::new();

/// Least time between two samples of one connection's round-trip time. A busy connection has
/// thousands of messages a second and, the kernel's value being smoothed, few different values.
const SAMPLE_INTERVAL_US: u64 = 100_000;

/// Error numbers of the kernel's `include/uapi/asm-generic/errno.h`.
const ENETDOWN: i32 = 100;
const ENETUNREACH: i32 = 101;
const ECONNRESET: i32 = 104;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;
const EHOSTDOWN: i32 = 112;
const EHOSTUNREACH: i32 = 113;

/// `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`, since 4.16. Runs with
/// the socket locked, in the process that connects, listens or closes, or in a soft interrupt.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    set_state(&ctx, FIRST)
}

/// The same once more. An interrupt may bring a packet that changes a connection's state while the
/// program runs for another one; the kernel does not run a program in the middle of itself, but it
/// does run this one. Where the first has run, this one finds nothing left to do.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state_again(ctx: BtfTracePointContext) -> i32 {
    set_state(&ctx, !FIRST)
}

#[inline(always)]
fn set_state(ctx: &BtfTracePointContext, first: bool) -> i32 {
    let socket = Socket::from_argument(ctx.arg(0));
    if !socket.is_tcp() {
        return 0;
    }
    let old: i32 = ctx.arg(1);
    match ctx.arg::<i32>(2) {
        TCP_SYN_SENT => connecting(socket, first),
        TCP_LISTEN => listening(socket, first),
        TCP_ESTABLISHED => on_own_level(|level| established(socket, old, level, first)),
        TCP_CLOSE => on_own_level(|level| closed(socket, level)),
        _ => {}
    }
    0
}

/// The first of the two programs for an event. Where there is no state to tell, only it counts.
const FIRST: bool = true;

/// Counts that the kernel had no memory for a socket's state, once.
#[inline(always)]
fn lost_state(first: bool) {
    if first {
        lost(SOCKET_STATE);
    }
}

#[inline(always)]
fn connecting(socket: Socket, first: bool) {
    let Some(state) = SOCKETS.get_or_create(socket.as_ptr()) else {
        lost_state(first);
        return;
    };
    if state.stage == stage::CONNECTING {
        return;
    }
    state.owner = current_agent();
    state.found = 0;
    state.peer = 0;
    state.sampled_us = 0;
    state.retransmits = socket.tcp().map_or(0, TcpSocket::retransmits);
    state.role = role::CLIENT;
    state.held = 1;
    spans::hold(socket, state.owner);
    state.began_ns = now_ns();
    state.stage = stage::CONNECTING;
}

#[inline(always)]
fn listening(socket: Socket, first: bool) {
    let Some(state) = SOCKETS.get_or_create(socket.as_ptr()) else {
        lost_state(first);
        return;
    };
    if state.stage == stage::LISTENING {
        return;
    }
    *state = SocketState {
        began_ns: 0,
        sampled_us: 0,
        retransmits: 0,
        owner: current_agent(),
        peer: 0,
        stage: stage::LISTENING,
        found: 0,
        role: role::SERVER,
        held: 0,
    };
    spans::hold(socket, state.owner);
}

#[inline(always)]
fn established(socket: Socket, old: i32, level: Level, first: bool) {
    let Some(state) = SOCKETS.get_or_create(socket.as_ptr()) else {
        lost_state(first);
        if first {
            count_established(OTHER, old == TCP_SYN_SENT, level);
        }
        return;
    };
    let Some(tcp_socket) = socket.tcp() else {
        return;
    };
    let now_ns = now_ns();
    match state.stage {
        stage::CONNECTING => {
            count_established(state.owner, true, level);
            if state.began_ns != 0
                && let Some(totals) = tcp(state.owner, level)
            {
                observe(&mut totals.connect, now_ns.wrapping_sub(state.began_ns));
            }
            spans::connected(socket, state, now_ns, outcome::SUCCESS, 0);
        }
        stage::LISTENING => {
            count_established(state.owner, false, level);
            // Those of the answer to the first segment were counted when they were sent.
            state.retransmits = tcp_socket.retransmits();
        }
        // Of a listening socket that nobody knew, or of an attempt that was lost.
        stage::NEW => {
            count_established(OTHER, old == TCP_SYN_SENT, level);
            state.retransmits = tcp_socket.retransmits();
        }
        _ => return,
    }
    state.began_ns = now_ns;
    state.stage = stage::OPEN;
    sample(socket, tcp_socket, state, level);
}

#[inline(always)]
fn count_established(owner: u16, connected: bool, level: Level) {
    let Some(totals) = tcp(owner, level) else {
        return;
    };
    if connected {
        add(&mut totals.connects[outcome::SUCCESS], 1);
    } else {
        add(&mut totals.accepts, 1);
    }
}

#[inline(always)]
fn closed(socket: Socket, level: Level) {
    let Some(state) = SOCKETS.get(socket.as_ptr()) else {
        return;
    };
    let Some(tcp_socket) = socket.tcp() else {
        return;
    };
    let before = state.stage;
    state.stage = stage::CLOSED;
    match before {
        stage::CONNECTING => {
            let error = socket.error();
            let outcome = outcome_of(error, tcp_socket);
            spans::connected(socket, state, now_ns(), outcome, error);
            if let Some(count) =
                tcp(state.owner, level).and_then(|tcp| tcp.connects.get_mut(outcome))
            {
                add(count, 1);
            }
            count_retransmits(tcp_socket, state, level);
        }
        stage::OPEN => {
            if state.began_ns != 0 {
                let now_ns = now_ns();
                if let Some(totals) = tcp(state.owner, level) {
                    observe(&mut totals.lifetime, now_ns.wrapping_sub(state.began_ns));
                }
                spans::ended(socket, state, now_ns);
            }
            sample(socket, tcp_socket, state, level);
            count_retransmits(tcp_socket, state, level);
        }
        _ => {}
    }
}

/// How an attempt to connect ended that did not succeed.
#[inline(always)]
fn outcome_of(error: i32, socket: TcpSocket) -> usize {
    match error {
        0 if socket.segments_sent() == 0 => outcome::LOCAL_ERROR,
        0 => outcome::ABANDONED,
        ECONNREFUSED => outcome::REFUSED,
        ETIMEDOUT => outcome::TIMED_OUT,
        ENETDOWN | ENETUNREACH | EHOSTDOWN | EHOSTUNREACH => outcome::UNREACHABLE,
        ECONNRESET => outcome::RESET,
        _ => outcome::OTHER,
    }
}

/// `TP_PROTO(const struct sock *sk, const struct sk_buff *skb)`, since 4.16; later kernels
/// append `int err` and tell of failed attempts as well. Runs with the socket locked, mostly in a
/// soft interrupt.
#[btf_tracepoint(function = "tcp_retransmit_skb")]
fn tcp_retransmit_skb(ctx: BtfTracePointContext) -> i32 {
    let socket = Socket::from_argument(ctx.arg(0));
    let Some(tcp_socket) = socket.tcp() else {
        return 0;
    };
    let Some(state) = SOCKETS.get_or_create(socket.as_ptr()) else {
        lost(SOCKET_STATE);
        return 0;
    };
    if state.stage == stage::NEW {
        // A connection from before the agent's start that no process holds: what it sent again
        // until then is not the agent's to count.
        adopt(state, OTHER, tcp_socket.retransmits().wrapping_sub(1));
    }
    on_own_level(|level| count_retransmits(tcp_socket, state, level));
    0
}

/// `TP_PROTO(const struct sock *sk, const struct request_sock *req)`, since 4.16. The answer to a
/// first segment is sent once more. `sk` listens, or is the connection where its first segment
/// carried data (Fast Open). Runs in a soft interrupt.
#[btf_tracepoint(function = "tcp_retransmit_synack")]
fn tcp_retransmit_synack(ctx: BtfTracePointContext) -> i32 {
    let socket = Socket::from_argument(ctx.arg(0));
    let state = SOCKETS.get(socket.as_ptr());
    if socket.state() != TCP_LISTEN
        && let Some(state) = state
    {
        // The kernel has counted it as the connection's.
        if let Some(tcp_socket) = socket.tcp() {
            on_own_level(|level| count_retransmits(tcp_socket, state, level));
        }
        return 0;
    }
    let owner = state.map_or(OTHER, |state| state.owner);
    on_own_level(|level| {
        if let Some(totals) = tcp(owner, level) {
            add(&mut totals.retransmits, 1);
        }
    });
    0
}

/// Counts what was sent once more since the last time. The kernel's own count advances together
/// with `TcpRetransSegs`, also for attempts that fail and are no event. Only with the socket
/// locked.
#[inline(always)]
fn count_retransmits(socket: TcpSocket, state: &mut SocketState, level: Level) {
    let total = socket.retransmits();
    let more = total.wrapping_sub(state.retransmits);
    if more == 0 {
        return;
    }
    state.retransmits = total;
    if let Some(totals) = tcp(state.owner, level) {
        add(&mut totals.retransmits, more.into());
    }
}

/// Takes a connection on that was there before its state was.
#[inline(always)]
pub(crate) fn adopt(state: &mut SocketState, owner: u16, retransmits: u32) {
    state.owner = owner;
    state.retransmits = retransmits;
    state.began_ns = 0;
    state.stage = stage::OPEN;
}

/// Adds the connection's smoothed round-trip time, what `ss -ti` shows as `rtt`, if a sample is due.
#[inline(always)]
fn sample(socket: Socket, tcp_socket: TcpSocket, state: &mut SocketState, level: Level) {
    if !is_due(tcp_socket, state) {
        return;
    }
    state.sampled_us = tcp_socket.last_packet_us();
    let rtt_ns = u64::from(tcp_socket.srtt_eighths_us() >> 3) * 1_000;
    if let Some(totals) = tcp(state.owner, level) {
        observe(&mut totals.rtt, rtt_ns);
    }
    if let Some(peer) = peer(peer_of(socket, state), level) {
        observe(&mut peer.rtt, rtt_ns);
    }
}

/// [`sample`], from a program that has no level yet.
#[inline(always)]
pub(crate) fn sample_if_due(socket: Socket, tcp_socket: TcpSocket, state: &mut SocketState) {
    if is_due(tcp_socket, state) {
        on_own_level(|level| sample(socket, tcp_socket, state, level));
    }
}

/// Whether the connection has a round-trip time, and a packet has come or gone long enough after
/// the last sample. The kernel has noted when, so this costs no look at a clock.
#[inline(always)]
fn is_due(tcp_socket: TcpSocket, state: &SocketState) -> bool {
    let since_us = tcp_socket.last_packet_us().wrapping_sub(state.sampled_us);
    since_us >= SAMPLE_INTERVAL_US && tcp_socket.srtt_eighths_us() >> 3 != 0
}

/// The connection's peer, looked up once.
#[inline(always)]
pub(crate) fn peer_of(socket: Socket, state: &mut SocketState) -> u16 {
    if !has_peers() {
        return NO_PEER;
    }
    if state.peer == 0 {
        state.peer = find_peer(&socket.remote());
    }
    state.peer
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}
