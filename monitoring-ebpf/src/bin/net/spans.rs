//! Spans of TCP: of handshakes, for the side that connects, and of connections, for both.
//!
//! Handshakes and connections end in interrupts, in anybody's name. So that whose they are is kept
//! with the socket: whoever connected; and at the other end, whoever first sends or receives on the
//! connection, or the one who listens where the kernel does not tell of messages.

use aya_ebpf::macros::btf_map;
use monitoring_common::{
    agents::AgentId,
    net::{SocketState, lost::SOCKET_STATE, outcome},
    trace::{
        Origin, chain,
        connection::{chain as chain_of, trace_id},
        detail::{TcpDetail, role},
        flags::{FAILED, JOINED},
        kind::{TCP_CONNECT, TCP_CONNECTION},
        parent,
    },
};
use monitoring_ebpf::{
    lost::lost,
    sk_storage::SkStorage,
    task_storage::Task,
    trace::{self, Event},
};

use crate::socket::{AF_INET, AF_INET6, Socket, TcpSocket, Words, is_mapped};

/// Whose spans a socket's are. Handed on by listening sockets, as their state is.
#[btf_map]
static ORIGINS: SkStorage<Origin> = SkStorage::new();

/// The running thread connects, listens, or is the first to use a connection that was accepted.
#[inline(always)]
pub(crate) fn hold(socket: Socket, agent: AgentId) {
    if trace::is_on() && trace::is_traced(agent.into()) {
        hold_traced(socket, agent);
    }
}

#[inline(never)]
fn hold_traced(socket: Socket, agent: AgentId) {
    match ORIGINS.get_or_create(socket.as_ptr()) {
        Some(origin) => *origin = trace::origin(agent, trace::running_call()),
        None => lost(SOCKET_STATE),
    }
}

/// A process was found to hold a socket that listens or connects. Which of its threads is the one is
/// not known.
#[inline(always)]
pub(crate) fn found(socket: Socket, task: Task, pid: u32, agent: AgentId) {
    if trace::is_on()
        && trace::is_traced(agent.into())
        && let Some(origin) = ORIGINS.get_or_create(socket.as_ptr())
    {
        *origin = trace::origin_of(task, pid, pid, agent);
        origin.call_start_ns = 0;
    }
}

/// A message on a connection. Once it is known whose it is, this is one comparison.
#[inline(always)]
pub(crate) fn used(socket: Socket, state: &mut SocketState, agent: AgentId) {
    if trace::is_on() && state.held == 0 && state.role == role::SERVER {
        state.held = 1;
        hold(socket, agent);
    }
}

/// A handshake is over: the connection is established, or `errno` or the outcome says why not.
#[inline(always)]
pub(crate) fn connected(
    socket: Socket,
    state: &SocketState,
    now_ns: u64,
    outcome: usize,
    errno: i32,
) {
    if !trace::is_on() || state.began_ns == 0 {
        return;
    }
    if trace::is_long::<TCP_CONNECT>(now_ns.saturating_sub(state.began_ns))
        || trace::is_failure::<TCP_CONNECT>(errno.unsigned_abs())
    {
        let ends = Ends {
            now_ns,
            errno,
            outcome,
            failed: !matches!(outcome, outcome::SUCCESS | outcome::ABANDONED),
        };
        tell_of_handshake(socket, state, &ends);
    }
}

/// How a handshake or a connection ended, and when.
struct Ends {
    now_ns: u64,
    errno: i32,
    outcome: usize,
    failed: bool,
}

#[inline(never)]
fn tell_of_handshake(socket: Socket, state: &SocketState, ends: &Ends) {
    let Some(origin) = ORIGINS.get(socket.as_ptr()) else {
        return;
    };
    let start_ns = if origin.call_start_ns == 0 {
        state.began_ns
    } else {
        origin.call_start_ns
    };
    let mut event = Event {
        start_ns: state.began_ns,
        end_ns: ends.now_ns,
        window_start_ns: 0,
        chain: chain(origin.tid, start_ns),
        code: ends.errno,
        flags: if ends.failed { FAILED } else { 0 },
        is_failure: trace::is_failure::<TCP_CONNECT>(ends.errno.unsigned_abs()),
    };
    if trace::chosen::<TCP_CONNECT>(origin, &mut event)
        && let Some(tcp) = socket.tcp()
    {
        let established = ends.outcome == outcome::SUCCESS;
        let detail = detail(socket, tcp, role::CLIENT, ends.outcome, established);
        trace::tell::<TCP_CONNECT, _>(origin, &event, &detail);
    }
}

