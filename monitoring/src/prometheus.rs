//! An HTTP server with this process's metrics, for Prometheus to scrape.
//!
//! Knows what is served and how old it may be. How connections are bounded is in
//! [`server`](crate::server), what metrics there are in the [`MetricsCollector`].
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use monitoring::prometheus::{ExporterConfig, PrometheusExporter};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let config = ExporterConfig::default()
//!     .port(0) // Any free one; by default 9090.
//!     .path("/metrics")
//!     .refresh_interval(Duration::from_secs(10));
//! let exporter = PrometheusExporter::new(config);
//! let handle = exporter.start().await?;
//! println!("metrics at http://{}/metrics", handle.local_addr());
//! handle.shutdown().await;
//! # Ok::<(), monitoring::prometheus::ExporterError>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod render;
mod site;

use std::{
    future::pending,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{sync::oneshot, task::JoinHandle};

use self::site::Metrics;
use crate::{
    MetricsCollector,
    config::reading::values,
    server::{self, listen},
};

/// What can be set about an exporter.
///
/// By default all metrics of the process's own collector are served at port 9090 of all of the
/// machine's addresses, path `/metrics`, and are at most a second old.
#[derive(Clone, Debug)]
pub struct ExporterConfig {
    address: SocketAddr,
    path: String,
    refresh_interval: Duration,
    collector: MetricsCollector,
}

impl Default for ExporterConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9090)),
            path: "/metrics".to_owned(),
            refresh_interval: Duration::from_secs(1),
            collector: MetricsCollector::new(),
        }
    }
}

impl ExporterConfig {
    /// The port to listen at; 0 for any free one, which [`ExporterHandle::local_addr`] tells.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.address.set_port(port);
        self
    }

    /// The address to listen at: one of this machine, `127.0.0.1` or `::1` for programs on this
    /// machine alone, `0.0.0.0` or `::` for all.
    #[must_use]
    pub fn address(mut self, address: impl Into<IpAddr>) -> Self {
        self.address.set_ip(address.into());
        self
    }

    /// The path of the metrics. It begins with `/`; `/` itself and `/healthz` are taken.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// The age from which on metrics are gathered anew for a scrape: however many scrape, they are
    /// gathered once in this time at the most, for each of both formats. 0 for each scrape.
    #[must_use]
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.refresh_interval = interval;
        self
    }

    /// The collector whose metrics are served.
    #[must_use]
    pub fn collector(mut self, collector: &MetricsCollector) -> Self {
        self.collector = collector.clone();
        self
    }
}

/// Why an exporter did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExporterError {
    /// The path cannot be one.
    #[error("path \"{path}\": {fault}; {cure}")]
    Path {
        /// The path as it was given.
        path: String,
        /// What is wrong with it.
        fault: String,
        /// What to give instead.
        cure: String,
    },
    /// It is impossible to listen at the address.
    #[error("listen at {address}: {cure}")]
    Listen {
        /// The address and port.
        address: SocketAddr,
        /// What is wrong, and what helps.
        cure: String,
        /// What the kernel says.
        source: io::Error,
    },
}

/// Serves metrics over HTTP/1.1.
///
/// | Path | Answer |
/// |---|---|
/// | `/metrics`, or as configured | the metrics, in the text format of Prometheus, or as OpenMetrics 1.0.0 for whoever asks for it in `Accept`, as Prometheus does; with gzip for whoever wants it |
/// | `/healthz` | `ok` |
/// | `/` | a page for people |
///
/// Only GET and HEAD are answered. A connection has 5 s to send a request and 10 s to read the
/// answer (less where Prometheus says that it waits less), and is kept for 150 s for the next. There
/// are at most 512; one more closes the one that is idle for longest. All of this is counted, in
/// what a scrape ends with:
///
/// | Metric | |
/// |---|---|
/// | `monitoring_exporter_responses_total{class}` | answers, by class of status |
/// | `monitoring_exporter_connections_refused_total{reason}` | connections closed without a full answer |
/// | `monitoring_exporter_metrics_age_seconds` | since when the metrics of this scrape are |
#[derive(Clone, Debug)]
pub struct PrometheusExporter {
    config: ExporterConfig,
}

impl PrometheusExporter {
    /// An exporter that does nothing until it is [started](Self::start).
    pub fn new(config: ExporterConfig) -> Self {
        Self { config }
    }

    /// Listens, and from then on serves in a task of the runtime that this is called on. The
    /// runtime needs its drivers for input, output and time.
    ///
    /// # Errors
    ///
    /// When the path is none, or it is impossible to listen at the address, for example because
    /// another process does.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[allow(
        clippy::unused_async,
        reason = "a server can only be started on a runtime, which an async function makes plain"
    )]
    pub async fn start(self) -> Result<ExporterHandle, ExporterError> {
        let ExporterConfig {
            address,
            path,
            refresh_interval,
            collector,
        } = self.config;
        let path = values::endpoint_path(&path).map_err(|fault| ExporterError::Path {
            path: path.clone(),
            fault: fault.fault,
            cure: fault.cure,
        })?;
        let failed = |source: io::Error| {
            let cure = listen::cure(source.kind(), address);
            let cure = cure.map_or_else(|| source.to_string(), |(_, cure)| cure);
            ExporterError::Listen {
                address,
                cure,
                source,
            }
        };
        let listener = listen::listen(address).map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let site = Metrics::new(&path, refresh_interval, collector);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server::serve(listener, site, async {
            // A handle that is dropped is no wish to stop.
            if stopped.await.is_err() {
                pending::<()>().await;
            }
        }));
        Ok(ExporterHandle {
            local_addr,
            stop,
            task,
        })
    }
}

/// An exporter that serves. Dropping this does not stop it; its runtime's end does.
#[derive(Debug)]
pub struct ExporterHandle {
    local_addr: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl ExporterHandle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops serving: nothing more is accepted, running answers get half a second. Returns when
    /// all connections are closed.
    pub async fn shutdown(self) {
        // Where the server's task has ended already, nobody listens.
        _ = self.stop.send(());
        _ = self.task.await;
    }
}
