//! What a span says of its event: a name of few values, attributes by OpenTelemetry's semantic
//! conventions, and how it failed. One file for each family.
//!
//! Knows neither ids and parents nor processes, which are the same for all kinds.

mod cuda;
mod disk;
mod off_cpu;
mod process;
mod system_call;
mod tcp;

use std::{borrow::Cow, sync::Arc};

use opentelemetry_proto::tonic::{common::v1::KeyValue, trace::v1::span::SpanKind};

use super::event::{Detail, Event};
use crate::{
    disk_operations::Operations, gpu_states::GpuStates, sources::cuda::kernel_names::KernelNames,
};

/// What a kind of event says of one of it.
#[derive(Debug)]
pub(super) struct Described {
    /// The span's name: one of few.
    pub(super) name: Cow<'static, str>,
    pub(super) kind: SpanKind,
    pub(super) attributes: Vec<KeyValue>,
    /// The class of the failure, for `error.type`; the span's status says that it failed then.
    pub(super) error: Option<Cow<'static, str>>,
    /// Where in which trace it is.
    pub(super) place: Place,
    pub(super) links: Vec<Link>,
    /// What happened within it, by `CLOCK_MONOTONIC`.
    pub(super) events: Vec<Happened>,
    /// What happened besides, for which there is no room.
    pub(super) dropped_events: u32,
    /// The histogram that counted it.
    pub(super) exemplar: Option<Series>,
}

/// Where in which trace a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Under what it happened in, of which its header tells.
    Within,
    /// Where its kind says, which others come to by themselves.
    At {
        trace_id: u128,
        span_id: u64,
        /// `None` for the root of the trace.
        parent: Option<u64>,
        /// Whether the parent is another process's, or another node's.
        is_remote: bool,
    },
}

/// Another span that has to do with this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// What it happened in, where that is not its parent.
    Surroundings,
    /// One of another trace.
    To { trace_id: u128, span_id: u64 },
}

/// What happened at one moment within a span.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Happened {
    /// By `CLOCK_MONOTONIC`.
    pub(super) at_ns: u64,
    pub(super) name: Cow<'static, str>,
    pub(super) attributes: Vec<KeyValue>,
}

/// A series of a histogram, as it is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) metric: &'static str,
    pub(super) labels: Vec<(&'static str, String)>,
}

/// Names of what records have numbers for.
pub(super) struct Names {
    /// The agents', by number.
    pub(super) agents: Arc<[String]>,
    pub(super) operations: Operations,
    /// Of functions that run on GPUs.
    pub(super) kernels: Arc<KernelNames>,
    /// What GPUs do.
    pub(super) gpus: Arc<GpuStates>,
}

impl Names {
    /// An agent's name. The kernel knows only numbers that were given out.
    pub(super) fn agent(&self, number: u16) -> &str {
        let agent = self.agents.get(usize::from(number));
        agent.map_or("unknown", String::as_str)
    }
}

impl Described {
    /// A span within what it happened in, with nothing to say but its name.
    fn new(name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Self {
        Self {
            name: name.into(),
            kind,
            attributes: Vec::new(),
            error: None,
            place: Place::Within,
            links: Vec::new(),
            events: Vec::new(),
            dropped_events: 0,
            exemplar: None,
        }
    }
}

/// What an event's span says.
pub(super) fn describe(event: &Event, names: &Names) -> Described {
    let header = &event.header;
    match &event.detail {
        Detail::SystemCall(detail) => system_call::describe(header, detail, names),
        Detail::Disk(detail) => disk::describe(header, detail, names),
        Detail::Connect(detail) => tcp::connect(header, detail),
        Detail::Connection(detail) => tcp::connection(header, detail),
        Detail::OffCpu(detail) => off_cpu::describe(header, detail),
        Detail::Process(detail) => process::describe(header, detail),
        Detail::Cuda(detail) => cuda::describe(header, detail, names),
    }
}

/// The instrumentation scope of a kind's spans: the family that saw them.
pub(super) fn scope(event: &Event) -> &'static str {
    match &event.detail {
        Detail::SystemCall(_) => "stratoswarm.syscalls",
        Detail::Disk(_) => "stratoswarm.block",
        Detail::Connect(_) | Detail::Connection(_) => "stratoswarm.net",
        Detail::OffCpu(_) => "stratoswarm.sched",
        Detail::Process(_) => "stratoswarm.process",
        Detail::Cuda(_) => "stratoswarm.cuda",
    }
}

/// The symbol of a positive error number, such as `EIO`; `None` for 0, and for the kernel's own
/// numbers, which say that a call is to be made again and that nothing failed.
fn error_name(code: i32) -> Option<Cow<'static, str>> {
    let code = u32::try_from(code).ok()?;
    (1..RESTARTS)
        .contains(&code)
        .then(|| crate::system_calls::errno(code))
}

/// The kernel's own error numbers begin here: `ERESTARTSYS` of its `include/linux/errno.h`.
const RESTARTS: u32 = 512;
