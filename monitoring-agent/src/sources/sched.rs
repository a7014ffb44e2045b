//! Source `sched`: reads what the kernel programs summed up, and has them sum up what still lasts.

mod kernel;
mod offcpu;

use std::sync::Arc;

use anyhow::Context as _;
use aya::{
    include_bytes_aligned,
    maps::{Array, Map, MapData},
};
use monitoring_common::{
    agents::MAX_AGENTS,
    sched::{InProgress, Totals, kind, lost, reason},
};

use self::offcpu::OffCpu;
use super::StartContext;
use crate::{
    families::Family as Metrics,
    kernel_state::{self, Losses},
    labels::{Labels, in_initial_pid_namespace},
    loader::{self, Attach, Family, Loaded},
    per_cpu::PerCpuElements,
    source::{Batch, Source, StartError},
    tracing_globals,
};

/// In the order of attaching: a task that is made while the rest is attached has its state.
const PROGRAMS: &[Attach] = &[
    Attach::BtfTracepoint("task_newtask", "task_newtask"),
    Attach::BtfTracepoint("sched_wakeup_new", "sched_wakeup_new"),
    Attach::BtfTracepoint("sched_wakeup", "sched_wakeup"),
    Attach::BtfTracepoint("sched_switch", "sched_switch"),
    Attach::Iterator(PASS, "task"),
];

/// The pass over all tasks.
const PASS: &str = "every_task";

const WAITS_HELP: &str = "Waits for a CPU, from when a task could run until it ran, of woken, new \
                          and preempted tasks alike. Waits that still last are not in it.";
const OFFCPU_HELP: &str = "Time that tasks were not on a CPU, by reason; time that still lasts is \
                           in it. lock is sleep in a futex call, whatever it is used for.";
const SWITCHES_HELP: &str = "Context switches away from a task, of the kind that the kernel counts \
                             them as in /proc/PID/status.";

struct Sched {
    loaded: Loaded,
    losses: Losses,
    labels: Arc<Labels>,
    totals: MapData,
    reader: PerCpuElements<Totals>,
    in_progress: Array<MapData, InProgress>,
    tasks: MapData,
    /// By agent.
    offcpu: Vec<OffCpu>,
}

/// Loads the family and gives every task of the node its state.
///
/// # Errors
///
/// See [`StartError`].
pub fn start(context: &mut StartContext<'_>) -> Result<Box<dyn Source>, StartError> {
    if !in_initial_pid_namespace()? {
        let why = "the agent runs in a pid namespace of its own, where it cannot see all tasks; \
                   run it in the node's (docker: --pid=host, Kubernetes: hostPID: true)";
        return Err(StartError::Unsupported(why.to_owned()));
    }
    let family = Family {
        name: "sched",
        object: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sched")),
        globals: kernel::globals(context.offsets)?,
        map_sizes: Vec::new(),
        programs: PROGRAMS,
        tracing: tracing_globals::globals(context)?,
        debug: context.config.ebpf_debug,
    };
    let mut loaded = loader::load(&family, context.shared, context.offsets)?;
    let refused = loaded
        .programs
        .iter()
        .find_map(|(_, attached)| attached.as_ref().err());
    if let Some(why) = refused {
        // With one of them missing the others' numbers would be wrong.
        return Err(StartError::Unsupported(why.clone()));
    }
    context.labels.adopt(context.shared)?;
    loaded.iterate(PASS)?;
    let complete = Map::Array(loaded.take_map("COMPLETE")?);
    let mut complete: Array<_, u32> = complete.try_into().context("map COMPLETE")?;
    complete
        .set(0, 1, 0)
        .context("say that every task has its state")?;
    let in_progress = Map::Array(loaded.take_map("IN_PROGRESS")?);
    Ok(Box::new(Sched {
        losses: Losses::new(&mut loaded, &lost::REASONS)?,
        labels: Arc::clone(context.labels),
        totals: loaded.take_map("TOTALS")?,
        reader: PerCpuElements::new()?,
        in_progress: in_progress.try_into().context("map IN_PROGRESS")?,
        tasks: loaded.take_map("TASKS")?,
        offcpu: vec![OffCpu::default(); MAX_AGENTS],
        loaded,
    }))
}

impl Source for Sched {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        let names = self.labels.names();
        // What has ended is read before the pass; see `OffCpu::seconds`.
        let ended = self.ended(names.len())?;
        let in_progress = self.in_progress(names.len())?;
        let mut waits = Metrics::histogram("sched_runqueue_latency_seconds", WAITS_HELP);
        let mut offcpu = Metrics::counter("sched_offcpu_seconds_total", OFFCPU_HELP);
        let mut switches = Metrics::counter("sched_context_switches_total", SWITCHES_HELP);
        let agents = names.iter().zip(&mut self.offcpu);
        for ((name, shown), (ended, in_progress)) in agents.zip(ended.iter().zip(&in_progress)) {
            let agent = ("agent", name.as_str());
            waits.push_durations(&[agent], &ended.waits);
            let seconds = shown.seconds(&ended.offcpu_ns, in_progress);
            for (reason, seconds) in reason::NAMES.iter().zip(seconds) {
                offcpu.push(&[agent, ("reason", reason)], seconds);
            }
            for (kind, count) in kind::NAMES.iter().zip(ended.switches) {
                switches.push(&[agent, ("kind", kind)], count as f64);
            }
        }
        let (programs, recursions) = kernel_state::programs(&self.loaded);
        let mut lost = self.losses.read()?;
        lost.push(("recursion", recursions));
        let maps = vec![
            kernel_state::map("TOTALS", self.totals.fd(), Some(names.len() as u64)),
            kernel_state::map("TASKS", self.tasks.fd(), None),
        ];
        Ok(Batch {
            families: vec![waits.build(), offcpu.build(), switches.build()],
            lost,
            programs,
            maps,
            ..Batch::default()
        })
    }
}

impl Sched {
    /// What the kernel has counted so far, by agent.
    fn ended(&mut self, agents: usize) -> anyhow::Result<Vec<Totals>> {
        let mut all = Vec::with_capacity(agents);
        for agent in 0..u32::try_from(agents)? {
            let mut sum = Totals::EMPTY;
            for totals in self.reader.read(&self.totals, agent)? {
                sum.merge(totals);
            }
            all.push(sum);
        }
        Ok(all)
    }

    /// Makes the pass: what still lasts, by agent.
    fn in_progress(&mut self, agents: usize) -> anyhow::Result<Vec<InProgress>> {
        let agents = 0..u32::try_from(agents)?;
        for agent in agents.clone() {
            let zeroed = self.in_progress.set(agent, InProgress::EMPTY, 0);
            zeroed.context("zero the sums of what is in progress")?;
        }
        self.loaded.iterate(PASS)?;
        let sums = agents.map(|agent| self.in_progress.get(&agent, 0));
        let sums: Result<_, _> = sums.collect();
        sums.context("read the sums of what is in progress")
    }
}
