//! Asks nodes, each on a thread of its own, so that one that hangs holds up no other and no key.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    flame::{self, Tree},
    snapshot::Snapshot,
};
use crate::scrape::client::{Client, FetchError};

/// How long a node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How much longer than the capture itself the answer with a profile may take: names are looked up
/// when it has ended.
pub(super) const NAMING: Duration = Duration::from_secs(30);

/// What a node has answered, or why it has not, as harmless text.
#[derive(Debug)]
pub(super) struct News {
    /// Its number.
    pub(super) node: usize,
    pub(super) what: What,
}

/// What was asked for.
#[derive(Debug)]
pub(super) enum What {
    Scrape(Result<Snapshot, String>),
    Profile(Result<Tree, String>),
}

/// Threads that ask, until it is dropped.
#[derive(Debug)]
pub(super) struct Poller {
    /// One for each thread, which ends when there is no sender any more.
    _stops: Vec<Sender<()>>,
}

impl Poller {
    /// Asks each node at once, and from then on after each interval.
    pub(super) fn start(
        urls: &[String],
        interval: Duration,
        news: &SyncSender<News>,
    ) -> Result<Self> {
        let start = |(node, url): (usize, &String)| {
            let (stop, stopped) = channel();
            let (url, news) = (url.clone(), news.clone());
            thread::Builder::new()
                .name(format!("node {node}"))
                .spawn(move || ask(node, &url, interval, &news, &stopped))
                .context("start a thread")?;
            Ok(stop)
        };
        let stops: Result<Vec<_>> = urls.iter().enumerate().map(start).collect();
        Ok(Self { _stops: stops? })
    }
}

fn ask(node: usize, url: &str, interval: Duration, news: &SyncSender<News>, stop: &Receiver<()>) {
    let client = Client::new(TIMEOUT);
    loop {
        let what = What::Scrape(scrape(&client, url));
        // Nobody listens any more when the monitor ends.
        if news.send(News { node, what }).is_err() {
            return;
        }
        if stop.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn scrape(client: &Client, url: &str) -> Result<Snapshot, String> {
    let asked = Instant::now();
    let text = client.text(url).map_err(|error| error.to_string())?;
    // The age in it was told somewhere between the question and the answer.
    let told = asked + asked.elapsed() / 2;
    Snapshot::read(&text, told).map_err(|error| format!("its answer is no metrics: {error}"))
}

/// Asks a node for a profile of the next seconds.
pub(super) fn profile(
    node: usize,
    address: &str,
    seconds: u32,
    news: &SyncSender<News>,
) -> Result<()> {
    let url = format!("http://{address}/folded?seconds={seconds}");
    let news = news.clone();
    let asking = move || {
        let client = Client::new(Duration::from_secs(seconds.into()) + NAMING);
        let tree = match client.text(&url) {
            Ok(folded) => Tree::read(&folded).ok_or_else(|| {
                "Nothing ran on a CPU in these seconds, or no agent answers there.".to_owned()
            }),
            Err(error) => {
                let status = match &error {
                    FetchError::Status { status, .. } => Some(*status),
                    FetchError::Page => Some(404),
                    _ => None,
                };
                Err(format!("{error}\n\n{}", flame::advice(status)))
            }
        };
        let what = What::Profile(tree);
        let _ = news.send(News { node, what });
    };
    let thread = thread::Builder::new().name(format!("profile {node}"));
    thread.spawn(asking).context("start a thread")?;
    Ok(())
}
