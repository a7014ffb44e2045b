//! Roots: what the spans of a process hang under that were not begun within a span of its own. A
//! root is the process's life, cut at full minutes of the monotonic clock, so that no trace grows
//! without an end. There is one only for minutes in which a span began that needs it.
//!
//! Knows neither ids nor what a root says.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::process_key::ProcessKey;

/// Length of what a root covers.
pub(super) const MINUTE_NS: u64 = 60_000_000_000;

/// Roots that may be open at a time. What is beyond ends early: about a megabyte.
const MAX_OPEN: usize = 8_192;

/// Processes whose past roots are remembered, so that none is told of twice: about a megabyte.
const MAX_REMEMBERED: usize = 16_384;

/// Stretches of minutes that are remembered of a process. One that is idle for a minute begins a new
/// one.
const STRETCHES: usize = 32;

/// A process's minute, while spans of it may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// When the first span began, and the last one ended, by `CLOCK_MONOTONIC`.
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    /// When the process ended, if it is known.
    pub(super) ended_ns: Option<u64>,
    /// Its agent, as the last span had it.
    pub(super) agent: u16,
    pub(super) comm: [u8; 16],
    /// Whether the minute before had a root, too.
    pub(super) follows: bool,
}

/// A root that nothing more is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) process: ProcessKey,
    pub(super) minute: u64,
    pub(super) root: Root,
}

/// The open ones, and which there were.
#[derive(Debug, Default)]
pub(super) struct Roots {
    open: BTreeMap<(u64, ProcessKey), Root>,
    past: Past,
}

/// What one reader of spans leaves to the next: which roots were told of. Whoever holds it is the
/// only one that reads.
#[derive(Debug, Default)]
pub struct PastRoots(Mutex<Past>);

/// Which minutes of which processes have had a root.
#[derive(Debug, Default)]
pub(super) struct Past(HashMap<ProcessKey, Stretches>);

/// Minutes, from the first to the last of each stretch, oldest first.
#[derive(Clone, Debug, Default)]
struct Stretches(Vec<(u64, u64)>);

/// In which minute a moment is.
pub(super) fn minute_of(monotonic_ns: u64) -> u64 {
    monotonic_ns / MINUTE_NS
}

impl PastRoots {
    pub(super) fn lock(&self) -> MutexGuard<'_, Past> {
        // It is taken out and put back as a whole. After a panic there is nothing in it, and a root
        // may be told of twice.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Roots {
    /// None open; those of `past` were told of.
    pub(super) fn new(past: Past) -> Self {
        Self {
            open: BTreeMap::new(),
            past,
        }
    }

    /// What is to be remembered when these roots are gone.
    pub(super) fn into_past(self) -> Past {
        self.past
    }

    /// A span hangs under the root of the minute in which it began. Whether that came about by it.
    pub(super) fn add(
        &mut self,
        process: ProcessKey,
        (start_ns, end_ns): (u64, u64),
        (agent, comm): (u16, [u8; 16]),
    ) -> bool {
        let minute = minute_of(start_ns);
        if let Some(root) = self.open.get_mut(&(minute, process)) {
            root.first_ns = root.first_ns.min(start_ns);
            root.last_ns = root.last_ns.max(end_ns);
            root.agent = agent;
            return false;
        }
        if self.past.has(process, minute) {
            return false;
        }
        let root = Root {
            first_ns: start_ns,
            last_ns: end_ns,
            ended_ns: None,
            agent,
            comm,
            follows: false,
        };
        self.open.insert((minute, process), root);
        true
    }

    /// A process has ended: its last root need not wait for the end of the minute.
    pub(super) fn ended(&mut self, process: ProcessKey, ended_ns: u64) {
        let minute = minute_of(ended_ns);
        // Its last span may have begun in the minute before.
        for minute in minute.saturating_sub(1)..=minute {
            if let Some(root) = self.open.get_mut(&(minute, process)) {
                root.ended_ns = Some(ended_ns);
            }
        }
    }

    /// Takes those whose minute was over, or whose process had ended, at this time.
    pub(super) fn take_over_by(&mut self, time_ns: u64) -> Vec<Due> {
        let is_over = |minute: u64, root: &Root| {
            let end_ns = minute.saturating_add(1).saturating_mul(MINUTE_NS);
            let end_ns = root
                .ended_ns
                .map_or(end_ns, |ended_ns| ended_ns.min(end_ns));
            end_ns <= time_ns
        };
        let over = self.open.iter();
        let over = over.filter(|((minute, _), root)| is_over(*minute, root));
        let over: Vec<_> = over.map(|(key, _)| *key).collect();
        let mut due: Vec<_> = over.into_iter().filter_map(|key| self.take(key)).collect();
        while self.open.len() > MAX_OPEN
            && let Some(oldest) = self.open.keys().next().copied()
        {
            due.extend(self.take(oldest));
        }
        due
    }

    /// Takes all.
    pub(super) fn take_all(&mut self) -> Vec<Due> {
        self.take_over_by(u64::MAX)
    }

    /// How many are open.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    fn take(&mut self, key: (u64, ProcessKey)) -> Option<Due> {
        let mut root = self.open.remove(&key)?;
        let (minute, process) = key;
        // Ascending, so that the minute before was taken before.
        let before = minute.checked_sub(1);
        root.follows = before.is_some_and(|before| self.past.has(process, before));
        self.past.insert(process, minute);
        Some(Due {
            process,
            minute,
            root,
        })
    }
}

impl Past {
    fn has(&self, process: ProcessKey, minute: u64) -> bool {
        let stretches = self.0.get(&process);
        stretches.is_some_and(|stretches| {
            let mut stretches = stretches.0.iter();
            stretches.any(|(first, last)| (*first..=*last).contains(&minute))
        })
    }

