//! Spans of programs that publish their own: this one, and one that is started later. Both use the
//! crate `monitoring` as any program does.

use std::{sync::mpsc, thread, time::Duration};

use aya::maps::{HashMap, Map, MapData};
use monitoring::{SpanContext, Tracer, trace::Span};
use monitoring_agent::{config::Config, thread_contexts::ThreadContexts};
use monitoring_common::trace::{
    Place, Record, SystemCallDetail, TRACE_PLACES, ThreadContext, flags, kind::SYSTEM_CALL, place,
};

use super::{
    program::Program,
    ring::{Spans, only_system_calls, traced},
};
use crate::{node::Node, poll::poll_until, work};

type Call = Record<SystemCallDetail>;

struct Joining {
    spans: Spans,
    places: HashMap<MapData, u32, Place>,
    contexts: ThreadContexts,
    _node: Node,
}

impl Joining {
    /// Traces `getppid` only. Nothing becomes a span by itself but what `change` wants.
    fn start(change: impl FnOnce(&mut Config)) -> Self {
        let node = Node::with(&["process", "syscalls"], |config| {
            traced(config, |config| {
                only_system_calls(&["getppid"], config);
                config.trace_sample_rate = 0.0;
                config.sources.trace.slow_system_call = Some(Duration::from_hours(1));
                config.sources.trace.joined_minimum = Duration::ZERO;
                change(config);
            });
        });
        let places = Map::HashMap(node.map(TRACE_PLACES));
        Self {
            spans: Spans::of(&node),
            places: places.try_into().unwrap(),
            contexts: ThreadContexts::start(node.map(TRACE_PLACES)).unwrap(),
            _node: node,
        }
    }

    /// Waits until the agent has found where a process publishes.
    fn wait_for(&self, pid: u32) -> Place {
        poll_until("the place of the process's contexts", || self.place(pid))
    }

    fn place(&self, pid: u32) -> Option<Place> {
        self.places.get(&pid, 0).ok()
    }

    /// The calls of a process since the last time.
    fn calls(&mut self, pid: u32) -> Vec<Call> {
        let calls: Vec<Call> = self.spans.of_kind(SYSTEM_CALL);
        calls
            .into_iter()
            .filter(|call| call.header.pid == pid)
            .collect()
    }

    /// Candidates, and those that were not in the sample.
    fn counts(&self) -> (u64, u64) {
        let counts = self.spans.counts();
        assert_eq!(
            (counts.capped, counts.ring_full, counts.context_unread),
            (0, 0, 0)
        );
        (
            counts.generated[SYSTEM_CALL],
            counts.sampled_out[SYSTEM_CALL],
        )
    }
}

fn tracer(rate: f64) -> Tracer {
    Tracer::builder("kernel-suite")
        .sample_rate(rate)
        .build()
        .unwrap()
}

fn published(context: &SpanContext) -> ThreadContext {
    ThreadContext {
        trace_id: context.trace_id().to_bytes(),
        span_id: context.span_id().to_bytes(),
    }
}

fn is_joined(call: &Call, span: &Span) -> bool {
    (call.header.flags, call.header.context) == (flags::JOINED, published(&span.context()))
}

