//! Starts, wires and stops everything. All channels are made here.

use std::{
    collections::BTreeSet,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::{
    aggregate::{Aggregate, Command, OwnMetrics, WAITING_REPORTS},
    collector::{Collector, Report},
    config::Config,
    endpoint::Endpoint,
    exemplars::Exemplars,
    export::http::{self, HttpStats},
    exporting::Exporting,
    gpu_states::GpuStates,
    labels::Labels,
    loader::{self, SharedMaps},
    offsets::Offsets,
    profile::{history::History, profiler::Profiler},
    profiling::Profiling,
    snapshot::{Latest, Snapshot},
    source::StartError,
    sources::{Entry, SOURCES, StartContext, cuda::kernel_names::KernelNames, trace::PastRoots},
    spans::Spans,
};

/// Commands that may wait for the aggregator.
const WAITING_COMMANDS: usize = 16;

/// How long a shutdown waits for sources to end and detach before it leaves them to the kernel,
/// which detaches everything when the process ends.
const PATIENCE: Duration = Duration::from_millis(700);

/// How long a reload waits for the end of sources that it stops. A collection may take its time, and so
/// may the removal of many probes; one that hangs must not keep the others from starting.
const LONGEST_END: Duration = Duration::from_secs(5);

/// The source that has something to bring to disk when it ends, and how long a shutdown waits for it.
const KEEPS: (&str, Duration) = ("profile", Duration::from_secs(5));

/// The source whose last spans are to be there before the exporter is told that no more come.
const TRACE: &str = "trace";

/// A running agent.
pub struct Agent {
    config: Config,
    labels: Arc<Labels>,
    shared: SharedMaps,
    profiling: Profiling,
    exemplars: Arc<Exemplars>,
    past_roots: Arc<PastRoots>,
    gpu_states: Arc<GpuStates>,
    kernel_names: Arc<KernelNames>,
    running: BTreeSet<&'static str>,
    commands: mpsc::Sender<Command>,
    reports: mpsc::Sender<Report>,
    latest: Latest,
    endpoint: Endpoint,
    exporting: Exporting,
    /// Kernel-wide BPF statistics stay on as long as this is held.
    bpf_stats: Option<std::os::fd::OwnedFd>,
}

impl Agent {
    /// Binds the endpoint, starts all sources that the configuration wants, and serves.
    ///
    /// # Errors
    ///
    /// When the endpoint cannot be bound. A source that does not start is logged and exported as
    /// `monitoring_agent_source_up 0`; it does not stop the agent.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let (publish, latest) = watch::channel(Arc::new(Snapshot::empty()));
        let (commands, command_receiver) = mpsc::channel(WAITING_COMMANDS);
        let (reports, report_receiver) = mpsc::channel(WAITING_REPORTS);
        let http_stats = Arc::new(HttpStats::default());
        let (labels, shared) = (Arc::new(Labels::new(&config.agents)), SharedMaps::new());
        let profiling = Profiling::new(&config, &labels, &shared);
        let (stats, profiles) = (Arc::clone(&http_stats), profiling.latest());
        let exemplars = Arc::<Exemplars>::default();
        let shown = Arc::clone(&exemplars);
        let endpoint = Endpoint::start(&config, latest.clone(), stats, profiles, shown).await?;
        let exporting = Exporting::new(&config, latest.clone());
        let pushes = exporting.otlp().stats();
        let own = OwnMetrics(Box::new(move || {
            let mut families = http::families(&http_stats);
            families.extend(pushes.families());
            families
        }));
        let aggregate = Aggregate::new(publish, own);
        tokio::spawn(aggregate.run(
            config.collection_interval,
            command_receiver,
            report_receiver,
        ));
        let mut agent = Self {
            labels,
            shared,
            profiling,
            exemplars,
            past_roots: Arc::default(),
            gpu_states: Arc::default(),
            kernel_names: Arc::default(),
            running: BTreeSet::new(),
            config,
            commands,
            reports,
            latest,
            endpoint,
            exporting,
            bpf_stats: None,
        };
        agent.apply_bpf_stats();
        agent.start_wanted().await;
        Ok(agent)
    }

    /// Where the agent listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.endpoint.address()
    }

    /// The newest snapshot, as exporters see it.
    pub fn latest(&self) -> Latest {
        self.latest.clone()
    }

    /// Goes over to another configuration; what did not change goes on without a gap. Sources that
    /// did not start before are tried again.
    pub async fn reload(&mut self, mut config: Config) {
        let endpoint = |config: &Config| (config.listen, config.metrics_path.clone());
        let mut all = true;
        if endpoint(&config) != endpoint(&self.config)
            && let Err(error) = self.endpoint.change(&self.config, &config).await
        {
            warn!("the endpoint stays as it is: {error:#}");
            // Kept as it is in force, so that the next reload tries again.
            (config.listen, config.metrics_path) = endpoint(&self.config);
            all = false;
        }
        if config.collection_interval != self.config.collection_interval {
            self.command(Command::Interval(config.collection_interval))
                .await;
        }
        if config.agents != self.config.agents {
            self.relabel(&config);
        }
        let ended = self.ended().await;
        let stopping = SOURCES.iter().filter(|entry| {
            let goes_on = entry.is_wanted(&config) && !ended.contains(&entry.name);
            !goes_on || !(entry.unchanged)(&self.config, &config)
        });
        let stopping = stopping.map(|entry| entry.name);
        let (trace, others): (Vec<_>, Vec<_>) = stopping.partition(|name| *name == TRACE);
        self.stop_sources(&others).await;
        // Now nothing more comes that it would have to hand over.
        self.stop_sources(&trace).await;
        self.profiling.apply(&config);
        self.exporting.apply(&config);
        self.config = config;
        self.apply_bpf_stats();
        self.start_wanted().await;
        let part = if all { "" } else { ", except for the endpoint" };
        info!("the new configuration is in force{part}");
    }

    /// Stops accepting scrapes, ends all sources, detaches all programs. Takes at most a second, but
    /// for what has to be named and brought to disk, see [`KEEPS`], and for spans that wait for a slow
    /// collector, see [`FAREWELL`](crate::export::otlp::FAREWELL).
    pub async fn stop(self) {
        let begun = Instant::now();
        let closing = self.endpoint.close();
        let (done, stopped) = oneshot::channel();
        let threads = match self.commands.send(Command::Shutdown(done)).await {
            Ok(()) => stopped.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let is_waited_for = |thread: &JoinHandle<()>| {
            let (keeps, patience) = KEEPS;
            let keeps = thread.thread().name() == Some(keeps);
            let patience = if keeps { patience } else { PATIENCE };
            !thread.is_finished() && begun.elapsed() < patience
        };
        while threads.iter().any(is_waited_for) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if !threads.iter().all(JoinHandle::is_finished) {
            warn!("a source hangs and ends with the process; so do its kernel programs");
        }
        self.exporting.stop().await;
        let left = PATIENCE.saturating_sub(begun.elapsed());
        if tokio::time::timeout(left, closing).await.is_err() {
            warn!("a scrape was cut off");
        }
    }

    /// Labels all processes by new rules, on a thread of its own: a process can hold it up.
    fn relabel(&self, config: &Config) {
        self.labels.set_rules(&config.agents);
        let labels = Arc::clone(&self.labels);
        let scan = move || {
            if let Err(error) = labels.scan() {
                warn!("processes could not be labelled by the new [[agents]]: {error:#}");
            }
        };
        if let Err(error) = thread::Builder::new().name("relabel".into()).spawn(scan) {
            warn!("processes keep their labels until they execute a program: {error}");
        }
    }

    fn apply_bpf_stats(&mut self) {
        if !self.config.bpf_stats {
            self.bpf_stats = None;
        } else if self.bpf_stats.is_none() {
            match aya::sys::enable_stats(aya::sys::Stats::RunTime) {
                Ok(held) => self.bpf_stats = Some(held),
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    warn!("bpf_stats: this kernel gives no BPF statistics: {error:#}");
                }
            }
        }
    }

    /// Starts what is wanted and does not run, away from the thread that serves.
    async fn start_wanted(&mut self) {
        let wanted = SOURCES
            .iter()
            .filter(|entry| entry.is_wanted(&self.config) && !self.running.contains(entry.name));
        let mut start = Start {
            wanted: wanted.collect(),
            config: self.config.clone(),
            labels: Arc::clone(&self.labels),
            shared: self.shared.clone(),
            profiler: Arc::clone(self.profiling.profiler()),
            history: self.profiling.history().cloned(),
            exemplars: Arc::clone(&self.exemplars),
            spans: self.exporting.spans().clone(),
            past_roots: Arc::clone(&self.past_roots),
            gpu_states: Arc::clone(&self.gpu_states),
            kernel_names: Arc::clone(&self.kernel_names),
            reports: self.reports.clone(),
        };
        let started = tokio::task::spawn_blocking(move || start.run()).await;
        let Ok(outcomes) = started else {
            error!("starting the sources panicked; see the log above");
            return;
        };
        for (name, outcome) in outcomes {
            if outcome.is_ok() {
                self.running.insert(name);
            }
            self.command(Command::Started(name, outcome)).await;
        }
    }

    /// The sources that cannot go on.
    async fn ended(&self) -> Vec<&'static str> {
        let (names, answer) = oneshot::channel();
        self.command(Command::Ended(names)).await;
        answer.await.unwrap_or_default()
    }

    /// Stops sources, and waits for their ends, within a bound: what starts in their place would see
    /// the same events beside them, and what they write at their ends would be written over its own.
    async fn stop_sources(&mut self, names: &[&'static str]) {
        let begun = Instant::now();
        let mut threads = Vec::new();
        for name in names {
            self.running.remove(name);
            let (thread, answer) = oneshot::channel();
            self.command(Command::Stop(name, thread)).await;
            threads.extend(answer.await.ok().flatten());
        }
        while !threads.iter().all(JoinHandle::is_finished) && begun.elapsed() < LONGEST_END {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for thread in threads.iter().filter(|thread| !thread.is_finished()) {
            let source = thread.thread().name().unwrap_or_default();
            warn!(
                source,
                "a source hangs; until it ends, it counts beside the next one"
            );
        }
    }

    async fn command(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            error!("the aggregator has ended; metrics stay as they are until a restart");
        }
    }
}

