//! Full maps and a full ring lose into a counter, and nothing is counted twice or not at all.

use std::{
    io::Read as _,
    process::{Command, Stdio},
};

use aya::maps::{Array, HashMap, Map, RingBuf};
use monitoring_agent::{
    kernel_state::Losses,
    loader::{Loaded, SharedMaps, load},
    offsets::Offsets,
    per_cpu::PerCpuElements,
    ring::decode,
    source::Batch,
    sources::process::family,
};
use monitoring_common::{
    agents::{AGENT_OF, Label},
    process::{EXEC, EXIT, Event, lifecycle::Lifecycle, lost},
};

use super::{Program, counted, watch_all};
use crate::{
    node::{ME, Node, losses},
    poll::poll_until,
    work,
};

/// The agent of this test and its children.
const MINE: u32 = 1;

/// The kernel side with nobody who takes its events.
struct Unattended {
    // Kept, and with it the programs and the label map.
    loaded: Loaded,
    _shared: SharedMaps,
}

/// What there was, once nothing is counted any more.
struct Found {
    counts: Lifecycle,
    events: Vec<Event>,
    losses: Vec<(&'static str, u64)>,
}

impl Unattended {
    fn load(limits: &[(&'static str, u32)]) -> Self {
        let mut offsets = Offsets::new();
        let shared = SharedMaps::with_limits(limits);
        let family = family(&mut offsets, false).unwrap();
        let mut loaded = load(&family, &shared, &mut offsets).unwrap();
        let agent_of = shared.get(AGENT_OF).unwrap().unwrap().info().unwrap().id();
        let agent_of = Map::HashMap(aya::maps::MapData::from_id(agent_of).unwrap());
        let mut agent_of: HashMap<_, u32, Label> = agent_of.try_into().unwrap();
        let label = Label {
            agent: MINE,
            started_ticks: 0,
        };
        agent_of.insert(std::process::id(), label, 0).unwrap();
        let rules = Map::Array(loaded.take_map("RULES").unwrap());
        let mut rules: Array<_, u32> = rules.try_into().unwrap();
        rules.set(0, 1, 0).unwrap();
        Self {
            loaded,
            _shared: shared,
        }
    }

    fn find(mut self) -> Found {
        let counts = self.loaded.take_map("LIFECYCLE").unwrap();
        let mut losses = Losses::new(&mut self.loaded, &lost::REASONS).unwrap();
        let ring = Map::RingBuf(self.loaded.take_map("EVENTS").unwrap());
        drop(self);
        let mut ring = RingBuf::try_from(ring).unwrap();
        let mut events = Vec::new();
        while let Some(record) = ring.next() {
            events.push(decode::<Event>(&record).unwrap());
        }
        events.retain(|event| event.agent == MINE);
        let mut sum = Lifecycle::EMPTY;
        for counts in PerCpuElements::new().unwrap().read(&counts, MINE).unwrap() {
            sum.merge(counts);
        }
        let mut losses = losses.read().unwrap();
        losses.retain(|(_, count)| *count > 0);
        Found {
            counts: sum,
            events,
            losses,
        }
    }
}

impl Found {
    fn events(&self, kind: u32) -> u64 {
        let events = self.events.iter();
        let uncounted = events.filter(|event| event.kind == kind && event.uncounted == 1);
        uncounted.count() as u64
    }

    fn lost(&self, reason: &str) -> u64 {
        let found = self.losses.iter().find(|(name, _)| *name == reason);
        found.map_or(0, |(_, count)| *count)
    }
}

#[test]
fn a_full_ring_leaves_the_counting_to_the_kernel() {
    const EXECUTIONS: u64 = 100;
    let kernel = Unattended::load(&[("EVENTS", 4096)]);
    for _ in 0..EXECUTIONS {
        assert!(Command::new("/bin/true").status().unwrap().success());
    }
    let found = kernel.find();
    let sent = found.events(EXEC) + found.events(EXIT);
    // Others' events may have taken the room.
    assert!(sent <= 8, "{sent} events in 4 KiB");
    assert_eq!(found.counts.executed + found.events(EXEC), EXECUTIONS);
    assert_eq!(found.counts.ended() + found.events(EXIT), EXECUTIONS);
    assert_eq!(found.counts.started, EXECUTIONS);
    assert_eq!(found.counts.failed + found.counts.all_signalled(), 0);
    // Other processes of the node may have executed something, too.
    let refused = EXECUTIONS - found.events(EXEC);
    assert!(found.lost("ring_full") >= refused, "{:?}", found.losses);
    assert_eq!(found.losses.len(), 1, "{:?}", found.losses);
}

#[test]
fn a_full_list_of_pending_processes_leaves_them_to_the_kernel() {
    let kernel = Unattended::load(&[("PENDING", 1)]);
    let programs = [0, 1, 2, 3].map(|at| Program::named(format!("pending-{at}")));
    let waiting = programs.each_ref().map(|program| {
        let mut command = program.command("echo; read line");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It has executed its program once it speaks.
        let said = child.stdout.as_mut().unwrap().read(&mut [0]).unwrap();
        assert_eq!(said, 1);
        child
    });
    for mut child in waiting {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
    let found = kernel.find();
    // Another process of the node may have been first.
    assert!(found.events(EXEC) <= 1);
    assert_eq!(found.counts.executed + found.events(EXEC), 4);
    assert_eq!(found.counts.ended() + found.events(EXIT), 4);
    assert!(found.lost("pending_full") >= 3, "{:?}", found.losses);
    // All the same each is to be looked at, unless others' events took the room in the ring.
    let sent = found.events.iter().filter(|event| event.kind == EXEC);
    let refused = found.lost("ring_full");
    assert!((4 - refused.min(4)..=4).contains(&(sent.count() as u64)));
}

#[test]
fn a_full_label_map_makes_processes_others() {
    // One for this process, one for its first child.
    let mut node = Node::with_limits(&["process"], &[("AGENT_OF", 2)]);
    let (wait, go) = work::pipe();
    let children: Vec<_> = (0..5)
        .map(|_| work::fork(|| work::wait_for_end_of(wait, go)))
        .collect();
    for _ in 0..2 {
        // A look at all processes would try once more, in vain, and say so.
        assert_eq!(losses(&node.collect("process")), [("labels_full", 4)]);
    }
    work::close(go);
    for child in children {
        assert_eq!(work::wait_for(child), 0);
    }
    work::close(wait);
    let batch = node.collect("process");
    assert_eq!(losses(&batch), [("labels_full", 4)]);
    assert_eq!(counted(&batch, ME).events("start"), 1);
    assert_eq!(counted(&batch, ME).events("exit"), 1);
    assert!(counted(&batch, "other").events("start") >= 4);
    assert!(counted(&batch, "other").exits("success") >= 4);
}

#[test]
fn a_small_ring_loses_no_counts() {
    let mut node = Node::limited(&["process"], &[("EVENTS", 4096)], watch_all);
    let mut programs = Vec::new();
    for round in 0..10 {
        let started: Vec<_> = (0..20)
            .map(|at| {
                let program = Program::named(format!("swarmlet-{round}-{at}"));
                let child = program.command("exit 7").spawn().unwrap();
                programs.push(program);
                child
            })
            .collect();
        for mut child in started {
            child.wait().unwrap();
        }
    }
    let of_both = |of: &dyn Fn(&str) -> u64| ["by-name", ME].map(of);
    let executed = |batch: &Batch| of_both(&|agent| counted(batch, agent).events("exec"));
    let ended = |batch: &Batch, status: &str| -> u64 {
        let ended = of_both(&|agent| counted(batch, agent).exits(status));
        ended.iter().sum()
    };
    // A slow machine may need more than one collection's patience for them.
    let batch = poll_until("all is counted", || {
        let batch = node.collect("process");
        let all = [executed(&batch).iter().sum(), ended(&batch, "failure")];
        all.iter().all(|count: &u64| *count >= 200).then_some(batch)
    });
    // What was lost, if anything, is the name under which some count.
    let executed = executed(&batch);
    assert_eq!(executed.iter().sum::<u64>(), 200);
    let ended = ["failure", "success", "signal"].map(|status| ended(&batch, status));
    assert_eq!(ended, [200, 0, 0]);
    let ours = executed[1];
    let lost: u64 = losses(&batch).iter().map(|(_, count)| count).sum();
    assert!(ours <= lost, "{ours} under the old name, {lost} lost");
}
