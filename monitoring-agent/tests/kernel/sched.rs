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

use std::time::{Duration, Instant};

use monitoring_agent::{config::AgentRule, source::Batch};
use monitoring_common::sched::reason;

use crate::node::{Node, counter, losses, me, sample};

const SOURCE: &str = "sched";

/// The agent of the workers, and their name.
const WORKER: &str = "sched-worker";

/// How long a reason is held: much longer than what it takes to look.
const HELD: Duration = Duration::from_millis(400);

/// A node on which the workers have an agent of their own.
fn node() -> Node {
    Node::with(&["process", SOURCE], |config| {
        let workers = AgentRule {
            name: WORKER.to_owned(),
            comm: vec![glob::Pattern::new(WORKER).unwrap()],
            ..AgentRule::default()
        };
        config.agents = vec![workers, me()];
    })
}

/// The workers' numbers, and between which moments they were taken.
struct Look {
    begun: Instant,
    done: Instant,
    batch: Batch,
}

impl Look {
    fn at(node: &mut Node) -> Self {
        let begun = Instant::now();
        let batch = node.collect(SOURCE);
        let done = Instant::now();
        assert_losses(&batch);
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

    /// Wakeups and arrivals that were not seen.
    fn unseen(&self) -> u64 {
        losses(&self.batch).iter().map(|(_, count)| count).sum()
    }

    /// Events that were lost until now; see [`assert_losses`].
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

/// Nothing is lost in a guest, where no other processes are. A node may have processes that its
/// kernel keeps from being traced: what it wakes or switches to while one of them runs is not seen.
/// That is a few a second at most, and tests that count subtract no more than was counted as lost.
fn assert_losses(batch: &Batch) {
    let lost = losses(batch);
    let allowed: &[&str] = match std::env::var_os("MONITORING_TEST_GUEST") {
        Some(_) => &[],
        None => &["wakeup", "arrival"],
    };
    assert!(
        lost.iter()
            .all(|(reason, count)| allowed.contains(reason) && *count < 200),
        "{lost:?}"
    );
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
    assert_losses(&batch);
    assert!(batch.programs.iter().all(|program| program.attached));
}
