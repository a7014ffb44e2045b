//! Family `swarm`: this program has the hooks of the crate `monitoring`. What the crate's own metrics
//! say of them is what the family has to say.

mod program;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use glob::Pattern;
use monitoring::{MetricsCollector, swarm};
use monitoring_agent::{config::AgentRule, source::Batch};
use monitoring_common::swarm::lost::REASONS;
use prometheus::proto::{MetricFamily, MetricType};

use self::program::Program;
use crate::{
    node::{Node, counter, losses, sample},
    poll::poll_until,
};

const SOURCE: &str = "swarm";
const THREADS: u64 = 8;
const ROUNDS: u64 = 4_000;

/// What each thread does in a round, and in every fifth one more.
const HOOKS: u64 = 6;

/// Longer than the kernel programs read, so that it takes the place of no other.
const TOO_LONG: &str = "a name of sixty-four bytes, which is one byte more than there is room for";

/// The metrics that hooks have.
const COUNTERS: [&str; 5] = [
    "agent_goals_total",
    "swarm_agents_spawned_total",
    "swarm_agents_stopped_total",
    "swarm_message_bytes_total",
    "swarm_messages_total",
];

/// Held by each test: all of them are the same process.
static PROCESS: Mutex<()> = Mutex::new(());

/// Metrics by name and labels.
type Values = BTreeMap<String, u64>;

fn alone() -> MutexGuard<'static, ()> {
    PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node that has probed this program.
fn probing(limits: &[(&'static str, u32)]) -> Node {
    let mut node = Node::with_limits(&["process", SOURCE], limits);
    wait_for_probes(&mut node, true);
    node
}

/// Waits until each of the nine hooks is seen: where they are probed one by one, some are before
/// others. What the hooks of gauges say is nowhere to be seen if this process is not watched.
fn wait_for_probes(node: &mut Node, watched: bool) {
    let gauges: [fn(); 3] = [
        || swarm::generation(TOO_LONG, 1, 1.0, 1.0),
        || swarm::job_queue_depth(TOO_LONG, 1),
        || swarm::resource_allocated("gpu", TOO_LONG, 1.0),
    ];
    poll_until("this program is probed", || {
        let before = node.collect(SOURCE);
        say_once(TOO_LONG);
        let mut batch = node.collect(SOURCE);
        let all = OTHERS.iter().all(|(name, labels)| {
            let other = [&[("agent", "other")], *labels].concat();
            counter(&batch, name, &other) > counter(&before, name, &other)
        });
        let probed = gauge(&batch, "swarm_probed_files", &[]);
        let mut gauges = gauges.iter().filter(|_| watched);
        let all = all
            && gauges.all(|say| {
                let before = lost(&batch, "name_too_long");
                say();
                batch = node.collect(SOURCE);
                lost(&batch, "name_too_long") > before
            });
        (all && probed > Some(0.0)).then_some(())
    });
}

/// Hooks that count, each once.
fn say_once(agent: &str) {
    swarm::agent_spawned(agent);
    swarm::agent_stopped(agent);
    swarm::message_sent(agent, 1);
    swarm::message_received(agent, 1);
    swarm::goal_completed(agent);
    swarm::goal_failed(agent);
}

/// Where those are seen.
const OTHERS: [(&str, &[(&str, &str)]); 6] = [
    ("swarm_agents_spawned_total", &[]),
    ("swarm_agents_stopped_total", &[]),
    ("swarm_messages_total", &[("direction", "transmit")]),
    ("swarm_messages_total", &[("direction", "receive")]),
    ("agent_goals_total", &[("outcome", "completed")]),
    ("agent_goals_total", &[("outcome", "failed")]),
];

fn lost(batch: &Batch, reason: &str) -> u64 {
    let mut lost = batch.lost.iter();
    lost.find(|(known, _)| *known == reason).unwrap().1
}

/// What the kernel programs had no room for, or could not read, beside names that are too long on
/// purpose. Other reasons are about all files on the machine, whatever else runs there.
fn others_lost(batch: &Batch) -> Vec<(&'static str, u64)> {
    let mut losses = losses(batch);
    losses.retain(|(reason, _)| REASONS.contains(reason) && *reason != "name_too_long");
    losses
}

/// The hooks' counters, by name and labels, without those of the names that are lost on purpose.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "exact counts"
)]
fn counters<'a>(families: impl IntoIterator<Item = &'a MetricFamily>) -> Values {
    let families = families.into_iter();
    let families = families.filter(|family| COUNTERS.contains(&family.name()));
    let mut values = Values::new();
    for family in families {
        assert_eq!(family.get_field_type(), MetricType::COUNTER);
        for metric in family.get_metric() {
            let labels = metric.get_label().iter();
            let mut labels: Vec<_> = labels
                .map(|label| format!("{}={}", label.name(), label.value()))
                .collect();
            labels.sort_unstable();
            let key = format!("{} {}", family.name(), labels.join(" "));
            if !key.contains("agent=other") && !key.contains(TOO_LONG) {
                values.insert(key, metric.get_counter().get_value() as u64);
            }
        }
    }
    values
}

