//! Source `process`: how processes start, change and end, and the agents' labels meanwhile.
//!
//! The kernel counts, and labels what it knows. Executions that it does not know arrive by ring
//! buffer, because they are rare and need a look into /proc; children inherit their parent's label
//! in the kernel, without any event.

mod follower;
mod lifecycle;
mod usage;

use std::sync::{Arc, Mutex};

use aya::include_bytes_aligned;
use monitoring_common::{
    agents::AGENT_OF,
    process::lost::{
        self, LABEL_FAILED, LABEL_MAP_FULL, MALFORMED_EVENT, PENDING_FULL, RING_FULL,
        USAGE_UNREADABLE,
    },
};

use self::{follower::Follower, lifecycle::Counts, usage::Usage};
use super::StartContext;
use crate::{
    kernel_state::{self, Losses},
    labels::{Labels, Programs, in_initial_pid_namespace},
    loader::{self, Attach, Family, Loaded},
    offsets::{ABSENT, Offsets},
    source::{Batch, Source, StartError},
    tracing_globals,
};

const PROGRAMS: &[Attach] = &[
    usage::PASS,
    Attach::BtfTracepoint("sched_process_free", "sched_process_free"),
    Attach::BtfTracepoint("sched_process_exit", "sched_process_exit"),
    Attach::BtfTracepoint("sched_process_fork", "sched_process_fork"),
    Attach::BtfTracepoint("sched_process_exec", "sched_process_exec"),
];

/// The kernel's fields, by the names of the object's globals. All kernels since 5.15 have them.
const FIELDS: [(&str, &str, &str); 23] = [
    ("TGID", "task_struct", "tgid"),
    ("PID", "task_struct", "pid"),
    ("START_BOOTTIME", "task_struct", "start_boottime"),
    ("START_TIME", "task_struct", "start_time"),
    ("REAL_PARENT", "task_struct", "real_parent"),
    ("GROUP_LEADER", "task_struct", "group_leader"),
    ("SIGNAL", "task_struct", "signal"),
    ("EXIT_CODE", "task_struct", "exit_code"),
    ("CGROUPS", "task_struct", "cgroups"),
    ("LIVE", "signal_struct", "live.counter"),
    ("NR_THREADS", "signal_struct", "nr_threads"),
    ("SIGNAL_FLAGS", "signal_struct", "flags"),
    ("GROUP_EXIT_CODE", "signal_struct", "group_exit_code"),
    ("OOM_MM", "signal_struct", "oom_mm"),
    ("BPRM_FILE", "linux_binprm", "file"),
    ("BPRM_INTERP", "linux_binprm", "interp"),
    ("FILE_INODE", "file", "f_inode"),
    ("FILE_DENTRY", "file", "f_path.dentry"),
    ("FILE_MOUNT", "file", "f_path.mnt"),
    ("INODE_NUMBER", "inode", "i_ino"),
    ("INODE_SUPER_BLOCK", "inode", "i_sb"),
    ("DEVICE", "super_block", "s_dev"),
    ("DENTRY_NAME", "dentry", "d_name.name"),
];

/// Arguments of `sched_process_exit` where it says whether the task is the last of its process.
const EXIT_ARGUMENTS: u32 = 2;

/// Losses that leave a process with an old label, until all are looked at. None that want room:
/// a look makes none.
const REPAIRED: [&str; 4] = [
    lost::REASONS[RING_FULL as usize],
    lost::REASONS[PENDING_FULL as usize],
    MALFORMED_EVENT,
    LABEL_FAILED,
];

struct Process {
    loaded: Loaded,
    losses: Losses,
    labels: Arc<Labels>,
    follower: Follower,
    counts: Counts,
    /// Kept for the labels' owner, which teaches the kernel through them while they are here.
    _programs: Arc<Mutex<Programs>>,
    /// Events known to be lost at the last scan of all processes.
    repaired_loss: u64,
    usage: Option<Usage>,
}

