//! Source `process`: keeps the agents' labels current as processes come, change and go.
//!
//! Executions arrive by ring buffer, because they are rare and need a look into /proc; children
//! inherit their parent's label in the kernel, without any event.

mod usage;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use anyhow::Context as _;
use aya::include_bytes_aligned;
use monitoring_common::{
    agents::AGENT_OF,
    process::{EXEC, Event, lost},
};
use tokio::sync::mpsc;
use tracing::warn;

use self::usage::Usage;
use super::StartContext;
use crate::{
    kernel_state::{self, Losses},
    labels::{Labels, in_initial_pid_namespace},
    loader::{self, Attach, Family, Loaded},
    offsets::ABSENT,
    ring::{self, Reader},
    source::{Batch, Source, StartError},
};

const PROGRAMS: &[Attach] = &[
    usage::PROGRAMS[0],
    usage::PROGRAMS[1],
    usage::PROGRAMS[2],
    Attach::RawTracepoint("sched_process_fork", "sched_process_fork"),
    Attach::RawTracepoint("sched_process_exec", "sched_process_exec"),
];

/// Executions that may wait for their look into /proc: a second's worth at 4,096 a second.
const WAITING_EVENTS: usize = 4096;

struct Process {
    loaded: Loaded,
    losses: Losses,
    labels: Arc<Labels>,
    reader: Reader,
    /// Events known to be lost at the last scan of all processes.
    repaired_loss: u64,
    failures: Arc<AtomicU64>,
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
    let tgid = loader::field(context.offsets, "task_struct", "tgid")?;
    let mut globals = Usage::globals(context.offsets)?;
    globals.push(("TGID_OFFSET", vec![tgid]));
    let family = Family {
        name: "process",
        object: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/process")),
        globals,
        map_sizes: Vec::new(),
        programs: PROGRAMS,
        debug: context.config.ebpf_debug,
    };
    if tgid == ABSENT {
        return Err(StartError::Unsupported(
            "task_struct.tgid is not in this kernel's BTF".into(),
        ));
    }
    let mut loaded = loader::load(&family, context.shared, context.offsets)?;
    let (events, reader) = ring::read(loaded.take_map("EVENTS")?, WAITING_EVENTS)?;
    context.labels.adopt(context.shared)?;
    let labels = Arc::clone(context.labels);
    let failures = Arc::new(AtomicU64::new(0));
    follow(events, Arc::clone(&labels), Arc::clone(&failures))?;
    // Whatever ran unseen while this source did not.
    labels.sweep()?;
    labels.scan()?;
    Ok(Box::new(Process {
        usage: Usage::start(&mut loaded)?,
        losses: Losses::new(&mut loaded, &lost::REASONS)?,
        loaded,
        labels,
        reader,
        repaired_loss: 0,
        failures,
    }))
}

/// Labels executing processes on a thread of its own, which ends with the ring's reader: that one
/// holds the channel's other end.
fn follow(
    mut events: mpsc::Receiver<Event>,
    labels: Arc<Labels>,
    failures: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let follower = move || {
        while let Some(event) = events.blocking_recv() {
            if event.kind == EXEC
                && let Err(error) = labels.exec(event.pid)
            {
                failures.fetch_add(1, Relaxed);
                warn!(pid = event.pid, "could not label a process: {error:#}");
            }
        }
    };
    thread::Builder::new()
        .name("labels".into())
        .spawn(follower)
        .context("start the thread that labels processes")?;
    Ok(())
}

impl Source for Process {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        let mut lost = self.losses.read()?;
        lost.extend(self.reader.loss().totals());
        let watched = self.labels.sweep()?;
        let events = lost.iter().filter(|(reason, _)| *reason != "tasks_full");
        let events_lost = events.map(|(_, count)| count).sum();
        if events_lost > self.repaired_loss {
            // Some executions went unseen, so that any process may wear an old label.
            self.labels.scan()?;
            self.repaired_loss = events_lost;
        }
        let mut families = Vec::new();
        let mut maps = Vec::new();
        if let Some(usage) = &mut self.usage {
            families = usage.collect(&mut self.loaded, &self.labels.names())?;
            lost.push(("usage_unreadable", usage.unreadable()));
            maps = usage.maps();
        }
        let (programs, recursions) = kernel_state::programs(&self.loaded);
        lost.push(("recursion", recursions));
        lost.push(("label_map_full", self.labels.lost()));
        lost.push(("label_failed", self.failures.load(Relaxed)));
        let labels = self
            .labels
            .with_map(|map| kernel_state::map(AGENT_OF, map.fd(), Some(watched)));
        maps.extend(labels);
        Ok(Batch {
            families,
            lost,
            programs,
            maps,
        })
    }
}
