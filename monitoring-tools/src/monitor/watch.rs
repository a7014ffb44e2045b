//! Works out a node's figures from what it tells, one answer after the other. All of what may take
//! long is done here, away from the screen: the snapshots, which may be large, never leave it.

use std::time::Instant;

use super::{
    change::Change,
    figures::{self, Figures},
    mailbox::Report,
    node::Contact,
    snapshot::Snapshot,
};

/// Longest reason for there being no answer, in characters.
const LONGEST_REASON: usize = 400;

/// A node's numbers, ready to be drawn.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) figures: Figures,
    /// When they were taken.
    pub(super) taken: Instant,
}

/// What is to be remembered of a node between two answers.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Option<Snapshot>,
    away_since: Option<Instant>,
}

impl Watch {
    /// It has answered. The same snapshot once more is no news.
    pub(super) fn answered(&mut self, snapshot: Snapshot) -> Report {
        self.away_since = None;
        let is_known = |last: &Snapshot| last.is_same(&snapshot);
        let told = if self.last.as_ref().is_some_and(is_known) {
            None
        } else {
            let figures = Figures::of(&Change::between(self.last.as_ref(), &snapshot));
            let taken = snapshot.taken;
            self.last = Some(snapshot);
            Some(Told { figures, taken })
        };
        Report {
            contact: Contact::Here,
            told,
        }
    }

    /// It has not answered, for this reason.
    pub(super) fn missed(&mut self, why: &str, now: Instant) -> Report {
        let since = *self.away_since.get_or_insert(now);
        let why = figures::short(why, LONGEST_REASON);
        Report {
            contact: Contact::Away { since, why },
            told: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::monitor::node::Node;

    fn snapshot(text: &str, at: Instant) -> Snapshot {
        Snapshot::read(text, at).unwrap()
    }

    #[test]
    fn a_node_goes_and_comes_back() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let (mut watch, mut node) = (Watch::default(), Node::new("http://a:1/metrics"));
        assert_eq!(
            (node.name().as_str(), &node.contact),
            ("a:1", &Contact::Awaited)
        );
        let calls = |count: u32| {
            format!("agent_threads{{agent=\"x\"}} 1\nsyscall_total{{agent=\"x\"}} {count}\n")
        };
        let rate = |node: &Node| node.figures().unwrap().agents[0].calls;
        node.hear(watch.answered(snapshot(&calls(10), now)));
        assert_eq!(rate(&node), None);
        node.hear(watch.answered(snapshot(&calls(30), later(2))));
        assert_eq!(rate(&node), Some(10.0));
        node.hear(watch.missed("gone", later(3)));
        node.hear(watch.missed("still gone", later(4)));
        let away = Contact::Away {
            since: later(3),
            why: "still gone".to_owned(),
        };
        assert_eq!((&node.contact, rate(&node)), (&away, Some(10.0)));
        // Back, and the same agent: its counts are of all the time between.
        node.hear(watch.answered(snapshot(&calls(130), later(12))));
        assert_eq!((&node.contact, rate(&node)), (&Contact::Here, Some(10.0)));
        // Back, and another one.
        node.hear(watch.answered(snapshot(&calls(5), later(14))));
        assert_eq!(rate(&node), None);
        node.hear(watch.answered(snapshot(&calls(7), later(16))));
        assert_eq!(rate(&node), Some(1.0));
    }

    #[test]
    fn one_snapshot_told_twice_is_one() {
        let now = Instant::now();
        let (mut watch, mut node) = (Watch::default(), Node::new("http://a:1/metrics"));
        let text = |count: u32, age: f32| {
            format!(
                "syscall_total{{agent=\"x\"}} {count}\nmonitoring_agent_snapshot_age_seconds {age}\n"
            )
        };
        let seconds = |at| now + Duration::from_secs(at);
        node.hear(watch.answered(snapshot(&text(10, 1.0), seconds(1))));
        node.hear(watch.answered(snapshot(&text(30, 0.0), seconds(10))));
        let again = watch.answered(snapshot(&text(30, 2.0), seconds(12)));
        assert!(again.told.is_none());
        node.hear(again);
        let figures = node.figures().unwrap();
        assert_eq!(
            figures.agents[0].calls,
            Some(2.0),
            "20 calls from 0 s to 10 s"
        );
        assert_eq!(node.history.last("cpu", 9).len(), 0);
    }

    /// Whoever answers may call a metric anything, and errors name it.
    #[test]
    fn reasons_are_short() {
        let report = Watch::default().missed(&"x".repeat(10_000_000), Instant::now());
        let Contact::Away { why, .. } = report.contact else {
            panic!("{report:?}");
        };
        assert_eq!(why.chars().count(), LONGEST_REASON);
    }
}
