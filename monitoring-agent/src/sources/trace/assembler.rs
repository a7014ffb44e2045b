//! Records become spans: each under its parent, of its process, with its names. What has to wait for
//! something is held, for a bounded time and in a bounded number.
//!
//! Knows neither rings nor threads nor /proc: what time it is and what was found, it is told.

use std::sync::Arc;

use monitoring_common::trace::{Header, flags, kind};
use tracing::debug;

use super::{
    describe::Names,
    event::{Detail, Event},
    ids::Ids,
    parents::{Known, ParentKey, Waiting, Within},
    process_key::ProcessKey,
    processes::{Host, Making, Processes},
    roots::{Due, MINUTE_NS, Past, Roots, minute_of},
    timeline::{Reading, Timeline},
};
use crate::{
    exemplars::Exemplars,
    spans::{DropReason, Resource, Spans},
};

/// How long a span waits for what it was begun within, and for a look at its process.
pub(super) const HOLD_NS: u64 = 2_000_000_000;

/// Spans that wait so at a time: about 4 MB. The kernel's ring holds fewer.
pub(super) const MAX_HELD: usize = 16_384;

/// Makes spans of records, and hands them on.
pub(super) struct Assembler {
    pub(super) ids: Ids,
    pub(super) timeline: Timeline,
    pub(super) names: Names,
    pub(super) host: Host,
    pub(super) processes: Processes,
    pub(super) spans: Spans,
    pub(super) exemplars: Arc<Exemplars>,
    roots: Roots,
    known: Known,
    /// Those that wait for what they were begun within.
    orphans: Waiting<Event>,
    /// Those that have a parent, and wait for a look at their process.
    unnamed: Vec<Unnamed>,
    /// Those that came here, roots included, and of which nothing has become yet, wherever they are.
    unsettled: u64,
}

/// A span that is complete but for who it is of.
pub(super) struct Placed {
    pub(super) event: Event,
    pub(super) span_id: u64,
    /// What it was begun within.
    pub(super) within: Within,
}

struct Unnamed {
    until_ns: u64,
    placed: Placed,
}

impl Assembler {
    /// Nothing held, and the roots of `past` told of.
    pub(super) fn new(
        names: Names,
        host: Host,
        (spans, exemplars): (Spans, Arc<Exemplars>),
        past: Past,
    ) -> Self {
        Self {
            ids: Ids::of_machine(),
            timeline: Timeline::default(),
            names,
            host,
            processes: Processes::default(),
            spans,
            exemplars,
            roots: Roots::new(past),
            known: Known::default(),
            orphans: Waiting::default(),
            unnamed: Vec::new(),
            unsettled: 0,
        }
    }

    /// Takes up what the clocks say.
    pub(super) fn observe(&mut self, reading: Reading) {
        self.timeline.observe(reading);
    }

    /// Takes a record.
    pub(super) fn take(&mut self, record: &[u8], now_ns: u64) {
        let Some(event) = Event::decode(record) else {
            debug!(bytes = record.len(), "a record that is no span");
            return self.spans.outcomes.dropped(DropReason::Malformed, 1);
        };
        self.unsettled += 1;
        self.processes.heard(&event.header, now_ns);
        self.note_end(&event);
        let parent = parent_of(&event);
        if let Some(parent) = parent
            && self.known.get(parent).is_none()
        {
            if self.held() >= MAX_HELD {
                return self.no_room();
            }
            self.orphans.insert(parent, now_ns + HOLD_NS, event);
        } else {
            self.place(event, now_ns);
        }
    }

    /// Hands on what has waited for long enough, or need wait no more.
    pub(super) fn turn(&mut self, now_ns: u64, is_alive: impl Fn(ProcessKey) -> bool) {
        for event in self.orphans.take_due(now_ns) {
            self.place(event, now_ns);
        }
        self.finish_named(now_ns);
        // What began in a minute, or before a process's end, may be told of a little later.
        let over_ns = now_ns.saturating_sub(2 * HOLD_NS);
        for due in self.roots.take_over_by(over_ns) {
            self.finish_root(&due, now_ns, &is_alive);
        }
    }

