//! Executions: the label by what is known of the program, or the agent's look into /proc.

use aya_ebpf::{
    bindings::task_struct,
    btf_maps::LruHashMap,
    cty::c_void,
    helpers::{bpf_get_current_comm, bpf_probe_read_kernel_str_bytes, generated::bpf_ktime_get_ns},
    macros::{btf_map, btf_tracepoint},
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use monitoring_common::{
    agents::{AgentId, OTHER},
    process::{
        COMM_BYTES, EXEC, Event, ExecKey, Known, MAX_PROGRAMS, Pending, RECHECK_NS,
        lost::{LABELS_FULL, PENDING_FULL, RING_FULL},
    },
};
use monitoring_ebpf::{
    agents::{agent_of, new_epoch, set_agent},
    lost::lost,
    object::Object,
    trace,
};

use crate::{
    ASKED, EVENTS, PENDING, asked, count,
    fields::{
        BPRM_FILE, BPRM_INTERP, CGROUPS, DENTRY_NAME, DEVICE, FILE_DENTRY, FILE_INODE, FILE_MOUNT,
        INODE_NUMBER, INODE_SUPER_BLOCK, TGID, started_ticks,
    },
    has_rules,
};

/// The agents of programs, as the agent found them; written by it.
#[btf_map]
static PROGRAMS: LruHashMap<ExecKey, Known, MAX_PROGRAMS> = LruHashMap::new();

/// A process that executes.
#[derive(Clone, Copy)]
struct Process {
    pid: u32,
    started_ticks: u32,
    /// Its agent so far.
    agent: AgentId,
}

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, as BTF tracepoint
/// since 5.5. Runs in the task that executes, which by then is the only one of its process, after
/// its name and memory were replaced.
#[btf_tracepoint(function = "sched_process_exec")]
fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    let task = Object::from_argument(ctx.arg::<*mut task_struct>(0));
    let pid: u32 = task.read(TGID.load());
    let process = Process {
        pid,
        started_ticks: started_ticks(task),
        agent: agent_of(pid),
    };
    trace::forget(pid, process.started_ticks);
    if !has_rules() {
        count(process.agent, |counts| counts.executed += 1);
        return 0;
    }
    debug!(&ctx, "process {} executes", pid);
    let program = Object::from_argument(ctx.arg::<*mut c_void>(2));
    let key = key_of(task, program.follow(BPRM_FILE.load()));
    // SAFETY: the helper has no preconditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    // While a process waits for the agent, all that it executes is the agent's: an answer to what
    // it executed before may be on its way.
    let waits = asked(pid).is_some_and(|pending| PENDING.get_ptr(pending).is_some());
    #[allow(clippy::needless_borrows_for_generic_args, reason = "64 bytes")]
    let Some(known) = PROGRAMS.get_ptr_mut(&key).filter(|_| !waits) else {
        ask(process, program, &key, now_ns);
        return 0;
    };
    // SAFETY: the agent may write at the same time; any mix of its words and these is an agent
    // that was right within the time of a recheck, and a time.
    let known = unsafe { &mut *known };
    become_agent(process, AgentId::try_from(known.agent).unwrap_or(OTHER));
    if now_ns.wrapping_sub(known.asked_ns) > RECHECK_NS {
        known.asked_ns = now_ns;
        if !send(process, program, &key, now_ns, false) {
            lost(RING_FULL);
        }
    }
    0
}

/// Labels and counts an execution of a program that is known.
#[inline(always)]
fn become_agent(process: Process, mut agent: AgentId) {
    if agent != process.agent {
        if set_agent(process.pid, agent, process.started_ticks).is_err() {
            lost(LABELS_FULL);
            agent = OTHER;
        }
        new_epoch();
        if agent != OTHER {
            count(agent, |counts| counts.started += 1);
        }
    }
    count(agent, |counts| counts.executed += 1);
}

/// Leaves an execution to the agent: its label and its place in the counts.
#[inline(always)]
fn ask(process: Process, program: Object, key: &ExecKey, now_ns: u64) {
    if let Some(earlier) = asked(process.pid) {
        // Its end counts under what it executes now.
        let _ = PENDING.remove(earlier);
    }
    let pending: Pending = [process.pid.into(), now_ns];
    let mut waits = PENDING.insert(pending, 1, 0).is_ok();
    if waits && ASKED.insert(process.pid, now_ns, 0).is_err() {
        let _ = PENDING.remove(pending);
        waits = false;
    }
    if !waits {
        lost(PENDING_FULL);
    }
    let sent = send(process, program, key, now_ns, waits);
    if !sent {
        lost(RING_FULL);
        if waits {
            let _ = PENDING.remove(pending);
        }
    }
    if !(waits && sent) {
        count(process.agent, |counts| counts.executed += 1);
    }
}

/// Sends an execution up; `false` when the ring is full.
#[inline(always)]
fn send(process: Process, program: Object, key: &ExecKey, now_ns: u64, uncounted: bool) -> bool {
    let Some(mut entry) = EVENTS.reserve(0) else {
        return false;
    };
    let event: *mut Event = entry.as_mut_ptr();
    let name = program.follow(BPRM_FILE.load()).follow(FILE_DENTRY.load());
    // SAFETY: the entry has room for an event. What is not written here is not looked at; the
    // strings are read with a helper that checks, and leaves nothing but a zero on a failure.
    unsafe {
        (*event).at_ns = now_ns;
        (*event).pid = process.pid;
        (*event).started_ticks = process.started_ticks;
        (*event).kind = EXEC;
        (*event).agent = process.agent.into();
        (*event).uncounted = uncounted.into();
        (*event).status = 0;
        (*event).out_of_memory = 0;
        (*event).padding = 0;
        (*event).key = *key;
        (*event).name[0] = 0;
        (*event).path[0] = 0;
        let _ = bpf_probe_read_kernel_str_bytes(
            name.read::<*const u8>(DENTRY_NAME.load()),
            &mut (*event).name,
        );
        let _ = bpf_probe_read_kernel_str_bytes(
            program.read::<*const u8>(BPRM_INTERP.load()),
            &mut (*event).path,
        );
    }
    entry.submit(0);
    true
}

/// What rules can ask about the process.
#[inline(always)]
fn key_of(task: Object, file: Object) -> ExecKey {
    let inode = file.follow(FILE_INODE.load());
    ExecKey {
        // The helper fails only for a task without a name, which there is not.
        comm: bpf_get_current_comm().unwrap_or([0; COMM_BYTES]),
        inode: inode.read(INODE_NUMBER.load()),
        dentry: file.follow(FILE_DENTRY.load()).address(),
        mount: file.follow(FILE_MOUNT.load()).address(),
        css_set: task.follow(CGROUPS.load()).address(),
        device: inode.follow(INODE_SUPER_BLOCK.load()).read(DEVICE.load()),
        padding: 0,
    }
}
