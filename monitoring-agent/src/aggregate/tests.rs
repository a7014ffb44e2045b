//! Sources that hang, fail, panic or bring too much, and what becomes of the others.

use std::{
    sync::mpsc as std_mpsc,
    thread::{self, ThreadId},
};

use super::*;
use crate::{
    families::Family,
    source::{Batch, Off, Source},
};

const INTERVAL: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(20);

/// A source made of a closure.
struct Scripted<F>(F);

impl<F: FnMut() -> anyhow::Result<Batch> + Send> Source for Scripted<F> {
    fn collect(&mut self) -> anyhow::Result<Batch> {
        (self.0)()
    }
}

/// A source that counts its collections in a metric of this name.
fn counting(metric: &'static str) -> Box<dyn Source> {
    let mut collections = 0.0;
    Box::new(Scripted(move || {
        collections += 1.0;
        let families = vec![
            Family::counter(metric, "Help.")
                .with(&[], collections)
                .build(),
        ];
        Ok(Batch {
            families,
            ..Batch::default()
        })
    }))
}

struct Running {
    commands: mpsc::Sender<Command>,
    latest: watch::Receiver<Arc<Snapshot>>,
}

impl Running {
    async fn start(sources: Vec<(&'static str, Box<dyn Source>)>) -> Self {
        let (publish, latest) = watch::channel(Arc::new(Snapshot::empty()));
        let (commands, command_receiver) = mpsc::channel(16);
        let (reports, report_receiver) = mpsc::channel(WAITING_REPORTS);
        let aggregate = Aggregate::new(publish, OwnMetrics(Box::new(Vec::new)));
        tokio::spawn(aggregate.run(INTERVAL, command_receiver, report_receiver));
        for (name, source) in sources {
            let collector = Collector::start(name, source, reports.clone()).unwrap();
            let started = Command::Started(name, Ok(collector));
            commands.send(started).await.unwrap();
        }
        Self { commands, latest }
    }

    /// Waits for a snapshot in which all of these samples have at least these values.
    async fn wait_for(&mut self, samples: &[(&str, &str, f64)]) -> Arc<Snapshot> {
        let reached = self.latest.wait_for(|snapshot| {
            samples.iter().all(|(name, label, least)| {
                value(snapshot, name, label).is_some_and(|value| value >= *least)
            })
        });
        let reached = time::timeout(PATIENCE, reached).await;
        Arc::clone(
            &reached
                .unwrap_or_else(|_| panic!("not reached: {samples:?}"))
                .unwrap(),
        )
    }
}

/// A sample's value, by a label value that it must have, or "" for any.
fn value(snapshot: &Snapshot, name: &str, label: &str) -> Option<f64> {
    let mut families = snapshot.families.iter();
    let family = families.find(|family| family.name() == name)?;
    let metric = family.get_metric().iter().find(|metric| {
        label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label)
    })?;
    Some(metric.get_counter().get_value() + metric.get_gauge().get_value())
}

const UP: &str = "monitoring_agent_source_up";
const LOST: &str = "monitoring_agent_lost_total";

#[tokio::test]
async fn a_hanging_source_holds_up_only_itself() {
    let (release, released) = std_mpsc::channel::<()>();
    let mut hung = counting("hung_total");
    let mut first = true;
    let hanging = Scripted(move || {
        if !std::mem::take(&mut first) {
            // Hangs until the test lets go of the other end.
            let _ = released.recv();
        }
        hung.collect()
    });
    let mut agent = Running::start(vec![
        ("hanging", Box::new(hanging)),
        ("working", counting("working_total")),
    ])
    .await;
    let snapshot = agent
        .wait_for(&[("working_total", "", 5.0), (LOST, "overdue", 2.0)])
        .await;
    assert_eq!(value(&snapshot, UP, "hanging"), Some(0.0));
    assert_eq!(value(&snapshot, UP, "working"), Some(1.0));
    assert_eq!(
        value(&snapshot, "hung_total", ""),
        Some(1.0),
        "its last numbers stay"
    );
    drop(release);
    let snapshot = agent
        .wait_for(&[("hung_total", "", 3.0), (UP, "hanging", 1.0)])
        .await;
    assert_eq!(value(&snapshot, UP, "hanging"), Some(1.0));
}

#[tokio::test]
async fn failing_and_panicking_sources_are_counted_and_asked_again() {
    let mut collections = 0;
    let mut counter = counting("flaky_total");
    let flaky = Scripted(move || {
        collections += 1;
        match collections {
            2 => anyhow::bail!("no such file"),
            3 => panic!("an invariant did not hold"),
            _ => counter.collect(),
        }
    });
    let mut agent = Running::start(vec![("flaky", Box::new(flaky))]).await;
    let snapshot = agent
        .wait_for(&[("flaky_total", "", 2.0), (LOST, "collect_failed", 2.0)])
        .await;
    assert_eq!(value(&snapshot, UP, "flaky"), Some(1.0));
    assert_eq!(value(&snapshot, LOST, "collect_failed"), Some(2.0));
}

#[tokio::test]
async fn each_source_has_a_thread_of_its_own() {
    let (sender, receiver) = std_mpsc::channel::<ThreadId>();
    let reporting = || {
        let sender = sender.clone();
        Box::new(Scripted(move || {
            sender.send(thread::current().id()).unwrap();
            Ok(Batch::default())
        }))
    };
    let mut agent = Running::start(vec![("one", reporting()), ("two", reporting())]).await;
    agent.wait_for(&[(UP, "one", 1.0), (UP, "two", 1.0)]).await;
    let threads: BTreeSet<String> = receiver.try_iter().map(|id| format!("{id:?}")).collect();
    assert_eq!(threads.len(), 2);
    assert!(!threads.contains(&format!("{:?}", thread::current().id())));
}

