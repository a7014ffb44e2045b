//! The thread that listens to the kernel and to the kernel programs. It opens nothing and waits for
//! nobody, so that their rings do not run over; and it is woken rarely.

use std::{
    os::fd::AsRawFd,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use tracing::warn;

use super::{Shared, lock};
use crate::{
    clock,
    executed::{
        Events,
        pace::{Pace, REST},
    },
    ring::readable,
    sources::cuda::discovery::{Names, News},
};

/// How often the kernel's rings are read. What a process calls between mapping a library that nobody
/// has mapped before and then is not seen, so it is short; nobody is woken more often for it, however
/// many programs start.
const LISTEN_INTERVAL: Duration = Duration::from_millis(100);

/// How often in a row the rings have to be empty, with nobody who uses CUDA, until they are left
/// alone: from then on the first mapping wakes the listener.
const QUIET_LISTENS: u32 = 2;

/// How long after that mapping the rings are read: programs begin by mapping one file after another.
const SETTLE_INTERVAL: Duration = Duration::from_millis(20);

/// Most names that are taken in at a time: collections wait for as long.
const MAX_NAMES: usize = 1_024;

/// How often CPUs are looked for that were switched on or off.
const CPU_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Listener {
    shared: Arc<Shared>,
    /// Names of functions; absent until the kernel object is loaded.
    ring: Option<RingBuf<MapData>>,
    events: Option<Events>,
    /// Of the files that are of interest.
    names: Names,
}

impl Listener {
    /// Hears of files by these events, where there are any.
    pub(super) fn new(shared: Arc<Shared>, events: Option<Events>, names: Names) -> Self {
        Self {
            shared,
            ring: None,
            events,
            names,
        }
    }

    pub(super) fn run(&mut self) {
        let (mut due, mut cpus_due) = (Instant::now(), Instant::now() + CPU_INTERVAL);
        let mut pace = Pace::new(Instant::now());
        let mut rests_until = Instant::now();
        let mut quiet = 0;
        loop {
            let now = Instant::now();
            let rests = now < rests_until;
            let next = if rests { rests_until } else { due };
            let events = self.events.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            let ring = self.ring.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            let rings = [ring, events].map(|ring| if rests { -1 } else { ring });
            let fds = [self.shared.look.as_raw_fd(), rings[0], rings[1]];
            let [asked, named, full] = readable(fds, next.saturating_duration_since(now));
            if self.shared.stopped.load(Ordering::Relaxed) {
                return;
            }
            let begun = clock::thread_time();
            let now = Instant::now();
            if full && self.events.as_mut().is_some_and(Events::rest) {
                (due, quiet) = (now + SETTLE_INTERVAL, 0);
                continue;
            }
            let is_due = now >= due && now >= rests_until;
            if asked {
                self.shared.looks();
                let new = lock(&self.shared.handed).names.take();
                self.ring = new.or(self.ring.take());
            }
            let more = (asked || named || is_due) && self.hear_names();
            if !(asked || named || full || is_due) {
                continue;
            }
            if full || is_due {
                quiet = if self.hear_events() { 0 } else { quiet + 1 };
                if now >= cpus_due {
                    cpus_due = now + CPU_INTERVAL;
                    self.follow_cpus();
                }
                due = if quiet >= QUIET_LISTENS && self.is_left_alone() {
                    cpus_due
                } else {
                    now + LISTEN_INTERVAL
                };
            }
            let spent = clock::thread_time().saturating_sub(begun);
            let rest = pace.rest(Instant::now(), spent);
            // At its own time it was woken by nobody, who could do so again at once.
            if asked || named || full || more || rest > REST {
                rests_until = rests_until.max(now + rest);
            }
            if more {
                due = rests_until;
            }
        }
    }

    /// Takes in what functions are called. Whether there is more.
    fn hear_names(&mut self) -> bool {
        let Some(ring) = &mut self.ring else {
            return false;
        };
        let mut kernels = lock(&self.shared.kernels);
        let mut taken = 0;
        while taken < MAX_NAMES
            && let Some(record) = ring.next()
        {
            kernels.received(&record);
            taken += 1;
        }
        let waiting = kernels.is_waiting();
        drop(kernels);
        if waiting {
            self.shared.find_names();
        }
        taken == MAX_NAMES
    }

    /// Leaves the rings alone until something is mapped, if nobody uses CUDA. Whether it does.
    fn is_left_alone(&mut self) -> bool {
        let nobody = lock(&self.shared.followed).is_empty();
        let Some(events) = &mut self.events else {
            return false;
        };
        let watches = nobody && events.watch().is_ok();
        // What was mapped before that has woken nobody.
        if watches && !self.hear_events() {
            return true;
        }
        if let Some(events) = &mut self.events {
            events.rest();
        }
        false
    }

    /// Takes in what was mapped. Whether anything was.
    fn hear_events(&mut self) -> bool {
        let Some(events) = &mut self.events else {
            return false;
        };
        let news = News::take(events, &self.names, &lock(&self.shared.followed));
        let heard = news.heard;
        if news.named.is_empty() && news.changed.is_empty() && news.lost == 0 {
            return heard;
        }
        let mut lost = news.lost;
        self.shared.requests.add(|work| lost += work.tell(news));
        let counter = &self.shared.missed.mappings_lost;
        counter.fetch_add(lost, Ordering::Relaxed);
        heard
    }

    fn follow_cpus(&mut self) {
        let Some(events) = &mut self.events else {
            return;
        };
        match events.follow_cpus() {
            Ok(false) => {}
            Ok(true) => self.shared.requests.add(|work| work.all = true),
            Err(error) => {
                warn!("what is mapped on some CPU is found late: {error}");
                self.shared.requests.add(|work| work.all = true);
            }
        }
    }
}
