//! Family `sched`: the kernel's own counts and clocks, and sleeps of known length, are the truth.
//!
//! The work is done by processes of an agent of their own, so that nothing else is in their
//! numbers. All of them are forked and do nothing but what they are told.

mod adopted;
mod frozen;
mod io_uring;
mod reasons;
mod switches;
mod worker;

use std::{
    collections::HashMap,
    fs,
    ops::{Deref, DerefMut},
    time::{Duration, Instant},
};

use monitoring_agent::{config::AgentRule, source::Batch};
use monitoring_common::sched::reason;

use crate::node::{Node, counter, losses, me, sample};

const SOURCE: &str = "sched";

/// The agent of the workers, and their name.
const WORKER: &str = "sched-worker";

/// How long a reason is held: much longer than what it takes to look.
const HELD: Duration = Duration::from_millis(400);

/// A node on which the workers have an agent of their own, and how often the process with number 1
/// had been switched when it started.
struct Watched {
    node: Node,
    before: HashMap<String, u64>,
}

impl Deref for Watched {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl DerefMut for Watched {
    fn deref_mut(&mut self) -> &mut Node {
        &mut self.node
    }
}

fn node() -> Watched {
    let before = switches_of_first_process();
    let node = Node::with(&["process", SOURCE], |config| {
        let workers = AgentRule {
            name: WORKER.to_owned(),
            comm: vec![glob::Pattern::new(WORKER).unwrap()],
            ..AgentRule::default()
        };
        config.agents = vec![workers, me()];
    });
    Watched { node, before }
}

/// How often each thread of the process with number 1 has left its CPU so far.
fn switches_of_first_process() -> HashMap<String, u64> {
    let threads = fs::read_dir("/proc/1/task").unwrap().map_while(Result::ok);
    // A thread may end at any time.
    let texts = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("status")).ok()?;
        Some((thread.file_name().into_string().ok()?, text))
    });
    let switches = texts.map(|(thread, text)| {
        let fields = text
            .lines()
            .filter_map(|line| line.split_once("ctxt_switches:"));
        let sum = fields.map(|(_, count)| count.trim().parse::<u64>().unwrap());
        (thread, sum.sum())
    });
    switches.collect()
}

/// The workers' numbers, and between which moments they were taken.
struct Look {
    begun: Instant,
    done: Instant,
    batch: Batch,
}

impl Look {
    fn at(node: &mut Watched) -> Self {
        let begun = Instant::now();
        let batch = node.collect(SOURCE);
        let done = Instant::now();
        node.assert_losses(&batch);
        Self { begun, done, batch }
    }

    fn seconds(&self, reason: &str) -> f64 {
        let labels = [("agent", WORKER), ("reason", reason)];
        let metric = sample(&self.batch, "sched_offcpu_seconds_total", &labels).unwrap();
        metric.get_counter().get_value()
    }

    fn all_seconds(&self) -> f64 {
        reason::NAMES.iter().map(|name| self.seconds(name)).sum()
    }

    fn switches(&self, kind: &str) -> u64 {
        let labels = [("agent", WORKER), ("kind", kind)];
        counter(&self.batch, "sched_context_switches_total", &labels)
    }

    /// Number and sum in seconds of the waits for a CPU.
    fn waits(&self) -> (u64, f64) {
        let labels = [("agent", WORKER)];
        let metric = sample(&self.batch, "sched_runqueue_latency_seconds", &labels).unwrap();
        let histogram = metric.get_histogram();
        (histogram.get_sample_count(), histogram.get_sample_sum())
    }

    /// Events that were lost until now; see [`Watched::assert_losses`].
    fn lost(&self) -> u64 {
        losses(&self.batch).iter().map(|(_, count)| count).sum()
    }

    /// The least and the most time that can lie between an earlier look and this one.
    fn since(&self, earlier: &Self) -> (f64, f64) {
        let least = self.begun.duration_since(earlier.done);
        let most = self.done.duration_since(earlier.begun);
        (least.as_secs_f64(), most.as_secs_f64())
    }
}

/// Most events of other tasks that are lost while the process with number 1 is on a CPU once.
const LOST_AT_ONCE: u64 = 4;

impl Watched {
    /// Nothing is lost. Only a node may have processes that are kept from being traced, above all
    /// its first: what such a one wakes, and what comes after it on its CPU, is not seen. So that
    /// these two reasons are accepted for as much as the first process has been on a CPU meanwhile,
    /// and tests that count subtract no more than was counted as lost.
    fn assert_losses(&self, batch: &Batch) {
        // It may have been on another CPU when the count began.
        let mut switches = 1;
        for (thread, now) in switches_of_first_process() {
            let before = self.before.get(&thread).copied().unwrap_or(0);
            switches += now.saturating_sub(before);
        }
        for (reason, count) in losses(batch) {
            let may_be = ["wakeup", "arrival"].contains(&reason);
            assert!(
                may_be && count <= LOST_AT_ONCE * switches,
                "{count} lost as {reason}; the first process was on a CPU {switches} times at most"
            );
        }
    }
}

/// A worker's sum may be rounded down by a microsecond at each look.
const ROUNDING: f64 = 1e-5;

/// Asserts that a number grew by as much as `tasks` tasks have between two looks.
fn assert_grew(what: &str, grew: f64, (least, most): (f64, f64), tasks: f64) {
    assert!(
        grew >= tasks * least - ROUNDING && grew <= tasks * most + ROUNDING,
        "{what} grew by {grew} s in {tasks} times {least} to {most} s"
    );
}

/// Lets time pass while something goes on.
fn wait_for(time: Duration) {
    std::thread::sleep(time);
}

#[test]
fn attaches() {
    let mut node = node();
    let batch = node.collect(SOURCE);
    node.assert_losses(&batch);
    assert!(batch.programs.iter().all(|program| program.attached));
}
