//! A node as the monitor knows it: whether it answers, its figures, and what they were.

use std::time::Instant;

use super::{
    figures::Figures,
    flame::{Flame, Looked},
    history::History,
    mailbox::{Profile, Report},
    watch::Told,
};
use crate::scrape::printable;

/// One of the nodes that are watched.
#[derive(Debug)]
pub(super) struct Node {
    /// Where its metrics are.
    pub(super) url: String,
    pub(super) contact: Contact,
    /// What it has called itself. An agent that has just started does not know yet.
    own_name: Option<String>,
    told: Option<Told>,
    pub(super) history: History,
    pub(super) flame: Flame,
}

/// Whether it answers.
#[derive(Debug, PartialEq)]
pub(super) enum Contact {
    /// Nothing has come yet.
    Awaited,
    /// The last request was answered.
    Here,
    /// It was not.
    Away {
        /// From when on.
        since: Instant,
        /// As harmless text.
        why: String,
    },
}

impl Node {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            contact: Contact::Awaited,
            own_name: None,
            told: None,
            history: History::default(),
            flame: Flame::default(),
        }
    }

    /// What it is called: by itself, or by its address.
    pub(super) fn name(&self) -> String {
        let own = self.own_name.clone();
        own.unwrap_or_else(|| printable(self.address()))
    }

    /// Host and port.
    pub(super) fn address(&self) -> &str {
        let rest = self.url.strip_prefix("http://").unwrap_or(&self.url);
        rest.split(['/', '?']).next().unwrap_or(rest)
    }

    /// Its newest numbers.
    pub(super) fn figures(&self) -> Option<&Figures> {
        self.told.as_ref().map(|told| &told.figures)
    }

    /// When the newest numbers were taken.
    pub(super) fn taken(&self) -> Option<Instant> {
        self.told.as_ref().map(|told| told.taken)
    }

    /// How it has answered. What it last told stays until it tells something else.
    pub(super) fn hear(&mut self, report: Report) {
        self.contact = report.contact;
        let Some(told) = report.told else { return };
        self.history.push(lines(&told.figures));
        if told.figures.host.name.is_some() {
            self.own_name.clone_from(&told.figures.host.name);
        }
        self.told = Some(told);
    }

    /// The profile that was asked for.
    pub(super) fn profiled(&mut self, profile: Profile) {
        self.flame = match profile {
            Ok(tree) => Flame::Taken(Looked::new(tree)),
            Err(why) => Flame::Refused(why),
        };
    }
}

/// What is drawn as lines.
fn lines(figures: &Figures) -> Vec<(String, Option<f64>)> {
    let host = &figures.host;
    let used = host.memory.used().zip(host.memory.total);
    let sum = |values: &mut dyn Iterator<Item = Option<f64>>| {
        values.flatten().reduce(|one, two| one + two)
    };
    let mut lines = vec![
        ("cpu".to_owned(), host.cpu.busy),
        ("memory".to_owned(), used.map(|(used, total)| used / total)),
        (
            "read".to_owned(),
            sum(&mut host.disks.iter().map(|disk| disk.read_bytes)),
        ),
        (
            "written".to_owned(),
            sum(&mut host.disks.iter().map(|disk| disk.written_bytes)),
        ),
        (
            "received".to_owned(),
            sum(&mut host.links.iter().map(|link| link.received_bytes)),
        ),
        (
            "sent".to_owned(),
            sum(&mut host.links.iter().map(|link| link.sent_bytes)),
        ),
    ];
    let gpus = figures.gpus.iter();
    lines.extend(gpus.map(|gpu| (format!("gpu {}", gpu.number), gpu.utilization)));
    let latencies = figures.latencies.iter();
    lines.extend(
        latencies.map(|row| (row.key(), row.p99.map(super::distribution::Quantile::least))),
    );
    lines
}