/// What the program itself says.
fn own() -> Values {
    counters(&MetricsCollector::new().gather())
}

/// What has come since.
fn since(before: &Values, now: &Values) -> Values {
    let grown = now.iter().map(|(key, value)| {
        let before = before.get(key).copied().unwrap_or(0);
        (key.clone(), value - before)
    });
    grown.filter(|(_, value)| *value > 0).collect()
}

fn gauge(batch: &Batch, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    Some(sample(batch, name, labels)?.get_gauge().get_value())
}

/// What each thread says.
fn say(thread: u64) {
    for round in 0..ROUNDS {
        let agent = ["scout", "worker é\"\\", ""][usize::try_from(round % 3).unwrap()];
        swarm::agent_spawned(agent);
        swarm::message_sent(agent, round);
        swarm::message_sent(agent, 0);
        swarm::message_received(agent, thread << 33);
        swarm::goal_completed(agent);
        swarm::agent_stopped(agent);
        if round % 5 == 0 {
            swarm::goal_failed(agent);
        }
    }
}

#[test]
fn counts_are_those_of_the_program_itself() {
    let _alone = alone();
    let mut node = probing(&[]);
    let before = (own(), counters(&node.collect(SOURCE).families));
    // Threads that end, as many at a time as there may be CPUs.
    for _ in 0..2 {
        let threads = (0..THREADS / 2).map(|thread| thread::spawn(move || say(thread)));
        let threads: Vec<_> = threads.collect();
        for each in threads {
            each.join().unwrap();
        }
    }
    let batch = node.collect(SOURCE);
    let said = since(&before.0, &own());
    let calls = said.iter().filter(|(key, _)| !key.contains("bytes"));
    let calls: u64 = calls.map(|(_, value)| value).sum();
    assert_eq!(calls, THREADS * (ROUNDS * HOOKS + ROUNDS / 5));
    assert_eq!(since(&before.1, &counters(&batch.families)), said);
    assert!(others_lost(&batch).is_empty(), "{:?}", losses(&batch));
    let attached = batch.programs.iter().filter(|program| program.attached);
    assert_eq!(
        attached.map(|program| &*program.name).collect::<Vec<_>>(),
        ["swarm_hook"]
    );
}

#[test]
fn what_unwatched_processes_say_is_others() {
    let _alone = alone();
    let watching_others = |config: &mut monitoring_agent::config::Config| config.agents.clear();
    let mut node = Node::with(&["process", SOURCE], watching_others);
    wait_for_probes(&mut node, false);
    let sent = |node: &mut Node| {
        let batch = node.collect(SOURCE);
        assert!(others_lost(&batch).is_empty(), "{:?}", losses(&batch));
        assert_eq!(lost(&batch, "name_too_long"), 0);
        assert_eq!(counters(&batch.families), Values::new());
        let labels = [("agent", "other"), ("direction", "transmit")];
        ["swarm_messages_total", "swarm_message_bytes_total"]
            .map(|name| counter(&batch, name, &labels))
    };
    let before = sent(&mut node);
    for _ in 0..100 {
        swarm::message_sent("scout", 7);
        swarm::job_queue_depth("queue", 7);
    }
    assert_eq!(sent(&mut node), [before[0] + 100, before[1] + 700]);
    let batch = node.collect(SOURCE);
    assert_eq!(
        gauge(&batch, "cluster_job_queue_depth", &[("queue", "queue")]),
        None
    );
}

