//! The sums: per agent, and per peer. All of them per CPU.
//!
//! An interrupt may bring packets in at any time, and so run one program in the middle of another
//! on the same CPU. BPF in Rust has no atomic addition; instead, each [`Level`] of interruption has
//! elements of its own, and the agent adds them up.

use core::ptr;

use aya_ebpf::{
    Global,
    btf_maps::{LpmTrie, PerCpuArray, lpm_trie::Key},
    helpers::bpf_get_current_pid_tgid,
    macros::btf_map,
};
use monitoring_common::{
    agents::AgentId,
    histogram::{Histogram, slot_of},
    net::{
        Address, Flow, LEVELS, MAX_NETWORKS, MAX_PEER_TOTALS, MAX_TOTALS, NO_PEER, Peer, TaskAgent,
        Tcp, Traffic, lost::TOTALS_FULL,
    },
};
use monitoring_ebpf::{
    agents::{agent_of, label_epoch},
    lost::lost,
    task_storage::{Task, TaskStorage},
};

use crate::socket::Words;

/// Whether there are peers at all; without them nothing is looked up.
#[unsafe(no_mangle)]
static HAS_PEERS: Global<u32> = Global::new(0);

#[btf_map]
static TASKS: TaskStorage<TaskAgent> = TaskStorage::new();

/// How many programs are in the middle of their work on this CPU.
#[btf_map]
static BUSY: PerCpuArray<u32, 1> = PerCpuArray::new();

#[btf_map]
static TRAFFIC: PerCpuArray<Traffic, MAX_TOTALS> = PerCpuArray::new();

#[btf_map]
static TCP: PerCpuArray<Tcp, MAX_TOTALS> = PerCpuArray::new();

/// Peers by network, as in `SocketState::peer`; filled by the agent when it starts.
#[btf_map]
static PEER_OF: LpmTrie<Address, u32, MAX_NETWORKS> = LpmTrie::new();

#[btf_map]
static PEERS: PerCpuArray<Peer, MAX_PEER_TOTALS> = PerCpuArray::new();

/// The running task's agent. Remembered by the task for as long as no label changes.
#[inline(always)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "an agent's number has 16 bits"
)]
pub(crate) fn current_agent() -> AgentId {
    let pid = || (bpf_get_current_pid_tgid() >> 32) as u32;
    let Some(remembered) = TASKS.get_or_create(Task::current()) else {
        return agent_of(pid());
    };
    let epoch = label_epoch();
    if remembered.epoch != epoch {
        remembered.epoch = epoch;
        remembered.agent = agent_of(pid()).into();
    }
    remembered.agent as AgentId
}

/// Which of a CPU's elements the running program may change. See the module.
#[derive(Clone, Copy)]
pub(crate) struct Level(u32);

impl Level {
    /// That of programs that only change what no other program changes.
    pub(crate) const ALONE: Self = Self(0);

    fn place(self, number: u32) -> u32 {
        number * LEVELS + self.0
    }
}

/// Runs `work` on a level that nothing else on this CPU is in the middle of using.
///
/// What interrupts has ended before what was interrupted goes on, so that plain loads and stores
/// are enough. Only a kernel that takes the CPU from a task in the middle of a cgroup program
/// (full preemption, before 6.3) may count a packet wrongly.
#[inline(always)]
pub(crate) fn on_own_level(work: impl FnOnce(Level)) {
    let Some(busy) = BUSY.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the element is this CPU's and never removed.
    let before = unsafe { busy.read_volatile() };
    // SAFETY: as above.
    unsafe { busy.write_volatile(before + 1) };
    work(Level(if before == 0 { 0 } else { LEVELS - 1 }));
    // SAFETY: as above.
    unsafe { busy.write_volatile(before) };
}

/// Where an agent's bytes of one protocol and direction are counted.
#[inline(always)]
pub(crate) fn flow(place: u32, protocol: usize, direction: usize) -> Option<&'static mut Flow> {
    let Some(traffic) = TRAFFIC.get_ptr_mut(place) else {
        lost(TOTALS_FULL);
        return None;
    };
    // SAFETY: the element is this CPU's and never removed, and nothing else is changing it.
    let traffic = unsafe { &mut *traffic };
    traffic.flows.get_mut(protocol)?.get_mut(direction)
}

/// The place of an agent in the array of traffic, where packets are counted.
#[inline(always)]
pub(crate) fn packets_of(agent: AgentId, level: Level) -> u32 {
    level.place(agent.into())
}

/// Where an agent's connections are counted.
#[inline(always)]
pub(crate) fn tcp(agent: AgentId, level: Level) -> Option<&'static mut Tcp> {
    let Some(tcp) = TCP.get_ptr_mut(level.place(agent.into())) else {
        lost(TOTALS_FULL);
        return None;
    };
    // SAFETY: as in `flow`.
    Some(unsafe { &mut *tcp })
}

/// The peer that an address belongs to, as in `SocketState::peer`.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "fewer than 65,535 peers")]
pub(crate) fn find_peer(address: &Words) -> u16 {
    if !has_peers() || *address == [0; 4] {
        return NO_PEER;
    }
    // SAFETY: both are 16 bytes, and every pattern of them is a value.
    let bytes = unsafe { core::mem::transmute::<Words, Address>(*address) };
    let key = Key::new(128, bytes);
    PEER_OF.get(&key).map_or(NO_PEER, |peer| *peer as u16)
}

#[inline(always)]
pub(crate) fn has_peers() -> bool {
    HAS_PEERS.load() != 0
}

/// Where a peer is counted; `None` for no peer.
#[inline(always)]
pub(crate) fn peer(number: u16, level: Level) -> Option<&'static mut Peer> {
    if !has_peers() || number == 0 || number == NO_PEER {
        return None;
    }
    let Some(peer) = PEERS.get_ptr_mut(level.place(u32::from(number) - 1)) else {
        lost(TOTALS_FULL);
        return None;
    };
    // SAFETY: as in `flow`.
    Some(unsafe { &mut *peer })
}

/// Adds bytes that went from or to a peer.
#[inline(always)]
pub(crate) fn add_peer_bytes(number: u16, direction: usize, length: u64, level: Level) {
    if let Some(bytes) = peer(number, level).and_then(|peer| peer.bytes.get_mut(direction)) {
        add(bytes, length);
    }
}

/// Adds where the compiler must not move the addition out of its level.
#[inline(always)]
pub(crate) fn add(total: &mut u64, more: u64) {
    let total = ptr::from_mut(total);
    // SAFETY: the pointer is good and aligned, and nothing else is changing the value.
    unsafe { total.write_volatile(total.read_volatile().wrapping_add(more)) };
}

/// [`Histogram::observe`], likewise.
#[inline(always)]
pub(crate) fn observe(histogram: &mut Histogram, duration_ns: u64) {
    add(&mut histogram.sum_ns, duration_ns);
    if let Some(slot) = histogram.slots.get_mut(slot_of(duration_ns)) {
        add(slot, 1);
    }
}
