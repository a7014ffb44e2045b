//! CPU time and number of all tasks, by agent: a pass over them when the agent asks, and what they
//! used since then when they end.
//!
//! Each task's time is counted in steps. What was counted of it already is remembered under its
//! address, so that a step goes to the agent that the task has at that moment, nothing is counted
//! twice, and no sum ever falls, whatever becomes of labels. Time from before this program is
//! counted nowhere.

use aya_ebpf::{
    Global,
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::{Array, HashMap, PerCpuArray},
    helpers::bpf_probe_read_kernel,
    macros::btf_map,
};
use monitoring_common::{
    agents::{AgentId, MAX_AGENTS, OTHER},
    process::{
        lost::TASKS_FULL,
        usage::{CountedTask, CpuTime, Live, MAX_TASKS, WatchedProcess},
    },
};
use monitoring_ebpf::{ABSENT, agents::agent_of, iter::IterTask, lost::lost, task_storage::Task};

/// Offsets in `task_struct`, and in `signal_struct` the last one.
#[unsafe(no_mangle)]
static CPU_OFFSETS: Global<[u32; 9]> = Global::new([ABSENT; 9]);

/// When this family was loaded, on the monotonic clock: low and high half of the nanoseconds.
#[unsafe(no_mangle)]
static CPU_SINCE: Global<[u32; 2]> = Global::new([0; 2]);

/// `EXIT_DEAD` of the kernel's `include/linux/sched.h`, as since 4.14: nobody waits for the task,
/// and it is on its way out of the list of tasks.
const EXIT_DEAD: u32 = 0x10;

/// By the task's address. Allocates as it grows, which none of its writers forbids: those that
/// insert run in task context, without locks of the scheduler or of the allocator.
#[btf_map]
static CPU_TASKS: HashMap<u64, CountedTask, MAX_TASKS, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// By agent. Only passes write here, and they come one after the other.
#[btf_map]
static CPU_LIVE: Array<Live, MAX_AGENTS> = Array::new();

/// CPU time that tasks used between the last pass and their end, by agent.
#[btf_map]
static CPU_ENDED: PerCpuArray<CpuTime, MAX_AGENTS> = PerCpuArray::new();

/// The offsets, all of them or none.
struct Offsets {
    run: u32,
    user: u32,
    system: u32,
    start: u32,
    exit_state: u32,
    pid: u32,
    tgid: u32,
    signal: u32,
    live: u32,
}

impl Offsets {
    #[inline(always)]
    fn load() -> Option<Self> {
        let all = CPU_OFFSETS.load();
        if all.contains(&ABSENT) {
            return None;
        }
        let [
            run,
            user,
            system,
            start,
            exit_state,
            pid,
            tgid,
            signal,
            live,
        ] = all;
        Some(Self {
            run,
            user,
            system,
            start,
            exit_state,
            pid,
            tgid,
            signal,
            live,
        })
    }

    #[inline(always)]
    fn time(&self, task: Task) -> CpuTime {
        CpuTime {
            run_ns: task.read(self.run),
            user_ns: task.read(self.user),
            system_ns: task.read(self.system),
        }
    }

    /// What counts as counted of a task that is looked at for the first time: nothing, unless it
    /// has run since before this program.
    #[inline(always)]
    fn first(&self, task: Task, time: CpuTime) -> CpuTime {
        let [low, high] = CPU_SINCE.load();
        if task.read::<u64>(self.start) < u64::from(high) << 32 | u64::from(low) {
            time
        } else {
            CpuTime::ZERO
        }
    }
}

/// Runs in the agent's own thread, once for each task of the node that has not been reaped, and
/// for threads that are not leaders as well. Since 5.8.
///
/// A task that is being released is left to `at_free`. The program runs inside an RCU section,
/// and that one a grace period after the release: so the two never meet on one task.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn cpu_of_task(context: *mut IterTask) -> i32 {
    let Some(offsets) = Offsets::load() else {
        return 0;
    };
    // SAFETY: the kernel calls this with the context.
    let Some(task) = (unsafe { IterTask::task(context) }) else {
        return 0;
    };
    let exit_state: u32 = task.read(offsets.exit_state);
    if exit_state & EXIT_DEAD != 0 {
        return 0;
    }
    let pid: u32 = task.read(offsets.tgid);
    let known = known(task, &offsets);
    let agent = match &known {
        Some(task) if task.ending != 0 => AgentId::try_from(task.agent).unwrap_or(OTHER),
        _ => agent_of(pid),
    };
    let is_process = task.read::<u32>(offsets.pid) == pid && has_threads(task, &offsets);
    // A leader may have ended long before its process, whose label may change.
    let owner = if is_process { agent_of(pid) } else { OTHER };
    if owner != OTHER {
        let process = WatchedProcess {
            start_ns: task.read(offsets.start),
            pid,
            agent: owner.into(),
        };
        // SAFETY: as above; the record has no padding.
        if !unsafe { IterTask::write(context, &process) } {
            return 0;
        }
    }
    let Some(live) = CPU_LIVE.get_ptr_mut(agent.into()) else {
        return 0;
    };
    // SAFETY: only passes write here.
    let live = unsafe { &mut *live };
    live.processes += u64::from(is_process);
    live.threads += u64::from(exit_state == 0);
    let time = offsets.time(task);
    live.time.add(step(task, known, agent, time, &offsets));
    0
}

