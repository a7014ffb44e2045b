//! Processes on a device, and what they hold of its memory.
//!
//! Knows nothing of who the processes are, nor what samples say of them.

use std::{collections::BTreeMap, os::raw::c_uint};

use nvml_wrapper_sys::bindings::{
    NvmlLib, nvmlDevice_t, nvmlProcessInfo_t, nvmlProcessUtilizationSample_t,
    nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE as INSUFFICIENT_SIZE,
    nvmlReturn_enum_NVML_ERROR_NOT_FOUND as NOT_FOUND, nvmlReturn_enum_NVML_SUCCESS as SUCCESS,
    nvmlReturn_t,
};

use super::{
    super::{GpuProcess, plausible},
    Reader,
    shares::{Now, Shares},
};

/// Room for this many at first. It grows.
const ROOM: usize = 64;
/// NVML may want more room each time, while processes start; it is not asked for ever.
const ATTEMPTS: usize = 4;
/// More than there can be processes: whatever NVML says.
const MOST: usize = 1 << 20;
/// NVML's number for "in no MIG instance".
const NO_INSTANCE: u32 = u32::MAX;

const NO_PROCESS: nvmlProcessInfo_t = nvmlProcessInfo_t {
    pid: 0,
    usedGpuMemory: 0,
    gpuInstanceId: NO_INSTANCE,
    computeInstanceId: NO_INSTANCE,
};

const NO_SAMPLE: nvmlProcessUtilizationSample_t = nvmlProcessUtilizationSample_t {
    pid: 0,
    timeStamp: 0,
    smUtil: 0,
    memUtil: 0,
    encUtil: 0,
    decUtil: 0,
};

/// Room for what NVML writes, kept from poll to poll.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    processes: Vec<nvmlProcessInfo_t>,
    samples: Vec<nvmlProcessUtilizationSample_t>,
}

impl Buffers {
    pub(super) fn read(&mut self, reader: &mut Reader<'_>, shares: &mut Shares) -> Vec<GpuProcess> {
        let mut processes = BTreeMap::new();
        let room = &mut self.processes;
        let compute = |lib: &NvmlLib, handle, count: &mut c_uint, room: &mut [_]| {
            let call = lib.nvmlDeviceGetComputeRunningProcesses_v3.as_ref().ok()?;
            // SAFETY: the handle is of this session, and `count` is the room's length.
            Some(unsafe { call(handle, count, room.as_mut_ptr()) })
        };
        let call = "nvmlDeviceGetComputeRunningProcesses_v3";
        merge(
            &mut processes,
            list(reader, call, room, NO_PROCESS, compute),
        );
        // Those that share the device by NVIDIA's multi-process service are in a list of their own.
        let sharing = |lib: &NvmlLib, handle, count: &mut c_uint, room: &mut [_]| {
            let call = lib
                .nvmlDeviceGetMPSComputeRunningProcesses_v3
                .as_ref()
                .ok()?;
            // SAFETY: as above.
            Some(unsafe { call(handle, count, room.as_mut_ptr()) })
        };
        let call = "nvmlDeviceGetMPSComputeRunningProcesses_v3";
        merge(
            &mut processes,
            list(reader, call, room, NO_PROCESS, sharing),
        );
        let graphics = |lib: &NvmlLib, handle, count: &mut c_uint, room: &mut [_]| {
            let call = lib.nvmlDeviceGetGraphicsRunningProcesses_v3.as_ref().ok()?;
            // SAFETY: as above.
            Some(unsafe { call(handle, count, room.as_mut_ptr()) })
        };
        let call = "nvmlDeviceGetGraphicsRunningProcesses_v3";
        merge(
            &mut processes,
            list(reader, call, room, NO_PROCESS, graphics),
        );
        let now = Now::read();
        let since = shares.seen_until(now);
        let samples = |lib: &NvmlLib, handle, count: &mut c_uint, room: &mut [_]| {
            let call = lib.nvmlDeviceGetProcessUtilization.as_ref().ok()?;
            // SAFETY: as above.
            match unsafe { call(handle, room.as_mut_ptr(), count, since) } {
                // There are no new ones.
                NOT_FOUND => {
                    *count = 0;
                    Some(SUCCESS)
                }
                other => Some(other),
            }
        };
        let call = "nvmlDeviceGetProcessUtilization";
        if let Some(samples) = list(reader, call, &mut self.samples, NO_SAMPLE, samples) {
            shares.attribute(&mut processes, samples, now);
        }
        processes.into_values().collect()
    }
}

/// Calls for a list until there is room enough for it. Nothing if the device does not tell.
fn list<'b, T: Copy>(
    reader: &mut Reader<'_>,
    call: &'static str,
    room: &'b mut Vec<T>,
    empty: T,
    read: impl Fn(&NvmlLib, nvmlDevice_t, &mut c_uint, &mut [T]) -> Option<nvmlReturn_t>,
) -> Option<&'b [T]> {
    if room.is_empty() {
        room.resize(ROOM, empty);
    }
    for _ in 0..ATTEMPTS {
        let mut small = false;
        let length = c_uint::try_from(room.len()).expect("the room is limited");
        let wanted = reader.raw(call, length, |lib, handle, count| {
            let code = read(lib, handle, count, room);
            small = code == Some(INSUFFICIENT_SIZE);
            if small { Some(SUCCESS) } else { code }
        });
        let wanted = wanted? as usize;
        if !small {
            return Some(&room[..wanted.min(room.len())]);
        }
        // Some drivers do not say how much is wanted.
        let wanted = wanted.max(room.len()).saturating_mul(2);
        if wanted > MOST {
            return None;
        }
        room.resize(wanted, empty);
    }
    None
}

/// By process and instance.
pub(super) type Processes = BTreeMap<(u32, Option<(u32, Option<u32>)>), GpuProcess>;

/// Adds a list. A process that is in several lists has the same memory in all.
fn merge(processes: &mut Processes, list: Option<&[nvmlProcessInfo_t]>) {
    for process in list.into_iter().flatten() {
        let part = |id: u32| (id != NO_INSTANCE).then_some(id);
        let mig = part(process.gpuInstanceId).map(|id| (id, part(process.computeInstanceId)));
        let bytes = plausible::count_u64(process.usedGpuMemory);
        let merged = processes.entry((process.pid, mig)).or_insert(GpuProcess {
            pid: process.pid,
            mig,
            ..GpuProcess::default()
        });
        merged.memory_bytes = merged.memory_bytes.max(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, memory: u64, mig: (u32, u32)) -> nvmlProcessInfo_t {
        nvmlProcessInfo_t {
            pid,
            usedGpuMemory: memory,
            gpuInstanceId: mig.0,
            computeInstanceId: mig.1,
        }
    }

    #[test]
    fn a_process_in_both_lists_counts_once() {
        const NONE: (u32, u32) = (NO_INSTANCE, NO_INSTANCE);
        let mut merged = Processes::new();
        let lists = [
            Some(vec![process(1, 100, NONE), process(2, u64::MAX, NONE)]),
            None,
            Some(vec![
                process(1, 100, NONE),
                process(1, 30, (2, 0)),
                process(3, 40, (2, NO_INSTANCE)),
            ]),
        ];
        for list in &lists {
            merge(&mut merged, list.as_deref());
        }
        let memory: Vec<_> = merged
            .values()
            .map(|process| (process.pid, process.mig, process.memory_bytes))
            .collect();
        let want = [
            (1, None, Some(100)),
            (1, Some((2, Some(0))), Some(30)),
            (2, None, None),
            (3, Some((2, None)), Some(40)),
        ];
        assert_eq!(memory, want);
    }
}