#[test]
fn what_finds_no_room_is_others_and_counted() {
    let _alone = alone();
    let mut node = probing(&[("NAMED", 1), ("REPORTS", 1)]);
    let before = node.collect(SOURCE);
    let other = [("agent", "other")];
    let spawned = |batch: &Batch, labels| counter(batch, "swarm_agents_spawned_total", labels);
    for agent in ["first", "second", "second", TOO_LONG] {
        swarm::agent_spawned(agent);
    }
    for depth in 1..=3 {
        swarm::job_queue_depth("first", depth);
        swarm::job_queue_depth("second", depth);
        swarm::job_queue_depth(TOO_LONG, depth);
    }
    let batch = node.collect(SOURCE);
    assert_eq!(spawned(&batch, &[("agent", "first")]), 1);
    assert_eq!(spawned(&batch, &other) - spawned(&before, &other), 3);
    assert_eq!(
        gauge(&batch, "cluster_job_queue_depth", &[("queue", "first")]),
        Some(3.0)
    );
    assert_eq!(
        gauge(&batch, "cluster_job_queue_depth", &[("queue", "second")]),
        None
    );
    assert_eq!(
        others_lost(&batch),
        [("names_full", 2), ("reports_full", 3)]
    );
    let too_long = |batch: &Batch| lost(batch, "name_too_long");
    assert_eq!(too_long(&batch) - too_long(&before), 1 + 3);
}

#[test]
fn values_end_with_the_program_that_said_them() {
    let _alone = alone();
    let mut node = probing(&[]);
    let mut values = |first: &str| {
        let batch = node.collect(SOURCE);
        assert!(others_lost(&batch).is_empty(), "{:?}", losses(&batch));
        let agent = ("agent", first);
        [
            gauge(&batch, "evolution_generation", &[agent]),
            gauge(&batch, "evolution_fitness", &[agent, ("stat", "best")]),
            gauge(&batch, "evolution_fitness", &[agent, ("stat", "mean")]),
            gauge(
                &batch,
                "cluster_resource_allocated",
                &[agent, ("resource", "gpu\n")],
            ),
            gauge(
                &batch,
                "cluster_resource_allocated",
                &[agent, ("resource", r"gpu\n")],
            ),
            gauge(&batch, "cluster_job_queue_depth", &[("queue", first)]),
        ]
    };
    let said = |number: f64| {
        let half = Some(number / 2.0);
        [
            Some(number),
            Some(number + 0.25),
            Some(-number),
            None,
            half,
            Some(number),
        ]
    };
    let own_exe = std::env::current_exe().unwrap();
    let [mut one, mut other] = [(), ()].map(|()| Program::start(&own_exe));
    one.say("values 5");
    assert_eq!(values("a"), said(5.0));
    other.say("values 7");
    assert_eq!(values("a"), said(7.0));
    // Of two that speak of the same, whoever spoke last.
    one.say("values 6");
    assert_eq!(values("a"), said(6.0));
    one.end();
    assert_eq!(values("a"), said(7.0));
    assert_eq!(values("b"), [None; 6]);
    // The process is still there, but runs something else.
    other.become_another();
    poll_until("it runs something else", || {
        (values("a") == [None; 6]).then_some(())
    });
    other.kill();
}

#[test]
fn a_program_that_comes_later_is_seen_and_its_next_process_from_the_first_call_on() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("swarm-program");
    let rule = AgentRule {
        name: "later".to_owned(),
        exe: vec![Pattern::new(&Pattern::escape(path.to_str().unwrap())).unwrap()],
        ..AgentRule::default()
    };
    let mut node = Node::with(&["process", SOURCE], |config| config.agents = vec![rule]);
    wait_for_probes(&mut node, false);
    copy_of_this_program(&path);
    let mut first = Program::start(&path);
    let mut counted = |agent: &str| {
        let batch = node.collect(SOURCE);
        let completed = [("agent", agent), ("outcome", "completed")];
        (
            counter(&batch, "agent_goals_total", &completed),
            lost(&batch, "probed_late"),
        )
    };
    poll_until("it is probed", || {
        first.say("goals early 1");
        let (count, late) = counted("early");
        (count > 0 && late > 0).then_some(())
    });
    first.say("goals exact 10000");
    assert_eq!(counted("exact").0, 10_000);
    first.end();
    for processes in 1..=3 {
        let next = Program::start_with(&path, "goals again 500");
        next.end();
        assert_eq!(counted("again").0, processes * 500);
    }
}

/// This program as another file.
fn copy_of_this_program(path: &Path) {
    fs::copy("/proc/self/exe", path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