    fn insert(&mut self, process: ProcessKey, minute: u64) {
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(&process) {
            self.forget_oldest();
        }
        self.0.entry(process).or_default().insert(minute);
    }

    /// Forgets the half that has been idle for longest.
    fn forget_oldest(&mut self) {
        let mut newest: Vec<_> = self.0.values().map(Stretches::newest).collect();
        let middle = newest.len() / 2;
        let (_, middle, _) = newest.select_nth_unstable(middle);
        let (middle, mut left) = (*middle, MAX_REMEMBERED / 2);
        // Not more than half even if all are of one minute.
        self.0.retain(|_, stretches| {
            let is_kept = stretches.newest() >= middle && left > 0;
            left -= usize::from(is_kept);
            is_kept
        });
    }
}

impl Stretches {
    fn newest(&self) -> u64 {
        self.0.last().map_or(0, |(_, last)| *last)
    }

    fn insert(&mut self, minute: u64) {
        let touching = |(first, last): &&mut (u64, u64)| {
            first.saturating_sub(1) <= minute && minute <= last.saturating_add(1)
        };
        if let Some((first, last)) = self.0.iter_mut().find(touching) {
            *first = minute.min(*first);
            *last = minute.max(*last);
            return;
        }
        if self.0.len() == STRETCHES {
            self.0.remove(0);
        }
        self.0.push((minute, minute));
        self.0.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMM: [u8; 16] = *b"trainer\0\0\0\0\0\0\0\0\0";

    fn process(pid: u32) -> ProcessKey {
        ProcessKey { pid, start_ns: 5 }
    }

    fn add(roots: &mut Roots, pid: u32, start_ns: u64, end_ns: u64) -> bool {
        roots.add(process(pid), (start_ns, end_ns), (3, COMM))
    }

    #[test]
    fn a_minute_has_one_root_which_spans_its_spans() {
        let mut roots = Roots::default();
        let start = 10 * MINUTE_NS;
        assert!(add(&mut roots, 7, start + 50, start + 60));
        assert!(!add(&mut roots, 7, start + 40, start + 45));
        assert!(add(&mut roots, 8, start, start));
        assert!(add(&mut roots, 7, start + MINUTE_NS, start + MINUTE_NS));
        assert!(roots.take_over_by(start + MINUTE_NS - 1).is_empty());
        let due = roots.take_over_by(start + MINUTE_NS);
        let of = |due: &Due| {
            (
                due.process.pid,
                due.minute,
                due.root.first_ns,
                due.root.last_ns,
            )
        };
        let due: Vec<_> = due.iter().map(of).collect();
        assert_eq!(
            due,
            [(7, 10, start + 40, start + 60), (8, 10, start, start),]
        );
        assert_eq!(roots.len(), 1);
    }

    #[test]
    fn none_is_told_of_twice_even_by_whoever_comes_after() {
        let mut roots = Roots::default();
        assert!(add(&mut roots, 7, MINUTE_NS, MINUTE_NS + 1));
        assert_eq!(roots.take_all().len(), 1);
        assert!(!add(&mut roots, 7, MINUTE_NS + 2, MINUTE_NS + 3));
        let mut roots = Roots::new(roots.into_past());
        assert!(!add(&mut roots, 7, MINUTE_NS + 4, MINUTE_NS + 5));
        assert!(add(&mut roots, 7, 0, 1));
        assert!(add(&mut roots, 8, MINUTE_NS, MINUTE_NS));
    }

    #[test]
    fn roots_follow_each_other_without_a_gap_or_not() {
        let mut roots = Roots::default();
        let mut follows = Vec::new();
        for minute in [3, 4, 6] {
            add(&mut roots, 7, minute * MINUTE_NS, minute * MINUTE_NS);
            follows.extend(roots.take_all().iter().map(|due| due.root.follows));
        }
        assert_eq!(follows, [false, true, false]);
        add(&mut roots, 7, 7 * MINUTE_NS, 7 * MINUTE_NS);
        add(&mut roots, 7, 8 * MINUTE_NS, 8 * MINUTE_NS);
        let due = roots.take_all();
        assert!(due.iter().all(|due| due.root.follows));
    }

    #[test]
    fn the_end_of_a_process_ends_its_roots() {
        let mut roots = Roots::default();
        add(&mut roots, 7, 100, 200);
        add(&mut roots, 8, 100, 200);
        roots.ended(process(7), 300);
        assert!(roots.take_over_by(299).is_empty());
        let due = roots.take_over_by(300);
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].process.pid, due[0].root.ended_ns), (7, Some(300)));
    }

    #[test]
    fn there_are_not_more_than_fit() {
        let mut roots = Roots::default();
        let count = u32::try_from(MAX_OPEN).unwrap();
        for pid in 0..count + 5 {
            add(&mut roots, pid, pid.into(), pid.into());
        }
        assert_eq!(roots.take_over_by(0).len(), 5);
        assert_eq!(roots.len(), MAX_OPEN);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut past = Past::default();
        for pid in 0..50_000 {
            past.insert(process(pid), u64::from(pid) / 10_000);
            assert!(past.0.len() <= MAX_REMEMBERED);
        }
        assert!(past.has(process(49_999), 4));
        assert!(!past.has(process(0), 0));
        // All of one minute.
        for pid in 0..50_000 {
            past.insert(process(pid), 9);
            assert!(past.0.len() <= MAX_REMEMBERED);
        }
        let mut stretches = Stretches::default();
        for minute in 0..1_000 {
            stretches.insert(2 * minute);
        }
        assert_eq!(stretches.0.len(), STRETCHES);
        assert_eq!(stretches.newest(), 1_998);
    }
}
