//! Sockets that were there before the agent: who holds them.

use aya_ebpf::Global;
use monitoring_common::{
    agents::OTHER,
    net::{SocketState, lost::SOCKET_STATE, stage},
    trace::detail::role,
};
use monitoring_ebpf::{
    ABSENT, agents::agent_of, iter::IterTaskFile, lost::lost, task_storage::Task,
};

use crate::{
    connections::{SOCKETS, adopt},
    socket::{Socket, TCP_CLOSE, TCP_LISTEN, TCP_SYN_SENT, TcpSocket},
    spans,
};

/// Offset in `task_struct`.
#[unsafe(no_mangle)]
static TASK_TGID: Global<u32> = Global::new(ABSENT);

/// Whether bytes are counted by packet, and so by the owner of any socket.
#[unsafe(no_mangle)]
static BY_PACKET: Global<u32> = Global::new(0);

/// Runs in the agent, which reads the iterator once when it starts; once for each open file of
/// each process, since 5.8.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn existing_sockets(context: *mut IterTaskFile) -> i32 {
    // SAFETY: the kernel calls this with the context.
    let Some((task, file)) = (unsafe { IterTaskFile::task_and_file(context) }) else {
        return 0;
    };
    let Some(socket) = Socket::of_file(file) else {
        return 0;
    };
    if socket.is_tcp() {
        found(socket, task);
    } else if BY_PACKET.load() != 0
        && socket.is_udp()
        && let Some(state) = SOCKETS.get_or_create(socket.as_ptr())
    {
        own(state, task);
    }
    0
}

#[inline(always)]
fn found(socket: Socket, task: Task) {
    let connection = socket.state();
    let Some(state) = SOCKETS.get_or_create(socket.as_ptr()) else {
        lost(SOCKET_STATE);
        return;
    };
    // What was looked up while the peers were not all entered yet is looked up anew.
    state.peer = 0;
    if state.stage == stage::NEW && state.found == 0 {
        let retransmits = socket.tcp().map_or(0, TcpSocket::retransmits);
        match connection {
            // Nothing to own yet.
            TCP_CLOSE => return,
            TCP_LISTEN => {
                state.role = role::SERVER;
                state.stage = stage::LISTENING;
            }
            TCP_SYN_SENT => {
                state.role = role::CLIENT;
                state.stage = stage::CONNECTING;
                state.retransmits = retransmits;
            }
            _ => adopt(state, OTHER, retransmits),
        }
        state.found = 1;
        // Established meanwhile, on another CPU: that must not look as if it were still to come.
        if state.stage == stage::CONNECTING && socket.state() != TCP_SYN_SENT {
            adopt(state, OTHER, retransmits);
        }
    }
    own(state, task);
    if matches!(connection, TCP_LISTEN | TCP_SYN_SENT) && state.found == 1 {
        spans::found(socket, task, task.read(TASK_TGID.load()), state.owner);
    }
}

/// Of several processes that hold a socket, a watched one owns it.
#[inline(always)]
fn own(state: &mut SocketState, task: Task) {
    if state.owner == OTHER && (state.found == 1 || state.stage == stage::NEW) {
        state.found = 1;
        state.owner = agent_of(task.read(TASK_TGID.load()));
    }
}
