//! Which processes publish in which span each of their threads is, and where: tells the kernel
//! programs, which read it when an event of such a thread may become a span.
//!
//! A program publishes by a variable of its threads, `otel_thread_ctx_v1`, of OpenTelemetry's proposal
//! 4947. Programs that have it themselves are followed, as those are that use the crate `monitoring`.
//! Libraries are not: where those have their variables differs from process to process.
//!
//! Knows neither spans nor who makes them.

mod finder;
mod variable;
mod watcher;

use std::{
    io::{self, PipeWriter},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use anyhow::Context as _;
use aya::maps::{HashMap, Map, MapData};
use monitoring_common::trace::Place;
use tracing::warn;

use self::{finder::Finder, watcher::Watcher};
use crate::executed::Events;

/// Keeps the kernel programs informed, on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct ThreadContexts {
    counts: Arc<Counts>,
    /// Closed, it wakes the thread.
    _stop: PipeWriter,
}

#[derive(Debug, Default)]
struct Counts {
    processes: AtomicU64,
    unreadable: AtomicU64,
    full: AtomicU64,
    mappings_lost: AtomicU64,
}

impl ThreadContexts {
    /// Looks at all processes, and from then on at those that start a program. `places` is the shared
    /// map [`TRACE_PLACES`](monitoring_common::trace::TRACE_PLACES).
    ///
    /// # Errors
    ///
    /// When the map is another one, or the thread cannot be started.
    pub fn start(places: MapData) -> anyhow::Result<Self> {
        let places: HashMap<_, u32, Place> = Map::HashMap(places)
            .try_into()
            .context("map of places of contexts")?;
        let events = Events::open().inspect_err(|error| {
            warn!(
                "the kernel does not tell of programs that start, so all processes are looked at every \
                 second for spans that they publish: {error}"
            );
        });
        let (stopped, stop) = io::pipe().context("make a pipe")?;
        let counts = Arc::<Counts>::default();
        let finder = Finder::new(Path::new("/proc"));
        let watcher = Watcher::new(events.ok(), places, finder, stopped, Arc::clone(&counts));
        thread::Builder::new()
            .name("trace-contexts".into())
            .spawn(move || watcher.run())
            .context("start the thread that looks for contexts of threads")?;
        Ok(Self {
            counts,
            _stop: stop,
        })
    }

    /// Processes whose contexts the kernel programs find, as of the last look.
    pub fn processes(&self) -> u64 {
        self.counts.processes.load(Relaxed)
    }

    /// Processes whose contexts may be missing, by reason, in all: their program could not be read,
    /// there were too many of them, or nobody heard of their start until all were looked at again.
    pub fn missed(&self) -> [(&'static str, u64); 3] {
        let counts = &self.counts;
        [
            ("context_unreadable", counts.unreadable.load(Relaxed)),
            ("contexts_full", counts.full.load(Relaxed)),
            ("mappings_lost", counts.mappings_lost.load(Relaxed)),
        ]
    }
}
