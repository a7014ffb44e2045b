//! Ends of processes, by agent and by how they ended.

use aya_ebpf::{
    Global,
    bindings::{BPF_NOEXIST, task_struct},
    btf_maps::LruHashMap,
    macros::{btf_map, btf_tracepoint},
    programs::BtfTracePointContext,
};
use monitoring_common::process::{EXIT, Event, MAX_ENDED, Pending, lost::RING_FULL};
use monitoring_ebpf::{agents::agent_of, lost::lost, object::Object, task_storage::Task};

use crate::{
    ASKED, EVENTS, PENDING, asked, count, cpu,
    fields::{
        EXIT_CODE, GROUP_EXIT_CODE, GROUP_LEADER, LIVE, NR_THREADS, OOM_MM, SIGNAL, SIGNAL_FLAGS,
        START_BOOTTIME, TGID, started_ticks,
    },
    has_rules, spans,
};

/// Whether the tracepoint says who is the last of its process. 0 or 1.
#[unsafe(no_mangle)]
static LAST_IS_TOLD: Global<u32> = Global::new(0);

/// `SIGNAL_GROUP_EXIT` of the kernel's `include/linux/sched/signal.h`: the process ends as a whole,
/// with one status. The same in all kernels since 2.6.
const SIGNAL_GROUP_EXIT: u32 = 4;

/// `EEXIST` of `include/uapi/asm-generic/errno-base.h`.
const EEXIST: i32 = 17;

/// Processes of several threads that have ended; keys are the process's number and its start in
/// nanoseconds.
#[btf_map]
static ENDED: LruHashMap<[u64; 2], u32, MAX_ENDED> = LruHashMap::new();

/// How a process ended.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub(crate) pid: u32,
    started_ticks: u32,
    /// As `wait` gives it.
    pub(crate) status: u32,
    pub(crate) out_of_memory: bool,
}

/// `TP_PROTO(struct task_struct *p)`, as BTF tracepoint since 5.5; since 6.16 with a second
/// argument, `bool group_dead`. Runs in each task that ends, after its exit code was set.
#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    cpu::at_exit(Task::from_argument(ctx.arg(0)));
    let task = Object::from_argument(ctx.arg::<*mut task_struct>(0));
    let signal = task.follow(SIGNAL.load());
    let leader = task.follow(GROUP_LEADER.load());
    let pid: u32 = task.read(TGID.load());
    if LAST_IS_TOLD.load() != 0 {
        if ctx.arg::<u8>(1) == 0 {
            return 0;
        }
    } else if signal.read::<u32>(LIVE.load()) != 0 || counted_before(pid, signal, leader) {
        return 0;
    }
    let status = if signal.read::<u32>(SIGNAL_FLAGS.load()) & SIGNAL_GROUP_EXIT != 0 {
        signal.read(GROUP_EXIT_CODE.load())
    } else {
        leader.read(EXIT_CODE.load())
    };
    let end = End {
        pid,
        started_ticks: started_ticks(leader),
        status,
        // Set when the kernel, or a memory cgroup, was out of memory and chose this process.
        out_of_memory: signal.follow(OOM_MM.load()).address() != 0,
    };
    spans::ended(Task::from_argument(leader.as_ptr()), end);
    let pending = if has_rules() { asked(pid) } else { None };
    if !pending.is_some_and(|pending| send(end, pending)) {
        count(agent_of(pid), |counts| {
            counts.count_end(end.status, end.out_of_memory);
        });
    }
    0
}

/// Whether another thread of the process has counted its end. Threads that end at the same moment
/// can each find that none is alive.
#[inline(always)]
fn counted_before(pid: u32, signal: Object, leader: Object) -> bool {
    let key = [pid.into(), leader.read(START_BOOTTIME.load())];
    if signal.read::<u32>(NR_THREADS.load()) > 1 {
        return ENDED.insert(key, 1, BPF_NOEXIST.into()) == Err(-EEXIST);
    }
    // The last of several is alone too, once the others are gone for good; then they have entered
    // the process already.
    ENDED.get_ptr(key).is_some()
}

/// Sends up the end of a process whose last execution the agent has not looked at; `false` when
/// the kernel has to count it.
#[inline(always)]
fn send(end: End, pending: Pending) -> bool {
    let _ = ASKED.remove(end.pid);
    if PENDING.get_ptr(pending).is_none() {
        return false;
    }
    let entry = EVENTS.reserve(0);
    // Whoever removes it sees to the end; see `PENDING`.
    let mine = PENDING.remove(pending).is_ok();
    let Some(mut entry) = entry else {
        if mine {
            lost(RING_FULL);
        }
        return false;
    };
    if !mine {
        entry.discard(0);
        return false;
    }
    let event: *mut Event = entry.as_mut_ptr();
    // SAFETY: the entry has room for an event. The agent looks at nothing else of an end.
    unsafe {
        (*event).at_ns = 0;
        (*event).pid = end.pid;
        (*event).started_ticks = end.started_ticks;
        (*event).kind = EXIT;
        (*event).agent = agent_of(end.pid).into();
        (*event).uncounted = 1;
        (*event).status = end.status;
        (*event).out_of_memory = end.out_of_memory.into();
        (*event).padding = 0;
    }
    entry.submit(0);
    true
}
