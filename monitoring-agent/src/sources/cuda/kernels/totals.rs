//! Launches by name, with a bounded number of names. Knows nothing of where names come from.
//!
//! Only growth is added up, so that a sum stays right whatever a function is called from now on,
//! and when its process is gone. A series is made once and never falls: an agent's first
//! [`FIRST_NAMES`] names have one from their first launch on, and what comes later counts as
//! `other`. Of that, [`LATER_NAMES`] more get a series of their own when they are big, from then
//! on: what they were launched before stays in `other`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use monitoring_common::cuda::{LaunchKey, MAX_LAUNCHED, ProcessId};

use super::Name;

/// Names of an agent that are series from their first launch on. Training and inference launch
/// some ten to forty different kernels by name.
pub const FIRST_NAMES: usize = 50;

/// Names of an agent that are series because they became big.
pub const LATER_NAMES: usize = 14;

/// A name is big when it has one in so many of the agent's launches.
const BIG_SHARE: u64 = 100;

/// And at least so many, or every name would be big at first.
const BIG_LAUNCHES: u64 = 1_000;

/// Names of an agent that are in `other` and watched. When there are more, those launched least are
/// watched no longer.
const MAX_WATCHED: usize = 1_024;

/// Devices from this number on are one: a process can claim any number.
pub const MAX_DEVICES: u16 = 128;

/// Most functions whose counts are kept to see their growth. The kernel's map has no more at a
/// time; what is left over is of processes that have ended.
const MAX_COUNTS: usize = 4 * MAX_LAUNCHED;

/// What names without a series are called.
pub const OTHER: &str = "other";

/// Launches under one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Launches {
    /// The agent's number.
    pub agent: u16,
    /// The device's number in the process; `None` from [`MAX_DEVICES`] on.
    pub device_id: Option<u16>,
    /// The name's label, `other` or `unknown:…`.
    pub kernel_type: Arc<str>,
    /// Launches so far. Never falls.
    pub count: u64,
}

#[derive(Debug)]
pub(super) struct Totals {
    series: BTreeMap<(u16, Option<u16>, Arc<str>), u64>,
    agents: HashMap<u16, Names>,
    counts: HashMap<LaunchKey, Count>,
    step: u64,
    other: Arc<str>,
}

/// What the kernel's map had for a function.
#[derive(Debug)]
struct Count {
    launches: u64,
    /// What it was called then: it may be forgotten since.
    name: Arc<Name>,
    /// When it was last there.
    step: u64,
}

/// An agent's names.
#[derive(Debug, Default)]
struct Names {
    with_series: HashSet<Arc<str>>,
    watched: HashMap<Arc<str>, u64>,
    launches: u64,
}

impl Totals {
    pub(super) fn new() -> Self {
        Self {
            series: BTreeMap::new(),
            agents: HashMap::new(),
            counts: HashMap::new(),
            step: 0,
            other: OTHER.into(),
        }
    }

    /// Begins a look at the kernel's map.
    pub(super) fn begin(&mut self) {
        self.step += 1;
    }

    /// Whether any launch of the function was counted before.
    pub(super) fn has_counted(&self, key: &LaunchKey) -> bool {
        let count = self.counts.get(key);
        count.is_some_and(|count| count.launches > 0)
    }

    /// What the function was called when it was last counted.
    pub(super) fn last_name(&self, key: &LaunchKey) -> Option<Arc<Name>> {
        self.counts.get(key).map(|count| Arc::clone(&count.name))
    }

    /// Counts a function's growth under a name, and returns it. `count` is the kernel's, which begins anew when a
    /// function's row was removed.
    pub(super) fn add(&mut self, key: LaunchKey, count: u64, name: Arc<Name>) -> u64 {
        let label = Arc::clone(&name.label);
        let now = Count {
            launches: count,
            name,
            step: self.step,
        };
        let before = self.counts.insert(key, now).map_or(0, |last| last.launches);
        let growth = count.checked_sub(before).unwrap_or(count);
        if growth == 0 {
            return 0;
        }
        let names = self.agents.entry(key.agent).or_default();
        let label = if names.has_series(&label, growth) {
            label
        } else {
            Arc::clone(&self.other)
        };
        let device = (key.device < MAX_DEVICES).then_some(key.device);
        *self.series.entry((key.agent, device, label)).or_default() += growth;
        growth
    }

    /// Ends the look; all series there are.
    pub(super) fn end(&mut self) -> Vec<Launches> {
        if self.counts.len() > MAX_COUNTS {
            let step = self.step;
            self.counts.retain(|_, count| count.step == step);
        }
        let rows = self.series.iter();
        rows.map(|((agent, device_id, kernel_type), count)| Launches {
            agent: *agent,
            device_id: *device_id,
            kernel_type: Arc::clone(kernel_type),
            count: *count,
        })
        .collect()
    }

    /// Processes whose rows have been removed from the kernel's map. What they have launched stays
    /// counted.
    pub(super) fn ended(&mut self, processes: &HashSet<ProcessId>) {
        self.counts
            .retain(|key, _| !processes.contains(&key.process));
    }
}

impl Names {
    /// Whether a name that was launched so many more times has a series.
    fn has_series(&mut self, label: &Arc<str>, growth: u64) -> bool {
        self.launches += growth;
        if self.with_series.contains(label) {
            return true;
        }
        if self.with_series.len() < FIRST_NAMES {
            return self.with_series.insert(Arc::clone(label));
        }
        if self.with_series.len() >= FIRST_NAMES + LATER_NAMES || **label == *OTHER {
            return false;
        }
        let launches = self.watched.entry(Arc::clone(label)).or_default();
        *launches += growth;
        let big = *launches >= BIG_LAUNCHES && *launches >= self.launches / BIG_SHARE;
        if big {
            self.watched.remove(label);
            return self.with_series.insert(Arc::clone(label));
        }
        if self.watched.len() > MAX_WATCHED {
            self.watch_less();
        }
        false
    }

    /// Watches only the half that was launched most.
    fn watch_less(&mut self) {
        let mut all: Vec<_> = self.watched.drain().collect();
        all.select_nth_unstable_by(MAX_WATCHED / 2, |a, b| b.1.cmp(&a.1));
        all.truncate(MAX_WATCHED / 2);
        self.watched.extend(all);
    }
}

#[cfg(test)]
mod tests;
