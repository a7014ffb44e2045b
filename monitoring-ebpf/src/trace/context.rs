//! Whose an event is: the running thread, the system call it is in, and the span that its program
//! publishes. Knows not which events become spans.

use aya_ebpf::{
    Global,
    btf_maps::{Array, HashMap},
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_probe_read_kernel, bpf_probe_read_user,
    },
    macros::btf_map,
};
use monitoring_common::{
    agents::{AgentId, start_ticks},
    syscalls::{TaskCall, UNWATCHED},
    trace::{MAX_PLACES, Origin, Place, ThreadContext, parent, place},
};

use crate::{
    ABSENT, atomic,
    task_storage::{Task, TaskStorage},
};

/// Offset in `task_struct` of the process's first thread.
#[unsafe(no_mangle)]
static TRACE_LEADER_OFFSET: Global<u32> = Global::new(ABSENT);

/// Offset in `task_struct` of when it started.
#[unsafe(no_mangle)]
static TRACE_START_OFFSET: Global<u32> = Global::new(ABSENT);

/// Offset in `task_struct` of the thread's name.
#[unsafe(no_mangle)]
static TRACE_COMM_OFFSET: Global<u32> = Global::new(ABSENT);

/// Offset in `task_struct` of the register by which a thread finds its variables.
#[unsafe(no_mangle)]
static TRACE_REGISTER_OFFSET: Global<u32> = Global::new(ABSENT);

/// Where threads publish their context, by process. Written by the agent; handed on to children and
/// removed by family `process`.
#[btf_map]
static TRACE_PLACES: HashMap<u32, Place, MAX_PLACES> = HashMap::new();

/// The running call of each task; written by family `syscalls`.
#[btf_map]
pub static RUNNING: TaskStorage<TaskCall> = TaskStorage::new();

/// Since when that is up to date; 0 while it is not. Written by the agent.
#[btf_map]
static RUNNING_SINCE: Array<u64, 1> = Array::new();

/// The bit of W3C's trace flags that says that a span is recorded.
const SAMPLED: u8 = 1;

/// What a thread's variable points to, by OpenTelemetry's proposal 4947.
#[derive(Clone, Copy)]
#[repr(C)]
struct Published {
    context: ThreadContext,
    valid: u8,
    flags: u8,
    attributes: u16,
}

const _: () = assert!(size_of::<Published>() == 24 + 1 + 1 + 2);

/// The running thread, within the system call that was entered at a time (0 for none); see
/// [`running_call`].
#[inline(always)]
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "two numbers in one")]
pub fn origin(agent: AgentId, call_start_ns: u64) -> Origin {
    let ids = bpf_get_current_pid_tgid();
    let mut origin = Origin::NOBODY;
    origin.call_start_ns = call_start_ns;
    origin.pid = (ids >> 32) as u32;
    origin.tid = ids as u32;
    origin.agent = agent.into();
    identify(&mut origin);
    origin
}

/// A thread that need not be the running one, with these numbers. Of what it publishes nothing is
/// known: that is in memory which only the thread itself can be sure to reach.
#[inline(always)]
#[must_use]
pub fn origin_of(task: Task, pid: u32, tid: u32, agent: AgentId) -> Origin {
    let mut origin = Origin::NOBODY;
    origin.pid = pid;
    origin.tid = tid;
    origin.agent = agent.into();
    let comm = TRACE_COMM_OFFSET.load();
    if comm != ABSENT {
        let name = task.address().wrapping_add(comm.into());
        // SAFETY: the helper checks the address; a name may be changing, and is text anyway.
        let name = unsafe { bpf_probe_read_kernel(name as *const [u8; 16]) };
        origin.comm = name.unwrap_or_default();
    }
    origin.process_start_ns = process_start(task);
    origin
}

/// When a task's process started; 0 where this kernel does not say.
#[inline(always)]
fn process_start(task: Task) -> u64 {
    let leader = TRACE_LEADER_OFFSET.load();
    let start = TRACE_START_OFFSET.load();
    if leader == ABSENT || start == ABSENT {
        return 0;
    }
    task.follow(leader).read(start)
}

/// When the running thread entered the system call that it is in; 0 if that is not known.
#[inline(always)]
#[must_use]
pub fn running_call() -> u64 {
    running_call_of(Task::current()).map_or(0, |call| call.start_ns)
}

/// The system call that a task is in, if that is known.
#[inline(always)]
#[must_use]
pub fn running_call_of(task: Task) -> Option<TaskCall> {
    let running = RUNNING.get(task)?;
    (running.start_ns != UNWATCHED && is_current(running.start_ns)).then_some(*running)
}

