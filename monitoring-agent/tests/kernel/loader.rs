//! What the loader says when something does not load: "this kernel lacks it" is not "broken".

use std::{collections::BTreeSet, process::Command};

use aya::{
    include_bytes_aligned,
    maps::{Map, RingBuf},
};
use monitoring_agent::{
    kernel_state::Losses,
    loader::{Attach, Family, SharedMaps, load},
    offsets::Offsets,
    source::StartError,
};
use monitoring_common::process::lost;

const OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/syscalls"));

fn family<'a>(object: &'a [u8], programs: &'a [Attach]) -> Family<'a> {
    Family {
        name: "syscalls",
        object,
        globals: Vec::new(),
        map_sizes: Vec::new(),
        programs,
        debug: false,
    }
}

#[test]
fn a_missing_tracepoint_is_the_kernels() {
    let programs = [Attach::RawTracepoint("sys_enter", "no_such_tracepoint")];
    match load(
        &family(OBJECT, &programs),
        &mut SharedMaps::new(),
        &mut Offsets::new(),
    ) {
        Err(StartError::Unsupported(why)) => {
            assert!(
                why.contains("sys_enter") && why.contains("tracepoint"),
                "{why}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_missing_tracepoint_leaves_the_other_program() {
    let programs = [
        Attach::RawTracepoint("sys_enter", "no_such_tracepoint"),
        Attach::RawTracepoint("sys_exit", "sys_exit"),
    ];
    let loaded = load(
        &family(OBJECT, &programs),
        &mut SharedMaps::new(),
        &mut Offsets::new(),
    )
    .unwrap();
    let attached: Vec<_> = loaded
        .programs
        .iter()
        .map(|(name, attached)| (*name, attached.is_ok()))
        .collect();
    assert_eq!(attached, [("sys_enter", false), ("sys_exit", true)]);
}

#[test]
fn what_the_verifier_refuses_is_broken_and_said_in_its_words() {
    let programs = [Attach::RawTracepoint("sys_enter", "sys_enter")];
    let mut refused = family(OBJECT, &programs);
    // No field of task_struct is there: the structure is not that long.
    refused.globals = vec![("COMPAT_OFFSET", vec![1 << 20])];
    match load(&refused, &mut SharedMaps::new(), &mut Offsets::new()) {
        Err(StartError::Broken(error)) => {
            let message = format!("{error:#}");
            assert!(message.contains("sys_enter"), "{message}");
            assert!(
                message.contains("task_struct"),
                "the verifier's log: {message}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_object_is_broken() {
    let programs = [Attach::RawTracepoint("sys_enter", "sys_enter")];
    for object in [&b""[..], b"\x7fELF", &OBJECT[..OBJECT.len() / 2]] {
        match load(
            &family(object, &programs),
            &mut SharedMaps::new(),
            &mut Offsets::new(),
        ) {
            Err(StartError::Broken(error)) => {
                assert!(format!("{error:#}").contains("syscalls"), "{error:#}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A ring that nobody empties: what does not fit is counted, event by event.
#[test]
fn a_full_ring_counts_every_event_it_refuses() {
    const EXECUTIONS: u64 = 400;
    let programs = [Attach::RawTracepoint(
        "sched_process_exec",
        "sched_process_exec",
    )];
    let process = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/process"));
    let mut small = family(process, &programs);
    // 256 events of 8 bytes, each with a header of 8.
    small.map_sizes = vec![("EVENTS", 4096)];
    let mut loaded = load(&small, &mut SharedMaps::new(), &mut Offsets::new()).unwrap();
    let mut losses = Losses::new(&mut loaded, &lost::REASONS).unwrap();
    let events = Map::RingBuf(loaded.take_map("EVENTS").unwrap());
    let mut events = RingBuf::try_from(events).unwrap();
    let mut own = BTreeSet::new();
    for _ in 0..EXECUTIONS {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        own.insert(child.id());
        assert!(child.wait().unwrap().success());
    }
    // Nothing is counted from here on.
    drop(loaded);
    let mut kept = 0;
    while let Some(event) = events.next() {
        let pid = u32::from_ne_bytes(event[..4].try_into().unwrap());
        kept += u64::from(own.contains(&pid));
    }
    let totals = losses.read().unwrap();
    let of = |reason| totals.iter().find(|(name, _)| *name == reason).unwrap().1;
    assert!((1..=256).contains(&kept), "{kept} events in room for 256");
    // Other processes of the node may have executed something, too.
    assert!(
        kept + of("ring_full") >= EXECUTIONS,
        "{kept} kept, lost: {totals:?}"
    );
    assert!(
        of("ring_full") < 2 * EXECUTIONS,
        "{kept} kept, lost: {totals:?}"
    );
    assert_eq!(of("labels_full"), 0);
}