    /// Hands on everything, and returns what is to be remembered.
    pub(super) fn end(mut self, now_ns: u64, is_alive: impl Fn(ProcessKey) -> bool) -> Past {
        for event in self.orphans.take_due(u64::MAX) {
            self.place(event, now_ns);
        }
        self.finish_named(u64::MAX);
        for due in self.roots.take_all() {
            self.finish_root(&due, now_ns, &is_alive);
        }
        std::mem::take(&mut self.roots).into_past()
    }

    /// A span was dropped, or is the queue's now. Before it has it: from there on it is counted there,
    /// also if whoever is woken for it panics.
    pub(super) fn settled(&mut self) {
        self.unsettled -= 1;
    }

    fn no_room(&mut self) {
        self.spans.outcomes.dropped(DropReason::HoldFull, 1);
        self.settled();
    }

    /// The root of a process that has ended need not wait for the end of the minute.
    fn note_end(&mut self, event: &Event) {
        if let Detail::Process(_) = event.detail {
            let process = ProcessKey::of(&event.header);
            self.roots.ended(process, event.header.end_ns);
        }
    }

    /// How many spans wait here, but for roots.
    pub(super) fn held(&self) -> usize {
        self.orphans.len() + self.unnamed.len()
    }

    /// How many roots wait for the end of their minute.
    #[cfg(test)]
    pub(super) fn open_roots(&self) -> usize {
        self.roots.len()
    }

    /// Finds a span's parent now, for it and for those that wait for it.
    fn place(&mut self, event: Event, now_ns: u64) {
        let mut placed = vec![event];
        while let Some(event) = placed.pop() {
            let within = self.within(&event);
            // Once more: the root may have come about by this very span.
            self.note_end(&event);
            let span_id = self.span_id(&event);
            if let Some(key) = key_of(&event) {
                let trace_id = within.trace_id;
                self.known.insert(key, Within { trace_id, span_id });
                placed.extend(self.orphans.take(key));
            }
            let placed = Placed {
                event,
                span_id,
                within,
            };
            let process = ProcessKey::of(&placed.event.header);
            if self.processes.is_settled(process) {
                self.finish(placed);
            } else if self.held() >= MAX_HELD {
                self.no_room();
            } else {
                let until_ns = now_ns + HOLD_NS;
                self.unnamed.push(Unnamed { until_ns, placed });
            }
        }
    }

    /// What an event was begun within, as far as that is known by now: the system call, or what is
    /// waited for on a GPU, or the application's span, or the process's root.
    fn within(&mut self, event: &Event) -> Within {
        let header = &event.header;
        let parents = parent_of(event).into_iter().chain(window_of(event));
        for parent in parents {
            if let Some(within) = self.known.get(parent) {
                return within;
            }
        }
        if header.flags & flags::JOINED != 0 {
            let trace_id = u128::from_be_bytes(header.context.trace_id);
            let span_id = u64::from_be_bytes(header.context.span_id);
            // An application may publish anything; zeros are no ids.
            if trace_id != 0 && span_id != 0 {
                return Within { trace_id, span_id };
            }
        }
        let process = ProcessKey::of(header);
        if event.kind() == kind::CUDA_WINDOW {
            // A trace of its own, with no parent.
            return Within {
                trace_id: (self.ids).window_trace(header.tid, window_start(header), header.end_ns),
                span_id: 0,
            };
        }
        let minute = minute_of(header.start_ns);
        let times = (header.start_ns, header.end_ns);
        let whose = (header.agent, header.comm);
        if self.roots.add(process, times, whose) {
            self.spans.outcomes.began_roots(1);
            self.unsettled += 1;
        }
        Within {
            trace_id: self.ids.root_trace(process, minute),
            span_id: self.ids.root_span(process, minute),
        }
    }

