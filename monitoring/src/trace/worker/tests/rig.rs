//! Spans that end, and a sink that takes them, as a test wants it.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
};

use super::super::*;
use super::DEADLINE;
use crate::{
    clock::Calibration,
    trace::{
        SinkError, SpanId, TraceFlags, TraceId,
        finished::FinishedSpan,
        record::{Origin, Record},
        text::Text,
    },
};

/// Spans that have ended and were not collected.
#[derive(Clone, Default)]
pub(super) struct Spans {
    pub(super) ended: Arc<Mutex<VecDeque<FinishedSpan>>>,
    /// As many end as are collected.
    pub(super) is_endless: Arc<AtomicBool>,
    /// How many were there when they were last marked, less those that were collected since.
    pub(super) marked: usize,
    /// How often it was called for want of room.
    pub(super) forgotten: Arc<AtomicUsize>,
}

impl Spans {
    /// So many spans, whose ids count on from this one.
    pub(super) fn end(&self, first: u64, count: u64) {
        let calibration = Calibration::start();
        let mut spans = self.ended.lock().unwrap();
        for id in first..first + count {
            let name = Text::new("span".into());
            let (trace, origin) = (
                TraceId::from_u128(1),
                Origin::new(TraceFlags::SAMPLED, false),
            );
            let id = SpanId::from_u64(id);
            let record = Record::begin(trace, id, SpanId::INVALID, origin, name, 0);
            spans.push_back(FinishedSpan::new(record, &calibration));
        }
    }

    pub(super) fn left(&self) -> usize {
        self.ended.lock().unwrap().len()
    }

    /// A worker for these spans, with room for so many, that collects only when it is asked to.
    pub(super) fn worker(&self, sink: impl SpanSink + 'static, queue: usize) -> Worker {
        let orders = Orders {
            source: Box::new(self.clone()),
            sink: Box::new(sink),
            resource: Resource::default(),
            queue,
            interval: Duration::from_hours(1),
        };
        Worker::start(orders).unwrap()
    }
}

impl Source for Spans {
    fn drain(&mut self, into: &mut Vec<FinishedSpan>, most: usize) -> usize {
        let mut ended = self.ended.lock().unwrap();
        let count = ended.len().min(most);
        into.extend(ended.drain(..count));
        drop(ended);
        if self.is_endless.load(Ordering::Relaxed) {
            self.end(0, count as u64);
        }
        self.marked = self.marked.saturating_sub(count);
        count
    }

    fn mark(&mut self) {
        self.marked = self.left();
    }

    fn is_past_mark(&self) -> bool {
        self.marked == 0
    }

    fn forget_ended(&mut self) {
        self.forgotten.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a sink was told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Start(Option<String>),
    Spans(Vec<u64>),
    Flush,
    ShutDown,
}

/// Tells what it is told, and answers as it is wanted.
pub(super) struct Sink<F> {
    told: mpsc::Sender<Told>,
    answer: F,
}

impl<F: FnMut(&[FinishedSpan]) -> Result<(), SinkError> + Send> SpanSink for Sink<F> {
    fn start(&mut self, resource: &Resource) {
        let service = resource.get("service.name").map(str::to_owned);
        self.told.send(Told::Start(service)).unwrap();
    }

    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        let ids = batch.iter().map(|span| span.span_id().to_u64()).collect();
        let answer = (self.answer)(batch);
        self.told.send(Told::Spans(ids)).unwrap();
        answer
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.told.send(Told::Flush).unwrap();
        // As for a batch of nothing.
        (self.answer)(&[])
    }

    fn shutdown(&mut self) {
        self.told.send(Told::ShutDown).unwrap();
    }
}

pub(super) fn sink<F>(answer: F) -> (Sink<F>, mpsc::Receiver<Told>)
where
    F: FnMut(&[FinishedSpan]) -> Result<(), SinkError> + Send,
{
    let (told, hear) = mpsc::channel();
    (Sink { told, answer }, hear)
}

pub(super) fn away() -> SinkError {
    SinkError::Unavailable("nobody is there".into())
}

/// So many were taken or refused, and so many of them refused; the others are to come later.
pub(super) fn postponed(settled: usize, refused: usize, after: Option<Duration>) -> SinkError {
    SinkError::Postponed {
        settled,
        refused,
        after,
        source: "not all at once".into(),
    }
}

/// The ids that were exported, in their order.
pub(super) fn ids(told: &mpsc::Receiver<Told>) -> Vec<u64> {
    let spans = told.try_iter().filter_map(|told| match told {
        Told::Spans(ids) => Some(ids),
        _ => None,
    });
    spans.flatten().collect()
}

/// Waits until it is so.
pub(super) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "{what} does not happen");
        thread::yield_now();
    }
}

pub(super) fn counts(worker: &Worker) -> [u64; 3] {
    let counts = worker.counts();
    [counts.exported(), counts.refused(), counts.shut_down()]
}
