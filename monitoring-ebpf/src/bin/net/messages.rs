//! What processes send and receive, call by call.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use monitoring_common::net::{RECEIVE, SocketState, TRANSMIT, lost::SOCKET_STATE, protocol, stage};
use monitoring_ebpf::lost::lost;

use crate::{
    connections::{SOCKETS, adopt, peer_of, sample_if_due},
    socket::Socket,
    spans,
    totals::{Level, add_peer_bytes, current_agent, find_peer, flow, has_peers},
};

/// Flags of `recvmsg`: look without taking, and what came back as undeliverable.
const MSG_PEEK: i32 = 0x2;
const MSG_ERRQUEUE: i32 = 0x2000;

/// `TP_PROTO(struct sock *sk, int ret, int flags)`, since 6.3. Runs in the task that sends, after
/// the protocol took the bytes. sendfile and splice come here too: as pages in 6.3 and 6.4, as
/// messages since.
#[btf_tracepoint(function = "sock_send_length")]
fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    message(&ctx, TRANSMIT);
    0
}

/// `TP_PROTO(struct sock *sk, int ret, int flags)`, since 6.3. Runs in the task that receives,
/// after the protocol gave the bytes.
#[btf_tracepoint(function = "sock_recv_length")]
fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    if ctx.arg::<i32>(2) & (MSG_PEEK | MSG_ERRQUEUE) == 0 {
        message(&ctx, RECEIVE);
    }
    0
}

#[inline(always)]
fn message(ctx: &BtfTracePointContext, direction: usize) {
    let result: i32 = ctx.arg(1);
    if result <= 0 {
        return;
    }
    let length = u64::from(result.unsigned_abs());
    let socket = Socket::from_argument(ctx.arg(0));
    let agent = current_agent();
    let facts = socket.facts();
    if let Some(flow) = flow(agent.into(), facts.protocol, direction) {
        // Only one program changes this flow, and it is not run in the middle of itself. The same
        // holds for a peer's bytes of this direction.
        flow.messages += 1;
        flow.bytes += length;
        if facts.loopback {
            flow.loopback_bytes += length;
        }
    }
    if facts.protocol <= protocol::TCP + 1 {
        on_connection(socket, agent, direction, length);
    } else if has_peers() {
        // The other side of such a socket may change, so nothing is remembered.
        add_peer_bytes(find_peer(&facts.remote), direction, length, Level::ALONE);
    }
}

#[inline(always)]
fn on_connection(socket: Socket, agent: u16, direction: usize, length: u64) {
    let Some(tcp_socket) = socket.tcp() else {
        return;
    };
    let Some(state) = state_of(socket) else {
        lost(SOCKET_STATE);
        if has_peers() {
            add_peer_bytes(find_peer(&socket.remote()), direction, length, Level::ALONE);
        }
        return;
    };
    if state.stage == stage::NEW {
        // From before the agent's start, and not among the open files then.
        adopt(state, agent, tcp_socket.retransmits());
    }
    if has_peers() {
        add_peer_bytes(peer_of(socket, state), direction, length, Level::ALONE);
    }
    if state.stage == stage::OPEN {
        spans::used(socket, state, agent);
        sample_if_due(socket, tcp_socket, state);
    }
}

#[inline(always)]
fn state_of(socket: Socket) -> Option<&'static mut SocketState> {
    // Nearly every connection has one; asking to make one costs the kernel a little more.
    let state = SOCKETS.get(socket.as_ptr());
    if state.is_some() {
        return state;
    }
    SOCKETS.get_or_create(socket.as_ptr())
}