    fn span_id(&self, event: &Event) -> u64 {
        let header = &event.header;
        let (start_ns, more) = match &event.detail {
            // Of those that a thread has gathered the kernel says that they began at once.
            Detail::Disk(detail) => (header.start_ns, detail.sector ^ detail.disk[0]),
            // A stream's window and its device's may begin with the same launch.
            _ if event.kind() == kind::CUDA_WINDOW => (window_start(header), header.end_ns),
            _ => (header.start_ns, 0),
        };
        self.ids.span(event.kind(), header.tid, start_ns, more)
    }

    /// Hands on those whose process was looked at, or was not for too long.
    fn finish_named(&mut self, now_ns: u64) {
        let processes = &self.processes;
        let is_over = |unnamed: &mut Unnamed| {
            let process = ProcessKey::of(&unnamed.placed.event.header);
            unnamed.until_ns <= now_ns || processes.is_settled(process)
        };
        let over: Vec<_> = self.unnamed.extract_if(.., is_over).collect();
        for unnamed in over {
            self.finish(unnamed.placed);
        }
    }

    fn finish(&mut self, placed: Placed) {
        let header = placed.event.header;
        let resource = self.resource(ProcessKey::of(&header), header.agent, header.comm);
        self.finished(placed, resource);
    }

    fn finish_root(&mut self, due: &Due, now_ns: u64, is_alive: impl Fn(ProcessKey) -> bool) {
        let Due {
            process,
            minute,
            root,
        } = due;
        let begin_ns = minute.saturating_mul(MINUTE_NS);
        let end_ns = begin_ns.saturating_add(MINUTE_NS).min(now_ns);
        let started_ns = self.timeline.monotonic_ns(process.start_ns);
        let start_ns = started_ns.max(begin_ns).min(root.first_ns);
        let end_ns = match root.ended_ns {
            Some(ended_ns) => ended_ns.min(end_ns),
            None if is_alive(*process) => end_ns,
            // Nobody knows when it ended, but that it was not before its last span.
            None => root.last_ns.min(end_ns),
        };
        let times = (start_ns, end_ns.max(start_ns));
        let resource = self.resource(*process, root.agent, root.comm);
        self.finished_root(due, times, resource);
    }

    fn resource(&mut self, process: ProcessKey, agent: u16, comm: [u8; 16]) -> Arc<Resource> {
        let making = Making {
            ids: &self.ids,
            timeline: &self.timeline,
            host: &self.host,
        };
        let agent = (agent, self.names.agent(agent));
        self.processes.resource(process, agent, comm, &making)
    }
}

impl Drop for Assembler {
    /// What is left is lost, as when the thread panicked. After an [`end`](Self::end) nothing is.
    fn drop(&mut self) {
        let left = self.unsettled;
        self.spans.outcomes.dropped(DropReason::Abandoned, left);
    }
}

/// What others are begun within, if this is such a thing.
fn key_of(event: &Event) -> Option<ParentKey> {
    let header = &event.header;
    let tid = header.tid;
    match event.kind() {
        kind::SYSTEM_CALL => Some(ParentKey::Call {
            tid,
            start_ns: header.start_ns,
        }),
        kind::CUDA_WINDOW => Some(ParentKey::Window {
            pid: header.pid,
            start_ns: window_start(header),
        }),
        _ => None,
    }
}

/// What an event was begun within, and should wait for: the system call, or else the window.
fn parent_of(event: &Event) -> Option<ParentKey> {
    let header = &event.header;
    let is_call = event.kind() == kind::SYSTEM_CALL || header.call_start_ns == 0;
    let call = (!is_call).then_some(ParentKey::Call {
        tid: header.tid,
        start_ns: header.call_start_ns,
    });
    call.or_else(|| window_of(event))
}

/// The window that an event belongs to, unless it is the window.
fn window_of(event: &Event) -> Option<ParentKey> {
    let header = &event.header;
    let is_window = event.kind() == kind::CUDA_WINDOW || header.window_start_ns == 0;
    (!is_window).then_some(ParentKey::Window {
        pid: header.pid,
        start_ns: header.window_start_ns,
    })
}

/// When a window began.
fn window_start(header: &Header) -> u64 {
    if header.window_start_ns == 0 {
        header.start_ns
    } else {
        header.window_start_ns
    }
}

#[cfg(test)]
mod tests;
