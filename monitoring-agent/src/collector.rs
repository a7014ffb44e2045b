//! Runs each source on a thread of its own, so that one that hangs holds up only itself.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self as std_mpsc, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::anyhow;
use tokio::sync::mpsc;

use crate::{
    panics,
    source::{Batch, Source},
};

/// What became of one collection.
#[derive(Debug)]
pub struct Report {
    /// The source's name.
    pub source: &'static str,
    /// Which start of the source it is from.
    pub instance: u64,
    /// When it began.
    pub begun: Instant,
    /// How long it took.
    pub took: Duration,
    /// What it brought.
    pub result: anyhow::Result<Batch>,
}

/// A source's thread. Ends when it is dropped, as soon as a running collection is over.
#[derive(Debug)]
pub struct Collector {
    instance: u64,
    requests: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Collector {
    /// Starts a thread for the source; it sends its reports to `reports`.
    pub fn start(
        name: &'static str,
        source: Box<dyn Source>,
        reports: mpsc::Sender<Report>,
    ) -> io::Result<Self> {
        static INSTANCES: AtomicU64 = AtomicU64::new(1);
        let instance = INSTANCES.fetch_add(1, Relaxed);
        // One request at a time: a busy source is asked again at a later interval.
        let (requests, receiver) = std_mpsc::sync_channel(1);
        let run = move || collect_on_request((name, instance), source, &receiver, &reports);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self {
            instance,
            requests,
            thread,
        })
    }

    /// Tells this start of the source from others.
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// Asks for a collection. `false` when an earlier request has not even been begun.
    pub fn request(&self) -> bool {
        self.requests.try_send(()).is_ok()
    }

    /// Tells the thread to end; the handle finishes when it has.
    pub fn stop(self) -> JoinHandle<()> {
        drop(self.requests);
        self.thread
    }
}

fn collect_on_request(
    (name, instance): (&'static str, u64),
    mut source: Box<dyn Source>,
    requests: &std_mpsc::Receiver<()>,
    reports: &mpsc::Sender<Report>,
) {
    while requests.recv().is_ok() {
        let begun = Instant::now();
        // A panicking source is a failing source; its state may be odd, the agent's is not.
        let result = catch_unwind(AssertUnwindSafe(|| source.collect()))
            .unwrap_or_else(|panic| Err(anyhow!("panicked: {}", panics::message(&*panic))));
        let report = Report {
            source: name,
            instance,
            begun,
            took: begun.elapsed(),
            result,
        };
        if reports.blocking_send(report).is_err() {
            return;
        }
    }
}
