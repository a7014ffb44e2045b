//! What becomes of spans on their way, with a source and sinks that do what a test wants.

mod rig;

use std::sync::{
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use self::rig::{Spans, Told, away, counts, ids, postponed, sink, wait_until};
use super::*;
use crate::trace::{SinkError, finished::FinishedSpan};

/// By then everything has happened that is going to.
const DEADLINE: Duration = Duration::from_secs(20);

/// Too short for anything to happen, if it is not there already.
const MOMENT: Duration = Duration::from_millis(50);

#[test]
fn all_spans_arrive_once_in_order_and_in_batches() {
    let (source, (sink, told)) = (Spans::default(), sink(|_| Ok(())));
    let worker = source.worker(sink, 2000);
    source.end(1, 1500);
    assert!(worker.flush(DEADLINE));
    let told: Vec<Told> = told.try_iter().collect();
    let [start, spans @ .., flush] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!((start, flush), (&Told::Start(None), &Told::Flush));
    let spans = spans.iter().map(|told| match told {
        Told::Spans(ids) => ids.clone(),
        told => panic!("{told:?}"),
    });
    let batches: Vec<Vec<u64>> = spans.collect();
    assert!(batches.iter().all(|batch| batch.len() <= BATCH));
    assert_eq!(batches.concat(), (1..=1500).collect::<Vec<u64>>());
    assert_eq!(counts(&worker), [1500, 0, 0]);
}

#[test]
fn more_than_there_is_room_for_goes_through_one_after_the_other() {
    let (source, (sink, told)) = (Spans::default(), sink(|_| Ok(())));
    let worker = source.worker(sink, 10);
    source.end(1, 1000);
    assert!(worker.flush(DEADLINE));
    assert_eq!(ids(&told), (1..=1000).collect::<Vec<u64>>());
}

#[test]
fn a_wake_up_is_enough() {
    let (source, (sink, told)) = (Spans::default(), sink(|_| Ok(())));
    let worker = source.worker(sink, 100);
    source.end(1, 3);
    worker.collector().unpark();
    wait_until("the export", || worker.counts().exported() == 3);
    assert_eq!(ids(&told), [1, 2, 3]);
}

#[test]
fn the_interval_is_enough() {
    let (source, (sink, _told)) = (Spans::default(), sink(|_| Ok(())));
    let orders = Orders {
        source: Box::new(source.clone()),
        sink: Box::new(sink),
        resource: Resource::default(),
        queue: 10,
        interval: Duration::from_millis(5),
    };
    let worker = Worker::start(orders).unwrap();
    source.end(1, 3);
    wait_until("the export", || worker.counts().exported() == 3);
}

#[test]
fn a_sink_that_is_away_gets_everything_later() {
    let is_back = Arc::new(AtomicBool::new(false));
    let here = Arc::clone(&is_back);
    let answer = move |_: &[FinishedSpan]| {
        let is_here = here.load(Ordering::Relaxed);
        is_here.then_some(()).ok_or_else(away)
    };
    let (source, (sink, told)) = (Spans::default(), sink(answer));
    let worker = source.worker(sink, 10);
    source.end(1, 25);
    // Ten are kept, and the others stay where they are.
    assert!(!worker.flush(MOMENT));
    wait_until("the collection", || source.left() == 15);
    wait_until("a look at what is not needed", || {
        source.forgotten.load(Ordering::Relaxed) > 0
    });
    assert_eq!(counts(&worker), [0, 0, 0]);
    ids(&told);

    is_back.store(true, Ordering::Relaxed);
    assert!(worker.flush(DEADLINE));
    assert_eq!(counts(&worker), [25, 0, 0]);
    let mut arrived = ids(&told);
    // The last try that failed may have been told of after the sink was back.
    arrived.dedup();
    let arrived: Vec<u64> = arrived.into_iter().rev().take(25).rev().collect();
    assert_eq!(arrived, (1..=25).collect::<Vec<u64>>());
}

#[test]
fn what_is_refused_is_counted_and_the_next_is_sent() {
    let mut calls = 0;
    let answer = move |batch: &[FinishedSpan]| {
        calls += batch.len() / 10;
        match calls {
            1 if !batch.is_empty() => Err(SinkError::Refused("not these".into())),
            2 if !batch.is_empty() => panic!("a sink may panic"),
            _ => Ok(()),
        }
    };
    let (source, (sink, told)) = (Spans::default(), sink(answer));
    let worker = source.worker(sink, 10);
    for first in [1, 11, 21] {
        source.end(first, 10);
        assert!(worker.flush(DEADLINE));
    }
    assert_eq!(counts(&worker), [10, 20, 0]);
    assert_eq!(ids(&told).last(), Some(&30));
}

#[test]
fn what_is_refused_in_part_is_counted_in_parts() {
    let refuse = |spans| SinkError::RefusedInPart {
        spans,
        source: "not these".into(),
    };
    let mut calls = 0;
    let answer = move |batch: &[FinishedSpan]| {
        calls += batch.len() / 10;
        match calls {
            1 if !batch.is_empty() => Err(refuse(3)),
            // More than there are cannot be.
            2 if !batch.is_empty() => Err(refuse(11)),
            _ => Ok(()),
        }
    };
    let (source, (sink, _told)) = (Spans::default(), sink(answer));
    let worker = source.worker(sink, 10);
    for first in [1, 11, 21] {
        source.end(first, 10);
        assert!(worker.flush(DEADLINE));
    }
    assert_eq!(counts(&worker), [17, 13, 0]);
}

#[test]
fn what_was_taken_of_a_batch_is_not_offered_again() {
    let answer = |batch: &[FinishedSpan]| match batch.len() {
        0 => Ok(()),
        10 => Err(postponed(4, 1, None)),
        6 => Err(postponed(2, 0, None)),
        _ => Err(SinkError::RefusedInPart {
            spans: 1,
            source: "not this".into(),
        }),
    };
    let (source, (sink, told)) = (Spans::default(), sink(answer));
    let worker = source.worker(sink, 10);
    source.end(1, 10);
    assert!(worker.flush(DEADLINE));
    assert_eq!(counts(&worker), [8, 2, 0]);
    let offered: Vec<u64> = (1..=10).chain(5..=10).chain(7..=10).collect();
    assert_eq!(ids(&told), offered);
}

#[test]
fn the_end_counts_what_was_taken_of_a_batch() {
    let answer = |batch: &[FinishedSpan]| match batch.len() {
        10 => Err(postponed(7, 2, None)),
        _ => Err(away()),
    };
    let (source, (sink, _told)) = (Spans::default(), sink(answer));
    let worker = source.worker(sink, 10);
    source.end(1, 10);
    assert!(!worker.shutdown(MOMENT));
    wait_until("the end", || counts(&worker) == [5, 2, 3]);
}

#[test]
fn a_sink_that_says_when_is_not_asked_before() {
    const LATER: Duration = Duration::from_millis(300);
    let mut first = None;
    let (answer, answers) = mpsc::channel();
    let asked = move |batch: &[FinishedSpan]| {
        if batch.is_empty() {
            return Ok(());
        }
        let since = *first.get_or_insert_with(Instant::now);
        let _ = answer.send(since.elapsed());
        if since.elapsed() < LATER {
            return Err(postponed(0, 0, Some(LATER)));
        }
        Ok(())
    };
    let (source, (sink, _told)) = (Spans::default(), sink(asked));
    let worker = source.worker(sink, 10);
    source.end(1, 5);
    let end = Instant::now() + DEADLINE;
    // Each asks for a try at once.
    while !worker.flush(Duration::from_millis(10)) {
        assert!(Instant::now() < end);
    }
    let asked: Vec<Duration> = answers.try_iter().collect();
    assert!(asked.len() == 2 && asked[1] >= LATER, "{asked:?}");
    assert_eq!(counts(&worker), [5, 0, 0]);
}

#[test]
fn a_flush_ends_though_more_and_more_spans_do() {
    let (source, (sink, _told)) = (Spans::default(), sink(|_| Ok(())));
    source.is_endless.store(true, Ordering::Relaxed);
    source.end(1, 1000);
    let worker = source.worker(sink, 2000);
    for flush in 1..4 {
        assert!(worker.flush(DEADLINE));
        assert!(worker.counts().exported() >= 1000 * flush);
    }
    source.is_endless.store(false, Ordering::Relaxed);
    assert!(worker.shutdown(DEADLINE));
}

#[test]
fn a_sink_does_not_wait_for_itself() {
    let (give, worker) = mpsc::channel::<Arc<Worker>>();
    let (answer, answers) = mpsc::channel();
    let asks = move |batch: &[FinishedSpan]| {
        if !batch.is_empty() {
            let worker = worker.recv_timeout(DEADLINE).unwrap();
            let start = Instant::now();
            let flushed = worker.flush(DEADLINE);
            let ended = worker.shutdown(DEADLINE);
            answer.send((flushed, ended, start.elapsed())).unwrap();
        }
        Ok(())
    };
    let (source, (sink, _told)) = (Spans::default(), sink(asks));
    let worker = Arc::new(source.worker(sink, 10));
    give.send(Arc::clone(&worker)).unwrap();
    source.end(1, 1);
    worker.collector().unpark();
    let (flushed, ended, took) = answers.recv_timeout(DEADLINE).unwrap();
    assert!(!flushed && !ended && took < DEADLINE / 2, "{took:?}");
    assert!(worker.shutdown(DEADLINE));
}

#[test]
fn a_flush_that_the_sink_fails_is_no_flush() {
    let answer = |batch: &[FinishedSpan]| match batch {
        [] => Err(away()),
        _ => Ok(()),
    };
    let (source, (sink, _told)) = (Spans::default(), sink(answer));
    let worker = source.worker(sink, 10);
    source.end(1, 1);
    assert!(!worker.flush(DEADLINE));
    assert_eq!(counts(&worker), [1, 0, 0]);
}

#[test]
fn the_end_sends_what_is_there() {
    let (source, (sink, told)) = (Spans::default(), sink(|_| Ok(())));
    let worker = source.worker(sink, 10);
    source.end(1, 100);
    assert!(worker.shutdown(DEADLINE));
    assert_eq!(counts(&worker), [100, 0, 0]);
    let told: Vec<Told> = told.try_iter().collect();
    assert_eq!(told.last(), Some(&Told::ShutDown));
    // It has ended: nothing more is waited for.
    assert!(worker.shutdown(DEADLINE));
    assert!(!worker.flush(DEADLINE));
}

#[test]
fn the_end_does_not_wait_for_a_sink_that_stays_away() {
    let (source, (sink, _told)) = (Spans::default(), sink(|_| Err(away())));
    let worker = source.worker(sink, 10);
    source.end(1, 25);
    assert!(!worker.shutdown(MOMENT));
    // All are counted, whether they were collected or not.
    wait_until("the end", || counts(&worker) == [0, 0, 25]);
    assert_eq!(source.left(), 0);
}

#[test]
fn a_sink_that_hangs_keeps_nobody_waiting() {
    let (release, held) = mpsc::channel::<()>();
    let (enter, entered) = mpsc::channel();
    let answer = move |_: &[FinishedSpan]| {
        let _ = enter.send(());
        let _ = held.recv();
        Ok(())
    };
    let (source, (sink, _told)) = (Spans::default(), sink(answer));
    let worker = source.worker(sink, 10);
    source.end(1, 5);
    assert!(!worker.flush(MOMENT));
    entered.recv_timeout(DEADLINE).unwrap();
    assert!(!worker.shutdown(MOMENT));
    drop(release);
    // It has taken them in the end.
    wait_until("the end", || counts(&worker) == [5, 0, 0]);
    wait_until("the end", || worker.shutdown(MOMENT));
}

/// Has a sink that is away fail thirty times, of which each but the first is asked for by a flush,
/// and says how long that took. The pauses between tries that nobody asks for are two minutes at least.
fn thirty_failures(flush_while_it_fails: bool) -> Duration {
    let (release, held) = mpsc::channel::<()>();
    let (enter, entered) = mpsc::channel();
    let answer = move |_: &[FinishedSpan]| {
        let _ = enter.send(());
        let _ = held.recv();
        Err(away())
    };
    let (source, (sink, told)) = (Spans::default(), sink(answer));
    let worker = source.worker(sink, 10);
    source.end(1, 1);
    let start = Instant::now();
    worker.flush(Duration::ZERO);
    assert_eq!(told.recv_timeout(DEADLINE), Ok(Told::Start(None)));
    for _ in 0..30 {
        entered.recv_timeout(DEADLINE).unwrap();
        if flush_while_it_fails {
            assert!(!worker.flush(Duration::ZERO));
        }
        release.send(()).unwrap();
        assert_eq!(told.recv_timeout(DEADLINE), Ok(Told::Spans(vec![1])));
        if !flush_while_it_fails {
            assert!(!worker.flush(Duration::ZERO));
        }
    }
    drop(release);
    worker.shutdown(Duration::ZERO);
    start.elapsed()
}

#[test]
fn a_flush_is_tried_at_once() {
    assert!(thirty_failures(false) < DEADLINE);
}

#[test]
fn a_flush_that_is_asked_for_during_a_failure_is_tried_at_once() {
    assert!(thirty_failures(true) < DEADLINE);
}
