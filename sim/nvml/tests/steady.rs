//! Memory, in a process that does nothing else.

use std::fs;

use nvml_wrapper::{Nvml, enum_wrappers::device::TemperatureSensor};

/// Much less than a few bytes for each of the polls.
const SLACK_PAGES: u64 = 128;

#[test]
fn a_hundred_thousand_polls_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let script = "[[gpus]]\nmodel = \"h200\"\n[[gpus.processes]]\npid = 1\nsm_percent = 3\n";
    let library = nvml_sim::install(folder.path(), script);
    let nvml = Nvml::builder()
        .lib_path(library.as_os_str())
        .init()
        .unwrap();
    let poll = |count: u32| {
        for _ in 0..count {
            let gpu = nvml.device_by_index(0).unwrap();
            assert_eq!(gpu.temperature(TemperatureSensor::Gpu).unwrap(), 29);
            assert_eq!(gpu.running_compute_processes().unwrap().len(), 1);
            gpu.gpm_sample().unwrap().free().unwrap();
            let set = nvml.create_event_set().unwrap();
            set.release_events().unwrap();
        }
    };
    poll(1_000);
    let before = resident_pages();
    poll(100_000);
    let after = resident_pages();
    assert!(after < before + SLACK_PAGES, "{after} pages after {before}");
}

fn resident_pages() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse().unwrap()
}
