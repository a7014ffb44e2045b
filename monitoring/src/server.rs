//! A small HTTP server for what is read often: accepts connections, bounds them, and lets them go
//! at shutdown.
//!
//! What a request is answered is a [`Site`]'s to say; what a connection may do, and for how long, is
//! in `connection`. Runs on the caller's runtime, of one thread or many. Shared by the exporter and
//! the node's agent; knows neither.

pub mod answer;
pub mod connection;
pub mod exposition;
pub mod landing;
pub mod listen;
pub mod negotiate;
pub mod readers;
pub mod rendered;
pub mod stats;

use std::{
    collections::HashMap,
    io,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use hyper::{Request, Response, body::Incoming};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use self::{
    answer::Pieces,
    connection::{Activity, End},
    stats::Stats,
};

/// How long running answers may go on after shutdown was asked for.
const DRAIN: Duration = Duration::from_millis(500);

/// The pause after the first failed accept, and the longest one; it doubles in between. The
/// kernel keeps saying that a connection waits, so that without a pause the agent would spin.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What connections may do.
#[derive(Clone, Debug)]
pub struct Limits {
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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 512,
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(150),
            write_timeout: Duration::from_secs(10),
        }
    }
}

/// What is served, to all connections.
pub trait Site: Send + Sync + 'static {
    /// What the site wants to know of the other side of a connection. It is made for the requests
    /// of that connection alone, and these end before its stream does.
    type Peer: Copy + Send + Sync;

    /// The other side of a connection.
    fn peer(stream: &TcpStream) -> Self::Peer;

    /// What connections may do.
    fn limits(&self) -> &Limits;

    /// Where the server counts.
    fn stats(&self) -> &Stats;

    /// The whole answer to a request.
    fn answer(
        &self,
        request: &Request<Incoming>,
        activity: &Arc<Activity>,
        peer: Self::Peer,
    ) -> impl Future<Output = Response<Pieces>> + Send;
}

/// Serves until `shutdown` completes. Then nothing more is accepted, idle connections are closed,
/// running answers get half a second, and the function returns.
pub async fn serve<S: Site>(listener: TcpListener, site: S, shutdown: impl Future<Output = ()>) {
    let site = Arc::new(site);
    let (close, closing) = watch::channel(());
    let mut connections = Connections::default();
    let mut pause = Pause::default();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.tasks.join_next_with_id() => {
                connections.forget(ended, site.stats());
            }
            accepted = accept(&listener, pause.until) => match accepted {
                Ok(stream) => {
                    pause = Pause::default();
                    while connections.open.len() >= site.limits().max_connections.max(1) {
                        connections.evict(site.stats());
                    }
                    connections.start(stream, &site, &closing);
                }
                Err(error) => {
                    site.stats().accept_errors.fetch_add(1, Relaxed);
                    if pause.until.is_none() {
                        tracing::warn!(%error, "a connection was not accepted");
                    }
                    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
                        // Its file descriptor goes to whoever waits to be accepted.
                        connections.evict(site.stats());
                    }
                    pause.lengthen();
                }
            },
        }
    }
    drop(listener);
    // Every connection watches this channel for its end.
    drop(close);
    let mut tasks = connections.tasks;
    let drained = timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tasks.shutdown().await;
    }
}

async fn accept(listener: &TcpListener, not_before: Option<Instant>) -> io::Result<TcpStream> {
    if let Some(instant) = not_before {
        sleep_until(instant).await;
    }
    listener.accept().await.map(|(stream, _)| stream)
}

/// How long to leave the listener alone after errors in a row.
#[derive(Default)]
struct Pause {
    length: Duration,
    until: Option<Instant>,
}

impl Pause {
    fn lengthen(&mut self) {
        self.length = (self.length * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.until = Some(Instant::now() + self.length);
    }
}

/// The open connections, each a task.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<End>,
    open: HashMap<Id, (AbortHandle, Arc<Activity>)>,
}

impl Connections {
    fn start<S: Site>(&mut self, stream: TcpStream, site: &Arc<S>, closing: &watch::Receiver<()>) {
        let activity = Arc::new(Activity::new());
        let drive = connection::drive(
            stream,
            Arc::clone(&activity),
            Arc::clone(site),
            closing.clone(),
        );
        let task = self.tasks.spawn(drive);
        activity.belongs_to(task.clone());
        self.open.insert(task.id(), (task, activity));
    }

    /// Closes the connection that does nothing for longest; one that is being answered only where
    /// all are, and then the one that takes longest.
    fn evict(&mut self, stats: &Stats) {
        let standing = |(id, (_, activity)): (&Id, &(AbortHandle, Arc<Activity>))| {
            let (is_writing, since) = activity.standing();
            (is_writing, since, *id)
        };
        let Some((_, _, id)) = self
            .open
            .iter()
            .map(standing)
            .min_by_key(|(w, s, _)| (*w, *s))
        else {
            return;
        };
        if let Some((task, _)) = self.open.remove(&id) {
            task.abort();
            stats.evicted_connections.fetch_add(1, Relaxed);
        }
    }

    fn forget(&mut self, ended: Result<(Id, End), JoinError>, stats: &Stats) {
        let id = match ended {
            Ok((id, end)) => {
                stats.count_end(end);
                id
            }
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "a connection's task panicked");
                }
                error.id()
            }
        };
        self.open.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second() {
        let mut pause = Pause::default();
        let mut lengths = Vec::new();
        for _ in 0..10 {
            pause.lengthen();
            lengths.push(pause.length.as_millis());
        }
        assert_eq!(lengths, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }
}