#[test]
fn what_happens_within_a_recorded_span_is_its_child() {
    let mut joining = Joining::start(|_| ());
    let own = std::process::id();
    joining.wait_for(own);
    let tracer = tracer(1.0);
    let outer = tracer.start_span("outer");
    work::getppid(5);
    assert_eq!(joining.calls(own).len(), 0);
    let current = outer.enter();
    work::getppid(10);
    let calls = joining.calls(own);
    assert_eq!(calls.len(), 10);
    assert!(calls.iter().all(|call| is_joined(call, &outer)));
    {
        let inner = tracer.start_span("inner");
        let _current = inner.enter();
        work::getppid(10);
        let calls = joining.calls(own);
        assert_eq!(calls.len(), 10);
        assert!(calls.iter().all(|call| is_joined(call, &inner)));
        // Another thread is in no span.
        thread::scope(|scope| scope.spawn(|| work::getppid(10)).join().unwrap());
        assert_eq!(joining.calls(own).len(), 0);
        // Until it is.
        thread::scope(|scope| {
            let work = || {
                let _current = outer.enter();
                work::getppid(10);
            };
            scope.spawn(work).join().unwrap();
        });
        let calls = joining.calls(own);
        assert_eq!(calls.len(), 10);
        assert!(calls.iter().all(|call| is_joined(call, &outer)));
    }
    work::getppid(1);
    assert!(is_joined(&joining.calls(own)[0], &outer));
    drop(current);
    work::getppid(5);
    assert_eq!(joining.calls(own).len(), 0);
    assert_eq!(joining.counts(), (31, 0));
}

#[test]
fn nothing_is_told_within_a_span_that_is_not_recorded() {
    let mut joining = Joining::start(|config| {
        config.trace_sample_rate = 1.0;
        config.sources.trace.slow_system_call = Some(Duration::ZERO);
    });
    let own = std::process::id();
    joining.wait_for(own);
    let before = joining.counts();
    joining.calls(own);
    let tracer = tracer(0.0);
    let span = tracer.start_span("not recorded");
    assert!(!span.is_recording());
    let current = span.enter();
    work::getppid(10);
    drop(current);
    assert_eq!(joining.calls(own).len(), 0);
    let after = joining.counts();
    assert_eq!((after.0 - before.0, after.1 - before.1), (10, 10));
    work::getppid(10);
    let calls = joining.calls(own);
    assert_eq!(calls.len(), 10);
    assert!(calls.iter().all(|call| call.header.flags == 0));
    assert_eq!(joining.counts().1, after.1);
}

#[test]
fn within_spans_that_do_not_say_whether_they_are_recorded_the_trace_is_drawn() {
    const SPANS: u64 = 200;
    const CALLS: u64 = 3;
    let mut joining = Joining::start(|config| {
        config.trace_sample_rate = 0.5;
        config.sources.trace.slow_system_call = Some(Duration::ZERO);
        config.sources.trace.spans_per_second = 100_000;
    });
    let own = std::process::id();
    let place = joining.wait_for(own);
    assert_eq!(place.flags, place::SAYS_RECORDED);
    // As another publisher's, whose byte of flags is always 0.
    let others = Place { flags: 0, ..place };
    joining.places.insert(own, others, 0).unwrap();
    let tracer = tracer(0.0);
    joining.calls(own);
    let (before, mut drawn) = (joining.counts(), 0);
    for _ in 0..SPANS {
        let span = tracer.start_span("of another library");
        let current = span.enter();
        work::getppid(CALLS);
        drop(current);
        let calls = joining.calls(own);
        assert!([0, CALLS].contains(&(calls.len() as u64)));
        assert!(calls.iter().all(|call| is_joined(call, &span)));
        drawn += calls.len() as u64 / CALLS;
    }
    // Half of them, but for one test in some billions.
    assert!((55..=145).contains(&drawn), "{drawn}");
    let after = joining.counts();
    let counted = (after.0 - before.0, after.1 - before.1);
    assert_eq!(counted, (SPANS * CALLS, (SPANS - drawn) * CALLS));
}

#[test]
fn a_program_that_starts_later_is_found_and_forgotten() {
    let mut joining = Joining::start(|config| {
        config.sources.trace.agents = monitoring_agent::config::TraceAgents::All;
    });
    let mut program = Program::start();
    let pid = program.pid();
    joining.wait_for(pid);
    joining.calls(pid);
    let context = program.in_a_span(20);
    let calls = joining.calls(pid);
    assert_eq!(calls.len(), 20);
    for call in &calls {
        assert_eq!(call.header.flags, flags::JOINED);
        assert_eq!(call.header.context, context);
    }
    // The kernel forgets where its variable was before the first instruction of another program.
    program.become_another();
    assert_eq!(joining.place(pid), None);
    drop(program);
    assert!(joining.contexts.processes() > 0);
}

