//! The thread that takes in stacks as the kernel tells of them, and says where they belong.

use std::{
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
use tracing::warn;

use super::{
    keeper::{Keeper, Recorded},
    lock,
};
use crate::{
    clock,
    profile::{
        assemble::Content,
        placer::Placer,
        recorder::{Ended, Recorder},
    },
};

/// How often stacks are taken in: a process that was sampled can be looked at for as long as it
/// lives, and is known from what it has mapped if it has ended.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long the rings are left alone after they were read: in a tenth of a second no ring gets from
/// half full to full.
const REST: Duration = Duration::from_millis(100);

/// Windows that may wait for a file system: with the shortest interval between collections, those of
/// three seconds. What does not fit is not in the history, and counts as lost.
const WAITING: usize = 32;

/// What the thread listens to.
pub(super) struct Part {
    pub(super) content: Content,
    pub(super) recorder: Arc<Mutex<Recorder>>,
    pub(super) placer: Placer,
    /// Whether some CPU is not sampled, which has been said.
    pub(super) is_short: bool,
}

/// A window that has ended.
struct News {
    part: usize,
    ended: Ended,
    agents: Arc<[String]>,
}

/// The thread, until this is dropped.
pub(super) struct Listener {
    news: SyncSender<News>,
    lost: AtomicU64,
    /// When it is closed, the thread wakes up, takes in what is left, and ends.
    open: UnixStream,
    thread: JoinHandle<()>,
}

impl Listener {
    /// Begins to listen. Windows go to `keeper`; without one, nobody wants them.
    pub(super) fn start(parts: Vec<Part>, keeper: Option<Arc<Keeper>>) -> anyhow::Result<Self> {
        let (news, receiver) = sync_channel(WAITING);
        let (open, closed) = UnixStream::pair().context("make a pair of sockets")?;
        let (mut urgent, mut rings) = (vec![OwnedFd::from(closed)], Vec::new());
        for part in &parts {
            let mut recorder = lock(&part.recorder);
            let session = recorder.session();
            let ring = session.descriptor().try_clone_to_owned();
            rings.push(ring.context("wait for stacks")?);
            if let Some(cpus) = session.cpus_descriptor() {
                let cpus = cpus.try_clone_to_owned();
                urgent.push(cpus.context("wait for CPUs that come and go")?);
            }
        }
        let (urgent_count, mut wakers) = (urgent.len(), urgent);
        wakers.append(&mut rings);
        let mut listening = Listening {
            parts,
            keeper,
            news: receiver,
        };
        let thread = thread::Builder::new()
            .name("profile-listener".into())
            .spawn(move || {
                while listening.hear() {
                    // A ring is readable when anything is in it, whoever is to be woken: new stacks
                    // come one by one, and are taken in many at a time.
                    let _ = until_readable(&wakers[..urgent_count], REST)
                        || until_readable(&wakers, INTERVAL);
                }
            })
            .context("start the thread that takes in stacks")?;
        Ok(Self {
            news,
            lost: AtomicU64::new(0),
            open,
            thread,
        })
    }

    /// Has a window that has ended kept. Does not wait.
    pub(super) fn ended(&self, part: usize, ended: Ended, agents: &Arc<[String]>) {
        let news = News {
            part,
            ended,
            agents: Arc::clone(agents),
        };
        if self.news.try_send(news).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes no more windows; the thread ends when it has handed over those that it has.
    pub(super) fn close(self) -> JoinHandle<()> {
        let Self {
            news, open, thread, ..
        } = self;
        drop(news);
        drop(open);
        thread
    }

    /// Windows that are not in the history for lack of time.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

struct Listening {
    parts: Vec<Part>,
    keeper: Option<Arc<Keeper>>,
    news: Receiver<News>,
}

impl Part {
    fn follow_cpus(&mut self, recorder: &mut Recorder) {
        let followed = recorder.session().follow_cpus();
        if let (Err(error), false) = (&followed, self.is_short) {
            warn!("a CPU is not sampled: {error:#}");
        }
        self.is_short = followed.is_err();
    }
}

impl Listening {
    /// Takes in what there is. Whether there may be more.
    fn hear(&mut self) -> bool {
        for part in &mut self.parts {
            let heard = {
                let recorder = Arc::clone(&part.recorder);
                let mut recorder = lock(&recorder);
                part.follow_cpus(&mut recorder);
                recorder.hear()
            };
            // Collections go on meanwhile. Where nothing is kept, nobody asks where stacks belong.
            let wanted = if self.keeper.is_some() {
                heard
            } else {
                Vec::new()
            };
            part.placer.place(wanted);
        }
        loop {
            match self.news.try_recv() {
                Ok(news) => self.keep(news),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn keep(&mut self, news: News) {
        let part = &mut self.parts[news.part];
        if let Some(keeper) = &self.keeper {
            keeper.keep(Recorded {
                content: part.content,
                window: part.placer.window(news.ended),
                ended: clock::since_boot(),
                agents: news.agents,
            });
        }
    }
}

/// Waits until one of them is readable or closed, or so long. Whether one is.
fn until_readable(wakers: &[OwnedFd], patience: Duration) -> bool {
    let waiting = |waker: &OwnedFd| libc::pollfd {
        fd: waker.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut fds: Vec<_> = wakers.iter().map(waiting).collect();
    let milliseconds = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the pointer is to as many elements as are said, which live across the call. If it
    // fails, the rings are read early.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, milliseconds) > 0 }
}
