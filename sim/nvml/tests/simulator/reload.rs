//! What a program sees that unloads the library and loads it again.

use std::fs;

use nvml_wrapper::{Nvml, bitmasks::event::EventTypes, error::NvmlError};

use crate::{load, one, until};

fn energy(nvml: &Nvml) -> u64 {
    let gpu = nvml.device_by_index(0).unwrap();
    gpu.total_energy_consumption().unwrap()
}

/// The code of the next event for a set that is made now, before `happens`.
fn next_xid(nvml: &Nvml, happens: impl FnOnce()) -> Option<String> {
    let set = nvml.create_event_set().unwrap();
    let gpu = nvml.device_by_index(0).unwrap();
    let set = gpu.register_events(EventTypes::CRITICAL_XID_ERROR, set);
    let set = set.map_err(|error| error.error).unwrap();
    happens();
    match set.wait(60) {
        Ok(event) => event.event_data.map(|data| format!("{data:?}")),
        Err(NvmlError::Timeout) => None,
        Err(other) => panic!("{other}"),
    }
}

fn is_mapped(library: &std::path::Path) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.contains(library.to_str().unwrap())
}

#[test]
fn counters_go_on_and_events_are_not_repeated() {
    let script = one("h200", "energy_mj = { start = 0, per_second = 1e6 }");
    let folder = tempfile::tempdir().unwrap();
    let library = nvml_sim::install(folder.path(), &script);
    let nvml = load(&library).unwrap();
    let script = script + "[[gpus.xids]]\ncode = 31\n";
    let xid = next_xid(&nvml, || nvml_sim::rewrite(&library, &script));
    assert_eq!(xid.as_deref(), Some("Value(31)"));
    until("it has grown", || energy(&nvml) > 50_000);
    let before = energy(&nvml);
    drop(nvml);
    assert!(!is_mapped(&library), "the library was not unloaded");
    let nvml = load(&library).unwrap();
    assert!(energy(&nvml) >= before);
    assert_eq!(next_xid(&nvml, || ()), None);
}

#[test]
fn a_replaced_library_is_another_driver() {
    let script = one("h200", "energy_mj = { start = 0, per_second = 1e6 }");
    let folder = tempfile::tempdir().unwrap();
    let library = nvml_sim::install(folder.path(), &script);
    let nvml = load(&library).unwrap();
    until("it has grown", || energy(&nvml) > 500_000);
    drop(nvml);
    nvml_sim::install(folder.path(), &script);
    assert!(energy(&load(&library).unwrap()) < 500_000);
}