/// What starting sources needs.
struct Start {
    wanted: Vec<&'static Entry>,
    config: Config,
    labels: Arc<Labels>,
    shared: SharedMaps,
    profiler: Arc<Profiler>,
    history: Option<History>,
    exemplars: Arc<Exemplars>,
    spans: Spans,
    past_roots: Arc<PastRoots>,
    gpu_states: Arc<GpuStates>,
    kernel_names: Arc<KernelNames>,
    reports: mpsc::Sender<Report>,
}

impl Start {
    fn run(&mut self) -> Vec<(&'static str, Result<Collector, String>)> {
        let mut offsets = Offsets::new();
        let mut outcomes = Vec::new();
        for entry in std::mem::take(&mut self.wanted) {
            let started = self.start(entry, &mut offsets);
            let outcome = started.map_err(|error| {
                log_failed_start(entry.name, &error);
                error.to_string()
            });
            outcomes.push((entry.name, outcome));
        }
        if !offsets.absent().is_empty() {
            let absent = offsets.absent().join(", ");
            warn!("this kernel does not have {absent}; what needs it is off");
        }
        loader::release_memory();
        outcomes
    }

    fn start(&mut self, entry: &Entry, offsets: &mut Offsets) -> Result<Collector, StartError> {
        let source = (entry.start)(&mut StartContext {
            config: &self.config,
            labels: &self.labels,
            shared: &self.shared,
            offsets,
            profiler: &self.profiler,
            history: self.history.as_ref(),
            exemplars: &self.exemplars,
            spans: &self.spans,
            past_roots: &self.past_roots,
            gpu_states: &self.gpu_states,
            kernel_names: &self.kernel_names,
            at_once: false,
        })?;
        let collector = Collector::start(entry.name, source, self.reports.clone());
        Ok(collector.with_context(|| format!("start the thread of source {}", entry.name))?)
    }
}

fn log_failed_start(source: &str, error: &StartError) {
    match error {
        StartError::Unsupported(why) => warn!(source, "source off: {why}"),
        StartError::Broken(error) => error!(source, "source broken: {error:#}"),
    }
}
