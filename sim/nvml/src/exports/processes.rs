//! Who uses a device.

use std::ffi::{c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{nvmlProcessInfo_t, nvmlProcessUtilizationSample_t};

use super::{samples, utilization::undivided};
use crate::{
    abi::{Answer, Code, Out},
    script::Process,
    unit::Unit,
};

device_calls! {
    fn nvmlDeviceGetComputeRunningProcesses_v3(
        count: Out<c_uint>, infos: Out<nvmlProcessInfo_t>
    ) |unit| {
        infos.fill(count, &running(unit, |process| !process.graphics && !process.mps)?)
    }

    fn nvmlDeviceGetGraphicsRunningProcesses_v3(
        count: Out<c_uint>, infos: Out<nvmlProcessInfo_t>
    ) |unit| {
        infos.fill(count, &running(unit, |process| process.graphics)?)
    }

    fn nvmlDeviceGetMPSComputeRunningProcesses_v3(
        count: Out<c_uint>, infos: Out<nvmlProcessInfo_t>
    ) |unit| {
        infos.fill(count, &running(unit, |process| process.mps)?)
    }

    fn nvmlDeviceGetProcessUtilization(
        shares: Out<nvmlProcessUtilizationSample_t>, count: Out<c_uint>, last_seen: c_ulonglong
    ) |unit| {
        count.check()?;
        undivided(unit)?;
        let shares_now = shares_since(unit, last_seen)?;
        if shares_now.is_empty() {
            count.put(0)?;
            return Err(Code::NOT_FOUND);
        }
        shares.fill(count, &shares_now)
    }
}

/// Processes of the device, and of its instances if it is a GPU.
fn running(unit: &Unit, wanted: fn(&Process) -> bool) -> Answer<Vec<nvmlProcessInfo_t>> {
    let here = |process: &&Process| match unit.mig() {
        Some(mig) => {
            process.gpu_instance_id == mig.gpu_instance_id
                && process.compute_instance_id == mig.compute_instance_id
        }
        None => true,
    };
    let processes = unit.gpu().processes.iter();
    let processes = processes.filter(|process| wanted(process)).filter(here);
    let info = |process: &Process| {
        Ok(nvmlProcessInfo_t {
            pid: process.pid,
            usedGpuMemory: process.memory_bytes.number(unit.seconds)?.u64(),
            gpuInstanceId: process.gpu_instance_id,
            computeInstanceId: process.compute_instance_id,
        })
    };
    processes.map(info).collect()
}

/// What each process had in the newest sample, if that is newer than what the caller has seen.
/// Processes that did nothing are not in it.
fn shares_since(unit: &Unit, last_seen: u64) -> Answer<Vec<nvmlProcessUtilizationSample_t>> {
    let newest = samples::newest(unit)?;
    let mut shares = Vec::new();
    if newest.wall_us <= last_seen {
        return Ok(shares);
    }
    for process in &unit.gpu().processes {
        let mut percents = [0; 4];
        for (percent, value) in percents.iter_mut().zip(&process.percents) {
            *percent = value.number(newest.seconds)?.u32();
        }
        let [smUtil, memUtil, encUtil, decUtil] = percents;
        if percents != [0; 4] {
            shares.push(nvmlProcessUtilizationSample_t {
                pid: process.pid,
                timeStamp: newest.wall_us,
                smUtil,
                memUtil,
                encUtil,
                decUtil,
            });
        }
    }
    Ok(shares)
}
