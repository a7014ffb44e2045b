//! Asks nodes, each on a thread of its own, so that one that hangs, or whose answer is huge, holds up
//! no other and no key.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    flame::{self, Tree},
    mailbox::{Mailbox, Profile},
    snapshot::Snapshot,
    watch::Watch,
};
use crate::scrape::client::{Client, FetchError};

/// How long a node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How much longer than the capture itself the answer with a profile may take: names are looked up
/// when it has ended.
pub(super) const NAMING: Duration = Duration::from_secs(30);

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
        mailbox: &Arc<Mailbox>,
    ) -> Result<Self> {
        let start = |(node, url): (usize, &String)| {
            let (stop, stopped) = channel();
            let (url, mailbox) = (url.clone(), Arc::clone(mailbox));
            thread::Builder::new()
                .name(format!("node {node}"))
                .spawn(move || ask(node, &url, interval, &mailbox, &stopped))
                .context("start a thread")?;
            Ok(stop)
        };
        let stops: Result<Vec<_>> = urls.iter().enumerate().map(start).collect();
        Ok(Self { _stops: stops? })
    }
}

fn ask(node: usize, url: &str, interval: Duration, mailbox: &Mailbox, stop: &Receiver<()>) {
    let client = Client::new(TIMEOUT);
    let mut watch = Watch::default();
    loop {
        let report = match scrape(&client, url) {
            Ok(snapshot) => watch.answered(snapshot),
            Err(why) => watch.missed(&why, Instant::now()),
        };
        mailbox.report(node, report);
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
    mailbox: &Arc<Mailbox>,
) -> Result<()> {
    let url = format!("http://{address}/folded?seconds={seconds}");
    let mailbox = Arc::clone(mailbox);
    let patience = Duration::from_secs(seconds.into()) + NAMING;
    let asking = move || mailbox.profile(node, folded(&Client::new(patience), &url));
    let thread = thread::Builder::new().name(format!("profile {node}"));
    thread.spawn(asking).context("start a thread")?;
    Ok(())
}

fn folded(client: &Client, url: &str) -> Profile {
    match client.text(url) {
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
    }
}
