//! Which process a thread is of, and when a process is no more.

use aya_ebpf::{
    Global,
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST, task_struct},
    btf_maps::HashMap,
    macros::{btf_map, btf_tracepoint},
    programs::BtfTracePointContext,
};
use monitoring_common::cuda::{
    Hook, MAX_USERS, ProcessId, Thread, kind::ALIAS_FUNCTION, lost::DETAILS_FULL, process_at,
};
use monitoring_ebpf::{ABSENT, lost::lost, object::Object, task_storage::Task, trace};

use crate::{THREADS, calls, now_ns, pid, rooms, waiting};

/// `signal` in `task_struct`.
#[unsafe(no_mangle)]
static SIGNAL: Global<u32> = Global::new(ABSENT);

/// `live.counter` in `signal_struct`: threads that have not begun to end.
#[unsafe(no_mangle)]
static LIVE: Global<u32> = Global::new(ABSENT);

/// `utask` in `task_struct`, where the kernel keeps a thread's uprobes.
#[unsafe(no_mangle)]
static UTASK: Global<u32> = Global::new(ABSENT);

/// `return_instances` in `uprobe_task`: the functions whose return is awaited, the innermost first.
#[unsafe(no_mangle)]
static AWAITED: Global<u32> = Global::new(ABSENT);

/// `stack` in `return_instance`: the stack pointer at the function's entry.
#[unsafe(no_mangle)]
static AWAITED_STACK: Global<u32> = Global::new(ABSENT);

/// The processes that have made a call, by pid. Where anything else is kept under a process that is
/// not in here, that process is no more, and the agent removes it.
#[btf_map]
static PROCESSES: HashMap<u32, ProcessId, MAX_USERS, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// The thread's process.
#[inline(always)]
pub(crate) fn process_of(thread: &mut Thread) -> ProcessId {
    if thread.process == 0 {
        thread.process = current();
    }
    thread.process
}

#[inline(never)]
fn current() -> ProcessId {
    let pid = pid();
    let known = |pid| {
        // SAFETY: the value is one word, written once.
        unsafe { PROCESSES.get(pid) }.copied()
    };
    if let Some(process) = known(pid) {
        return process;
    }
    let process = process_at(pid, now_ns());
    if PROCESSES.insert(pid, process, BPF_NOEXIST.into()).is_ok() {
        return process;
    }
    // Another thread of it was first; or there are too many, and what it leaves is not removed.
    known(pid).unwrap_or_else(|| {
        lost(DETAILS_FULL);
        process
    })
}

/// `TP_PROTO(struct task_struct *p, …)`, as BTF tracepoint since 5.5. Runs in each task that ends.
#[btf_tracepoint(function = "sched_process_exit")]
fn cuda_exit(ctx: BtfTracePointContext) -> i32 {
    let task = Object::from_argument(ctx.arg::<*mut task_struct>(0));
    if let Some(thread) = THREADS.get(Task::from_argument(ctx.arg(0))) {
        leave(thread);
    }
    let pid = pid();
    // Looked up first, which takes no lock: hardly any process is in it. Threads that end at the
    // same moment may each find that none is alive; the second removes nothing.
    if PROCESSES.get_ptr(pid).is_some() && task.follow(SIGNAL.load()).read::<u32>(LIVE.load()) == 0
    {
        gone(pid);
    }
    0
}

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, as BTF tracepoint
/// since 5.5. Runs in the task that executes, which by then is the only one of its process. Nothing
/// of what it had is left to it.
#[btf_tracepoint(function = "sched_process_exec")]
fn cuda_exec(ctx: BtfTracePointContext) -> i32 {
    if let Some(thread) = THREADS.get(Task::from_argument(ctx.arg(0))) {
        leave(thread);
        thread.process = 0;
        thread.devices_below = 0;
        thread.device = 0;
        thread.window = 0;
        thread.room = 0;
    }
    let pid = pid();
    if PROCESSES.get_ptr(pid).is_some() {
        gone(pid);
    }
    0
}

/// A process is no more.
#[inline(always)]
fn gone(pid: u32) {
    if trace::is_on() {
        // SAFETY: as in `current`.
        let process = unsafe { PROCESSES.get(pid) };
        if let Some(process) = process {
            rooms::process_ended(*process);
        }
    }
    let _ = PROCESSES.remove(pid);
}

/// Whether the kernel still awaits the return of the thread's outermost call: then the innermost
/// function that it awaits is this one or one that was called from within. Not where the program at
/// the return did not run, because it was taken away meanwhile or the kernel was busy.
#[inline(always)]
pub(crate) fn is_awaited(thread: &Thread) -> bool {
    if AWAITED_STACK.load() == ABSENT {
        return true;
    }
    let probes = Task::current().follow(UTASK.load());
    let stack: u64 = probes.follow(AWAITED.load()).read(AWAITED_STACK.load());
    stack != 0 && stack <= thread.stack
}

/// Ends the call that a thread is in, of which it will not return.
#[inline(always)]
pub(crate) fn leave(thread: &mut Thread) {
    if thread.stack == 0 {
        return;
    }
    thread.stack = 0;
    let hook = Hook(thread.hook);
    // That is no call of the program's, as at its return.
    if hook.kind() != ALIAS_FUNCTION {
        calls::count_untimed(hook, thread.agent);
    }
    if hook.waits() {
        waiting::waits_no_longer();
    }
}
