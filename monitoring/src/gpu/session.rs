//! The time from NVML's initialisation to its shutdown: which devices there are, and their state.
//!
//! Opens nothing again by itself: it says that it has ended, and its owner opens the next.

use std::{collections::BTreeMap, sync::Arc};

use nvml_wrapper::Nvml;

use super::{
    GpuError, GpuMetrics,
    calls::Calls,
    device::{Device, Failure, History, Reader, Unsupported},
    events::Events,
    exchange::Exchange,
    plausible,
};
use nvml_wrapper_sys::bindings::NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE;

/// NVML, initialised.
pub(super) struct Session {
    nvml: Arc<Nvml>,
    events: Events,
    /// By index: a device, or why it could not be had.
    devices: Vec<Result<Device, String>>,
    versions: Versions,
}

/// What a poll brought.
pub(super) struct Readings {
    pub(super) devices: BTreeMap<u32, GpuMetrics>,
    pub(super) lost: BTreeMap<u32, GpuError>,
}

/// Versions that all devices have in common.
#[derive(Debug, Default)]
pub(super) struct Versions {
    pub(super) driver: String,
    pub(super) cuda: String,
}

impl Session {
    pub(super) fn new(nvml: Nvml, calls: &Calls) -> Self {
        let versions = Versions::read(&nvml, calls);
        Self {
            nvml: Arc::new(nvml),
            events: Events::default(),
            devices: Vec::new(),
            versions,
        }
    }

    /// Reads all devices. An error is the end of the session.
    pub(super) fn read(
        &mut self,
        exchange: &Exchange,
        histories: &mut BTreeMap<String, History>,
    ) -> Result<Readings, GpuError> {
        let calls = &exchange.calls;
        let count = {
            let _call = calls.enter("nvmlDeviceGetCount_v2");
            self.nvml
                .device_count()
                .map_err(|error| GpuError::NoDriver(error.to_string()))?
        };
        self.find_devices(count, calls, histories)?;
        self.events
            .watch(&self.nvml, &self.devices, calls, &exchange.xids);
        let mut readings = Readings {
            devices: BTreeMap::new(),
            lost: BTreeMap::new(),
        };
        for (device_id, slot) in (0..count).zip(&mut self.devices) {
            let read = match slot {
                Ok(device) => device.read(&self.nvml, calls),
                Err(reason) => Err(Failure::Device(reason.clone())),
            };
            match read {
                Ok(mut metrics) => {
                    metrics.xid_errors = exchange.xids.counts(&metrics.identity.uuid);
                    readings.devices.insert(device_id, metrics);
                }
                Err(Failure::Device(reason)) => {
                    readings
                        .lost
                        .insert(device_id, GpuError::Lost { device_id, reason });
                }
                Err(Failure::Session(reason)) => return Err(GpuError::NoDriver(reason)),
            }
        }
        Ok(readings)
    }

    /// Looks up the devices that there is no handle of yet. NVML's handles stay the same until its
    /// shutdown, and to ask for one may take milliseconds.
    fn find_devices(
        &mut self,
        count: u32,
        calls: &Calls,
        histories: &mut BTreeMap<String, History>,
    ) -> Result<(), GpuError> {
        if self.devices.len() != count as usize {
            self.forget_devices(calls, histories);
        }
        for index in 0..count {
            if matches!(self.devices.get(index as usize), Some(Ok(_))) {
                continue;
            }
            let found = match Device::find(index, &self.nvml, &self.versions, calls, histories) {
                Ok(device) => Ok(device),
                Err(Failure::Device(reason)) => Err(reason),
                Err(Failure::Session(reason)) => return Err(GpuError::NoDriver(reason)),
            };
            match self.devices.get_mut(index as usize) {
                Some(slot) => *slot = found,
                None => self.devices.push(found),
            }
        }
        Ok(())
    }

    fn forget_devices(&mut self, calls: &Calls, histories: &mut BTreeMap<String, History>) {
        for device in self.devices.drain(..).flatten() {
            let (uuid, history) = device.close(&self.nvml, calls);
            histories.insert(uuid, history);
        }
    }

    /// Gives back all that NVML gave, and unloads it.
    pub(super) fn close(mut self, calls: &Calls, histories: &mut BTreeMap<String, History>) {
        self.events.close(&self.nvml, calls);
        self.forget_devices(calls, histories);
        let _call = calls.enter("nvmlShutdown");
        drop(self.nvml);
    }
}

impl Versions {
    fn read(nvml: &Nvml, calls: &Calls) -> Self {
        let mut unsupported = Unsupported::default();
        let mut reader = Reader::of_system(nvml, calls, &mut unsupported);
        let driver = reader.text(
            "nvmlSystemGetDriverVersion",
            NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE,
            |lib, _, text, length| {
                let call = lib.nvmlSystemGetDriverVersion.as_ref().ok()?;
                // SAFETY: the buffer is as long as is said.
                Some(unsafe { call(text, length) })
            },
        );
        let cuda = reader.get("nvmlSystemGetCudaDriverVersion_v2", |nvml, _| {
            nvml.sys_cuda_driver_version()
        });
        Self {
            driver,
            cuda: cuda.map(cuda_version).unwrap_or_default(),
        }
    }
}

/// NVML has thousands for the major version and tens for the minor one.
fn cuda_version(number: i32) -> String {
    match u32::try_from(number).ok().and_then(plausible::count_u32) {
        Some(number) if number > 0 => format!("{}.{}", number / 1000, number % 1000 / 10),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuda_versions() {
        for (number, want) in [
            (12080, "12.8"),
            (11000, "11.0"),
            (13010, "13.1"),
            (-1, ""),
            (0, ""),
        ] {
            assert_eq!(cuda_version(number), want);
        }
    }
}
