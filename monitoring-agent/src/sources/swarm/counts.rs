//! What happened, as the kernel programs have counted it. Knows nothing of values that rise and fall.

use std::collections::BTreeMap;

use aya::maps::MapData;
use monitoring_common::swarm::{Counts, Name, TO_BYTES, hook};
use prometheus::proto::MetricFamily;

use super::shown;
use crate::{
    families::Family as Metrics,
    labels::OTHER_NAME,
    loader::Loaded,
    per_cpu::{PerCpuElements, PerCpuReader},
};

const SPAWNED_HELP: &str = "Agents that began to work, as applications say.";
const STOPPED_HELP: &str = "Agents that ended, as applications say.";
const MESSAGES_HELP: &str = "Messages that agents sent and received, as applications say.";
const BYTES_HELP: &str = "Bytes of messages that agents sent and received, as applications say.";
const GOALS_HELP: &str = "Goals that agents reached or failed, as applications say.";

/// The hook, and the value of the second label.
const DIRECTIONS: [(u64, &str); 2] = [
    (hook::MESSAGE_SENT, "transmit"),
    (hook::MESSAGE_RECEIVED, "receive"),
];
const OUTCOMES: [(u64, &str); 2] = [
    (hook::GOAL_COMPLETED, "completed"),
    (hook::GOAL_FAILED, "failed"),
];

/// The maps of counts.
pub(super) struct CountMaps {
    named: MapData,
    others: MapData,
    named_reader: PerCpuReader<Name, Counts>,
    others_reader: PerCpuElements<Counts>,
}

impl CountMaps {
    pub(super) fn new(loaded: &mut Loaded) -> anyhow::Result<Self> {
        Ok(Self {
            named: loaded.take_map("NAMED")?,
            others: loaded.take_map("OTHERS")?,
            named_reader: PerCpuReader::new()?,
            others_reader: PerCpuElements::new()?,
        })
    }

    /// The map whose entries come, which [`CountMaps::collect`] counts, and the one that has one.
    pub(super) fn maps(&self) -> [(&'static str, &MapData); 2] {
        [("NAMED", &self.named), ("OTHERS", &self.others)]
    }

    /// All counters, and how many names there are.
    pub(super) fn collect(&mut self) -> anyhow::Result<(Vec<MetricFamily>, u64)> {
        let mut all: BTreeMap<String, Counts> = BTreeMap::new();
        let mut entries = 0;
        self.named_reader
            .for_each(self.named.fd(), |name, per_cpu| {
                entries += 1;
                // What is shown the same is one.
                let sum = all.entry(shown(&name)).or_insert(Counts::EMPTY);
                for counts in per_cpu {
                    sum.merge(counts);
                }
            })?;
        let others = all.entry(OTHER_NAME.to_owned()).or_insert(Counts::EMPTY);
        for counts in self.others_reader.read(&self.others, 0)? {
            others.merge(counts);
        }
        Ok((families(&all), entries))
    }
}

fn families(all: &BTreeMap<String, Counts>) -> Vec<MetricFamily> {
    let mut spawned = Metrics::counter("swarm_agents_spawned_total", SPAWNED_HELP);
    let mut stopped = Metrics::counter("swarm_agents_stopped_total", STOPPED_HELP);
    let mut messages = Metrics::counter("swarm_messages_total", MESSAGES_HELP);
    let mut bytes = Metrics::counter("swarm_message_bytes_total", BYTES_HELP);
    let mut goals = Metrics::counter("agent_goals_total", GOALS_HELP);
    for (name, counts) in all {
        let sum = |place: u64| usize::try_from(place).map_or(0, |place| counts.sums[place]);
        let agent = ("agent", &**name);
        // An agent that never said so has no such series, as in the application itself.
        let push = |family: &mut Metrics, labels: &[(&str, &str)], hook| {
            if sum(hook) > 0 {
                family.push(labels, sum(hook) as f64);
            }
        };
        push(&mut spawned, &[agent], hook::AGENT_SPAWNED);
        push(&mut stopped, &[agent], hook::AGENT_STOPPED);
        for (hook, outcome) in OUTCOMES {
            push(&mut goals, &[agent, ("outcome", outcome)], hook);
        }
        for (hook, direction) in DIRECTIONS {
            let labels = [agent, ("direction", direction)];
            push(&mut messages, &labels, hook);
            if sum(hook) > 0 {
                bytes.push(&labels, sum(hook + TO_BYTES) as f64);
            }
        }
    }
    [spawned, stopped, messages, bytes, goals]
        .map(Metrics::build)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_said_is_shown() {
        let quiet = Counts {
            sums: [1, 0, 0, 0, 0, 0, 0, 0],
        };
        let busy = Counts {
            sums: [1, 2, 3, 4, 5, 6, 0, 70],
        };
        let all = BTreeMap::from([("a".to_owned(), quiet), ("b".to_owned(), busy)]);
        let shown = families(&all).into_iter().flat_map(|family| {
            let metrics = family.get_metric().to_vec();
            let name = family.name().to_owned();
            metrics.into_iter().map(move |metric| {
                let values = metric
                    .get_label()
                    .iter()
                    .map(|label| label.value().to_owned());
                let values = values.collect::<Vec<_>>().join(",");
                format!("{name} {values} {}", metric.get_counter().get_value())
            })
        });
        let want = [
            "swarm_agents_spawned_total a 1",
            "swarm_agents_spawned_total b 1",
            "swarm_agents_stopped_total b 2",
            "swarm_messages_total b,transmit 3",
            "swarm_messages_total b,receive 4",
            // Messages without a byte are messages.
            "swarm_message_bytes_total b,transmit 0",
            "swarm_message_bytes_total b,receive 70",
            "agent_goals_total b,completed 5",
            "agent_goals_total b,failed 6",
        ];
        assert_eq!(shown.collect::<Vec<_>>(), want);
    }
}
