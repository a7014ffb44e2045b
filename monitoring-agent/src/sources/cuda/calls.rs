//! Calls and errors, as the kernel programs have counted them, as metrics.

use std::collections::BTreeMap;

use aya::maps::MapData;
use monitoring_common::{
    agents::MAX_AGENTS,
    cuda::{CallKey, Calls, Entered, ErrorKey},
    histogram::Histogram,
};
use prometheus::proto::MetricFamily;

use super::{
    functions::{api_of, leaves, names},
    overhead::Activity,
};
use crate::{
    families::Family as Metrics,
    loader::Loaded,
    per_cpu::{PerCpuElements, PerCpuReader, remove},
};

const DURATION_HELP: &str = "Calls into CUDA's libraries, from entry to return. For asynchronous \
                             calls that is the time to enqueue, not the device's. Runtime calls' \
                             own driver calls are not counted again.";
const ERRORS_HELP: &str = "Calls into CUDA's libraries that returned anything but success, by the \
                           number that they returned; polls that found the device busy included.";

const CALLS_HELP: &str = "Calls into CUDA's libraries: those that cuda_call_duration_seconds has, \
                          and those without a duration, which were counted when they were entered \
                          or did not return.";

/// The maps of calls.
pub(super) struct CallMaps {
    calls: MapData,
    entered: MapData,
    errors: MapData,
    call_reader: PerCpuReader<CallKey, Calls>,
    entered_reader: PerCpuElements<Entered>,
    error_reader: PerCpuReader<ErrorKey, u64>,
    /// By number.
    names: Vec<&'static str>,
    /// Whether a call may be counted at entry, by number.
    leaves: Vec<bool>,
}

/// What was read of calls.
pub(super) struct Collected {
    pub(super) families: [MetricFamily; 3],
    /// Entries in the maps.
    pub(super) entries: [u64; 2],
    /// By agent.
    pub(super) activities: [Activity; MAX_AGENTS],
}

impl CallMaps {
    pub(super) fn new(loaded: &mut Loaded) -> anyhow::Result<Self> {
        Ok(Self {
            calls: loaded.take_map("CALLS")?,
            entered: loaded.take_map("ENTERED")?,
            errors: loaded.take_map("ERRORS")?,
            call_reader: PerCpuReader::new()?,
            entered_reader: PerCpuElements::new()?,
            error_reader: PerCpuReader::new()?,
            names: names(),
            leaves: leaves(),
        })
    }

    /// The maps, with the number of entries of each.
    pub(super) fn maps(&self) -> [(&'static str, &MapData); 2] {
        [("CALLS", &self.calls), ("ERRORS", &self.errors)]
    }

    /// The map of what is counted at entry alone, which has no entries that come and go.
    pub(super) fn entered_map(&self) -> (&'static str, &MapData) {
        ("ENTERED", &self.entered)
    }

    /// Sum and number of the durations of a call, over all agents.
    pub(super) fn durations(&mut self, call: u16) -> anyhow::Result<(u64, u64)> {
        let mut timed = Histogram::EMPTY;
        self.call_reader.for_each(self.calls.fd(), |key, per_cpu| {
            for each in per_cpu.iter().filter(|_| key.call == call) {
                timed.merge(&each.timed);
            }
        })?;
        Ok((timed.sum_ns, timed.count()))
    }

    /// Removes a call that nobody makes any more.
    pub(super) fn forget(&mut self, call: u16) -> anyhow::Result<()> {
        let mut keys = Vec::new();
        self.call_reader.for_each(self.calls.fd(), |key, _| {
            keys.extend((key.call == call).then_some(key));
        })?;
        keys.iter().try_for_each(|key| remove(self.calls.fd(), key))
    }

    /// Calls by agent and number, and how many entries the map of calls has. `untimed` has a bit for
    /// each agent of which calls were ever counted at entry alone.
    fn read(&mut self, untimed: u64) -> anyhow::Result<(BTreeMap<CallKey, Calls>, u64)> {
        let mut calls = BTreeMap::new();
        self.call_reader.for_each(self.calls.fd(), |key, per_cpu| {
            let mut sum = Calls::EMPTY;
            for each in per_cpu {
                sum.timed.merge(&each.timed);
                sum.untimed += each.untimed;
            }
            calls.insert(key, sum);
        })?;
        let entries = calls.len() as u64;
        let rows = self.entered.info()?.max_entries();
        for agent in (0..rows).filter(|agent| untimed >> agent & 1 != 0) {
            let per_cpu = self.entered_reader.read(&self.entered, agent)?;
            for (call, _) in self.leaves.iter().enumerate().filter(|(_, leaf)| **leaf) {
                let entered: u64 = per_cpu.iter().map(|each| each.calls[call]).sum();
                if entered > 0 {
                    let (call, agent) = (u16::try_from(call)?, u16::try_from(agent)?);
                    let sum = calls.entry(CallKey { call, agent });
                    sum.or_insert(Calls::EMPTY).untimed += entered;
                }
            }
        }
        Ok((calls, entries))
    }

    /// Calls, durations and errors. `untimed` as of [`CallMaps::read`].
    pub(super) fn collect(&mut self, agents: &[String], untimed: u64) -> anyhow::Result<Collected> {
        let (calls, entries) = self.read(untimed)?;
        let mut errors = Vec::new();
        let reader = &mut self.error_reader;
        reader.for_each(self.errors.fd(), |key, per_cpu| {
            errors.push((key, per_cpu.iter().sum::<u64>()));
        })?;
        errors.sort_unstable_by_key(|(key, _)| (key.call, key.code));
        let mut durations = Metrics::histogram("cuda_call_duration_seconds", DURATION_HELP);
        let mut all = Metrics::counter("cuda_calls_total", CALLS_HELP);
        let mut activities = [Activity::default(); MAX_AGENTS];
        for (key, Calls { timed, untimed }) in &calls {
            let count = timed.count();
            if let Some(activity) = activities.get_mut(usize::from(key.agent)) {
                let leaf = self.leaves.get(usize::from(key.call));
                activity.timed += count;
                activity.timed_leaves += if leaf == Some(&true) { count } else { 0 };
                activity.untimed += untimed;
            }
            let call = self.name(*key);
            let labels = [
                ("agent", agent(agents, key.agent)),
                ("api", api_of(call)),
                ("call", call),
            ];
            all.push(&labels, (count + untimed) as f64);
            if count > 0 {
                durations.push_durations(&labels, timed);
            }
        }
        let mut failed = Metrics::counter("cuda_errors_total", ERRORS_HELP);
        for (key, count) in &errors {
            let labels = [
                ("agent", agent(agents, key.call.agent)),
                ("call", self.name(key.call)),
                ("code", &*key.code.to_string()),
            ];
            failed.push(&labels, *count as f64);
        }
        Ok(Collected {
            families: [all, durations, failed].map(Metrics::build),
            entries: [entries, errors.len() as u64],
            activities,
        })
    }

    fn name(&self, key: CallKey) -> &'static str {
        // The kernel knows only numbers that the list of functions gave out.
        self.names
            .get(usize::from(key.call))
            .copied()
            .unwrap_or("unknown")
    }
}

/// An agent's name.
pub(super) fn agent(agents: &[String], agent: u16) -> &str {
    // The kernel knows only numbers that `labels` gave out.
    agents
        .get(usize::from(agent))
        .map_or("unknown", String::as_str)
}