#[test]
fn a_process_that_ends_is_forgotten() {
    let joining = Joining::start(|_| ());
    let program = Program::start();
    let pid = program.pid();
    joining.wait_for(pid);
    drop(program);
    // The kernel does so when it frees the process.
    poll_until("the process is forgotten", || {
        joining.place(pid).is_none().then_some(())
    });
}

#[test]
fn a_child_has_its_parents_place_from_its_first_instruction_on() {
    let mut joining = Joining::start(|_| ());
    let own = joining.wait_for(std::process::id());
    let tracer = tracer(1.0);
    let span = tracer.start_span("forks");
    let _current = span.enter();
    let child = work::Forked::start(|| work::getppid(10));
    let pid = child.pid();
    assert_eq!(child.wait(), 0);
    let calls = joining.calls(pid);
    assert_eq!(calls.len(), 10);
    assert!(calls.iter().all(|call| is_joined(call, &span)));
    assert_eq!(joining.wait_for(std::process::id()), own);
}

#[test]
fn a_place_of_an_earlier_process_is_not_believed() {
    let mut joining = Joining::start(|_| ());
    let own = std::process::id();
    let place = joining.wait_for(own);
    let tracer = tracer(1.0);
    let span = tracer.start_span("mine");
    let _current = span.enter();
    let earlier = Place {
        started_ticks: place.started_ticks - 1,
        ..place
    };
    joining.places.insert(own, earlier, 0).unwrap();
    work::getppid(10);
    assert_eq!(joining.calls(own).len(), 0);
    joining.places.insert(own, place, 0).unwrap();
    work::getppid(10);
    assert_eq!(joining.calls(own).len(), 10);
}

#[test]
fn a_context_that_cannot_be_read_is_counted_and_is_none() {
    let mut joining = Joining::start(|config| {
        config.trace_sample_rate = 1.0;
        config.sources.trace.slow_system_call = Some(Duration::ZERO);
    });
    let own = std::process::id();
    let place = joining.wait_for(own);
    let before = joining.spans.counts().context_unread;
    joining.calls(own);
    // Far below the stack of this thread's register, and in no mapping of anybody's.
    let nowhere = Place {
        offset: i64::MIN,
        ..place
    };
    joining.places.insert(own, nowhere, 0).unwrap();
    work::getppid(10);
    joining.places.insert(own, place, 0).unwrap();
    let calls = joining.calls(own);
    assert_eq!(calls.len(), 10);
    assert!(calls.iter().all(|call| call.header.flags == 0));
    assert_eq!(joining.spans.counts().context_unread - before, 10);
}

#[test]
fn threads_are_told_apart_while_they_change_their_spans() {
    let mut joining = Joining::start(|_| ());
    let own = std::process::id();
    joining.wait_for(own);
    let tracer = tracer(1.0);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for cpu in 0..2 {
            let (tracer, tell) = (&tracer, tell.clone());
            scope.spawn(move || {
                work::pin_to(cpu % thread::available_parallelism().unwrap().get());
                // SAFETY: the call has no preconditions.
                let tid = unsafe { libc::gettid() }.cast_unsigned();
                for _ in 0..500 {
                    let span = tracer.start_span("short");
                    let _current = span.enter();
                    work::getppid(1);
                    tell.send((tid, published(&span.context()))).unwrap();
                }
            });
        }
    });
    drop(tell);
    let mut wanted: Vec<_> = told
        .iter()
        .map(|(tid, context)| (tid, context.span_id))
        .collect();
    let calls = joining.calls(own);
    let found = calls
        .iter()
        .map(|call| (call.header.tid, call.header.context.span_id));
    let mut found: Vec<_> = found.collect();
    wanted.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, wanted);
}
