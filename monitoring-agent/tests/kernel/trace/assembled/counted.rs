//! However many events there are, each is counted once, and memory stays what it was.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

use monitoring_agent::{source::Batch, spans::QueueLimits};

use super::{node, received::Receiver};
use crate::{poll::poll_until, trace::ring::traced, work};

/// How much of the suite's memory may come and go by itself.
const SLACK_BYTES: usize = 16 << 20;

/// The sum of a metric's series, or of one of them.
fn sum(batch: &Batch, name: &str, label: Option<&str>) -> u64 {
    let family = batch.families.iter().find(|family| family.name() == name);
    let metrics = family.unwrap().get_metric().iter();
    let wanted = metrics.filter(|metric| {
        let mut labels = metric.get_label().iter();
        label.is_none_or(|label| labels.any(|pair| pair.value() == label))
    });
    let values = wanted.map(|metric| {
        let (counter, gauge) = (metric.get_counter(), metric.get_gauge());
        counter.get_value() + gauge.get_value()
    });
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let sum = values.sum::<f64>() as u64;
    sum
}

/// Generated, exported, sampled out, dropped, waiting.
pub(super) fn outcomes(batch: &Batch) -> [u64; 5] {
    let outcome = |name| sum(batch, "monitoring_agent_spans_total", Some(name));
    let dropped = sum(batch, "monitoring_agent_spans_dropped_total", None);
    assert_eq!(dropped, outcome("dropped"));
    [
        sum(batch, "monitoring_agent_spans_generated_total", None),
        outcome("exported"),
        outcome("sampled_out"),
        dropped,
        sum(batch, "monitoring_agent_spans_waiting", None),
    ]
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

#[test]
fn a_flood_is_counted_exactly_and_takes_no_more_memory() {
    const CALLS: u64 = 20_000;
    let mut node = node(&["getppid"], |config| config.trace_sample_rate = 0.5);
    let limits = QueueLimits {
        spans: 2_000,
        bytes: 4 << 20,
    };
    node.spans.queue.set_limits(limits);
    let receiver = Receiver::of(&node);
    let stopped = AtomicBool::new(false);
    let mut resident = Vec::new();
    thread::scope(|scope| {
        // Nobody receives at first, and then somebody does.
        scope.spawn(|| {
            for _ in 0..10 {
                work::getppid(CALLS);
            }
            stopped.store(true, SeqCst);
        });
        while !stopped.load(SeqCst) {
            let [generated, exported, sampled_out, dropped, waiting] =
                outcomes(&node.collect("trace"));
            assert_eq!(generated, exported + sampled_out + dropped + waiting);
            assert!(node.spans.queue.len() <= limits.spans);
            assert!(node.spans.queue.memory_bytes() <= limits.bytes);
            if generated >= 5 * CALLS {
                receiver.receive();
            }
            if generated >= 2 * CALLS {
                resident.push(resident_bytes());
            }
        }
    });
    node.stop("trace");
    poll_until("the queue is empty", || {
        receiver.receive();
        node.spans.queue.is_empty().then_some(())
    });
    node.restart("trace", |config| traced(config, |_| ()));
    let batch = node.collect("trace");
    let [generated, exported, sampled_out, dropped, waiting] = outcomes(&batch);
    let calls = "monitoring_agent_spans_generated_total";
    assert_eq!(sum(&batch, calls, Some("system_call")), 10 * CALLS);
    assert_eq!(generated, exported + sampled_out + dropped + waiting);
    assert_eq!(waiting, 0);
    assert!(exported > 0 && dropped > 0);
    // Half of all, with a standard deviation of 224.
    assert!((98_000..=102_000).contains(&sampled_out), "{sampled_out}");
    let (least, most) = (resident.iter().min(), resident.iter().max());
    if let (Some(least), Some(most)) = (least, most) {
        assert!(most - least <= SLACK_BYTES, "from {least} to {most} bytes");
    }
}