#[tokio::test]
async fn series_beyond_the_limit_are_counted() {
    let excessive = Scripted(|| {
        let mut family = Family::gauge("excessive", "Help.");
        for number in 0..MAX_SERIES + 3 {
            family.push(&[("number", &number.to_string())], 1.0);
        }
        Ok(Batch {
            families: vec![family.build()],
            ..Batch::default()
        })
    });
    let mut agent = Running::start(vec![("excessive", Box::new(excessive))]).await;
    let limited = "monitoring_agent_series_limited_total";
    let snapshot = agent.wait_for(&[(limited, "excessive", 3.0)]).await;
    let family = snapshot
        .families
        .iter()
        .find(|family| family.name() == "excessive");
    assert_eq!(family.unwrap().get_metric().len(), MAX_SERIES);
}

#[tokio::test]
async fn a_stopped_source_disappears_and_shutdown_ends_its_threads() {
    let mut agent = Running::start(vec![
        ("one", counting("one_total")),
        ("two", counting("two_total")),
    ])
    .await;
    agent
        .wait_for(&[("one_total", "", 1.0), ("two_total", "", 1.0)])
        .await;
    let (thread, stopped) = oneshot::channel();
    let stop = Command::Stop("one", thread);
    agent.commands.send(stop).await.unwrap();
    // It ends with its source.
    stopped.await.unwrap().unwrap().join().unwrap();
    let gone = agent.latest.wait_for(|snapshot| {
        value(snapshot, "one_total", "").is_none() && value(snapshot, UP, "one").is_none()
    });
    time::timeout(PATIENCE, gone).await.unwrap().unwrap();
    let (done, stopped) = oneshot::channel();
    agent.commands.send(Command::Shutdown(done)).await.unwrap();
    for thread in stopped.await.unwrap() {
        thread.join().unwrap();
    }
}

#[test]
fn families_are_sorted_merged_and_never_empty() {
    let family = |name: &str, label: &str| {
        Family::gauge(name, "Help.")
            .with(&[("l", label)], 1.0)
            .build()
    };
    let families = vec![
        family("b", "1"),
        Family::gauge("empty", "Help.").build(),
        family("a", "1"),
        family("b", "2"),
    ];
    let names_and_sizes: Vec<_> = by_name(families)
        .iter()
        .map(|family| (family.name().to_owned(), family.get_metric().len()))
        .collect();
    assert_eq!(names_and_sizes, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
}

type Step = fn() -> anyhow::Result<Batch>;

/// A source that follows a script: what its collections bring, the last for ever.
fn following(script: Vec<Step>) -> Box<dyn Source> {
    let mut script = script.into_iter();
    let mut next = script.next().expect("a script has a step");
    let mut asked = 0;
    Box::new(Scripted(move || {
        // Each step lasts for a few collections.
        asked += 1;
        if asked % 5 == 0 {
            next = script.next().unwrap_or(next);
        }
        next()
    }))
}

const DELIVERS: Step = || {
    Ok(Batch {
        families: vec![Family::gauge("device", "Help.").with(&[], 1.0).build()],
        ..Batch::default()
    })
};

const IS_OFF: Step = || {
    Ok(Batch {
        off: Some(Off {
            why: "no driver".to_owned(),
            is_usual: false,
        }),
        ..Batch::default()
    })
};

const AGE: &str = "monitoring_agent_source_age_seconds";

#[tokio::test]
async fn a_source_that_is_off_loses_nothing_and_comes_back() {
    let starting = || {
        Ok(Batch {
            starting: true,
            ..Batch::default()
        })
    };
    let mut agent = Running::start(vec![
        (
            "flaky",
            following(vec![starting, DELIVERS, IS_OFF, DELIVERS]),
        ),
        ("other", counting("other_total")),
    ])
    .await;
    let mut states = Vec::new();
    let seen = agent.latest.wait_for(|snapshot| {
        assert_eq!(value(snapshot, LOST, "collect_failed"), None);
        let Some(up) = value(snapshot, UP, "flaky") else {
            return false;
        };
        let delivers = value(snapshot, "device", "").is_some();
        assert_eq!(value(snapshot, AGE, "flaky").is_some(), delivers);
        // On a busy machine one that delivers may be overdue now and then.
        assert!(delivers || up == 0.0);
        if states.last() != Some(&delivers) {
            states.push(delivers);
        }
        states.len() == 4 && up > 0.0
    });
    time::timeout(PATIENCE, seen).await.unwrap().unwrap();
    assert_eq!(states, [false, true, false, true]);
}

#[tokio::test]
async fn the_age_of_numbers_rises_while_a_source_fails() {
    let old = || {
        Ok(Batch {
            age: Duration::from_secs(100),
            ..Batch::default()
        })
    };
    let fails = || anyhow::bail!("it hangs");
    let mut agent = Running::start(vec![
        ("failing", following(vec![DELIVERS, fails])),
        ("polling", following(vec![old])),
    ])
    .await;
    // 50 intervals and no numbers.
    let snapshot = agent.wait_for(&[(AGE, "failing", 1.0)]).await;
    assert_eq!(value(&snapshot, UP, "failing"), Some(0.0));
    assert_eq!(value(&snapshot, "device", ""), Some(1.0), "they stay");
    let polling = value(&snapshot, AGE, "polling").unwrap();
    assert!((100.0..110.0).contains(&polling), "{polling}");
}
