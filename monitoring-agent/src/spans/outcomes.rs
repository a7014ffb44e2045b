//! What became of spans. Each that came about is in exactly one of: exported, sampled out, dropped
//! for one reason, still waiting.
//!
//! Knows nothing of where counts of the kernel come from.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use prometheus::proto::MetricFamily;

use crate::families::Family;

/// The kind of spans that the agent itself begins: a process's, under which its others hang.
const ROOT_KIND: &str = "root";

/// Why a span was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum DropReason {
    /// Its agent had had its spans of that second. Counted by the kernel.
    Cap,
    /// The kernel's ring was full. Counted by the kernel.
    RingFull,
    /// The kernel's record was none that the agent knows.
    Malformed,
    /// Too many waited for their parents.
    HoldFull,
    /// Too many waited for the exporter.
    QueueFull,
    /// The receiver does not take it, and would not at another time.
    Rejected,
    /// The receiver does not take anything so large, not even this span alone.
    TooLarge,
    /// The receiver did not take it in time, or could not be reached.
    Unreachable,
    /// The agent ended before it could be sent.
    Shutdown,
    /// Whoever had it to send it ended without a word.
    Abandoned,
}

/// Every reason, in the order of its number.
const REASONS: [DropReason; 10] = [
    DropReason::Cap,
    DropReason::RingFull,
    DropReason::Malformed,
    DropReason::HoldFull,
    DropReason::QueueFull,
    DropReason::Rejected,
    DropReason::TooLarge,
    DropReason::Unreachable,
    DropReason::Shutdown,
    DropReason::Abandoned,
];

impl DropReason {
    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cap => "cap",
            Self::RingFull => "ring_full",
            Self::Malformed => "malformed",
            Self::HoldFull => "hold_full",
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::TooLarge => "too_large",
            Self::Unreachable => "unreachable",
            Self::Shutdown => "shutdown",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What the kernel says of spans: those that it chose and those that it did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelCounts {
    /// Candidates by the name of their kind.
    pub generated: Vec<(&'static str, u64)>,
    /// Those that were not chosen.
    pub sampled_out: u64,
    /// Those chosen over their agent's cap.
    pub capped: u64,
    /// Those chosen for which the ring had no room.
    pub ring_full: u64,
}

/// What became of spans in the agent. Counts only grow.
#[derive(Debug, Default)]
pub struct SpanOutcomes {
    /// Roots that came about.
    roots: AtomicU64,
    exported: AtomicU64,
    dropped: [AtomicU64; REASONS.len()],
}

/// All of it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Spans that came about, by kind.
    pub generated: Vec<(&'static str, u64)>,
    /// Those that a receiver has taken.
    pub exported: u64,
    /// Those that were not chosen.
    pub sampled_out: u64,
    /// Those that were lost, by reason.
    pub dropped: Vec<(DropReason, u64)>,
    /// Those that are on their way.
    pub waiting: u64,
}

impl SpanOutcomes {
    /// So many spans came about in the agent itself. To be called before anything becomes of them.
    pub fn began_roots(&self, count: u64) {
        self.roots.fetch_add(count, SeqCst);
    }

    /// A receiver has taken so many.
    pub fn exported(&self, count: u64) {
        self.exported.fetch_add(count, SeqCst);
    }

    /// So many were lost.
    pub fn dropped(&self, reason: DropReason, count: u64) {
        self.dropped[reason as usize].fetch_add(count, SeqCst);
    }

    /// How many a receiver has taken.
    pub fn total_exported(&self) -> u64 {
        self.exported.load(SeqCst)
    }

    /// How many were lost for a reason, without what the kernel counts.
    pub fn total_dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(SeqCst)
    }

    /// Adds it all up. `generated = exported + sampled_out + dropped + waiting` holds at any time:
    /// what has become of spans is read before how many there are, and the rest waits.
    ///
    /// # Errors
    ///
    /// Those of `kernel`.
    pub fn totals<E>(&self, kernel: impl FnOnce() -> Result<KernelCounts, E>) -> Result<Totals, E> {
        let exported = self.total_exported();
        let dropped = REASONS.map(|reason| (reason, self.total_dropped(reason)));
        let roots = self.roots.load(SeqCst);
        let KernelCounts {
            mut generated,
            sampled_out,
            capped,
            ring_full,
        } = kernel()?;
        generated.push((ROOT_KIND, roots));
        let mut dropped = Vec::from(dropped);
        dropped[DropReason::Cap as usize].1 += capped;
        dropped[DropReason::RingFull as usize].1 += ring_full;
        let total: u64 = generated.iter().map(|(_, count)| count).sum();
        let lost: u64 = dropped.iter().map(|(_, count)| count).sum();
        Ok(Totals {
            waiting: total.saturating_sub(exported + sampled_out + lost),
            generated,
            exported,
            sampled_out,
            dropped,
        })
    }
}

impl Totals {
    /// As metrics.
    pub fn families(&self) -> Vec<MetricFamily> {
        let mut generated = Family::counter(
            "monitoring_agent_spans_generated_total",
            "Spans that came about, whatever became of them, by kind.",
        );
        for (kind, count) in &self.generated {
            generated.push(&[("kind", kind)], *count as f64);
        }
        let mut dropped = Family::counter(
            "monitoring_agent_spans_dropped_total",
            "Spans that were chosen and did not reach a receiver, by reason.",
        );
        for (reason, count) in &self.dropped {
            dropped.push(&[("reason", reason.as_str())], *count as f64);
        }
        let lost: u64 = self.dropped.iter().map(|(_, count)| count).sum();
        let mut outcomes = Family::counter(
            "monitoring_agent_spans_total",
            "Spans by what became of them. With those waiting they are all that came about.",
        );
        let counts = [
            ("exported", self.exported),
            ("sampled_out", self.sampled_out),
            ("dropped", lost),
        ];
        for (outcome, count) in counts {
            outcomes.push(&[("outcome", outcome)], count as f64);
        }
        let waiting = Family::gauge(
            "monitoring_agent_spans_waiting",
            "Spans that were chosen and are on their way to a receiver.",
        );
        let waiting = waiting.with(&[], self.waiting as f64);
        [generated, outcomes, dropped, waiting]
            .map(Family::build)
            .into()
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::atomic::AtomicBool, thread};

