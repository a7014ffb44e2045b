//! Starts, wires and stops everything. All channels are made here.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::{
    aggregate::{Aggregate, Command, OwnMetrics, WAITING_REPORTS},
    collector::{Collector, Report},
    config::Config,
    export::http::{self, HttpOptions, HttpStats},
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
    server: Server,
    http_stats: Arc<HttpStats>,
    /// Kernel-wide BPF statistics stay on as long as this is held.
    bpf_stats: Option<std::os::fd::OwnedFd>,
}

/// The metrics endpoint; stops when `shutdown` is dropped.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    shutdown: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
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
        let server = Server::start(&config, latest.clone(), &http_stats).await?;
        let own = Arc::clone(&http_stats);
        let own = OwnMetrics(Box::new(move || own.families()));
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
            server,
            http_stats,
            bpf_stats: None,
        };
        agent.apply_bpf_stats();
        agent.start_wanted().await;
        Ok(agent)
    }

    /// Where the agent listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The newest snapshot, as exporters see it.
    pub fn latest(&self) -> Latest {
        self.latest.clone()
    }

    /// Goes over to another configuration; what did not change goes on without a gap. Sources that
    /// did not start before are tried again.
    pub async fn reload(&mut self, mut config: Config) {
        let endpoint = |config: &Config| (config.listen, config.metrics_path.clone());
        if endpoint(&config) != endpoint(&self.config) && !self.rebind(&config).await {
            // Kept as it is in force, so that the next reload tries again.
            (config.listen, config.metrics_path) = endpoint(&self.config);
        }
        if config.collection_interval != self.config.collection_interval {
            self.command(Command::Interval(config.collection_interval))
                .await;
        }
        if config.agents != self.config.agents
            && let Err(error) = self.labels.reload(&config.agents)
        {
            warn!("processes could not be labelled by the new [[agents]]: {error:#}");
        }
        if source_settings(&config) != source_settings(&self.config) {
            // Sources read their settings when they start.
            for name in std::mem::take(&mut self.running) {
                self.command(Command::Stop(name)).await;
            }
        }
        self.config = config;
        self.apply_bpf_stats();
        self.start_wanted().await;
        info!("the new configuration is in force");
    }

    /// Stops accepting scrapes, ends all sources, detaches all programs. Takes at most a second.
    pub async fn stop(self) {
        let begun = Instant::now();
        drop(self.server.shutdown);
        let (done, stopped) = oneshot::channel();
        let threads = match self.commands.send(Command::Shutdown(done)).await {
            Ok(()) => stopped.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        while begun.elapsed() < PATIENCE && !threads.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if !threads.iter().all(JoinHandle::is_finished) {
            warn!("a source did not stop; the kernel detaches its programs with the process");
        }
        let left = PATIENCE.saturating_sub(begun.elapsed());
        if tokio::time::timeout(left, self.server.task).await.is_err() {
            warn!("a scrape was cut off");
        }
    }

    /// Moves the endpoint; tells whether it could.
    async fn rebind(&mut self, config: &Config) -> bool {
        let started = Server::start(config, self.latest.clone(), &self.http_stats).await;
        match started {
            // The old one ends as it loses its `shutdown`.
            Ok(server) => self.server = server,
            Err(error) => {
                warn!("the endpoint stays at {}: {error:#}", self.server.address);
                return false;
            }
        }
        true
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

    async fn start_wanted(&mut self) {
        let mut offsets = Offsets::new();
        for entry in SOURCES {
            if !(entry.enabled)(&self.config) || self.running.contains(entry.name) {
                continue;
            }
            let started = self.start_source(entry, &mut offsets);
            let outcome = started.map_err(|error| {
                log_failed_start(entry.name, &error);
                error.to_string()
            });
            if outcome.is_ok() {
                self.running.insert(entry.name);
            }
            self.command(Command::Started(entry.name, outcome)).await;
        }
        release_memory();
    }

    fn start_source(
        &mut self,
        entry: &Entry,
        offsets: &mut Offsets,
    ) -> Result<Collector, StartError> {
        let source = (entry.start)(&mut StartContext {
            config: &self.config,
            labels: &self.labels,
            shared: &mut self.shared,
            offsets,
        })?;
        let collector = Collector::start(entry.name, source, self.reports.clone());
        Ok(collector.with_context(|| format!("start the thread of source {}", entry.name))?)
    }

    async fn command(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            error!("the aggregator has ended; metrics stay as they are until a restart");
        }
    }
}

impl Server {
    async fn start(
        config: &Config,
        latest: Latest,
        stats: &Arc<HttpStats>,
    ) -> anyhow::Result<Self> {
        let listener = http::bind(config.listen).await?;
        let address = listener.local_addr().context("read the bound address")?;
        let (shutdown, stopped) = oneshot::channel::<()>();
        let options = HttpOptions {
            metrics_path: config.metrics_path.clone(),
            ..HttpOptions::default()
        };
        // A dropped sender is as good a reason to stop as a message.
        let stopped = async { drop(stopped.await) };
        let task = tokio::spawn(http::serve(
            listener,
            options,
            latest,
            Arc::clone(stats),
            stopped,
        ));
        info!("metrics at http://{address}{}", config.metrics_path);
        Ok(Self {
            address,
            shutdown,
            task,
        })
    }
}

/// What sources take from the configuration when they start.
fn source_settings(config: &Config) -> impl PartialEq + '_ {
    let Config {
        sources,
        node,
        node_type,
        ebpf_debug,
        ..
    } = config;
    (sources, node, node_type, ebpf_debug)
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
