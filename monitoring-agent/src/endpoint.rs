//! The metrics endpoint's life: bound, moved to another address or path, closed.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use tracing::info;

use crate::{
    config::Config,
    exemplars::Exemplars,
    export::http::{self, HttpOptions, HttpStats, LatestProfiles},
    snapshot::Latest,
};

/// How long running answers may take when the endpoint moves on the same port.
const PATIENCE: Duration = Duration::from_secs(1);

/// A server that runs, unless moving it failed twice over.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    latest: Latest,
    stats: Arc<HttpStats>,
    profiles: LatestProfiles,
    exemplars: Arc<Exemplars>,
    server: Option<Server>,
}

/// Stops when `shutdown` is dropped.
#[derive(Debug)]
struct Server {
    shutdown: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// Binds and serves.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    pub async fn start(
        config: &Config,
        latest: Latest,
        stats: Arc<HttpStats>,
        profiles: LatestProfiles,
        exemplars: Arc<Exemplars>,
    ) -> anyhow::Result<Self> {
        let mut endpoint = Self {
            address: config.listen,
            latest,
            stats,
            profiles,
            exemplars,
            server: None,
        };
        endpoint.serve(config.listen, &config.metrics_path).await?;
        Ok(endpoint)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Moves to another address or path. Scrapes on another port never notice; on the same port
    /// the old server ends before the new one begins.
    ///
    /// # Errors
    ///
    /// When the new address cannot be bound; the endpoint then is where it was.
    pub async fn change(&mut self, old: &Config, new: &Config) -> anyhow::Result<()> {
        // Port 0 stands for the port that was found then.
        let same_address = new.listen == old.listen;
        let wanted = if same_address {
            self.address
        } else {
            new.listen
        };
        if wanted.port() != self.address.port() {
            return self.serve(wanted, &new.metrics_path).await;
        }
        let before = self.address;
        if let Some(server) = self.server.take() {
            drop(server.shutdown);
            // An answer that takes longer is cut off with its connection.
            let _ = timeout(PATIENCE, server.task).await;
        }
        let moved = self.serve(wanted, &new.metrics_path).await;
        if moved.is_err() {
            let back = self.serve(before, &old.metrics_path).await;
            back.context("return to the old address, too")?;
        }
        moved
    }

    /// Closes it; the future ends when the last answer is out.
    pub fn close(self) -> impl Future<Output = ()> {
        let task = self.server.map(|server| {
            drop(server.shutdown);
            server.task
        });
        async {
            if let Some(task) = task {
                // A panicked server is closed, too.
                let _ = task.await;
            }
        }
    }

    /// Starts a server; the one before ends as it loses its `shutdown`.
    async fn serve(&mut self, address: SocketAddr, path: &str) -> anyhow::Result<()> {
        let listener = http::bind(address).await?;
        self.address = listener.local_addr().context("read the bound address")?;
        let (shutdown, stopped) = oneshot::channel::<()>();
        let options = HttpOptions {
            metrics_path: path.to_owned(),
            profiles: self.profiles.clone(),
            exemplars: Arc::clone(&self.exemplars),
            ..HttpOptions::default()
        };
        // A dropped sender is as good a reason to stop as a message.
        let stopped = async { drop(stopped.await) };
        let (latest, stats) = (self.latest.clone(), Arc::clone(&self.stats));
        let task = tokio::spawn(http::serve(listener, options, latest, stats, stopped));
        self.server = Some(Server { shutdown, task });
        info!("metrics at http://{}{path}", self.address);
        Ok(())
    }
}
