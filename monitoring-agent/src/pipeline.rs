//! Starts, wires and stops everything. All channels are made here.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::{
    aggregate::{Aggregate, Command, WAITING_REPORTS},
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
    running: BTreeMap<&'static str, &'static Entry>,
    commands: mpsc::Sender<Command>,
    reports: mpsc::Sender<Report>,
    latest: Latest,
    server: Server,
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
        let server = Server::start(&config, latest.clone()).await?;
        let aggregate = Aggregate::new(publish);
        tokio::spawn(aggregate.run(
            config.collection_interval,
            command_receiver,
            report_receiver,
        ));
        let mut agent = Self {
            labels: Arc::new(Labels::new(&config.agents)),
            shared: SharedMaps::new(),
            running: BTreeMap::new(),
            config,
            commands,
            reports,
            latest,
            server,
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

    /// Goes over to another configuration; what did not change goes on without a gap.
    pub async fn reload(&mut self, config: Config) {
        if config == self.config {
            info!("the configuration is unchanged");
            return;
        }
        if (config.listen, &config.metrics_path) != (self.config.listen, &self.config.metrics_path)
        {
            self.rebind(&config).await;
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
        // Sources read their settings when they start; one whose settings changed starts anew.
        let kernel_side = config.ebpf_debug != self.config.ebpf_debug;
        let identity =
            (&config.node, &config.node_type) != (&self.config.node, &self.config.node_type);
        if config.sources != self.config.sources || kernel_side || identity {
            for name in std::mem::take(&mut self.running).into_keys() {
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

    async fn rebind(&mut self, config: &Config) {
        match Server::start(config, self.latest.clone()).await {
            Ok(server) => {
                // The old one ends as it loses its `shutdown`.
                self.server = server;
            }
            Err(error) => warn!("the endpoint stays at {}: {error:#}", self.server.address),
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

    async fn start_wanted(&mut self) {
        let mut offsets = Offsets::new();
        for entry in SOURCES {
            if !(entry.enabled)(&self.config) || self.running.contains_key(entry.name) {
                continue;
            }
            let started = self.start_source(entry, &mut offsets);
            let outcome = started.map_err(|error| {
                log_failed_start(entry.name, &error);
                error.to_string()
            });
            self.running.insert(entry.name, entry);
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
    async fn start(config: &Config, latest: Latest) -> anyhow::Result<Self> {
        let listener = http::bind(config.listen).await?;
        let address = listener.local_addr().context("read the bound address")?;
        let (shutdown, stopped) = oneshot::channel::<()>();
        let options = HttpOptions {
            metrics_path: config.metrics_path.clone(),
            ..HttpOptions::default()
        };
        // A dropped sender is as good a reason to stop as a message.
        let stopped = async { drop(stopped.await) };
        let stats = Arc::new(HttpStats::default());
        let task = tokio::spawn(http::serve(listener, options, latest, stats, stopped));
        info!("metrics at http://{address}{}", config.metrics_path);
        Ok(Self {
            address,
            shutdown,
            task,
        })
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
