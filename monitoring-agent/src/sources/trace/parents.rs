//! Which spans others were begun within, and those that wait for one that is not known yet: a system
//! call ends after what it had to wait for, and so is told of later.
//!
//! Knows no ids and no clock: who waits, waits until a time that is given.

use std::collections::{HashMap, HashSet, VecDeque};

/// Spans that are remembered, in case that one comes that began within them: a disk may write long
/// after the call that asked for it. About 2 MiB.
const MAX_KNOWN: usize = 16_384;

/// Times that may be left over of spans that wait no more.
const SLACK: usize = 1024;

/// What a span was begun within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ParentKey {
    /// The system call that a thread had entered at a time.
    Call { tid: u32, start_ns: u64 },
    /// What a thread waited for a GPU to do, from a time on.
    Window { pid: u32, start_ns: u64 },
}

/// Where a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Within {
    pub(super) trace_id: u128,
    pub(super) span_id: u64,
}

/// The newest spans that others may be begun within.
#[derive(Debug, Default)]
pub(super) struct Known {
    places: HashMap<ParentKey, Within>,
    /// Oldest first.
    order: VecDeque<ParentKey>,
}

/// Spans that wait for one of those.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    by_parent: HashMap<ParentKey, Vec<(u64, T)>>,
    /// Until when a parent's first one waits, soonest first: all wait for the same time.
    until: VecDeque<(u64, ParentKey)>,
    len: usize,
}

impl Known {
    /// A span that others may be begun within.
    pub(super) fn insert(&mut self, key: ParentKey, place: Within) {
        if self.places.insert(key, place).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > MAX_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
    }

    /// Where it is, if it is known.
    pub(super) fn get(&self, key: ParentKey) -> Option<Within> {
        self.places.get(&key).copied()
    }
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            by_parent: HashMap::new(),
            until: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> Waiting<T> {
    /// Waits for a parent until a time. Times never fall from one call to the next.
    pub(super) fn insert(&mut self, key: ParentKey, until_ns: u64, waiting: T) {
        self.by_parent
            .entry(key)
            .or_default()
            .push((until_ns, waiting));
        self.until.push_back((until_ns, key));
        self.len += 1;
        // Those whose parent came leave their times behind.
        if self.until.len() > 2 * self.len + SLACK {
            let by_parent = &self.by_parent;
            self.until.retain(|(_, key)| by_parent.contains_key(key));
        }
    }

    /// Takes those that waited for a parent.
    pub(super) fn take(&mut self, key: ParentKey) -> impl Iterator<Item = T> {
        let taken = self.by_parent.remove(&key).unwrap_or_default();
        self.len -= taken.len();
        taken.into_iter().map(|(_, waiting)| waiting)
    }

    /// Takes those that have waited long enough at a time.
    pub(super) fn take_due(&mut self, now_ns: u64) -> Vec<T> {
        let mut keys = HashSet::new();
        while let Some((until_ns, key)) = self.until.front().copied()
            && until_ns <= now_ns
        {
            self.until.pop_front();
            keys.insert(key);
        }
        let mut due = Vec::new();
        for key in keys {
            let Some(waiting) = self.by_parent.get_mut(&key) else {
                continue;
            };
            // In the order of their times.
            let first_left = waiting.partition_point(|(until_ns, _)| *until_ns <= now_ns);
            due.extend(waiting.drain(..first_left).map(|(_, waiting)| waiting));
            if waiting.is_empty() {
                self.by_parent.remove(&key);
            }
        }
        self.len -= due.len();
        if self.len == 0 {
            self.until.clear();
        }
        due
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(tid: u32) -> ParentKey {
        ParentKey::Call { tid, start_ns: 1 }
    }

    #[test]
    fn who_waits_is_taken_when_the_parent_comes_or_the_time_is_over() {
        let mut waiting = Waiting::default();
        waiting.insert(call(1), 10, "a");
        waiting.insert(call(2), 11, "b");
        waiting.insert(call(1), 12, "c");
        waiting.insert(call(3), 12, "d");
        let window = ParentKey::Window {
            pid: 3,
            start_ns: 1,
        };
        waiting.insert(window, 12, "e");
        assert_eq!(waiting.take(call(3)).collect::<Vec<_>>(), ["d"]);
        assert!(waiting.take_due(9).is_empty());
        assert_eq!(waiting.take_due(10), ["a"]);
        assert_eq!(waiting.take_due(11), ["b"]);
        assert_eq!(waiting.len(), 2);
        assert_eq!(waiting.take(call(1)).collect::<Vec<_>>(), ["c"]);
        assert_eq!(waiting.take_due(u64::MAX), ["e"]);
        assert_eq!(waiting.len(), 0);
        assert!(waiting.by_parent.is_empty() && waiting.until.is_empty());
    }

    #[test]
    fn nothing_is_left_of_those_that_wait_no_more() {
        let mut waiting = Waiting::default();
        for round in 0..100_000 {
            waiting.insert(call(round), round.into(), ());
            assert_eq!(waiting.take(call(round)).count(), 1);
        }
        assert!(waiting.until.len() <= SLACK);
    }

    #[test]
    fn the_newest_are_known() {
        let mut known = Known::default();
        let place = |tid: u32| Within {
            trace_id: tid.into(),
            span_id: 1,
        };
        let count = u32::try_from(MAX_KNOWN).unwrap();
        for tid in 0..count + 10 {
            known.insert(call(tid), place(tid));
            known.insert(call(tid), place(tid));
        }
        assert_eq!(known.get(call(9)), None);
        assert_eq!(known.get(call(10)), Some(place(10)));
        assert_eq!(known.get(call(count + 9)), Some(place(count + 9)));
        assert_eq!(known.places.len(), MAX_KNOWN);
    }
}