/// What is new of a task's time, which is remembered as counted.
#[inline(always)]
fn step(
    task: Task,
    known: Option<&'static mut CountedTask>,
    agent: AgentId,
    time: CpuTime,
    offsets: &Offsets,
) -> CpuTime {
    if let Some(known) = known {
        let new = time.since(known.time);
        known.time = time;
        known.agent = agent.into();
        return new;
    }
    let counted = CountedTask {
        time,
        start_ns: task.read(offsets.start),
        agent: agent.into(),
        ending: 0,
    };
    forget_earlier(task, offsets);
    if CPU_TASKS
        .insert(task.address(), counted, BPF_NOEXIST.into())
        .is_err()
    {
        // Or it has begun to end just now, and the next pass finds it; no loss then.
        if CPU_TASKS.get_ptr(task.address()).is_none() {
            lost(TASKS_FULL);
        }
        return CpuTime::ZERO;
    }
    time.since(offsets.first(task, time))
}

/// Whether a process has a thread that has not begun to end: its leader may have ended first.
#[inline(always)]
fn has_threads(leader: Task, offsets: &Offsets) -> bool {
    let signal: *const i32 = leader.read(offsets.signal);
    // SAFETY: a task in the list has its signal structure; the read is checked.
    let live = unsafe { bpf_probe_read_kernel(signal.byte_add(offsets.live as usize)) };
    live.is_ok_and(|threads| threads > 0)
}

/// A thread ends. Holds on to the agent of watched tasks: when they are freed, their label may be
/// gone.
#[inline(always)]
pub(crate) fn at_exit(task: Task) {
    let Some(offsets) = Offsets::load() else {
        return;
    };
    let agent = agent_of(task.read(offsets.tgid));
    if agent != OTHER && known(task, &offsets).is_none() {
        let counted = CountedTask {
            time: offsets.first(task, offsets.time(task)),
            start_ns: task.read(offsets.start),
            agent: agent.into(),
            ending: 1,
        };
        forget_earlier(task, &offsets);
        // A pass may be first, whose entry serves as well.
        let _ = CPU_TASKS.insert(task.address(), counted, BPF_NOEXIST.into());
    }
    match known(task, &offsets) {
        // A pass that runs now writes the same agent.
        Some(known) => {
            known.agent = agent.into();
            known.ending = 1;
        }
        None if agent != OTHER => lost(TASKS_FULL),
        None => {}
    }
}

/// A task is freed: it was both reaped and switched out for the last time, so that its times are
/// final.
#[inline(always)]
pub(crate) fn at_free(task: Task) {
    let Some(offsets) = Offsets::load() else {
        return;
    };
    let time = offsets.time(task);
    let (new, agent) = if let Some(known) = known(task, &offsets) {
        // The address will be another task's. If the kernel refuses the removal, because it
        // interrupted itself in this map, the time at which the other one started tells.
        let _ = CPU_TASKS.remove(task.address());
        (time.since(known.time), known.agent)
    } else {
        (time.since(offsets.first(task, time)), OTHER.into())
    };
    if let Some(ended) = CPU_ENDED.get_ptr_mut(agent) {
        // SAFETY: the slot is this CPU's, and only this program writes it, which is not
        // interrupted by itself.
        unsafe { (*ended).add(new) };
    }
}

/// What is known of a task. What an earlier one at its address left behind is not: a later task has
/// started later. The start of one task only ever moves back, to that of its process's leader, when
/// it executes a program in the leader's place.
#[inline(always)]
fn known(task: Task, offsets: &Offsets) -> Option<&'static mut CountedTask> {
    let known = CPU_TASKS.get_ptr_mut(task.address())?;
    // SAFETY: the entry is written by its own task at its end, by passes, which come one after
    // the other, and at the release, which does not come meanwhile.
    let known = unsafe { &mut *known };
    let start_ns: u64 = task.read(offsets.start);
    if known.start_ns < start_ns {
        return None;
    }
    known.start_ns = start_ns;
    Some(known)
}

/// Removes what an earlier task left at a task's address, if it was freed while the program could
/// not run.
#[inline(always)]
fn forget_earlier(task: Task, offsets: &Offsets) {
    if CPU_TASKS.get_ptr(task.address()).is_some() && known(task, offsets).is_none() {
        let _ = CPU_TASKS.remove(task.address());
    }
}
