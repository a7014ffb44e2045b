//! What /proc says of each watched process, read in turn and within a budget of time.
//!
//! Whose values are oldest is read first; whoever is not reached keeps its last values. A process
//! that has ended has none, and one that took its number is another one.

use std::{
    io,
    time::{Duration, Instant},
};

use monitoring_common::{agents::MAX_PROCESSES, process::usage::WatchedProcess};

use super::{
    descriptors::{Count, Descriptors},
    mappings::{Mappings, Pages, Walk},
    memory::{self, Memory},
};

/// Time for one collection, by kind of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budgets {
    /// Memory by kind, and descriptors: numbers that the kernel has ready, or nearly so.
    pub(super) counters: Duration,
    /// Heap and stack: a look at page tables.
    pub(super) mappings: Duration,
}

/// The values of all watched processes.
pub(super) struct Values {
    budgets: Budgets,
    /// By process id.
    known: Vec<Known>,
    counting: Option<(WatchedProcess, Count)>,
    walking: Option<(WatchedProcess, Walk)>,
    descriptors: Descriptors,
    pages: Pages,
    unreadable: u64,
}

/// One process, or the sum over an agent's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) memory: Memory,
    pub(super) mappings: Mappings,
    pub(super) descriptors: u64,
}

/// A process and its values, with the time at which each kind was read, or since when it waits to
/// be read for the first time.
#[derive(Clone, Copy, Debug)]
struct Known {
    process: WatchedProcess,
    values: Use,
    counters_at: Instant,
    mappings_at: Instant,
}

impl Values {
    pub(super) fn new(budgets: Budgets) -> Self {
        Self {
            budgets,
            known: Vec::new(),
            counting: None,
            walking: None,
            descriptors: Descriptors::new(),
            pages: Pages::new(),
            unreadable: 0,
        }
    }

    /// Reads as much as the budgets allow; `processes` are all that are watched, by process id.
    pub(super) fn refresh(&mut self, processes: &[WatchedProcess]) {
        self.follow(processes);
        self.read_counters();
        self.read_mappings();
    }

    /// The sums of the first `agents` agents, by number.
    pub(super) fn sums(&self, agents: usize) -> Vec<Use> {
        let mut sums = vec![Use::default(); agents];
        for known in &self.known {
            let agent = usize::try_from(known.process.agent).unwrap_or(usize::MAX);
            if let Some(sum) = sums.get_mut(agent) {
                sum.add(&known.values);
            }
        }
        sums
    }

    /// How old the oldest value of each kind is.
    pub(super) fn ages(&self) -> Budgets {
        let age = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| at.elapsed());
        Budgets {
            counters: age(self.known.iter().map(|known| known.counters_at).min()),
            mappings: age(self.known.iter().map(|known| known.mappings_at).min()),
        }
    }

    /// How often a value could not be read though the process was there.
    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Takes up new processes and drops those that are gone.
    fn follow(&mut self, processes: &[WatchedProcess]) {
        let now = Instant::now();
        let mut before = std::mem::take(&mut self.known).into_iter().peekable();
        for process in processes.iter().take(MAX_PROCESSES) {
            while before
                .next_if(|known| known.process.pid < process.pid)
                .is_some()
            {}
            let known = before.next_if(|known| is_same(&known.process, process));
            let (values, counters_at, mappings_at) = known.map_or_else(
                || (Use::default(), now, now),
                |known| (known.values, known.counters_at, known.mappings_at),
            );
            self.known.push(Known {
                process: *process,
                values,
                counters_at,
                mappings_at,
            });
        }
    }

    fn read_counters(&mut self) {
        let deadline = Instant::now() + self.budgets.counters;
        let resumed = self.counting.take().and_then(|(process, count)| {
            let at = self
                .known
                .iter()
                .position(|k| is_same(&k.process, &process));
            Some((at?, count))
        });
        if let Some((at, count)) = resumed {
            self.finish_count(at, count, deadline);
        }
        let order = self.oldest_first(|known| known.counters_at);
        for (at, turn) in order.into_iter().zip(0..) {
            // However little time there is, it goes on by one process.
            if self.counting.is_some() || (turn > 0 && Instant::now() >= deadline) {
                return;
            }
            let known = &mut self.known[at];
            let pid = known.process.pid;
            let read = memory::read(pid).map(|memory| known.values.memory = memory);
            match read.and_then(|()| Descriptors::begin(pid)) {
                Ok(count) => self.finish_count(at, count, deadline),
                Err(error) => {
                    self.failed(&error);
                    self.known[at].counters_at = Instant::now();
                }
            }
        }
    }

    /// Counts a process's descriptors, or puts the count off when the time is up.
    fn finish_count(&mut self, at: usize, mut count: Count, deadline: Instant) {
        let known = &mut self.known[at];
        match self.descriptors.advance(&mut count, deadline) {
            Ok(Some(descriptors)) => known.values.descriptors = descriptors,
            Ok(None) => {
                self.counting = Some((known.process, count));
                return;
            }
            Err(error) => self.failed(&error),
        }
        self.known[at].counters_at = Instant::now();
    }

    fn read_mappings(&mut self) {
        let deadline = Instant::now() + self.budgets.mappings;
        let resumed = self.walking.take().and_then(|(process, walk)| {
            let at = self
                .known
                .iter()
                .position(|k| is_same(&k.process, &process));
            Some((at?, walk))
        });
        if let Some((at, walk)) = resumed {
            self.finish_walk(at, walk, deadline);
        }
        let order = self.oldest_first(|known| known.mappings_at);
        for (at, turn) in order.into_iter().zip(0..) {
            // However little time there is, it goes on by one process.
            if self.walking.is_some() || (turn > 0 && Instant::now() >= deadline) {
                return;
            }
            match Walk::begin(self.known[at].process.pid) {
                Ok(walk) => self.finish_walk(at, walk, deadline),
                Err(error) => {
                    self.failed(&error);
                    self.known[at].mappings_at = Instant::now();
                }
            }
        }
    }

    /// Looks at a process's mappings, or puts the rest off when the time is up.
    fn finish_walk(&mut self, at: usize, mut walk: Walk, deadline: Instant) {
        let known = &mut self.known[at];
        match walk.advance(&mut self.pages, deadline) {
            Ok(Some(mappings)) => known.values.mappings = mappings,
            Ok(None) => {
                self.walking = Some((known.process, walk));
                return;
            }
            Err(error) => self.failed(&error),
        }
        self.known[at].mappings_at = Instant::now();
    }

    fn oldest_first(&self, at: impl Fn(&Known) -> Instant) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.known.len()).collect();
        order.sort_by_key(|index| at(&self.known[*index]));
        order
    }

    /// A process that has ended meanwhile is no failure: the next pass does not have it any more.
    fn failed(&mut self, error: &io::Error) {
        let gone = [Some(libc::ENOENT), Some(libc::ESRCH)];
        if !gone.contains(&error.raw_os_error()) {
            self.unreadable += 1;
        }
    }
}