    use super::*;

    #[test]
    fn reasons_stand_at_their_numbers() {
        for (number, reason) in REASONS.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }

    #[test]
    fn every_span_is_in_one_place() {
        let outcomes = SpanOutcomes::default();
        outcomes.began_roots(5);
        outcomes.exported(7);
        outcomes.dropped(DropReason::QueueFull, 2);
        let kernel = KernelCounts {
            generated: vec![("system_call", 20), ("disk_request", 10)],
            sampled_out: 11,
            capped: 3,
            ring_full: 4,
        };
        let totals = outcomes.totals(|| Ok::<_, Infallible>(kernel)).unwrap();
        assert_eq!(totals.waiting, 35 - 7 - 11 - 2 - 3 - 4);
        assert_eq!(totals.generated.last(), Some(&("root", 5)));
        let dropped = |reason| totals.dropped[reason as usize];
        assert_eq!(dropped(DropReason::Cap), (DropReason::Cap, 3));
        assert_eq!(dropped(DropReason::RingFull), (DropReason::RingFull, 4));
        assert_eq!(dropped(DropReason::QueueFull), (DropReason::QueueFull, 2));

        let families = totals.families();
        let value = |name: &str, label: Option<&str>| {
            let family = families
                .iter()
                .find(|family| family.name() == name)
                .unwrap();
            let mut metrics = family.get_metric().iter();
            let metric = metrics.find(|metric| {
                let mut pairs = metric.get_label().iter();
                label.is_none_or(|label| pairs.any(|pair| pair.value() == label))
            });
            let metric = metric.unwrap();
            metric.get_counter().get_value() + metric.get_gauge().get_value()
        };
        let check = |name, label, want: f64| {
            let got = value(name, label);
            assert!((got - want).abs() < 0.5, "{name} {label:?}: {got}");
        };
        check("monitoring_agent_spans_generated_total", Some("root"), 5.0);
        check("monitoring_agent_spans_total", Some("exported"), 7.0);
        check("monitoring_agent_spans_total", Some("dropped"), 9.0);
        check("monitoring_agent_spans_total", Some("sampled_out"), 11.0);
        check("monitoring_agent_spans_dropped_total", Some("cap"), 3.0);
        check("monitoring_agent_spans_waiting", None, 8.0);
    }

    #[test]
    fn the_sum_is_exact_while_threads_count() {
        let (outcomes, stopped) = (SpanOutcomes::default(), AtomicBool::new(false));
        let generated = AtomicU64::new(0);
        let read = || {
            let kernel = || {
                Ok::<_, Infallible>(KernelCounts {
                    generated: vec![("system_call", generated.load(SeqCst))],
                    ..KernelCounts::default()
                })
            };
            outcomes.totals(kernel).unwrap()
        };
        thread::scope(|scope| {
            for reason in [DropReason::QueueFull, DropReason::Rejected] {
                let (outcomes, stopped, generated) = (&outcomes, &stopped, &generated);
                scope.spawn(move || {
                    while !stopped.load(SeqCst) {
                        generated.fetch_add(2, SeqCst);
                        outcomes.began_roots(1);
                        outcomes.exported(1);
                        outcomes.dropped(reason, 2);
                    }
                });
            }
            for _ in 0..20_000 {
                let totals = read();
                let all: u64 = totals.generated.iter().map(|(_, count)| count).sum();
                let lost: u64 = totals.dropped.iter().map(|(_, count)| count).sum();
                assert_eq!(all, totals.exported + lost + totals.waiting);
            }
            stopped.store(true, SeqCst);
        });
        assert_eq!(read().waiting, 0);
    }
}
