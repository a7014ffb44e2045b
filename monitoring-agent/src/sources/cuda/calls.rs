//! Calls and errors, as the kernel programs have counted them, as metrics.

use aya::maps::MapData;
use monitoring_common::{
    cuda::{CallKey, Calls, ErrorKey},
    histogram::Histogram,
};
use prometheus::proto::MetricFamily;

use super::functions::{api_of, names};
use crate::{families::Family as Metrics, loader::Loaded, per_cpu::PerCpuReader};

const DURATION_HELP: &str = "Calls into CUDA's libraries, from entry to return. For asynchronous \
                             calls that is the time to enqueue, not the device's. Runtime calls' \
                             own driver calls are not counted again.";
const ERRORS_HELP: &str = "Calls into CUDA's libraries that returned anything but success, by the \
                           number that they returned; polls that found the device busy included.";

/// The maps of calls.
pub(super) struct CallMaps {
    calls: MapData,
    errors: MapData,
    call_reader: PerCpuReader<CallKey, Calls>,
    error_reader: PerCpuReader<ErrorKey, u64>,
    /// By number.
    names: Vec<&'static str>,
}

impl CallMaps {
    pub(super) fn new(loaded: &mut Loaded) -> anyhow::Result<Self> {
        Ok(Self {
            calls: loaded.take_map("CALLS")?,
            errors: loaded.take_map("ERRORS")?,
            call_reader: PerCpuReader::new()?,
            error_reader: PerCpuReader::new()?,
            names: names(),
        })
    }

    /// The maps, with the number of entries of each.
    pub(super) fn maps(&self) -> [(&'static str, &MapData); 2] {
        [("CALLS", &self.calls), ("ERRORS", &self.errors)]
    }

    /// Durations and errors, with the numbers of entries in the maps.
    pub(super) fn collect(
        &mut self,
        agents: &[String],
    ) -> anyhow::Result<([MetricFamily; 2], [u64; 2])> {
        let mut calls = Vec::new();
        self.call_reader.for_each(self.calls.fd(), |key, per_cpu| {
            let mut timed = Histogram::EMPTY;
            for each in per_cpu {
                timed.merge(&each.timed);
            }
            calls.push((key, timed));
        })?;
        let mut errors = Vec::new();
        let reader = &mut self.error_reader;
        reader.for_each(self.errors.fd(), |key, per_cpu| {
            errors.push((key, per_cpu.iter().sum::<u64>()));
        })?;
        calls.sort_unstable_by_key(|(key, _)| *key);
        errors.sort_unstable_by_key(|(key, _)| (key.call, key.code));
        let mut durations = Metrics::histogram("cuda_call_duration_seconds", DURATION_HELP);
        for (key, timed) in calls.iter().filter(|(_, timed)| timed.count() > 0) {
            let call = self.name(*key);
            let labels = [
                ("agent", agent(agents, key.agent)),
                ("api", api_of(call)),
                ("call", call),
            ];
            durations.push_durations(&labels, timed);
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
        let entries = [calls.len() as u64, errors.len() as u64];
        Ok(([durations.build(), failed.build()], entries))
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
