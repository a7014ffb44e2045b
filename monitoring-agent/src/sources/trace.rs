//! Source `trace`: makes spans of what kernel programs of all families tell of single events, and
//! counts what became of them. It has no programs of its own, and knows no other source but
//! for the names and states that those of GPUs leave: what the families share are maps.

mod assembler;
pub mod connection;
mod counts;
mod describe;
mod event;
mod facts;
mod finished;
mod ids;
mod parents;
mod process_key;
mod processes;
mod reader;
mod roots;
#[cfg(test)]
mod testing;
mod timeline;

use std::sync::Arc;

use anyhow::{Context as _, bail};
use aya::maps::MapData;
use monitoring_common::trace::{SPANS, TRACE_COUNTS, TRACE_PLACES};

pub use self::roots::PastRoots;
use self::{
    assembler::Assembler, counts::Counts, describe::Names, processes::Host, reader::Reader,
};
use super::StartContext;
use crate::{
    config::Config,
    disk_operations::Operations,
    kernel_state,
    loader::copied,
    source::{Batch, Ended, Source, StartError},
    spans::SpanOutcomes,
    thread_contexts::ThreadContexts,
};

/// The key without which nothing is traced: nobody would take the spans.
pub const ENDPOINT: &str = "monitoring.otlp_endpoint";

/// Contexts that were published and could not be read: their events count as those of threads that
/// publish none.
const CONTEXT_UNREAD: &str = "context_unread";

struct Trace {
    counts: Counts,
    outcomes: Arc<SpanOutcomes>,
    /// The ring once more, for its state.
    ring: MapData,
    reader: Reader,
    contexts: ThreadContexts,
    /// Where those are, once more, for its state.
    places: MapData,
}

/// The key that switches it off.
pub fn off_by(config: &Config) -> Option<&'static str> {
    if !config.tracing_enabled {
        Some("monitoring.tracing_enabled")
    } else if !config.sources.trace.enabled {
        Some("sources.trace.enabled")
    } else {
        (!config.is_tracing()).then_some(ENDPOINT)
    }
}

/// Begins to read what the families tell that run already.
///
/// # Errors
///
/// [`StartError::Unsupported`] when none does.
pub fn start(context: &mut StartContext<'_>) -> Result<Box<dyn Source>, StartError> {
    let ring = context.shared.get(SPANS)?;
    let places = context.shared.get(TRACE_PLACES)?;
    let counts = Counts::open(context.shared)?;
    let (Some(ring), Some(places), Some(counts)) = (ring, places, counts) else {
        let why = "no family of kernel programs runs that could be traced";
        return Err(StartError::Unsupported(why.to_owned()));
    };
    let operations = Operations::of_kernel(context.offsets);
    let names = Names {
        agents: context.labels.names(),
        kernels: Arc::clone(context.kernel_names),
        gpus: Arc::clone(context.gpu_states),
        operations: operations.context("find the operations of requests in this kernel")?,
    };
    let host = Host::of_machine(&context.config.node, &context.config.node_type);
    let outputs = (context.spans.clone(), Arc::clone(context.exemplars));
    let state = copied(&ring)?;
    let make = move |past| Assembler::new(names, host, outputs, past);
    let past = Arc::clone(context.past_roots);
    Ok(Box::new(Trace {
        reader: Reader::start(ring, Arc::clone(context.labels), past, make)?,
        counts,
        outcomes: Arc::clone(&context.spans.outcomes),
        ring: state,
        contexts: ThreadContexts::start(copied(&places)?)?,
        places,
    }))
}

impl Source for Trace {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        if self.reader.has_ended() {
            bail!(Ended("the thread that reads spans has ended"));
        }
        let mut context_unread = 0;
        let totals = self.outcomes.totals(|| {
            let (counts, unread) = self.counts.read()?;
            context_unread = unread;
            anyhow::Ok(counts)
        })?;
        let mut lost = vec![(CONTEXT_UNREAD, context_unread)];
        lost.extend(self.contexts.missed());
        let places = Some(self.contexts.processes());
        Ok(Batch {
            families: totals.families(),
            lost,
            maps: vec![
                kernel_state::map(TRACE_PLACES, self.places.fd(), places),
                kernel_state::map(SPANS, self.ring.fd(), None),
                kernel_state::map(TRACE_COUNTS, self.counts.state.fd(), None),
            ],
            ..Batch::default()
        })
    }
}
