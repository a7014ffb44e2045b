//! Asks mounts for their space, on a thread of its own, because one on a dead server may hang.
//!
//! A round asks one mount after the other. A new one starts with each collection, unless the last
//! is still under way. A mount that has not answered for [`HUNG`] is given up together with the
//! thread that waits for it, and is not asked again before that thread has come back and ended:
//! there is never more than one thread for a hung mount, however long it hangs.
//!
//! Knows nothing of the mount table's format or of metrics.

#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::mounts::Mount;

/// A mount that takes longer hangs. `node_exporter`'s limit, too.
const HUNG: Duration = Duration::from_secs(5);

/// How long a collection waits for its own round. Healthy mounts answer in microseconds; while one
/// does not, it is left out, or has the space of the round before.
const GRACE: Duration = Duration::from_millis(100);

/// With so many hung mounts, and so as many waiting threads, only those are asked that answered
/// in the last round.
const MAX_HUNG: usize = 32;

/// `statvfs` and a log line of Rust's runtime, should it panic, need far less.
const STACK_BYTES: usize = 64 * 1024;

/// A file system's space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Space {
    pub(super) size_bytes: f64,
    /// For users other than root.
    pub(super) avail_bytes: f64,
}

/// What may hang. `Ok(None)` is an answer too: this mount is not ours to look at.
pub(super) type Ask = Arc<dyn Fn(&Path) -> io::Result<Option<Space>> + Send + Sync>;

/// All rounds, past and present.
pub(super) struct Rounds {
    ask: Ask,
    grace: Duration,
    hung_after: Duration,
    /// A worker without a round; none before the first, during a round, and after a hung one.
    idle: Option<Worker>,
    current: Option<Round>,
    /// What the newest round found that is over.
    newest: Vec<(Mount, Space)>,
    hung: Vec<Hung>,
    skipped: u64,
}

/// A mount that did not answer, and the thread that waits for it.
#[derive(Debug)]
struct Hung {
    path: PathBuf,
    thread: JoinHandle<()>,
}

impl Rounds {
    pub(super) fn new(ask: Ask) -> Self {
        Self::with_limits(ask, GRACE, HUNG)
    }

    fn with_limits(ask: Ask, grace: Duration, hung_after: Duration) -> Self {
        let (idle, current, newest, hung) = (None, None, Vec::new(), Vec::new());
        Self {
            ask,
            grace,
            hung_after,
            idle,
            current,
            newest,
            hung,
            skipped: 0,
        }
    }

    /// How often a mount was left out of a collection because it hangs.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The newest space of each mount that can be had without waiting, and the first failure.
    pub(super) fn collect(
        &mut self,
        mounts: Vec<Mount>,
    ) -> (Vec<(Mount, Space)>, anyhow::Result<()>) {
        let mut result = Ok(());
        self.hung.retain(|hung| !hung.thread.is_finished());
        if let Some(mut round) = self.current.take() {
            result = round.receive(Duration::ZERO);
            if !round.is_over() && round.asking_since.elapsed() >= self.hung_after {
                self.give_up(round);
            } else {
                self.keep(round);
            }
        }
        if self.current.is_none() {
            let mounts = self.worth_asking(mounts);
            match self
                .idle
                .take()
                .map_or_else(|| Worker::start(&self.ask), Ok)
            {
                Ok(worker) => {
                    let mut round = Round::start(worker, mounts);
                    result = result.and(round.receive(self.grace));
                    self.keep(round);
                }
                Err(error) => result = result.and(Err(error)),
            }
        }
        (self.known(), result)
    }

    /// Leaves out the mounts that hang, and puts those first that are known to answer, so that
    /// they do so in each round, wherever it gets stuck.
    fn worth_asking(&mut self, mut mounts: Vec<Mount>) -> Vec<Mount> {
        let all = mounts.len();
        let hung: HashSet<&Path> = self.hung.iter().map(|hung| hung.path.as_path()).collect();
        mounts.retain(|mount| !hung.contains(mount.path.as_path()));
        let known: HashSet<&Path> = self
            .newest
            .iter()
            .map(|(mount, _)| mount.path.as_path())
            .collect();
        mounts.sort_by_key(|mount| !known.contains(mount.path.as_path()));
        if self.hung.len() >= MAX_HUNG {
            mounts.retain(|mount| known.contains(mount.path.as_path()));
        }
        self.skipped += (all - mounts.len()) as u64;
        mounts
    }

