//! The queue by itself, and with threads that push while a task receives.

use std::thread;

use opentelemetry_proto::tonic::trace::v1::Span;

use super::*;
use crate::spans::{Resource, Spans, attributes::text};

const ROOM: QueueLimits = QueueLimits {
    spans: 1000,
    bytes: 1 << 20,
};

const AT_ONCE: BatchLimits = BatchLimits {
    spans: 100,
    encoded_bytes: 1 << 20,
    patience: Duration::ZERO,
};

fn resource(name: &str) -> Arc<Resource> {
    Arc::new(Resource::new(vec![text("service.name", name)]))
}

fn span(resource: &Arc<Resource>, name: &str) -> Finished {
    let span = Span {
        name: name.to_owned(),
        ..Span::default()
    };
    Finished::new(Arc::clone(resource), "stratoswarm.block", span)
}

fn names(batch: &SpanBatch) -> Vec<&str> {
    let names = batch.spans().iter();
    names.map(|finished| finished.span.name.as_str()).collect()
}

#[tokio::test]
async fn spans_come_in_their_order_and_as_many_as_are_wanted() {
    let spans = Spans::new(ROOM);
    let resource = resource("planner");
    for name in ["a", "b", "c"] {
        assert!(spans.queue.push(span(&resource, name)));
    }
    let two = BatchLimits {
        spans: 2,
        ..AT_ONCE
    };
    let batch = spans.queue.receive_batch(two).await.unwrap();
    assert_eq!(names(&batch), ["a", "b"]);
    batch.exported(0);
    let batch = spans.queue.receive_batch(two).await.unwrap();
    assert_eq!(names(&batch), ["c"]);
    batch.exported(0);
    assert_eq!(spans.outcomes.total_exported(), 3);
    assert_eq!(spans.queue.memory_bytes(), 0);
}

#[tokio::test]
async fn a_batch_has_its_size_when_it_is_sent() {
    let spans = Spans::new(ROOM);
    let (one, other) = (resource("one"), resource("other"));
    let long = "x".repeat(100);
    for resource in [&one, &one, &other, &one] {
        spans.queue.push(span(resource, &long));
    }
    let each = span(&one, &long).encoded_bytes();
    let check = async |encoded_bytes, want| {
        let limits = BatchLimits {
            encoded_bytes,
            ..AT_ONCE
        };
        let batch = spans.queue.receive_batch(limits).await.unwrap();
        assert_eq!(batch.len(), want, "of {encoded_bytes} bytes");
        batch.exported(0);
    };
    // Even one is too large: it comes alone.
    check(1, 1).await;
    // The second of another resource does not fit for its resource.
    check(2 * each + one.encoded_bytes, 1).await;
    check(2 * each + one.encoded_bytes + other.encoded_bytes, 2).await;
}

#[test]
fn what_does_not_fit_is_refused_and_counted() {
    let check = |limits, fitting: usize| {
        let spans = Spans::new(limits);
        let resource = resource("planner");
        let taken = (0..10).filter(|_| spans.queue.push(span(&resource, "a")));
        assert_eq!(taken.count(), fitting);
        assert_eq!(spans.queue.len(), fitting);
        assert!(spans.queue.memory_bytes() <= limits.bytes);
        let refused = spans.outcomes.total_dropped(DropReason::QueueFull);
        assert_eq!(refused, 10 - fitting as u64);
    };
    check(ROOM, 10);
    check(QueueLimits { spans: 3, ..ROOM }, 3);
    let known = resource("planner");
    let each = span(&known, "a").memory_bytes();
    // The resource counts once.
    let bytes = known.memory_bytes + 4 * each;
    check(QueueLimits { bytes, ..ROOM }, 4);
    check(
        QueueLimits {
            bytes: bytes - 1,
            ..ROOM
        },
        3,
    );
}