/// Loads the family and labels the processes that run already.
///
/// # Errors
///
/// See [`StartError`].
pub fn start(context: &mut StartContext<'_>) -> Result<Box<dyn Source>, StartError> {
    if !in_initial_pid_namespace()? {
        let why = "the agent runs in a pid namespace of its own, where processes have other \
                   numbers; run it in the node's (docker: --pid=host, Kubernetes: hostPID: true)";
        return Err(StartError::Unsupported(why.to_owned()));
    }
    let mut family = family(context.offsets, context.config.ebpf_debug)?;
    family.tracing = tracing_globals::globals(context)?;
    let mut loaded = loader::load(&family, context.shared, context.offsets)?;
    context.labels.adopt(context.shared)?;
    let programs = Programs::new(&mut loaded)?;
    let labels = Arc::clone(context.labels);
    let events = loaded.take_map("EVENTS")?;
    let programs = labels.teach(programs)?;
    let process = Process {
        follower: Follower::start(events, Arc::clone(&labels))?,
        losses: Losses::new(&mut loaded, &lost::REASONS)?,
        counts: Counts::new(&mut loaded)?,
        usage: Usage::start(&mut loaded)?,
        loaded,
        labels: Arc::clone(&labels),
        _programs: programs,
        repaired_loss: 0,
    };
    // Whatever ran unseen while this source did not.
    labels.sweep()?;
    labels.scan()?;
    Ok(Box::new(process))
}

/// The kernel side by itself: counts, and sends events to whoever takes them.
///
/// # Errors
///
/// When this kernel lacks a field that the programs read.
pub fn family(offsets: &mut Offsets, debug: bool) -> Result<Family<'static>, StartError> {
    Ok(Family {
        name: "process",
        object: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/process")),
        globals: globals(offsets)?,
        map_sizes: Vec::new(),
        programs: PROGRAMS,
        tracing: None,
        debug,
    })
}

fn globals(offsets: &mut Offsets) -> Result<Vec<(&'static str, Vec<u32>)>, StartError> {
    let mut globals = Usage::globals(offsets)?;
    for (global, structure, path) in FIELDS {
        let offset = loader::field(offsets, structure, path)?;
        if offset == ABSENT {
            let why = format!("{structure}.{path} is not in this kernel's BTF");
            return Err(StartError::Unsupported(why));
        }
        globals.push((global, vec![offset]));
    }
    let arguments = offsets.tracepoint_arguments("sched_process_exit");
    let arguments = arguments.map_err(anyhow::Error::new)?;
    let last_is_told = arguments.is_some_and(|arguments| arguments >= EXIT_ARGUMENTS);
    globals.push(("LAST_IS_TOLD", vec![last_is_told.into()]));
    Ok(globals)
}

impl Source for Process {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        self.follower.settle()?;
        let names = self.labels.names();
        let mut sums = self.follower.counts();
        let sums = &mut sums[..names.len()];
        self.counts.add_to(sums)?;
        let mut families = lifecycle::families(&names, sums);
        let mut lost = self.losses.read()?;
        lost.extend(self.follower.losses());
        let watched = self.labels.sweep()?;
        let unseen = lost.iter().filter(|(reason, _)| REPAIRED.contains(reason));
        let events_lost = unseen.map(|(_, count)| count).sum();
        if events_lost > self.repaired_loss {
            // Some executions went unseen, so that any process may wear an old label.
            self.labels.scan()?;
            self.repaired_loss = events_lost;
        }
        let mut maps = Vec::new();
        if let Some(usage) = &mut self.usage {
            families.extend(usage.collect(&mut self.loaded, &names)?);
            lost.push((USAGE_UNREADABLE, usage.unreadable()));
            maps = usage.maps();
        }
        let (programs, recursions) = kernel_state::programs(&self.loaded);
        lost.push(("recursion", recursions));
        lost.push((LABEL_MAP_FULL, self.labels.lost()));
        let labels = self
            .labels
            .with_map(|map| kernel_state::map(AGENT_OF, map.fd(), Some(watched)));
        maps.extend(labels);
        Ok(Batch {
            families,
            lost,
            programs,
            maps,
            ..Batch::default()
        })
    }
}
