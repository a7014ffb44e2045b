//! What the loader says when something does not load: "this kernel lacks it" is not "broken".

use aya::include_bytes_aligned;
use monitoring_agent::{
    loader::{Attach, Family, SharedMaps, load},
    offsets::Offsets,
    source::StartError,
};

const OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/syscalls"));

fn family<'a>(object: &'a [u8], programs: &'a [Attach]) -> Family<'a> {
    Family {
        name: "syscalls",
        object,
        globals: Vec::new(),
        map_sizes: Vec::new(),
        programs,
        tracing: None,
        debug: false,
    }
}

#[test]
fn a_missing_tracepoint_is_the_kernels() {
    let programs = [Attach::RawTracepoint("sys_enter", "no_such_tracepoint")];
    match load(
        &family(OBJECT, &programs),
        &SharedMaps::new(),
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
        &SharedMaps::new(),
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
    match load(&refused, &SharedMaps::new(), &mut Offsets::new()) {
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
            &SharedMaps::new(),
            &mut Offsets::new(),
        ) {
            Err(StartError::Broken(error)) => {
                assert!(format!("{error:#}").contains("syscalls"), "{error:#}");
            }
            other => panic!("{other:?}"),
        }
    }
}
