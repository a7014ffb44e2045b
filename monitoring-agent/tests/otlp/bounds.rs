//! Spans of many threads at once, while a collector takes them now and then: each is counted once.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

use monitoring::otlp::Protocol;
use monitoring_agent::spans::{DropReason, QueueLimits};

use crate::{
    exporter::{Exporter, LONG, target},
    poll::poll_until,
    stub::{Answer, Asked, Stub},
};

const THREADS: u64 = 4;

#[test]
fn all_are_exported_or_counted_as_dropped() {
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        let mut turn = 0;
        let stub = Stub::start(protocol, move |_| {
            turn += 1;
            if turn % 5 == 0 {
                Answer::partly(protocol, 2, "two")
            } else {
                Answer::yes(protocol)
            }
        });
        let mut exporter = Exporter::idle(QueueLimits {
            spans: 5000,
            bytes: 2 << 20,
        });
        exporter.apply(target(protocol, &stub.url()), LONG);
        let stopped = AtomicBool::new(false);
        let pushed: u64 = thread::scope(|scope| {
            let pushers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (exporter, stopped) = (&exporter, &stopped);
                    scope.spawn(move || {
                        let mut pushed = 0;
                        while !stopped.load(SeqCst) {
                            let first = (thread << 40) + pushed;
                            exporter.push(first..first + 100);
                            pushed += 100;
                        }
                        pushed
                    })
                })
                .collect();
            poll_until("some were sent and some had no room", || {
                let full = exporter.dropped(DropReason::QueueFull) > 0;
                (full && stub.asked().len() >= 10).then_some(())
            });
            stopped.store(true, SeqCst);
            pushers
                .into_iter()
                .map(|pusher| pusher.join().unwrap())
                .sum()
        });
        exporter.settle(pushed);
        let rejected = exporter.dropped(DropReason::Rejected);
        let mut ids: Vec<_> = stub
            .asked()
            .iter()
            .flat_map(Asked::spans)
            .map(|span| span.span_id)
            .collect();
        let arrived = ids.len() as u64;
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len() as u64, arrived, "a span has arrived twice");
        assert_eq!(exporter.exported() + rejected, arrived);
        assert!(rejected > 0);
        exporter.stop();
    }
}
