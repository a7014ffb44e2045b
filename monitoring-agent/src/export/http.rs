//! The agent's HTTP server: what it serves, and what can be set about it.
//!
//! What a request is answered is decided in `answer`; how connections are accepted, bounded and let
//! go is the same for every server of metrics. Knows no source.

mod answer;
mod listen;
mod page;
mod profiles;
mod stats;

use std::{sync::Arc, time::Duration};

pub use monitoring::server::stats::Stats as HttpStats;
use monitoring::server::{self, Limits, connection};
use tokio::{net::TcpListener, sync::watch};

use self::answer::Agent;
pub use self::{
    listen::bind,
    profiles::{LatestProfiles, Profiles},
    stats::families,
};
use crate::{exemplars::Exemplars, snapshot::Latest};

/// What can be set about the server.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Where metrics are served in the formats of Prometheus; begins with `/`. Default `/metrics`.
    pub metrics_path: String,
    /// Connections at one time, at least 1. One more closes the one that is idle for longest.
    /// Default 512: one costs 2 KiB of memory until it sends something, 12 KiB from then on, and
    /// 32 KiB while it sends the largest head.
    pub max_connections: usize,
    /// From the first byte of a request's head to its last, and from the start of a connection to
    /// the first byte. Default 5 s.
    pub header_timeout: Duration,
    /// How long a connection is kept open for the next request. Default 150 s: longer than the
    /// usual intervals between scrapes, so that a scraper needs one connection only.
    pub idle_timeout: Duration,
    /// How long a client may take to read an answer. Default 10 s, as long as Prometheus waits by
    /// default; a shorter `X-Prometheus-Scrape-Timeout-Seconds` takes its place.
    pub write_timeout: Duration,
    /// What can be asked about profiles. Default nothing.
    pub profiles: LatestProfiles,
    /// The traces of slow events, for formats that have a place for them. Default none.
    pub exemplars: Arc<Exemplars>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        let Limits {
            max_connections,
            header_timeout,
            idle_timeout,
            write_timeout,
        } = Limits::default();
        Self {
            metrics_path: "/metrics".to_owned(),
            max_connections,
            header_timeout,
            idle_timeout,
            write_timeout,
            profiles: watch::channel(Arc::new(Profiles::none("there are none"))).1,
            exemplars: Arc::default(),
        }
    }
}

impl HttpOptions {
    fn limits(&self) -> Limits {
        Limits {
            max_connections: self.max_connections,
            header_timeout: self.header_timeout,
            idle_timeout: self.idle_timeout,
            write_timeout: self.write_timeout,
        }
    }
}

/// Serves until `shutdown` completes. Then nothing more is accepted, idle connections are closed,
/// running answers get half a second, and the function returns.
pub async fn serve(
    listener: TcpListener,
    options: HttpOptions,
    latest: Latest,
    stats: Arc<HttpStats>,
    shutdown: impl Future<Output = ()>,
) {
    let agent = Agent::new(options, latest, stats);
    server::serve(listener, agent, shutdown).await;
}