/// A connection is over. One from before the agent has no known beginning, and is no event.
#[inline(always)]
pub(crate) fn ended(socket: Socket, state: &SocketState, now_ns: u64) {
    if !trace::is_on() || state.began_ns == 0 || state.role == role::UNKNOWN {
        return;
    }
    let errno = socket.error();
    if trace::is_long::<TCP_CONNECTION>(now_ns.saturating_sub(state.began_ns))
        || trace::is_failure::<TCP_CONNECTION>(errno.unsigned_abs())
    {
        let ends = Ends {
            now_ns,
            errno,
            outcome: outcome::SUCCESS,
            failed: errno != 0,
        };
        tell_of_connection(socket, state, &ends);
    }
}

/// Both ends decide by what they both know, and by nothing that only one of them does: the span in
/// which an application was when it connected leads to this one by a link, and does not choose it.
#[inline(never)]
fn tell_of_connection(socket: Socket, state: &SocketState, ends: &Ends) {
    let Some(tcp) = socket.tcp() else { return };
    let Some(origin) = ORIGINS.get(socket.as_ptr()) else {
        return;
    };
    let (local, remote) = tcp.initial_sequences(state.role == role::CLIENT);
    let id = if state.role == role::CLIENT {
        trace_id(local, remote)
    } else {
        trace_id(remote, local)
    };
    let mut event = Event {
        start_ns: state.began_ns,
        end_ns: ends.now_ns,
        window_start_ns: 0,
        chain: chain_of(id),
        code: ends.errno,
        flags: if ends.failed { FAILED } else { 0 },
        is_failure: trace::is_failure::<TCP_CONNECTION>(ends.errno.unsigned_abs()),
    };
    if origin.parent == parent::SAMPLED {
        event.flags |= JOINED;
    }
    // This is the last time that the socket's origin is asked for, unless it connects once more.
    origin.parent = parent::NONE;
    if trace::chosen::<TCP_CONNECTION>(origin, &mut event) {
        let detail = detail(socket, tcp, state.role, outcome::SUCCESS, true);
        trace::tell::<TCP_CONNECTION, _>(origin, &event, &detail);
    }
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "there are eight outcomes")]
fn detail(
    socket: Socket,
    tcp: TcpSocket,
    role: u8,
    outcome: usize,
    established: bool,
) -> TcpDetail {
    let [remote, local] = socket.both_addresses();
    let is_v4 = is_mapped(&remote);
    let (local_sequence, remote_sequence) = if established {
        tcp.initial_sequences(role == role::CLIENT)
    } else {
        (0, 0)
    };
    TcpDetail {
        sent_bytes: tcp.sent_bytes(),
        received_bytes: tcp.received_bytes(),
        local_address: bytes(&local, is_v4),
        remote_address: bytes(&remote, is_v4),
        local_port: tcp.local_port(),
        remote_port: socket.remote_port(),
        family: if is_v4 { AF_INET } else { AF_INET6 },
        role,
        outcome: outcome as u8,
        local_sequence,
        remote_sequence,
        retransmits: tcp.retransmits(),
        rtt_us: tcp.srtt_eighths_us() >> 3,
    }
}

/// An address as it goes up: of IPv4, the last word comes first.
#[inline(always)]
fn bytes(words: &Words, is_v4: bool) -> [u8; 16] {
    let words = if is_v4 { [words[3], 0, 0, 0] } else { *words };
    // SAFETY: both are 16 bytes, and every pattern of them is a value.
    unsafe { core::mem::transmute::<Words, [u8; 16]>(words) }
}
