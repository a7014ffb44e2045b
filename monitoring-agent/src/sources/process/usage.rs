//! What watched processes use: CPU time, memory, descriptors, threads; and how many there are.
//!
//! CPU time and numbers come from the kernel programs, for the whole node. The rest comes from
//! /proc, for watched processes only, and within a budget of time: what one collection does not
//! get to keeps its last values. Knows no labels but the agents' names.

mod cpu;
mod descriptors;
mod mappings;
mod memory;
mod values;

use std::time::Duration;

use monitoring_common::agents::OTHER;
use prometheus::proto::MetricFamily;
use tracing::warn;

use self::{
    cpu::{Cpu, Pass},
    values::{Budgets, Values},
};
use crate::{
    families::Family,
    loader::{Attach, Loaded},
    offsets::Offsets,
    source::{MapState, StartError},
};

/// The pass over all tasks.
pub(super) const PASS: Attach = Attach::Iterator("cpu_of_task", "task");

/// Time that a collection may spend on files that cost about 30 µs a process: its memory in
/// numbers and its descriptors. Enough for 3,000 processes, measured with 1,000 on a busy machine.
const COUNTERS: Duration = Duration::from_millis(100);

/// Time that a collection may spend on page tables, which the watched processes notice: while a
/// part of one is looked at, its process cannot change its mappings.
const MAPPINGS: Duration = Duration::from_millis(20);

const ACTIVE_HELP: &str = "Processes of the agent with at least one thread that has not ended.";
const CPU_HELP: &str = "CPU time since the source started, of processes that have ended as well. \
                        The sum over mode is the scheduler's exact time; how it divides is what \
                        the kernel saw at its ticks.";
const THREADS_HELP: &str = "Threads that have not ended.";
const MEMORY_HELP: &str = "Memory of the agent's processes that is resident: rss = anon + file + \
                           shmem. Pages that processes share count in each. heap is the brk \
                           segment and stack the first thread's stack: both are parts of anon, as \
                           are allocators' own mappings and other threads' stacks.";
const DESCRIPTORS_HELP: &str = "Open file descriptors of the agent's processes.";
const AGE_HELP: &str = "Age of the oldest values from /proc of a watched process. They are read \
                        within a budget of time: counters are resident memory and descriptors, \
                        mappings are heap and stack.";

/// What watched processes use.
pub(super) struct Usage {
    cpu: Cpu,
    values: Values,
}

impl Usage {
    /// Values for the kernel programs' globals.
    pub(super) fn globals(
        offsets: &mut Offsets,
    ) -> Result<Vec<(&'static str, Vec<u32>)>, StartError> {
        cpu::globals(offsets)
    }

    /// Counts from here on. `None` where the kernel lacks something for it.
    pub(super) fn start(loaded: &mut Loaded) -> anyhow::Result<Option<Self>> {
        let mut programs = loaded.programs.iter();
        let pass = programs.find(|(name, _)| *name == PASS.program());
        if let Some((_, Err(why))) = pass {
            warn!("CPU time and use of memory by agent are off: {why}");
            return Ok(None);
        }
        let cpu = Cpu::start(loaded)?;
        let budgets = Budgets {
            counters: COUNTERS,
            mappings: MAPPINGS,
        };
        let values = Values::new(budgets);
        Ok(Some(Self { cpu, values }))
    }

    /// The current metrics; `names` are the agents', by number.
    pub(super) fn collect(
        &mut self,
        loaded: &mut Loaded,
        names: &[String],
    ) -> anyhow::Result<Vec<MetricFamily>> {
        let pass = self.cpu.pass(loaded, names.len())?;
        self.values.refresh(&pass.processes);
        let mut families = counts(&pass, names);
        families.extend(self.memory(names));
        Ok(families)
    }

    /// How often a value of a process could not be read though the process was there.
    pub(super) fn unreadable(&self) -> u64 {
        self.values.unreadable()
    }

    /// The kernel's maps.
    pub(super) fn maps(&self) -> Vec<MapState> {
        self.cpu.maps()
    }

    /// What was read from /proc, summed by agent.
    fn memory(&self, names: &[String]) -> [MetricFamily; 3] {
        let mut memory = Family::gauge("agent_memory_bytes", MEMORY_HELP);
        let mut descriptors = Family::gauge("agent_open_fds", DESCRIPTORS_HELP);
        let sums = self.values.sums(names.len());
        for (name, sum) in watched(names).zip(sums.iter().skip(1)) {
            let kinds = [
                ("rss", sum.memory.resident()),
                ("heap", sum.mappings.heap),
                ("stack", sum.mappings.stack),
                ("anon", sum.memory.anon),
                ("file", sum.memory.file),
                ("shmem", sum.memory.shmem),
            ];
            for (kind, bytes) in kinds {
                memory.push(&[("agent", name), ("kind", kind)], bytes as f64);
            }
            descriptors.push(&[("agent", name)], sum.descriptors as f64);
        }
        let ages = self.values.ages();
        let age = Family::gauge("monitoring_agent_process_values_age_seconds", AGE_HELP)
            .with(&[("values", "counters")], ages.counters.as_secs_f64())
            .with(&[("values", "mappings")], ages.mappings.as_secs_f64());
        [memory.build(), descriptors.build(), age.build()]
    }
}

/// What the pass over all tasks found. `other` has CPU time and threads, so that sums over agents
/// are the node's; it is no agent that may be active or not.
fn counts(pass: &Pass, names: &[String]) -> Vec<MetricFamily> {
    let mut active = Family::gauge("agent_active", ACTIVE_HELP);
    let mut cpu = Family::counter("agent_cpu_seconds_total", CPU_HELP);
    let mut threads = Family::gauge("agent_threads", THREADS_HELP);
    for ((name, found), agent) in names.iter().zip(&pass.agents).zip(OTHER..) {
        let seconds = |ns: u64| ns as f64 / 1e9;
        cpu.push(
            &[("agent", name), ("mode", "system")],
            seconds(found.system_ns),
        );
        cpu.push(&[("agent", name), ("mode", "user")], seconds(found.user_ns));
        threads.push(&[("agent", name)], found.threads as f64);
        if agent != OTHER {
            active.push(&[("agent", name)], found.processes as f64);
        }
    }
    vec![active.build(), cpu.build(), threads.build()]
}

/// The agents' names without that of the rest.
fn watched(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().skip(1).map(String::as_str)
}