#[tokio::test]
async fn resources_count_as_long_as_one_of_their_spans_waits() {
    let spans = Spans::new(ROOM);
    let resources: Vec<_> = (0..20)
        .map(|number| resource(&number.to_string()))
        .collect();
    for resource in resources.iter().chain(&resources) {
        spans.queue.push(span(resource, "a"));
    }
    let each = span(&resources[0], "a").memory_bytes();
    let of_resources: usize = resources.iter().map(|one| one.memory_bytes).sum();
    assert_eq!(spans.queue.memory_bytes(), 40 * each + of_resources);
    let half = BatchLimits {
        spans: 20,
        ..AT_ONCE
    };
    spans.queue.receive_batch(half).await.unwrap().exported(0);
    assert_eq!(spans.queue.memory_bytes(), 20 * each + of_resources);
    spans.queue.receive_batch(half).await.unwrap().exported(0);
    assert_eq!(spans.queue.memory_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_waited_for_until_it_is_full_or_long_enough() {
    let spans = Spans::new(ROOM);
    let resource = resource("planner");
    let limits = BatchLimits {
        spans: 2,
        patience: Duration::from_secs(5),
        ..AT_ONCE
    };
    let begun = tokio::time::Instant::now();
    spans.queue.push(span(&resource, "a"));
    let batch = spans.queue.receive_batch(limits).await.unwrap();
    assert_eq!((batch.len(), begun.elapsed()), (1, limits.patience));
    batch.exported(0);

    let pushing = async {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            spans.queue.push(span(&resource, "a"));
        }
    };
    let begun = tokio::time::Instant::now();
    let (batch, ()) = tokio::join!(spans.queue.receive_batch(limits), pushing);
    assert_eq!(batch.unwrap().len(), 2);
    assert_eq!(begun.elapsed(), Duration::from_secs(2));

    // Who gives up in between loses nothing.
    spans.queue.push(span(&resource, "b"));
    let soon = Duration::from_secs(1);
    assert!(
        timeout(soon, spans.queue.receive_batch(limits))
            .await
            .is_err()
    );
    let batch = spans.queue.receive_batch(limits).await.unwrap();
    assert_eq!(names(&batch), ["b"]);
    batch.exported(0);
}

#[tokio::test]
async fn a_closed_queue_gives_what_it_has_and_ends() {
    let spans = Spans::new(ROOM);
    let resource = resource("planner");
    spans.queue.push(span(&resource, "a"));
    let patient = BatchLimits {
        patience: Duration::from_hours(1),
        ..AT_ONCE
    };
    let (batch, ()) = tokio::join!(spans.queue.receive_batch(patient), async {
        spans.queue.close();
    });
    batch.unwrap().exported(0);
    assert!(!spans.queue.push(span(&resource, "late")));
    assert_eq!(spans.outcomes.total_dropped(DropReason::Shutdown), 1);
    assert!(spans.queue.receive_batch(patient).await.is_none());
}

#[tokio::test]
async fn whatever_becomes_of_a_batch_is_counted() {
    let spans = Spans::new(ROOM);
    let resource = resource("planner");
    let batch = async || {
        for _ in 0..3 {
            spans.queue.push(span(&resource, "a"));
        }
        spans.queue.receive_batch(AT_ONCE).await.unwrap()
    };
    let counts = || {
        let dropped = |reason| spans.outcomes.total_dropped(reason);
        (
            spans.outcomes.total_exported(),
            dropped(DropReason::Rejected),
            dropped(DropReason::Unreachable),
            dropped(DropReason::Abandoned),
        )
    };
    batch().await.exported(1);
    assert_eq!(counts(), (2, 1, 0, 0));
    batch().await.dropped(DropReason::Unreachable);
    assert_eq!(counts(), (2, 1, 3, 0));
    drop(batch().await);
    assert_eq!(counts(), (2, 1, 3, 3));
    // A receiver cannot reject more than it was sent.
    batch().await.exported(u64::MAX);
    assert_eq!(counts(), (2, 4, 3, 3));
    spans.queue.push(span(&resource, "a"));
    spans.queue.clear(DropReason::Shutdown);
    assert_eq!(spans.outcomes.total_dropped(DropReason::Shutdown), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_span_is_lost_or_counted_twice_with_many_threads() {
    const THREADS: u64 = 4;
    const EACH: u64 = 5_000;
    let spans = Spans::new(QueueLimits { spans: 64, ..ROOM });
    let pushing: Vec<_> = (0..THREADS)
        .map(|number| {
            let queue = Arc::clone(&spans.queue);
            thread::spawn(move || {
                let resource = resource(&number.to_string());
                (0..EACH)
                    .filter(|_| queue.push(span(&resource, "a")))
                    .count() as u64
            })
        })
        .collect();
    let closing = {
        let queue = Arc::clone(&spans.queue);
        tokio::task::spawn_blocking(move || {
            let taken = pushing.into_iter().map(|thread| thread.join().unwrap());
            let taken: u64 = taken.sum();
            queue.close();
            taken
        })
    };
    let limits = BatchLimits {
        spans: 16,
        patience: Duration::from_millis(1),
        ..AT_ONCE
    };
    let mut received = 0;
    while let Some(batch) = spans.queue.receive_batch(limits).await {
        received += batch.len() as u64;
        batch.exported(0);
    }
    assert_eq!(closing.await.unwrap(), received);
    assert_eq!(spans.outcomes.total_exported(), received);
    let refused = spans.outcomes.total_dropped(DropReason::QueueFull);
    assert_eq!(received + refused, THREADS * EACH);
    assert_eq!(spans.queue.memory_bytes(), 0);
}

#[tokio::test]
async fn a_batch_knows_how_much_of_it_is_so_many_bytes() {
    let spans = Spans::new(ROOM);
    let (one, other) = (resource("planner"), resource("walker"));
    for resource in [&one, &one, &other, &one] {
        spans.queue.push(span(resource, "0123456789"));
    }
    let batch = spans.queue.receive_batch(AT_ONCE).await.unwrap();
    let bytes = batch.spans()[0].encoded_bytes();
    let (one, other) = (one.encoded_bytes, other.encoded_bytes);
    let check = |encoded_bytes, want| assert_eq!(batch.within(encoded_bytes), want);
    check(0, 1);
    check(one + bytes, 1);
    check(one + 2 * bytes - 1, 1);
    check(one + 2 * bytes, 2);
    check(one + 3 * bytes, 2);
    check(one + other + 3 * bytes, 3);
    check(one + other + 4 * bytes, 4);
    check(usize::MAX, 4);
    assert_eq!(batch.len(), 4);
    batch.exported(0);
}
