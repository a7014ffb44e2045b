//! What applications said last: values that rise and fall, and end with the process that said them.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use aya::maps::MapData;
use monitoring_common::swarm::{Report, ReportKey, hook};
use prometheus::proto::MetricFamily;

use super::shown;
use crate::{
    executed::signature::Signature,
    families::Family as Metrics,
    loader::Loaded,
    per_cpu::{PerCpuReader, remove_all},
};

const GENERATION_HELP: &str = "The generation that an agent's evolution has come to.";
const FITNESS_HELP: &str = "Fitness in an agent's current generation: of the best member, and on \
                            average.";
const QUEUE_HELP: &str = "Jobs that wait in a queue.";
const ALLOCATED_HELP: &str = "How much of a resource an agent has, in the resource's own unit.";

/// The map of reports.
pub(super) struct ReportMap {
    reports: MapData,
    reader: PerCpuReader<ReportKey, Report>,
}

/// What tells a process and its program from all others.
type Program = (u32, u32, u64);

/// By hook and names: of several processes that speak of the same, who spoke last.
type Latest = BTreeMap<(u64, [String; 2]), Report>;

impl ReportMap {
    pub(super) fn new(loaded: &mut Loaded) -> anyhow::Result<Self> {
        Ok(Self {
            reports: loaded.take_map("REPORTS")?,
            reader: PerCpuReader::of_one_value(),
        })
    }

    /// The map, whose entries [`ReportMap::collect`] counts.
    pub(super) fn map(&self) -> (&'static str, &MapData) {
        ("REPORTS", &self.reports)
    }

    /// All gauges, and how many reports there are. Removes those of processes that are no more.
    pub(super) fn collect(&mut self) -> anyhow::Result<(Vec<MetricFamily>, u64)> {
        let mut programs = HashMap::new();
        let mut latest = Latest::new();
        let (mut left, mut entries) = (Vec::new(), 0);
        self.reader.for_each(self.reports.fd(), |key, reports| {
            let program = (key.pid, key.started_ticks, key.stack);
            if !*programs.entry(program).or_insert_with(|| runs(program)) {
                left.push(key);
                return;
            }
            entries += 1;
            for report in reports {
                add(&mut latest, &key, *report);
            }
        })?;
        remove_all(self.reports.fd(), &left)?;
        Ok((families(&latest), entries))
    }
}

/// Whether that process still runs that program.
#[allow(
    clippy::cast_possible_truncation,
    reason = "of the ticks, labels and reports have the low half"
)]
fn runs((pid, started_ticks, stack): Program) -> bool {
    let folder = format!("/proc/{pid}");
    let signature = Signature::read(Path::new(&folder), pid, None);
    signature.is_some_and(|signature| {
        let (started, begins) = signature.start();
        // Where the agent may not look into processes so, the file has zeros.
        started as u32 == started_ticks && (begins == stack || begins <= 1)
    })
}

fn add(latest: &mut Latest, key: &ReportKey, report: Report) {
    let names = key.names.each_ref().map(shown);
    let known = latest.entry((key.hook, names)).or_insert(report);
    if report.at_ns > known.at_ns {
        *known = report;
    }
}

fn families(latest: &Latest) -> Vec<MetricFamily> {
    let mut generation = Metrics::gauge("evolution_generation", GENERATION_HELP);
    let mut fitness = Metrics::gauge("evolution_fitness", FITNESS_HELP);
    let mut queue = Metrics::gauge("cluster_job_queue_depth", QUEUE_HELP);
    let mut allocated = Metrics::gauge("cluster_resource_allocated", ALLOCATED_HELP);
    for ((hook, [first, second]), Report { values, .. }) in latest {
        match *hook {
            hook::GENERATION => {
                let agent = ("agent", &**first);
                generation.push(&[agent], values[0] as f64);
                for (stat, value) in [("best", values[1]), ("mean", values[2])] {
                    fitness.push(&[agent, ("stat", stat)], f64::from_bits(value));
                }
            }
            hook::JOB_QUEUE_DEPTH => queue.push(&[("queue", first)], values[0] as f64),
            // The kernel side knows no others.
            _ => {
                let labels = [("agent", &**second), ("resource", &**first)];
                allocated.push(&labels, f64::from_bits(values[0]));
            }
        }
    }
    [generation, fitness, queue, allocated]
        .map(Metrics::build)
        .into()
}

#[cfg(test)]
mod tests {
    use monitoring_common::swarm::{NAME_BYTES, Name};

    use super::*;

    fn name(text: &str) -> Name {
        let mut name = Name::EMPTY;
        name.0[..text.len()].copy_from_slice(text.as_bytes());
        name.0[NAME_BYTES - 1] = u8::try_from(text.len()).unwrap();
        name
    }

    fn shown_as(reports: &[(u64, [&str; 2], u64, [u64; 3])]) -> Vec<String> {
        let mut latest = Latest::new();
        for (hook, names, at_ns, values) in reports {
            let key = ReportKey {
                names: names.map(name),
                stack: 0,
                hook: *hook,
                pid: 0,
                started_ticks: 0,
            };
            let report = Report {
                at_ns: *at_ns,
                values: *values,
            };
            add(&mut latest, &key, report);
        }
        let shown = families(&latest).into_iter().flat_map(|family| {
            let metrics = family.get_metric().to_vec();
            let name = family.name().to_owned();
            metrics.into_iter().map(move |metric| {
                let values = metric
                    .get_label()
                    .iter()
                    .map(|label| label.value().to_owned());
                let values = values.collect::<Vec<_>>().join(",");
                format!("{name} {values} {}", metric.get_gauge().get_value())
            })
        });
        shown.collect()
    }

    #[test]
    fn whoever_spoke_last_is_believed() {
        let [half, one] = [0.5_f64, 1.0].map(f64::to_bits);
        let reports = [
            (hook::GENERATION, ["a", ""], 5, [7, one, half]),
            (hook::GENERATION, ["a", ""], 4, [9, half, half]),
            (hook::JOB_QUEUE_DEPTH, ["a", ""], 1, [3, 0, 0]),
            (hook::JOB_QUEUE_DEPTH, ["a", ""], 2, [0, 0, 0]),
            (hook::RESOURCE_ALLOCATED, ["gpu", "a"], 1, [half, 0, 0]),
            (hook::RESOURCE_ALLOCATED, ["gpu", "b"], 1, [one, 0, 0]),
        ];
        let want = [
            "evolution_generation a 7",
            "evolution_fitness a,best 1",
            "evolution_fitness a,mean 0.5",
            "cluster_job_queue_depth a 0",
            "cluster_resource_allocated a,gpu 0.5",
            "cluster_resource_allocated b,gpu 1",
        ];
        assert_eq!(shown_as(&reports), want);
        assert_eq!(shown_as(&[]), Vec::<String>::new());
    }

    #[test]
    fn a_process_that_ended_runs_nothing() {
        let own = std::process::id();
        let folder = format!("/proc/{own}");
        let signature = Signature::read(Path::new(&folder), own, None).unwrap();
        let (started, stack) = signature.start();
        let started = u32::try_from(started).unwrap();
        assert!(runs((own, started, stack)));
        assert!(!runs((own, started + 1, stack)));
        assert!(!runs((own, started, stack + 16)));
        assert!(!runs((u32::MAX, started, stack)));
    }
}