/// Whether a system call that began at a time is one of those that family `syscalls` follows now: the
/// storage keeps what was running when the family ended.
#[inline(always)]
#[must_use]
pub fn is_current(start_ns: u64) -> bool {
    RUNNING_SINCE
        .get(0)
        .is_some_and(|since_ns| *since_ns != 0 && start_ns > *since_ns)
}

#[inline(never)]
fn identify(origin: &mut Origin) {
    if let Ok(comm) = bpf_get_current_comm() {
        origin.comm = comm;
    }
    let task = Task::current();
    origin.process_start_ns = process_start(task);
    let register = TRACE_REGISTER_OFFSET.load();
    if register == ABSENT {
        return;
    }
    // SAFETY: an entry is written as a whole; what replaces it belongs to another program of the
    // process, in which the thread is not yet.
    let Some(place) = (unsafe { TRACE_PLACES.get(origin.pid) }) else {
        return;
    };
    if place.started_ticks != start_ticks(origin.process_start_ns) {
        return;
    }
    let variable = task.read::<u64>(register).wrapping_add_signed(place.offset);
    match published(variable) {
        Ok(Some(published)) => {
            let is_told = place.flags & place::SAYS_RECORDED != 0;
            if is_told && published.flags & SAMPLED == 0 {
                origin.parent = parent::NOT_SAMPLED;
                return;
            }
            origin.context = published.context;
            origin.parent = if is_told || super::is_drawn(chain_of(&published.context)) {
                parent::SAMPLED
            } else {
                parent::NOT_DRAWN
            };
        }
        Ok(None) => {}
        Err(_) => {
            if let Some(counts) = super::counts() {
                // SAFETY: one CPU's value of the map.
                atomic::add(unsafe { &raw mut (*counts).context_unread }, 1);
            }
        }
    }
}

/// The context that a thread's variable leads to, if there is one now.
#[inline(always)]
fn published(variable: u64) -> Result<Option<Published>, i32> {
    // SAFETY: the helper checks the address, and reads memory of the running process only.
    let record: u64 = unsafe { bpf_probe_read_user(variable as *const u64) }?;
    if record == 0 {
        return Ok(None);
    }
    // SAFETY: as above; any bytes are a value.
    let published: Published = unsafe { bpf_probe_read_user(record as *const Published) }?;
    let is_one = published.valid == 1 && published.context != ThreadContext::NONE;
    Ok(is_one.then_some(published))
}

/// What a trace is chosen with of which nobody says whether it is recorded: the half of its id that is
/// random where any of it is. The same on each node.
#[inline(always)]
fn chain_of(context: &ThreadContext) -> u64 {
    let half = context.trace_id.last_chunk();
    half.map_or(0, |half| u64::from_le_bytes(*half))
}

/// As [`origin`] outside of system calls, written to where it is kept: for who has no room on the stack.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "both halves are meant")]
pub fn write_origin(origin: &mut Origin, agent: AgentId) {
    let ids = bpf_get_current_pid_tgid();
    origin.call_start_ns = 0;
    origin.process_start_ns = 0;
    origin.pid = (ids >> 32) as u32;
    origin.tid = ids as u32;
    origin.comm = [0; 16];
    origin.context = ThreadContext::NONE;
    origin.parent = parent::NONE;
    origin.agent = agent.into();
    identify(origin);
}

/// Whether a process's threads publish their context. One look-up.
#[inline(always)]
#[must_use]
pub fn publishes(pid: u32) -> bool {
    TRACE_PLACES.get_ptr(pid).is_some()
}

/// A process that was forked has its parent's program, and its variables in the same place. Both are
/// given by number and start.
#[inline(always)]
pub fn inherit(parent: (u32, u32), child: (u32, u32)) {
    if !super::is_on() {
        return;
    }
    let ((parent_pid, parent_ticks), (child_pid, child_ticks)) = (parent, child);
    // SAFETY: as in `identify`.
    if let Some(place) = unsafe { TRACE_PLACES.get(parent_pid) }
        && place.started_ticks == parent_ticks
    {
        let place = Place {
            offset: place.offset,
            started_ticks: child_ticks,
            flags: place.flags,
        };
        // Without room its spans are those of a process that publishes nothing; the agent says so.
        let _ = TRACE_PLACES.insert(child_pid, place, 0);
    }
}

/// A process has ended, or runs another program. Not a later one of its number.
#[inline(always)]
pub fn forget(pid: u32, started_ticks: u32) {
    if !super::is_on() {
        return;
    }
    // SAFETY: as in `identify`.
    let place = unsafe { TRACE_PLACES.get(pid) };
    if place.is_some_and(|place| place.started_ticks == started_ticks) {
        // It may be gone by now, which is what was wanted.
        let _ = TRACE_PLACES.remove(pid);
    }
}