    fn keep(&mut self, round: Round) {
        if round.is_over() {
            self.newest = round.spaces;
            self.idle = Some(round.worker);
        } else {
            self.current = Some(round);
        }
    }

    /// What the round had not reached is unknown now, rather than old.
    fn give_up(&mut self, round: Round) {
        let mount = &round.mounts[round.answers];
        let mountpoint = &mount.mountpoint;
        tracing::warn!(
            ?mountpoint,
            "the mount does not answer; left out until it does"
        );
        self.hung.push(Hung {
            path: mount.path.clone(),
            thread: round.worker.thread,
        });
        self.newest = round.spaces;
    }

    /// The present round's spaces, and those of the round before for mounts that it has yet to ask.
    fn known(&self) -> Vec<(Mount, Space)> {
        let Some(round) = &self.current else {
            return self.newest.clone();
        };
        let asked = &round.mounts[..round.answers];
        let older = self
            .newest
            .iter()
            .filter(|(mount, _)| !asked.contains(mount));
        round.spaces.iter().chain(older).cloned().collect()
    }
}

impl fmt::Debug for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rounds")
            .field("newest", &self.newest)
            .field("hung", &self.hung)
            .finish_non_exhaustive()
    }
}

/// A thread that asks mounts.
#[derive(Debug)]
struct Worker {
    /// Without a sender the thread ends.
    paths: Sender<Vec<PathBuf>>,
    /// One for each path, in order, with the time at which it came.
    answers: Receiver<(Instant, io::Result<Option<Space>>)>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start(ask: &Ask) -> anyhow::Result<Self> {
        let (sender, answers) = channel();
        let (paths, receiver) = channel::<Vec<PathBuf>>();
        let ask = Arc::clone(ask);
        let visit = move || {
            for path in receiver.into_iter().flatten() {
                let answer = ask(&path);
                // Without a receiver the round has been given up.
                if sender.send((Instant::now(), answer)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("host-mounts".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(visit)
            .context("start a thread to ask the mounts")?;
        Ok(Self {
            paths,
            answers,
            thread,
        })
    }
}

/// One visit to each mount.
#[derive(Debug)]
struct Round {
    mounts: Vec<Mount>,
    /// How many of them have answered: the next one is being asked.
    answers: usize,
    asking_since: Instant,
    spaces: Vec<(Mount, Space)>,
    worker: Worker,
}

impl Round {
    fn start(worker: Worker, mounts: Vec<Mount>) -> Self {
        let paths = mounts.iter().map(|mount| mount.path.clone()).collect();
        // Only a thread that panicked has no receiver; its round is given up like a hung one.
        let _ = worker.paths.send(paths);
        let (asking_since, spaces) = (Instant::now(), Vec::with_capacity(mounts.len()));
        Self {
            mounts,
            answers: 0,
            asking_since,
            spaces,
            worker,
        }
    }

    fn is_over(&self) -> bool {
        self.answers == self.mounts.len()
    }

    /// Takes the answers that come within `patience`; returns the first failure among them.
    fn receive(&mut self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        let mut result = Ok(());
        while !self.is_over() {
            let patience = deadline.saturating_duration_since(Instant::now());
            let Ok((at, answer)) = self.worker.answers.recv_timeout(patience) else {
                break;
            };
            let mount = &self.mounts[self.answers];
            match answer {
                Ok(Some(space)) => self.spaces.push((mount.clone(), space)),
                Ok(None) => {}
                Err(error) => {
                    let place = &mount.mountpoint;
                    result = result.and(Err(error).with_context(|| format!("statvfs {place:?}")));
                }
            }
            self.asking_since = at;
            self.answers += 1;
        }
        result
    }
}
