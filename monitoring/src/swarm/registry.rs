//! The hooks' metrics in this process. Knows nothing of who watches from outside.
//!
//! An application may make up names without end. Those beyond a limit count as `other`, with the other
//! labels as they are; of values that rise and fall there is no sum, so that those have no series.
//!
//! A hook never fails: where the application has a metric of one of these names that is another one,
//! that is what is exported, and the hook's own is for itself.

use std::{
    collections::HashSet,
    sync::{Mutex, OnceLock, PoisonError},
};

use crate::{Counter, Family, Gauge, MetricBuilder, MetricsCollector};

/// Most names of agents, and most series of a gauge whose other label is of the application's choice.
const MAX_NAMES: usize = 1_000;

/// The agent that stands for all beyond the limit.
const OTHER: &str = "other";

/// The metrics, by what they count.
pub(super) struct Registry {
    spawned: Family<Counter>,
    stopped: Family<Counter>,
    messages: Family<Counter>,
    message_bytes: Family<Counter>,
    goals: Family<Counter>,
    generation: Family<Gauge>,
    fitness: Family<Gauge>,
    queue_depth: Family<Gauge>,
    allocated: Family<Gauge>,
    /// The agents that have series of their own. Not asked for those that have the series already.
    agents: Mutex<HashSet<Box<str>>>,
}

/// The process's.
#[inline]
pub(super) fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(Registry::new)
}

/// A metric of the process's own, by its very name.
fn metric(name: &str, help: &str, labels: &[&str]) -> MetricBuilder {
    let builder = MetricBuilder::new().name(name).help(help).exact_name();
    // For each agent, and the one that stands for others, as many as the second label has values.
    let limit = match labels {
        ["agent", fixed @ ..] => (MAX_NAMES + 1) << fixed.len(),
        _ => MAX_NAMES,
    };
    let builder = builder.series_limit(limit);
    labels
        .iter()
        .fold(builder, |builder, label| builder.label(label))
}

fn counter(name: &str, help: &str, labels: &[&str]) -> Family<Counter> {
    let metric = || metric(name, help, labels);
    let apart = || {
        metric()
            .collector(&MetricsCollector::isolated())
            .build_counter()
    };
    metric().try_build_counter().unwrap_or_else(|_| apart())
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> Family<Gauge> {
    let metric = || metric(name, help, labels);
    let apart = || {
        metric()
            .collector(&MetricsCollector::isolated())
            .build_gauge()
    };
    metric().try_build_gauge().unwrap_or_else(|_| apart())
}

impl Registry {
    #[cold]
    fn new() -> Self {
        Self {
            spawned: counter(
                "swarm_agents_spawned_total",
                "Agents that began to work, as the application says.",
                &["agent"],
            ),
            stopped: counter(
                "swarm_agents_stopped_total",
                "Agents that ended, as the application says.",
                &["agent"],
            ),
            messages: counter(
                "swarm_messages_total",
                "Messages that agents sent and received, as the application says.",
                &["agent", "direction"],
            ),
            message_bytes: counter(
                "swarm_message_bytes_total",
                "Bytes of messages that agents sent and received, as the application says.",
                &["agent", "direction"],
            ),
            goals: counter(
                "agent_goals_total",
                "Goals that agents reached or failed, as the application says.",
                &["agent", "outcome"],
            ),
            generation: gauge(
                "evolution_generation",
                "The generation that an agent's evolution has come to.",
                &["agent"],
            ),
            fitness: gauge(
                "evolution_fitness",
                "Fitness in an agent's current generation: of the best member, and on average.",
                &["agent", "stat"],
            ),
            queue_depth: gauge(
                "cluster_job_queue_depth",
                "Jobs that wait in a queue.",
                &["queue"],
            ),
            allocated: gauge(
                "cluster_resource_allocated",
                "How much of a resource an agent has, in the resource's own unit.",
                &["resource", "agent"],
            ),
            agents: Mutex::default(),
        }
    }

    #[inline]
    pub(super) fn agent_spawned(&self, agent: &str) {
        self.counter(&self.spawned, [agent]).inc();
    }

    #[inline]
    pub(super) fn agent_stopped(&self, agent: &str) {
        self.counter(&self.stopped, [agent]).inc();
    }

    #[inline]
    pub(super) fn goal(&self, agent: &str, outcome: &str) {
        self.counter(&self.goals, [agent, outcome]).inc();
    }

    #[inline]
    pub(super) fn generation(&self, agent: &str, number: u64, best: f64, mean: f64) {
        if let Some(gauge) = self.gauge(&self.generation, &[agent]) {
            gauge.set(number);
        }
        for (stat, value) in [("best", best), ("mean", mean)] {
            if let Some(gauge) = self.gauge(&self.fitness, &[agent, stat]) {
                gauge.set(value);
            }
        }
    }

    #[inline]
    pub(super) fn queue_depth(&self, queue: &str, depth: u64) {
        if let Some(gauge) = self.queue_depth.within_limit(&[queue]) {
            gauge.set(depth);
        }
    }

    #[inline]
    pub(super) fn allocated(&self, resource: &str, agent: &str, amount: f64) {
        if let Some(gauge) = self.allocated.within_limit(&[resource, agent]) {
            gauge.set(amount);
        }
    }

    #[inline]
    pub(super) fn message(&self, agent: &str, direction: &str, bytes: u64) {
        let labels = [agent, direction];
        self.counter(&self.messages, labels).inc();
        self.counter(&self.message_bytes, labels).inc_by(bytes);
    }

    /// The series of an agent, which is the first label, or of the others.
    #[inline]
    fn counter<'a, const LABELS: usize>(
        &self,
        family: &'a Family<Counter>,
        labels: [&str; LABELS],
    ) -> &'a Counter {
        family
            .find(&labels)
            .unwrap_or_else(|| self.new_counter(family, labels))
    }

    #[cold]
    fn new_counter<'a, const LABELS: usize>(
        &self,
        family: &'a Family<Counter>,
        mut labels: [&str; LABELS],
    ) -> &'a Counter {
        if !self.has_room_for(labels[0]) {
            family.count_limited();
            labels[0] = OTHER;
        }
        family.at(&labels)
    }

    /// The series of an agent, which is the first label, unless there are too many.
    #[inline]
    fn gauge<'a>(&self, family: &'a Family<Gauge>, labels: &[&str]) -> Option<&'a Gauge> {
        family
            .find(labels)
            .or_else(|| self.new_gauge(family, labels))
    }

    #[cold]
    fn new_gauge<'a>(&self, family: &'a Family<Gauge>, labels: &[&str]) -> Option<&'a Gauge> {
        if !self.has_room_for(labels[0]) {
            family.count_limited();
            return None;
        }
        Some(family.at(labels))
    }

    /// Whether an agent has series of its own, now or from now on.
    fn has_room_for(&self, agent: &str) -> bool {
        // A set that somebody has panicked beside is whole.
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.contains(agent) || agents.len() < MAX_NAMES && agents.insert(agent.into())
    }
}
