//! What the one thread asks of the other. Bounded: what does not fit is counted, and then everything
//! is looked at.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    mem,
    sync::{Condvar, Mutex, PoisonError},
    time::Instant,
};

use super::lock;
use crate::{executed::MappedFile, sources::cuda::discovery::News};

/// Most mappings that may wait: those of twenty seconds with two hundred programs in each.
const MAX_WAITING: usize = 4_096;

/// What is to be done.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is done by itself")]
pub(super) struct Work {
    /// Files of known names that processes have mapped, and when.
    pub(super) named: HashMap<(u32, MappedFile), u64>,
    /// Processes that have mapped anything else.
    pub(super) changed: HashMap<u32, u64>,
    /// Whether all processes are to be looked at.
    pub(super) all: bool,
    /// Whether names of functions are waited for.
    pub(super) names: bool,
    /// Whether the returns of leaves are attached that should not be, or the other way round.
    pub(super) returns: bool,
    /// Whether the kernel object is to be loaded though nobody uses CUDA yet.
    pub(super) load: bool,
    /// Whether that was all.
    pub(super) stop: bool,
}

/// What is to be done and not begun yet.
#[derive(Debug, Default)]
pub(super) struct Requests {
    work: Mutex<Work>,
    more: Condvar,
}

impl Requests {
    /// Adds to what is to be done.
    pub(super) fn add(&self, ask: impl FnOnce(&mut Work)) {
        ask(&mut lock(&self.work));
        self.more.notify_one();
    }

    /// Takes what is to be done; waits for it until some time.
    pub(super) fn take(&self, until: Instant) -> Work {
        let mut work = lock(&self.work);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !work.is_empty() {
                return mem::take(&mut work);
            }
            let waited = self.more.wait_timeout(work, left);
            (work, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Work {
    /// Adds what the kernel has told. How much there was no room for.
    pub(super) fn tell(&mut self, news: News) -> u64 {
        let lost = add(&mut self.named, news.named) + add(&mut self.changed, news.changed);
        self.all |= lost + news.lost > 0;
        lost
    }

    fn is_empty(&self) -> bool {
        let told = self.named.len() + self.changed.len();
        told == 0 && !self.all && !self.names && !self.returns && !self.load && !self.stop
    }
}

/// Adds times by what they are of; the first of each counts.
fn add<K: Eq + Hash>(to: &mut HashMap<K, u64>, from: HashMap<K, u64>) -> u64 {
    let mut lost = 0;
    for (key, at_ns) in from {
        let full = to.len() >= MAX_WAITING;
        match to.entry(key) {
            Entry::Occupied(mut first) => {
                let first = first.get_mut();
                *first = at_ns.min(*first);
            }
            Entry::Vacant(_) if full => lost += 1,
            Entry::Vacant(place) => {
                place.insert(at_ns);
            }
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn news(pids: std::ops::Range<u32>, at_ns: u64) -> News {
        let file = MappedFile {
            device: 1,
            inode: 2,
        };
        News {
            named: pids.map(|pid| ((pid, file), at_ns)).collect(),
            ..News::default()
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_has_everything_looked_at() {
        let requests = Requests::default();
        requests.add(|work| assert_eq!(work.tell(news(0..4_000, 5)), 0));
        requests.add(|work| assert_eq!(work.tell(news(0..10, 3)), 0));
        requests.add(|work| assert!(!work.all));
        requests.add(|work| assert_eq!(work.tell(news(4_000..4_100, 9)), 4));
        let work = requests.take(Instant::now() + Duration::from_mins(1));
        assert!(work.all);
        assert_eq!(work.named.len(), MAX_WAITING);
        let first = work.named.iter().filter(|(_, at_ns)| **at_ns == 3);
        assert_eq!(first.count(), 10);
        assert!(requests.take(Instant::now()).is_empty());
        let lost = News {
            lost: 1,
            ..News::default()
        };
        requests.add(|work| assert_eq!(work.tell(lost), 0));
        assert!(requests.take(Instant::now()).all);
    }
}
