//! The thread that keeps up with programs that start.
//!
//! The kernel tells of each file that is mapped to be executed, and so of each program. As long as
//! nothing is mapped nobody is woken but once a second.

use std::{
    collections::BTreeSet,
    fs,
    io::PipeReader,
    os::fd::AsRawFd,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use aya::maps::{HashMap, MapData};
use monitoring_common::trace::{Place, place};
use tracing::{debug, warn};

use super::{Counts, finder::Finder};
use crate::{
    clock,
    executed::{Events, pace::Pace, signature},
    ring::readable,
};

/// How long after the first mapping the rings are read, and how often while there are more: a span that
/// a program makes until then is not seen.
const LISTEN_INTERVAL: Duration = Duration::from_millis(20);

/// How often CPUs are looked for that were switched on or off.
const CPU_INTERVAL: Duration = Duration::from_secs(1);

/// How often all processes are looked at: where the kernel tells of programs for those that it had no
/// room for, and otherwise to find any.
const SAFETY_INTERVAL: Duration = Duration::from_mins(1);
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Attempts to follow a process that starts one program after the other while it is looked at.
const ATTEMPTS: usize = 3;

pub(super) struct Watcher {
    events: Option<Events>,
    places: HashMap<MapData, u32, Place>,
    finder: Finder,
    /// Readable when the thread is to end.
    stopped: PipeReader,
    counts: Arc<Counts>,
    all_due: Instant,
    cpus_due: Instant,
    /// Whether it has been said that the map is full.
    is_full: bool,
}

impl Watcher {
    pub(super) fn new(
        events: Option<Events>,
        places: HashMap<MapData, u32, Place>,
        finder: Finder,
        stopped: PipeReader,
        counts: Arc<Counts>,
    ) -> Self {
        let now = Instant::now();
        Self {
            events,
            places,
            finder,
            stopped,
            counts,
            all_due: now,
            cpus_due: now + CPU_INTERVAL,
            is_full: false,
        }
    }

    /// Until the other end of the pipe is closed.
    pub(super) fn run(mut self) {
        let mut pace = Pace::new(Instant::now());
        let mut rest = Duration::ZERO;
        loop {
            let begun = clock::thread_time();
            if !self.is_working(rest) {
                return;
            }
            let spent = clock::thread_time().saturating_sub(begun);
            rest = pace.rest(Instant::now(), spent);
        }
    }

    /// Waits for work after a rest, and does it. Whether there may be more.
    fn is_working(&mut self, rest: Duration) -> bool {
        let stopped = self.stopped.as_raw_fd();
        if readable([stopped], rest) == [true] {
            return false;
        }
        if !self.listen() && self.is_left_alone() {
            let due = self.cpus_due.min(self.all_due);
            let wait = due.saturating_duration_since(Instant::now());
            let events = self.events.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            let [ends, told] = readable([stopped, events], wait);
            if let Some(events) = &mut self.events {
                events.rest();
            }
            // Programs map one file after the other when they start.
            if ends || told && readable([stopped], LISTEN_INTERVAL) == [true] {
                return false;
            }
        }
        let now = Instant::now();
        if now >= self.cpus_due {
            self.cpus_due = now + CPU_INTERVAL;
            self.follow_cpus();
        }
        if now >= self.all_due {
            self.look_at_all();
            self.all_due = Instant::now()
                + if self.events.is_some() {
                    SAFETY_INTERVAL
                } else {
                    LOOK_INTERVAL
                };
        }
        true
    }

    /// Looks at what started programs. Whether anything was mapped.
    fn listen(&mut self) -> bool {
        let Some(events) = &mut self.events else {
            return false;
        };
        let mut pids = BTreeSet::new();
        let heard = events.take(|record| {
            pids.insert(record.pid);
        });
        if heard.lost > 0 {
            self.counts.mappings_lost.fetch_add(heard.lost, Relaxed);
            self.all_due = Instant::now();
        }
        for pid in &pids {
            self.look(*pid);
        }
        if !pids.is_empty() {
            self.count();
        }
        heard.any
    }

    /// Has the next mapping wake the thread. Whether it will: not if there was one meanwhile.
    fn is_left_alone(&mut self) -> bool {
        let Some(events) = &mut self.events else {
            return true;
        };
        events.watch().is_ok() && !self.listen()
    }

    fn follow_cpus(&mut self) {
        let Some(events) = &mut self.events else {
            return;
        };
        match events.follow_cpus() {
            Ok(false) => {}
            Ok(true) => self.all_due = Instant::now(),
            Err(error) => {
                warn!("programs that start on some CPU are found late: {error}");
                self.all_due = Instant::now();
            }
        }
    }

    fn look_at_all(&mut self) {
        // Before the processes: what comes to be meanwhile has its parent's place, and may stay.
        let known: Vec<(u32, Place)> = self.places.iter().filter_map(Result::ok).collect();
        let pids = signature::all(Path::new("/proc"));
        let alive: BTreeSet<u32> = pids.into_iter().collect();
        for pid in &alive {
            self.look(*pid);
        }
        // The kernel removes those of processes that end, where family `process` runs.
        for (pid, place) in known.iter().filter(|(pid, _)| !alive.contains(pid)) {
            // Unless the number is another's by now.
            let now = self.places.get(pid, 0);
            if now.is_ok_and(|now| now.started_ticks == place.started_ticks) {
                self.forget(*pid);
            }
        }
        self.count();
    }

    /// The kernel programs change the map as well.
    fn count(&self) {
        let known = self.places.keys().flatten().count();
        self.counts.processes.store(known as u64, Relaxed);
    }

    /// Looks at a process, and where it turns out to publish, at all that come of it: those that it made
    /// before the kernel programs knew have not got its place from them.
    fn look(&mut self, pid: u32) {
        if !self.is_new(pid) {
            return;
        }
        let mut seen = BTreeSet::from([pid]);
        let mut waiting = children(pid);
        while let Some(child) = waiting.pop() {
            if seen.insert(child) {
                self.is_new(child);
                waiting.extend(children(child));
            }
        }
    }

    /// Tells the kernel programs where the threads of a process publish their context, if they do.
    /// Whether they did not know.
    fn is_new(&mut self, pid: u32) -> bool {
        let mut is_new = false;
        for _ in 0..ATTEMPTS {
            let running = match self.finder.look(pid) {
                Ok(running) => running,
                Err(refusal) => {
                    debug!(pid, "look for contexts of its threads: {refusal}");
                    self.counts.unreadable.fetch_add(1, Relaxed);
                    self.forget(pid);
                    return false;
                }
            };
            let Some(variable) = running.and_then(|running| running.variable) else {
                self.forget(pid);
                return false;
            };
            let started_ticks = running.map_or(0, |running| running.started_ticks);
            #[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
            let place = Place {
                offset: variable.offset,
                started_ticks: started_ticks as u32,
                flags: if variable.says_recorded {
                    place::SAYS_RECORDED
                } else {
                    0
                },
            };
            is_new |= self.tell(pid, place);
            // What it starts from now on has the kernel forget the place; what it has started since it
            // was looked at may have done so before.
            if self.finder.look(pid).is_ok_and(|again| again == running) {
                break;
            }
        }
        is_new
    }

    /// Whether the place was not known, and is.
    fn tell(&mut self, pid: u32, place: Place) -> bool {
        if self.places.get(&pid, 0).is_ok_and(|known| known == place) {
            return false;
        }
        match self.places.insert(pid, place, 0) {
            Ok(()) => true,
            Err(error) => {
                self.counts.full.fetch_add(1, Relaxed);
                if !std::mem::replace(&mut self.is_full, true) {
                    warn!("there is no room for more processes that publish spans: {error}");
                }
                false
            }
        }
    }

    fn forget(&mut self, pid: u32) {
        if self.places.get(&pid, 0).is_ok() {
            // The kernel may have been first.
            let _ = self.places.remove(&pid);
        }
    }
}

/// The processes that a process has made, as far as it is their parent still. None where the kernel does
/// not say (`CONFIG_PROC_CHILDREN`): those are found when all processes are looked at.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for thread in threads.flatten() {
        // A thread that has ended has left its children to another one.
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let numbers = children.split_ascii_whitespace();
        found.extend(numbers.filter_map(|number| number.parse::<u32>().ok()));
    }
    found
}
