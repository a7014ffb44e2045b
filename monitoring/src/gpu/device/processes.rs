//! Processes on a device: what they hold of its memory, and how busy they keep it.
//!
//! Knows nothing of who the processes are.

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

/// The time of the newest sample of utilisation that was seen, by the device's clock.
#[derive(Debug, Default)]
pub(super) struct Seen(u64);

impl Buffers {
    pub(super) fn read(&mut self, reader: &mut Reader<'_>, seen: &mut Seen) -> Vec<GpuProcess> {
        let mut processes = BTreeMap::new();
        let compute = |lib: &NvmlLib, handle, count: &mut c_uint, room: &mut [_]| {
            let call = lib.nvmlDeviceGetComputeRunningProcesses_v3.as_ref().ok()?;
            // SAFETY: the handle is of this session, and `count` is the room's length.
            Some(unsafe { call(handle, count, room.as_mut_ptr()) })
        };
        let call = "nvmlDeviceGetComputeRunningProcesses_v3";
        merge(
            &mut processes,
            list(reader, call, &mut self.processes, NO_PROCESS, compute),
        );
        let graphics = |lib: &NvmlLib, handle, count: &mut c_uint, room: &mut [_]| {
            let call = lib.nvmlDeviceGetGraphicsRunningProcesses_v3.as_ref().ok()?;
            // SAFETY: as above.
            Some(unsafe { call(handle, count, room.as_mut_ptr()) })
        };
        let call = "nvmlDeviceGetGraphicsRunningProcesses_v3";
        merge(
            &mut processes,
            list(reader, call, &mut self.processes, NO_PROCESS, graphics),
        );
        let since = seen.0;
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
        let samples = list(reader, call, &mut self.samples, NO_SAMPLE, samples);
        attribute(&mut processes, samples, seen);
        processes.into_values().collect()
    }
}

/// Calls for a list until there is room enough for it.
fn list<'b, T: Copy>(
    reader: &mut Reader<'_>,
    call: &'static str,
    room: &'b mut Vec<T>,
    empty: T,
    read: impl Fn(&NvmlLib, nvmlDevice_t, &mut c_uint, &mut [T]) -> Option<nvmlReturn_t>,
) -> &'b [T] {
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
        let Some(wanted) = wanted.map(|wanted| wanted as usize) else {
            return &[];
        };
        if !small {
            return &room[..wanted.min(room.len())];
        }
        // Some drivers do not say how much is wanted.
        let wanted = wanted.max(room.len()).saturating_mul(2);
        if wanted > MOST {
            return &[];
        }
        room.resize(wanted, empty);
    }
    &[]
}

type Processes = BTreeMap<(u32, Option<(u32, u32)>), GpuProcess>;

/// Adds a list. A process that is in both lists has the same memory in both.
fn merge(processes: &mut Processes, list: &[nvmlProcessInfo_t]) {
    for process in list {
        let instance = (process.gpuInstanceId, process.computeInstanceId);
        let mig = (instance.0 != NO_INSTANCE).then_some(instance);
        let bytes = plausible::count_u64(process.usedGpuMemory);
        let merged = processes.entry((process.pid, mig)).or_insert(GpuProcess {
            pid: process.pid,
            mig,
            ..GpuProcess::default()
        });
        merged.memory_bytes = merged.memory_bytes.max(bytes);
    }
}

/// Gives each process the mean of its samples that are newer than those seen.
fn attribute(
    processes: &mut Processes,
    samples: &[nvmlProcessUtilizationSample_t],
    seen: &mut Seen,
) {
    let mut sums: BTreeMap<u32, (f64, u32)> = BTreeMap::new();
    let since = seen.0;
    for sample in samples.iter().filter(|sample| sample.timeStamp > since) {
        seen.0 = seen.0.max(sample.timeStamp);
        if let Some(ratio) = plausible::ratio(sample.smUtil) {
            let (sum, count) = sums.entry(sample.pid).or_default();
            *sum += ratio;
            *count += 1;
        }
    }
    for (pid, (sum, count)) in sums {
        if let Some(process) = processes.get_mut(&(pid, None)) {
            process.sm_utilization_ratio = Some(sum / f64::from(count));
        }
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

    const NONE: (u32, u32) = (NO_INSTANCE, NO_INSTANCE);

    #[test]
    fn a_process_in_both_lists_counts_once() {
        let mut merged = Processes::new();
        merge(
            &mut merged,
            &[process(1, 100, NONE), process(2, u64::MAX, NONE)],
        );
        merge(
            &mut merged,
            &[process(1, 100, NONE), process(1, 30, (2, 0))],
        );
        let memory: Vec<_> = merged
            .values()
            .map(|process| (process.pid, process.mig, process.memory_bytes))
            .collect();
        let want = [
            (1, None, Some(100)),
            (1, Some((2, 0)), Some(30)),
            (2, None, None),
        ];
        assert_eq!(memory, want);
    }

    #[test]
    fn utilisation_is_the_mean_of_new_samples() {
        let mut merged = Processes::new();
        merge(&mut merged, &[process(1, 0, NONE), process(2, 0, NONE)]);
        let sample = |pid, time, share| nvmlProcessUtilizationSample_t {
            pid,
            timeStamp: time,
            smUtil: share,
            ..NO_SAMPLE
        };
        let mut seen = Seen(100);
        let samples = [
            sample(1, 100, 90),
            sample(1, 101, 20),
            sample(1, 103, 40),
            sample(2, 102, 101),
        ];
        attribute(&mut merged, &samples, &mut seen);
        let ratios: Vec<_> = merged.values().map(|it| it.sm_utilization_ratio).collect();
        assert_eq!(ratios.len(), 2);
        assert!((ratios[0].unwrap() - 0.3).abs() < 1e-9);
        assert_eq!(ratios[1], None);
        assert_eq!(seen.0, 103);
    }
}
