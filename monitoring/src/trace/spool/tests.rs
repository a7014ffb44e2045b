//! What becomes of spans when threads end, and of those that end with their thread.

use std::{
    cell::RefCell,
    sync::{Arc, Barrier},
    thread,
};

use super::{
    super::{
        sampling::Sampling,
        span::Span,
        tracer::{Core, Tracer},
    },
    *,
};

/// A tracer that records everything, which only these tests read.
fn tracer() -> (Tracer, &'static Spool) {
    let core = Core::leaked(Sampling::new(1.0).unwrap(), true);
    (Tracer::from_core(core), &core.spool)
}

fn drained(spool: &Spool) -> Vec<String> {
    let mut spans = Vec::new();
    while spool.drain(&mut spans, 1000) > 0 {}
    let mut names: Vec<String> = spans.iter().map(|span| span.name().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn spans_outlive_their_threads_and_lanes_do_not() {
    let (tracer, spool) = tracer();
    let work = |thread: usize| {
        let tracer = tracer.clone();
        thread::spawn(move || {
            for span in 0..300 {
                tracer.start_span(format!("{thread:02} {span:03}")).end();
            }
        })
    };
    let threads: Vec<_> = (0..10).map(work).collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(spool.totals().get(Outcome::Kept), 3000);
    let want: Vec<String> = (0..3000)
        .map(|at| format!("{:02} {:03}", at / 300, at % 300))
        .collect();
    assert_eq!(drained(spool), want);
    assert_eq!(drained(spool), [""; 0]);
    // Only the lane that ending threads share is left, and what was counted.
    assert_eq!(spool.lanes(), 1);
    assert_eq!(spool.totals().get(Outcome::Kept), 3000);
}

#[test]
fn a_thread_that_never_pauses_does_not_keep_others_waiting() {
    let (tracer, spool) = tracer();
    let barrier = Arc::new(Barrier::new(3));
    let work = |name: &'static str, count: usize| {
        let (tracer, barrier) = (tracer.clone(), Arc::clone(&barrier));
        thread::spawn(move || {
            for _ in 0..count {
                tracer.start_span(name).end();
            }
            barrier.wait();
            barrier.wait();
        })
    };
    let threads = [work("busy", 1000), work("calm", 1)];
    barrier.wait();
    // A reader that takes less than the busy thread has comes to the other one all the same, and
    // before that is done.
    let mut spans = Vec::new();
    for _ in 0..2 {
        assert_eq!(spool.drain(&mut spans, 200), 200);
    }
    assert!(spans.iter().any(|span| span.name() == "calm"));
    while spool.drain(&mut spans, 200) > 0 {}
    assert_eq!(spans.len(), 1001);
    barrier.wait();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_mark_is_passed_though_more_and_more_spans_end() {
    let (tracer, spool) = tracer();
    let end = |count| (0..count).for_each(|_| tracer.start_span("busy").end());
    end(300);
    thread::scope(|scope| {
        scope.spawn(|| tracer.start_span("calm").end());
    });
    assert!(spool.is_past_mark(), "it was never marked");
    spool.mark();
    let mut spans = Vec::new();
    for step in [200, 400] {
        assert!(!spool.is_past_mark());
        end(200);
        assert_eq!(spool.drain(&mut spans, 200), 200);
        assert_eq!(spans.len(), step);
    }
    assert!(spool.is_past_mark());
    assert!(spans.iter().any(|span| span.name() == "calm"));
    // What has ended since is for the next mark.
    spool.mark();
    assert!(!spool.is_past_mark());
    assert_eq!(drained(spool).len(), 301);
    assert!(spool.is_past_mark());
}

#[test]
fn spans_that_end_with_their_thread_are_kept() {
    thread_local! {
        static LAST: RefCell<Option<Span>> = const { RefCell::new(None) };
    }
    let (tracer, spool) = tracer();
    // Whichever of the two is initialised later is destroyed first.
    for is_first in [true, false] {
        let tracer = tracer.clone();
        let work = move || {
            if !is_first {
                tracer.start_span("before").end();
            }
            LAST.with_borrow_mut(|last| *last = Some(tracer.start_span("last")));
            tracer.start_span("after").end();
        };
        thread::spawn(work).join().unwrap();
    }
    assert_eq!(drained(spool), ["after", "after", "before", "last", "last"]);
    assert_eq!(spool.totals().get(Outcome::Kept), 5);
    assert_eq!(spool.lanes(), 1);
}

#[test]
fn what_has_no_room_is_dropped_and_counted() {
    let (tracer, spool) = tracer();
    let parent = tracer.start_span("parent");
    for _ in 0..10_000 {
        tracer.start_span("child").with_parent(&parent).end();
    }
    parent.end();
    let kept = drained(spool).len() as u64;
    assert_eq!(kept, 128 + 512 + 2048 + 4096, "the rings of one thread");
    assert_eq!(spool.totals().get(Outcome::Kept), kept);
    assert_eq!(spool.totals().get(Outcome::Full), 10_001 - kept);
    // There is room again.
    tracer.start_span("later").end();
    assert_eq!(drained(spool), ["later"]);
}

#[test]
fn a_tracer_that_nobody_reads_keeps_nothing_of_threads() {
    const THREADS: usize = 10_000;
    let core = Core::leaked(Sampling::new(1.0).unwrap(), false);
    let tracer = Tracer::from_core(core);
    let mut most = 0;
    for _ in 0..THREADS {
        let tracer = tracer.clone();
        let work = move || tracer.start_span("span").end();
        thread::spawn(work).join().unwrap();
        most = most.max(core.spool.lanes());
    }
    assert!(most <= UNLOOKED + 1, "{most} lanes");
    assert_eq!(core.stats().without_sink, THREADS as u64);
    assert_eq!(core.spool.lanes(), 1);
}

#[test]
fn what_waits_outlives_a_look_for_threads_that_have_ended() {
    let (tracer, spool) = tracer();
    let work = |count: usize| {
        let tracer = tracer.clone();
        let work = move || (0..count).for_each(|_| tracer.start_span("span").end());
        thread::spawn(work).join().unwrap();
    };
    // The ring of the first thread grows.
    work(200);
    work(1);
    assert_eq!(spool.totals().get(Outcome::Kept), 201);
    assert_eq!(spool.lanes(), 3);
    assert_eq!(drained(spool).len(), 201);
    assert_eq!(spool.lanes(), 1);
}

#[test]
fn busy_threads_leave_the_others_room() {
    let (tracer, spool) = tracer();
    let work = |name: &'static str, count: usize| {
        let tracer = tracer.clone();
        let work = move || (0..count).for_each(|_| tracer.start_span(name).end());
        thread::spawn(work).join().unwrap();
    };
    // They fill all the room that there is for larger rings.
    for _ in 0..64 {
        work("busy", 10_000);
    }
    let full = spool.totals().get(Outcome::Full);
    assert!(full > 64 * (10_000 - 128 - 512 - 2048 - 4096), "{full}");
    work("calm", 128);
    assert_eq!(spool.totals().get(Outcome::Full), full);
    let calm = drained(spool).iter().filter(|name| *name == "calm").count();
    assert_eq!(calm, 128);
}

#[test]
fn threads_of_two_tracers_do_not_mix_them() {
    let ((first, of_first), (second, of_second)) = (tracer(), tracer());
    for _ in 0..10 {
        first.start_span("first").end();
        second.start_span("second").end();
    }
    assert_eq!(drained(of_first), ["first"; 10]);
    assert_eq!(drained(of_second), ["second"; 10]);
}

#[test]
fn nothing_is_lost_while_threads_end_and_are_read() {
    const ROUNDS: usize = 200;
    let (tracer, spool) = tracer();
    let mut spans = Vec::new();
    for _ in 0..ROUNDS {
        let tracer = tracer.clone();
        let work = move || (0..100).for_each(|_| tracer.start_span("span").end());
        let thread = thread::spawn(work);
        while !thread.is_finished() {
            spool.drain(&mut spans, 64);
        }
        thread.join().unwrap();
    }
    while spool.drain(&mut spans, 64) > 0 {}
    assert_eq!(spans.len(), ROUNDS * 100);
    assert_eq!(spool.totals().get(Outcome::Kept), (ROUNDS * 100) as u64);
    assert_eq!(spool.lanes(), 1);
}