/// Whether both are the same process; its agent may have changed.
fn is_same(one: &WatchedProcess, other: &WatchedProcess) -> bool {
    (one.pid, one.start_ns) == (other.pid, other.start_ns)
}

impl Use {
    fn add(&mut self, more: &Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.memory.anon, more.memory.anon);
        add(&mut self.memory.file, more.memory.file);
        add(&mut self.memory.shmem, more.memory.shmem);
        add(&mut self.mappings.heap, more.mappings.heap);
        add(&mut self.mappings.stack, more.mappings.stack);
        add(&mut self.descriptors, more.descriptors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_TIME: Budgets = Budgets {
        counters: Duration::ZERO,
        mappings: Duration::ZERO,
    };

    fn process(pid: u32, start_ns: u64) -> WatchedProcess {
        WatchedProcess {
            start_ns,
            pid,
            agent: 1,
        }
    }

    #[test]
    fn without_time_each_process_gets_its_turn() {
        let mut values = Values::new(NO_TIME);
        let sleep = std::process::Command::new("sleep").arg("600").spawn();
        let mut sleep = sleep.expect("every system has a sleep");
        let processes = [std::process::id(), sleep.id()].map(|pid| process(pid, 7));
        let done = (0..1_000).any(|_| {
            values.refresh(&processes);
            let read = |known: &Known| {
                let values = known.values;
                let counted = values.memory.resident() > 0 && values.descriptors > 0;
                counted && values.mappings.stack > 0
            };
            values.known.iter().all(read)
        });
        sleep.kill().unwrap();
        sleep.wait().unwrap();
        assert!(done, "{:?}", values.known);
        assert_eq!(values.unreadable(), 0);
    }

    #[test]
    fn a_number_that_is_used_again_is_another_process() {
        let mut values = Values::new(NO_TIME);
        let processes = [process(1, 7), process(2, 7)];
        values.follow(&processes);
        for known in &mut values.known {
            known.values.descriptors = 5;
        }
        values.follow(&[processes[0], process(processes[1].pid, 8)]);
        let descriptors = |values: &Values| -> Vec<u64> {
            values
                .known
                .iter()
                .map(|known| known.values.descriptors)
                .collect()
        };
        assert_eq!(descriptors(&values), [5, 0]);
        assert_eq!(values.sums(2)[1].descriptors, 5);
        values.follow(&processes[1..]);
        assert_eq!(descriptors(&values), [0]);
        values.follow(&[]);
        assert_eq!(values.sums(2)[1], Use::default());
        assert_eq!(values.ages().counters, Duration::ZERO);
    }

    #[test]
    fn processes_that_end_are_no_failures() {
        let mut values = Values::new(NO_TIME);
        // Beyond the largest process id.
        values.refresh(&[process(1 << 23, 7)]);
        assert_eq!(values.unreadable(), 0);
        values.failed(&io::Error::from_raw_os_error(libc::ESRCH));
        assert_eq!(values.unreadable(), 0);
        values.failed(&io::Error::from_raw_os_error(libc::EACCES));
        assert_eq!(values.unreadable(), 1);
    }
}
