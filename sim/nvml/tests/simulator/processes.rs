//! Who uses a device, and how much of it.

use nvml_wrapper::enum_wrappers::device::Sampling;
use nvml_wrapper::enums::device::UsedGpuMemory;

use crate::{Rig, one, refused, until};

const PROCESSES: &str = "
[[gpus.processes]]
pid = 1
memory_bytes = 5000000000
sm_percent = 40
[[gpus.processes]]
pid = 2
memory_bytes = \"NOT_AVAILABLE\"
sm_percent = 7
memory_percent = 3
[[gpus.processes]]
pid = 3
graphics = true
memory_bytes = 99
[[gpus.processes]]
pid = 4
mps = true
name = \"trainer\"
";

#[test]
fn processes_are_listed_by_kind() {
    let rig = Rig::new(&(one("h200", "") + PROCESSES));
    let gpu = rig.gpu();
    let compute = gpu.running_compute_processes().unwrap();
    let memory = |at: usize| format!("{:?}", compute[at].used_gpu_memory);
    assert_eq!(
        compute
            .iter()
            .map(|process| process.pid)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(
        memory(0),
        format!("{:?}", UsedGpuMemory::Used(5_000_000_000))
    );
    assert_eq!(memory(1), format!("{:?}", UsedGpuMemory::Unavailable));
    assert_eq!(gpu.running_graphics_processes().unwrap()[0].pid, 3);
    assert_eq!(gpu.mps_running_compute_processes().unwrap()[0].pid, 4);
    assert_eq!(rig.nvml.sys_process_name(4, 64).unwrap(), "trainer");
}

#[test]
fn a_list_that_is_too_short_is_not_filled() {
    let rig = Rig::new(&(one("h200", "") + PROCESSES));
    let mut count = 1;
    // SAFETY: the device is one of this library's, and there is room for one process.
    let code = unsafe {
        let mut info = std::mem::zeroed();
        let device = rig.gpu().handle();
        let lib = rig.nvml.lib();
        lib.nvmlDeviceGetComputeRunningProcesses_v3(device, &raw mut count, &raw mut info)
    };
    assert_eq!((code, count), (7, 2));
}

#[test]
fn shares_are_told_once_for_each_sample() {
    let rig = Rig::new(&(one("h200", "sample_period_us = 50000") + PROCESSES));
    let gpu = rig.gpu();
    let shares = gpu.process_utilization_stats(None).unwrap();
    let found: Vec<_> = shares
        .iter()
        .map(|share| (share.pid, share.sm_util, share.mem_util))
        .collect();
    assert_eq!(found, [(1, 40, 0), (2, 7, 3)]);
    let newest = shares[0].timestamp;
    until("there is a newer one", || {
        match gpu.process_utilization_stats(newest) {
            Ok(newer) => newer[0].timestamp > newest,
            Err(error) => {
                assert!(matches!(error, nvml_wrapper::error::NvmlError::NotFound));
                false
            }
        }
    });
    refused!(gpu.process_utilization_stats(u64::MAX), NotFound);
}

#[test]
fn samples_are_those_since_the_last() {
    let rig = Rig::new(&one("h200", "sample_period_us = 1000\npower_usage_mw = 7"));
    let gpu = rig.gpu();
    let mut samples = Vec::new();
    until("there are some", || {
        samples = gpu.samples(Sampling::Power, None).unwrap_or_default();
        samples.len() > 3
    });
    let newest = samples.last().unwrap().timestamp;
    let newer = gpu.samples(Sampling::Power, newest).unwrap_or_default();
    assert!(newer.iter().all(|sample| sample.timestamp > newest));
    assert_eq!(format!("{:?}", samples[0].value), "U32(7)");
}
