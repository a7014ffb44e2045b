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
    export::http::HttpStats,
    labels::Labels,
    loader::SharedMaps,
    offsets::Offsets,
    snapshot::{Latest, Snapshot},
    source::StartError,
    sources::{Entry, SOURCES, StartContext},
};

/// Commands that may wait for the aggregator.
const WAITING_COMMANDS: usize = 16;

/// How long a shutdown waits for sources to end and detach before it leaves them to the kernel,
/// which detaches everything when the process ends.
const PATIENCE: Duration = Duration::from_millis(700);

/// A running agent.
pub struct Agent {
    config: Config,
    labels: Arc<Labels>,
    shared: SharedMaps,
    running: BTreeSet<&'static str>,
    commands: mpsc::Sender<Command>,
    reports: mpsc::Sender<Report>,
    latest: Latest,
    endpoint: Endpoint,
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
        let endpoint = Endpoint::start(&config, latest.clone(), Arc::clone(&http_stats)).await?;
        let own = OwnMetrics(Box::new(move || http_stats.families()));
        let aggregate = Aggregate::new(publish, own);
        tokio::spawn(aggregate.run(
            config.collection_interval,
            command_receiver,
            report_receiver,
        ));
        let mut agent = Self {
            labels: Arc::new(Labels::new(&config.agents)),
            shared: SharedMaps::new(),
            running: BTreeSet::new(),
            config,
            commands,
            reports,
            latest,
            endpoint,
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
        for entry in SOURCES {
            if !entry.is_wanted(&config) || !(entry.unchanged)(&self.config, &config) {
                self.running.remove(entry.name);
                self.command(Command::Stop(entry.name)).await;
            }
        }
        self.config = config;
        self.apply_bpf_stats();
        self.start_wanted().await;
        let part = if all { "" } else { ", except for the endpoint" };
        info!("the new configuration is in force{part}");
    }

    /// Stops accepting scrapes, ends all sources, detaches all programs. Takes at most a second.
    pub async fn stop(self) {
        let begun = Instant::now();
        let closing = self.endpoint.close();
        let (done, stopped) = oneshot::channel();
        let threads = match self.commands.send(Command::Shutdown(done)).await {
            Ok(()) => stopped.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        while begun.elapsed() < PATIENCE && !threads.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if !threads.iter().all(JoinHandle::is_finished) {
            warn!("a source hangs and ends with the process; so do its kernel programs");
        }
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
            shared: std::mem::take(&mut self.shared),
            reports: self.reports.clone(),
        };
        let started = tokio::task::spawn_blocking(move || (start.run(), start.shared)).await;
        let Ok((outcomes, shared)) = started else {
            error!("starting the sources panicked; see the log above");
            return;
        };
        self.shared = shared;
        for (name, outcome) in outcomes {
            if outcome.is_ok() {
                self.running.insert(name);
            }
            self.command(Command::Started(name, outcome)).await;
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
        release_memory();
        outcomes
    }

    fn start(&mut self, entry: &Entry, offsets: &mut Offsets) -> Result<Collector, StartError> {
        let source = (entry.start)(&mut StartContext {
            config: &self.config,
            labels: &self.labels,
            shared: &mut self.shared,
            offsets,
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

/// Gives memory that only starting needed (BTF, objects, verifier logs) back to the node.
fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function only returns free pages of the heap; it has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}
