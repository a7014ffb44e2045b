//! Calls and errors, as the kernel programs have counted them, as metrics.

use aya::maps::MapData;
use monitoring_common::{
    agents::MAX_AGENTS,
    cuda::{CallKey, Calls, ErrorKey},
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
    per_cpu::{PerCpuReader, remove},
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
    errors: MapData,
    call_reader: PerCpuReader<CallKey, Calls>,
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
            errors: loaded.take_map("ERRORS")?,
            call_reader: PerCpuReader::new()?,
            error_reader: PerCpuReader::new()?,
            names: names(),
            leaves: leaves(),
        })
    }

    /// The maps, with the number of entries of each.
    pub(super) fn maps(&self) -> [(&'static str, &MapData); 2] {
        [("CALLS", &self.calls), ("ERRORS", &self.errors)]
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

    /// Calls, durations and errors.
    pub(super) fn collect(&mut self, agents: &[String]) -> anyhow::Result<Collected> {
        let mut calls = Vec::new();
        self.call_reader.for_each(self.calls.fd(), |key, per_cpu| {
            let mut timed = Histogram::EMPTY;
            let mut untimed = 0;
            for each in per_cpu {
                timed.merge(&each.timed);
                untimed += each.untimed;
            }
            calls.push((key, timed, untimed));
        })?;
        let mut errors = Vec::new();
        let reader = &mut self.error_reader;
        reader.for_each(self.errors.fd(), |key, per_cpu| {
            errors.push((key, per_cpu.iter().sum::<u64>()));
        })?;
        calls.sort_unstable_by_key(|(key, ..)| *key);
        errors.sort_unstable_by_key(|(key, _)| (key.call, key.code));
        let mut durations = Metrics::histogram("cuda_call_duration_seconds", DURATION_HELP);
        let mut all = Metrics::counter("cuda_calls_total", CALLS_HELP);
        let mut activities = [Activity::default(); MAX_AGENTS];
        for (key, timed, untimed) in &calls {
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
            entries: [calls.len() as u64, errors.len() as u64],
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
