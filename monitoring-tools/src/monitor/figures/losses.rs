//! What the agent could not see, and how it fares itself.

use super::{ROWS, name};
use crate::monitor::change::Change;
use crate::scrape::family::Value;

const LOST: &str = "monitoring_agent_lost_total";

/// Most reasons that are looked at: an agent has some hundred, most of them without a loss.
const MOST: usize = 1000;

/// Where numbers are not complete.
#[derive(Debug)]
pub(in crate::monitor) struct Losses {
    /// All losses since the agent started. Absent if it tells none.
    pub(in crate::monitor) total: Option<f64>,
    /// All losses of the last interval.
    pub(in crate::monitor) new: Option<f64>,
    /// Reasons with a loss, the newest and largest first.
    pub(in crate::monitor) reasons: Vec<Loss>,
    pub(in crate::monitor) sources: Vec<Source>,
    /// Kernel programs that are not attached.
    pub(in crate::monitor) detached: Vec<String>,
    /// Families of which series were left out, with how many.
    pub(in crate::monitor) limited: Vec<(String, f64)>,
    /// What the agent takes itself.
    pub(in crate::monitor) cpu: Option<f64>,
    pub(in crate::monitor) rss_bytes: Option<f64>,
}

/// One reason.
#[derive(Debug)]
pub(in crate::monitor) struct Loss {
    pub(in crate::monitor) source: String,
    pub(in crate::monitor) reason: String,
    pub(in crate::monitor) total: f64,
    pub(in crate::monitor) new: Option<f64>,
}

/// A source of the agent.
#[derive(Debug)]
pub(in crate::monitor) struct Source {
    pub(in crate::monitor) name: String,
    pub(in crate::monitor) is_up: bool,
    pub(in crate::monitor) collect_seconds: Option<f64>,
    pub(in crate::monitor) age_seconds: Option<f64>,
}

impl Losses {
    pub(super) fn of(change: &Change<'_>) -> Self {
        let new = change.new;
        Self {
            total: new.value(LOST, &[]),
            new: change.increase(LOST, &[]),
            reasons: reasons(change),
            sources: sources(change),
            detached: new
                .metrics("monitoring_agent_probe_attached")
                .iter()
                .filter(|probe| probe.value == Value::Number(0.0))
                .take(ROWS)
                .map(|probe| {
                    name(&format!(
                        "{}/{}",
                        probe.label("source"),
                        probe.label("program")
                    ))
                })
                .collect(),
            limited: new
                .metrics("monitoring_agent_series_limited_total")
                .iter()
                .filter_map(|limited| match limited.value {
                    Value::Number(count) if count > 0.0 => {
                        Some((name(limited.label("family")), count))
                    }
                    _ => None,
                })
                .take(ROWS)
                .collect(),
            cpu: change.rate("process_cpu_seconds_total", &[]),
            rss_bytes: new.value("process_resident_memory_bytes", &[]),
        }
    }

    /// Sources that do not deliver.
    pub(in crate::monitor) fn down(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| !source.is_up)
    }
}

fn reasons(change: &Change<'_>) -> Vec<Loss> {
    let mut reasons: Vec<Loss> = Vec::new();
    for metric in change.new.metrics(LOST).iter().take(MOST) {
        let Value::Number(total) = metric.value else {
            continue;
        };
        if total <= 0.0 {
            continue;
        }
        let (source, reason) = (metric.label("source"), metric.label("reason"));
        let wanted = &[("source", source), ("reason", reason)];
        reasons.push(Loss {
            source: name(source),
            reason: name(reason),
            total,
            new: change.increase(LOST, wanted),
        });
    }
    let number = |loss: &Loss| loss.new.unwrap_or(0.0);
    reasons.sort_by(|one, two| {
        let rates = number(two).total_cmp(&number(one));
        rates.then(two.total.total_cmp(&one.total))
    });
    reasons
}

fn sources(change: &Change<'_>) -> Vec<Source> {
    let new = change.new;
    let source = |metric: &crate::scrape::family::Metric| {
        let wanted = &[("source", metric.label("source"))];
        Source {
            name: name(metric.label("source")),
            is_up: metric.value == Value::Number(1.0),
            collect_seconds: new.value("monitoring_agent_source_collect_seconds", wanted),
            age_seconds: new.value("monitoring_agent_source_age_seconds", wanted),
        }
    };
    let up = new.metrics("monitoring_agent_source_up");
    up.iter().take(ROWS).map(source).collect()
}
