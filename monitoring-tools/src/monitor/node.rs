//! A node as the monitor knows it: whether it answers, its figures, and what they were.

use std::time::Instant;

use super::{change::Change, figures::Figures, flame::Flame, history::History, snapshot::Snapshot};
use crate::scrape::printable;

/// One of the nodes that are watched.
#[derive(Debug)]
pub(super) struct Node {
    /// Where its metrics are.
    pub(super) url: String,
    pub(super) contact: Contact,
    /// What it has called itself. An agent that has just started does not know yet.
    own_name: Option<String>,
    last: Option<Snapshot>,
    pub(super) figures: Option<Figures>,
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
            last: None,
            figures: None,
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

    /// When the newest numbers were taken.
    pub(super) fn taken(&self) -> Option<Instant> {
        self.last.as_ref().map(|last| last.taken)
    }

    /// It has answered. The same snapshot once more changes nothing.
    pub(super) fn answered(&mut self, snapshot: Snapshot) {
        self.contact = Contact::Here;
        if self
            .last
            .as_ref()
            .is_some_and(|last| last.is_same(&snapshot))
        {
            return;
        }
        let figures = Figures::of(&Change::between(self.last.as_ref(), &snapshot));
        self.history.push(lines(&figures));
        if figures.host.name.is_some() {
            self.own_name.clone_from(&figures.host.name);
        }
        self.figures = Some(figures);
        self.last = Some(snapshot);
    }

    /// It has not answered, for this reason. What it last told stays.
    pub(super) fn missed(&mut self, why: String, now: Instant) {
        let since = match &self.contact {
            Contact::Away { since, .. } => *since,
            _ => now,
        };
        self.contact = Contact::Away { since, why };
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn snapshot(text: &str, at: Instant) -> Snapshot {
        Snapshot::read(text, at).unwrap()
    }

    #[test]
    fn a_node_goes_and_comes_back() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let mut node = Node::new("http://a:1/metrics");
        assert_eq!(
            (node.name().as_str(), &node.contact),
            ("a:1", &Contact::Awaited)
        );
        let calls = |count: u32| {
            format!("agent_threads{{agent=\"x\"}} 1\nsyscall_total{{agent=\"x\"}} {count}\n")
        };
        let rate = |node: &Node| node.figures.as_ref().unwrap().agents[0].calls;
        node.answered(snapshot(&calls(10), now));
        assert_eq!(rate(&node), None);
        node.answered(snapshot(&calls(30), later(2)));
        assert_eq!(rate(&node), Some(10.0));
        node.missed("gone".to_owned(), later(3));
        node.missed("still gone".to_owned(), later(4));
        let away = Contact::Away {
            since: later(3),
            why: "still gone".to_owned(),
        };
        assert_eq!((&node.contact, rate(&node)), (&away, Some(10.0)));
        // Back, and the same agent: its counts are of all the time between.
        node.answered(snapshot(&calls(130), later(12)));
        assert_eq!((&node.contact, rate(&node)), (&Contact::Here, Some(10.0)));
        // Back, and another one.
        node.answered(snapshot(&calls(5), later(14)));
        assert_eq!(rate(&node), None);
        node.answered(snapshot(&calls(7), later(16)));
        assert_eq!(rate(&node), Some(1.0));
    }

    #[test]
    fn one_snapshot_told_twice_is_one() {
        let now = Instant::now();
        let mut node = Node::new("http://a:1/metrics");
        let text = |count: u32, age: f32| {
            format!(
                "syscall_total{{agent=\"x\"}} {count}\nmonitoring_agent_snapshot_age_seconds {age}\n"
            )
        };
        let seconds = |at| now + Duration::from_secs(at);
        node.answered(snapshot(&text(10, 1.0), seconds(1)));
        node.answered(snapshot(&text(30, 0.0), seconds(10)));
        node.answered(snapshot(&text(30, 2.0), seconds(12)));
        let figures = node.figures.as_ref().unwrap();
        assert_eq!(
            figures.agents[0].calls,
            Some(2.0),
            "20 calls from 0 s to 10 s"
        );
        assert_eq!(node.history.last("cpu", 9).len(), 0);
    }
}
