//! XID events: each once, in order, to each who waits.

use std::{
    thread,
    time::{Duration, Instant},
};

use nvml_wrapper::{
    EventSet, bitmasks::event::EventTypes, enums::event::XidError, error::NvmlError,
};
use nvml_wrapper_sys::bindings::nvmlEventData_t;

use crate::{Rig, one, refused};

fn xids(codes: &[u64]) -> String {
    let entry = |code: &u64| format!("[[gpus.xids]]\ncode = {code}\n");
    one("h200", "") + &codes.iter().map(entry).collect::<String>()
}

fn listen(rig: &Rig) -> EventSet<'_> {
    let set = rig.nvml.create_event_set().unwrap();
    let registered = rig
        .gpu()
        .register_events(EventTypes::CRITICAL_XID_ERROR, set);
    registered.map_err(|error| error.error).unwrap()
}

/// All that are there, and no more.
fn all(set: &EventSet<'_>) -> Vec<u64> {
    let mut codes = Vec::new();
    loop {
        match set.wait(60) {
            Ok(event) => match event.event_data {
                Some(XidError::Value(code)) => codes.push(code),
                other => panic!("{other:?}"),
            },
            Err(NvmlError::Timeout) => return codes,
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn each_is_delivered_once_and_in_order_repeats_too() {
    let rig = Rig::new(&xids(&[]));
    let set = listen(&rig);
    rig.rewrite(&xids(&[31, 31, 79]));
    assert_eq!(all(&set), [31, 31, 79]);
    rig.rewrite(&xids(&[31, 31, 79, 79, 48]));
    assert_eq!(all(&set), [79, 48]);
}

#[test]
fn what_happened_before_is_told_nobody() {
    let rig = Rig::new(&xids(&[31]));
    let set = listen(&rig);
    assert!(all(&set).is_empty());
    rig.rewrite(&xids(&[31, 79]));
    assert_eq!(all(&set), [79]);
    assert!(all(&listen(&rig)).is_empty());
}

#[test]
fn each_set_gets_each() {
    let rig = Rig::new(&xids(&[]));
    let sets = [listen(&rig), listen(&rig)];
    rig.rewrite(&xids(&[13, 13]));
    for set in &sets {
        assert_eq!(all(set), [13, 13]);
    }
}

#[test]
fn a_wait_ends_when_an_event_comes_and_lasts_its_time_otherwise() {
    let rig = Rig::new(&xids(&[]));
    let set = listen(&rig);
    let since = Instant::now();
    refused!(set.wait(100), Timeout);
    assert!(since.elapsed() >= Duration::from_millis(100));
    let library = &rig.library;
    thread::scope(|scope| {
        scope.spawn(|| nvml_sim::rewrite(library, &xids(&[94])));
        let event = set.wait(20_000).unwrap();
        assert_eq!(event.event_data, Some(XidError::Value(94)));
        assert_eq!(event.device.uuid().unwrap(), rig.gpu().uuid().unwrap());
    });
}

#[test]
fn an_event_may_be_of_an_instance() {
    let entry = "[[gpus.xids]]\ncode = 43\ngpu_instance_id = 9\ncompute_instance_id = 0\n";
    let rig = Rig::new(&xids(&[]));
    let set = listen(&rig);
    rig.rewrite(&(xids(&[13]) + entry));
    let wait = || {
        // SAFETY: a structure of numbers and a pointer.
        let mut event: nvmlEventData_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is one of this library's.
        let code = unsafe {
            let set = set.handle();
            rig.nvml
                .lib()
                .nvmlEventSetWait_v2(set.cast(), (&raw mut event).cast(), 1000)
        };
        assert_eq!((code, event.eventType), (0, 8));
        (
            event.eventData,
            event.gpuInstanceId,
            event.computeInstanceId,
        )
    };
    assert_eq!(wait(), (13, u32::MAX, u32::MAX));
    assert_eq!(wait(), (43, 9, 0));
}

#[test]
fn events_come_when_it_is_time_and_again() {
    let entries = "[[gpus.xids]]\ncode = 1\nafter_seconds = 3600\n\
                   [[gpus.xids]]\ncode = 2\nevery_seconds = 0.05\n";
    let rig = Rig::new(&(one("l4", "") + entries));
    let set = listen(&rig);
    for _ in 0..3 {
        let event = set.wait(20_000).unwrap();
        assert_eq!(event.event_data, Some(XidError::Value(2)));
    }
}

#[test]
fn what_a_model_does_not_report_is_not_registered() {
    let rig = Rig::new(&one("rtx4090", "event_types = 8"));
    let types = rig.gpu().supported_event_types().unwrap();
    assert_eq!(types, EventTypes::CRITICAL_XID_ERROR);
    let set = rig.nvml.create_event_set().unwrap();
    let refusal = rig.gpu().register_events(EventTypes::CLOCK_CHANGE, set);
    assert!(matches!(
        refusal.unwrap_err().error,
        NvmlError::NotSupported
    ));
}
