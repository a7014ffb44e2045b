//! What all recordings share: agents' names, the kernel's label maps, processes' mappings, symbols.
//!
//! Begins recordings, and makes whole captures. Knows no history and no exporter.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use monitoring_profile::Profile;
use prometheus::proto::MetricFamily;
use tokio::runtime::Handle;

use super::{
    Type,
    assemble::Content,
    capture::{self, Naming},
    mappings::Mappings,
    placer::Placer,
    recorder::Recorder,
    service::{CaptureError, DEFAULT_HERTZ, Request, Service, Watch},
    session::{Event, Kind, Session, SessionOptions},
    symbols::Symbols,
};
use crate::{
    config::Config,
    families::Family as Metrics,
    labels::{Labels, in_initial_pid_namespace},
    loader::SharedMaps,
    offsets::Offsets,
    source::StartError,
};

const MEMORY_HELP: &str = "About how much memory the profiler's bounded tables take: what processes \
                           have mapped, and names of functions.";
const UNNAMED_HELP: &str = "Addresses for which no function's name was found, by reason; an address \
                            counts once in each window in which it was sampled.";

/// Distinct stacks of threads that a capture has room for in one window.
const CAPTURE_STACKS: u32 = 16_384;

/// Room in a capture's ring: some 4,000 stacks of 60 frames.
const CAPTURE_RING_BYTES: u32 = 2 << 20;

/// What all recordings of this agent share.
pub struct Profiler {
    labels: Arc<Labels>,
    symbols: Arc<Symbols>,
    /// Kept up only while someone records.
    mappings: Mutex<Weak<Mappings>>,
    shared: SharedMaps,
    /// Whether nobody else in this process labels processes as they begin.
    is_alone: bool,
}

/// Captures of a process that does nothing else: with inlined functions and source lines, for which
/// an agent that runs all the time has no memory. Must be called on a tokio runtime.
pub fn alone(config: &Config) -> Service {
    let labels = Arc::new(Labels::new(&config.agents));
    let symbols = Symbols::with_lines();
    let profiler = Profiler::with(&labels, &SharedMaps::new(), symbols, true);
    Arc::new(profiler).service(1)
}

impl Profiler {
    /// Nothing is recorded yet.
    pub fn new(labels: &Arc<Labels>, shared: &SharedMaps) -> Arc<Self> {
        Arc::new(Self::with(labels, shared, Symbols::new(), false))
    }

    fn with(
        labels: &Arc<Labels>,
        shared: &SharedMaps,
        symbols: Arc<Symbols>,
        is_alone: bool,
    ) -> Self {
        Self {
            labels: Arc::clone(labels),
            symbols,
            mappings: Mutex::default(),
            shared: shared.clone(),
            is_alone,
        }
    }

    /// So many captures at a time. Must be called on a tokio runtime.
    pub fn service(self: Arc<Self>, limit: u32) -> Service {
        let runtime = Handle::current();
        let engine = move |request: &Request, watch: &mut Watch| {
            let _runtime = runtime.enter();
            self.capture(request, watch)
        };
        Service::new(engine, usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// The symbols of programs and of the kernel.
    pub fn symbols(&self) -> &Arc<Symbols> {
        &self.symbols
    }

    /// The agents' names.
    pub fn labels(&self) -> &Arc<Labels> {
        &self.labels
    }

    /// Begins to record, in a session of its own.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn record(
        &self,
        options: &SessionOptions,
        offsets: &mut Offsets,
    ) -> Result<(Recorder, Placer), StartError> {
        // First what is mapped, so that no sample is older than what is known of its process.
        let mappings = self.mappings()?;
        let session = Session::start(options, &self.shared, offsets)?;
        self.labels.adopt(&self.shared)?;
        Ok((Recorder::new(session), Placer::new(mappings)))
    }

    /// What was lost of what processes map, by reason.
    pub fn lost(&self) -> Vec<(&'static str, u64)> {
        let mappings = self.kept_mappings().upgrade();
        mappings.map_or_else(Vec::new, |mappings| mappings.lost())
    }

    /// How much all of it takes, and what has no name, as metrics.
    pub fn families(&self) -> Vec<MetricFamily> {
        let symbols = self.symbols.stats();
        let mappings = self.kept_mappings().upgrade();
        let mappings = mappings.map_or(0, |mappings| mappings.stats().memory_bytes);
        let memory = Metrics::gauge("profile_memory_bytes", MEMORY_HELP)
            .with(&[("part", "mappings")], mappings as f64)
            .with(&[("part", "symbols")], symbols.memory_bytes as f64);
        let mut unnamed = Metrics::counter("profile_unnamed_addresses_total", UNNAMED_HELP);
        for (reason, count) in symbols.unnamed {
            unnamed.push(&[("reason", reason)], count as f64);
        }
        vec![memory.build(), unnamed.build()]
    }

    fn kept_mappings(&self) -> MutexGuard<'_, Weak<Mappings>> {
        self.mappings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mappings(&self) -> Result<Arc<Mappings>, StartError> {
        let mut kept = self.kept_mappings();
        if let Some(mappings) = kept.upgrade() {
            return Ok(mappings);
        }
        let mappings = Mappings::start()?;
        *kept = Arc::downgrade(&mappings);
        Ok(mappings)
    }

    /// Records for as long as is asked for, or until nobody wants more. Must run where a tokio
    /// runtime is entered.
    ///
    /// # Errors
    ///
    /// See [`CaptureError`].
    pub fn capture(&self, request: &Request, watch: &mut Watch) -> Result<Profile, CaptureError> {
        self.check(request)?;
        let options = SessionOptions {
            kind: match request.kind {
                Type::Cpu => Kind::Cpu {
                    hertz: request.hertz.unwrap_or(DEFAULT_HERTZ),
                    event: Event::Auto,
                },
                Type::OffCpu => Kind::OffCpu,
                Type::Memory => Kind::Memory,
            },
            pid: request.pid,
            max_stacks: CAPTURE_STACKS,
            ring_bytes: CAPTURE_RING_BYTES,
            debug: false,
        };
        let (mut recorder, mut placer) =
            self.record(&options, &mut Offsets::new())
                .map_err(|error| match error {
                    StartError::Unsupported(why) => CaptureError::Unsupported(why),
                    StartError::Broken(error) => CaptureError::Failed(error),
                })?;
        let content = Content {
            kind: request.kind,
            hertz: recorder.session().hertz(),
        };
        let naming = Naming {
            content,
            symbols: &self.symbols,
            labels: &self.labels,
            agent: request.agent.as_deref(),
        };
        let scanned = self.is_alone.then_some(&*self.labels);
        capture::run(
            &mut recorder,
            &mut placer,
            request.duration,
            watch,
            &naming,
            scanned,
        )
        .map_err(CaptureError::Failed)
    }

    fn check(&self, request: &Request) -> Result<(), CaptureError> {
        if !in_initial_pid_namespace().map_err(CaptureError::Failed)? {
            let why = "the agent runs in a pid namespace of its own, where it cannot tell processes \
                       apart; run it in the node's (docker: --pid=host, Kubernetes: hostPID: true)";
            return Err(CaptureError::Unsupported(why.to_owned()));
        }
        if let Some(pid) = request.pid
            && !std::path::Path::new(&format!("/proc/{pid}")).exists()
        {
            return Err(CaptureError::NoSuchProcess(pid));
        }
        if let Some(agent) = &request.agent
            && !self.labels.names().contains(agent)
        {
            return Err(CaptureError::NoSuchAgent(agent.clone()));
        }
        Ok(())
    }
}
