//! Samples of CPU time counted so far, by agent, mode and status.

use monitoring_common::profile::{mode, status};

use crate::{families::Family as Metrics, profile::session::Counted};

/// The counts of one agent.
type OfAgent = [[u64; status::NAMES.len()]; mode::NAMES.len()];

/// Totals since the source started.
#[derive(Debug, Default)]
pub(super) struct Totals {
    agents: Vec<OfAgent>,
}

impl Totals {
    /// Adds what was counted in a window.
    pub(super) fn add(&mut self, counted: &[Counted]) {
        for counted in counted {
            let agent = usize::from(counted.key.agent);
            if self.agents.len() <= agent {
                self.agents.resize(agent + 1, OfAgent::default());
            }
            let status = if counted.stack_sent {
                counted.key.status
            } else {
                status::ERROR
            };
            self.agents[agent][usize::from(counted.key.mode)][usize::from(status)] +=
                counted.samples;
        }
    }

    /// Puts the counts of all agents into a metric, those of which there were none yet as zeros.
    pub(super) fn fill(&self, metric: &mut Metrics, names: &[String]) {
        let none = OfAgent::default();
        for (number, name) in names.iter().enumerate() {
            let of_agent = self.agents.get(number).unwrap_or(&none);
            for (mode, by_status) in mode::NAMES.iter().zip(of_agent) {
                for (status, count) in status::NAMES.iter().zip(by_status) {
                    let labels = [("agent", name.as_str()), ("mode", mode), ("status", status)];
                    metric.push(&labels, *count as f64);
                }
            }
        }
    }
}
