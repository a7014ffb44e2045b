//! Tasks that nobody gave a state: what they do is counted as lost.

use aya::{
    include_bytes_aligned,
    maps::{Array, Map},
};
use monitoring_agent::{
    kernel_state::Losses,
    loader::{Attach, Family, SharedMaps, field, load},
    offsets::Offsets,
};
use monitoring_common::sched::lost;

use super::worker::{NAPS, Task, Worker};

const OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sched"));

/// The programs without those that give tasks their states.
const PROGRAMS: &[Attach] = &[
    Attach::BtfTracepoint("sched_wakeup", "sched_wakeup"),
    Attach::BtfTracepoint("sched_switch", "sched_switch"),
];

#[test]
fn tasks_without_a_state_are_lost_and_counted() {
    let mut offsets = Offsets::new();
    let fields = [
        ("PID_OFFSET", "pid"),
        ("TGID_OFFSET", "tgid"),
        ("STATE_OFFSET", "__state"),
        ("VOLUNTARY_OFFSET", "nvcsw"),
        // Any word will do: nobody's reason is looked at.
        ("IOWAIT_OFFSET", "pid"),
    ];
    let mut offset_of = |name| vec![field(&mut offsets, "task_struct", name).unwrap()];
    let globals = fields.map(|(global, name)| (global, offset_of(name)));
    let family = Family {
        name: "sched",
        object: OBJECT,
        globals: globals.to_vec(),
        map_sizes: Vec::new(),
        programs: PROGRAMS,
        tracing: None,
        debug: false,
    };
    let mut worker = Worker::start(None);
    let mut loaded = load(&family, &SharedMaps::new(), &mut offsets).unwrap();
    let mut losses = Losses::new(&mut loaded, &lost::REASONS).unwrap();
    let complete = Map::Array(loaded.take_map("COMPLETE").unwrap());
    let mut complete: Array<_, u32> = complete.try_into().unwrap();
    worker.does(Task::Naps);
    let none = lost::REASONS.map(|reason| (reason, 0));
    assert_eq!(
        losses.read().unwrap(),
        none,
        "nobody should have a state yet"
    );
    complete.set(0, 1, 0).unwrap();
    let before = worker.switches();
    worker.does(Task::Naps);
    let after = worker.switches();
    let lost = losses.read().unwrap();
    let own: u64 = after.iter().sum::<u64>() - before.iter().sum::<u64>();
    assert!(own >= NAPS);
    for (reason, count) in lost {
        match reason {
            // Everybody's, of this moment.
            "switch" => assert!(
                count >= own,
                "{count} switches lost, {own} of them the worker's"
            ),
            _ => assert_eq!(count, 0, "{reason}: nobody has a state that could be wrong"),
        }
    }
}
