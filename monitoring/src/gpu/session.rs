//! The time from NVML's initialisation to its shutdown: which devices there are, and their state.
//!
//! Opens nothing again by itself: it says that it has ended, and its owner opens the next.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use nvml_wrapper::Nvml;

use super::{
    GpuError, GpuMetrics, XidErrors,
    backoff::Backoff,
    calls::Calls,
    device::{Device, Failure, History, Reader, Unsupported},
    events::{Events, Stuck},
    exchange::Exchange,
    plausible,
};
use nvml_wrapper_sys::bindings::NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE;

/// No machine has more devices; a driver that says so is not to be believed.
const MOST_DEVICES: u32 = 128;

/// NVML, initialised.
pub(super) struct Session {
    nvml: Arc<Nvml>,
    events: Events,
    /// By index: a device, or why it could not be had.
    devices: Vec<Result<Device, Missing>>,
    versions: Versions,
    system: Unsupported,
    retry_interval: Duration,
}

/// What outlives a session.
#[derive(Default)]
pub(super) struct Kept {
    /// What is measured from one poll to the next, of devices without a session.
    histories: BTreeMap<String, History>,
    stuck: Stuck,
}

/// A device that there is no handle of.
struct Missing {
    reason: String,
    /// Whether another session may have it.
    renewable: bool,
    /// To ask for a device may be an attempt to start it, which takes long if it is broken.
    retry: Backoff,
}

/// What a poll brought.
pub(super) struct Readings {
    pub(super) devices: BTreeMap<u32, GpuMetrics>,
    pub(super) lost: BTreeMap<u32, GpuError>,
    /// Of those that are lost, how many no other session would have: what is wrong with them is
    /// not that they went.
    pub(super) refused: usize,
    pub(super) xid_errors: BTreeMap<String, XidErrors>,
}

/// Versions that all devices have in common.
#[derive(Debug, Default)]
pub(super) struct Versions {
    pub(super) driver: String,
    pub(super) cuda: String,
}

impl Session {
    /// `retry_interval`: the first wait after an attempt to get something of a device that is
    /// missing.
    pub(super) fn new(nvml: Nvml, retry_interval: Duration) -> Self {
        Self {
            nvml: Arc::new(nvml),
            events: Events::new(retry_interval),
            devices: Vec::new(),
            versions: Versions::default(),
            system: Unsupported::default(),
            retry_interval,
        }
    }

    /// Reads all devices. An error is the end of the session.
    pub(super) fn read(
        &mut self,
        exchange: &Exchange,
        kept: &mut Kept,
    ) -> Result<Readings, GpuError> {
        let calls = &exchange.calls;
        let count = {
            let _call = calls.enter("nvmlDeviceGetCount_v2");
            self.nvml
                .device_count()
                .map_err(|error| GpuError::NoDriver(error.to_string()))?
        };
        if count > MOST_DEVICES {
            let why = format!("it says that there are {count} GPUs");
            return Err(GpuError::NoDriver(why));
        }
        self.find_devices(count, exchange, kept)?;
        let devices = self.devices.iter().flatten().map(Device::who);
        self.events
            .watch(&self.nvml, devices, exchange, &mut kept.stuck);
        let mut readings = Readings {
            devices: BTreeMap::new(),
            lost: BTreeMap::new(),
            refused: 0,
            xid_errors: BTreeMap::new(),
        };
        for (device_id, slot) in (0..count).zip(&mut self.devices) {
            let reason = match slot {
                Ok(device) => match device.read(&self.nvml, calls) {
                    Ok(metrics) => {
                        readings.devices.insert(device_id, metrics);
                        continue;
                    }
                    Err(Failure::Session(reason)) => return Err(GpuError::NoDriver(reason)),
                    Err(Failure::Device(reason) | Failure::Refused(reason)) => reason,
                },
                Err(missing) => {
                    readings.refused += usize::from(!missing.renewable);
                    missing.reason.clone()
                }
            };
            let lost = GpuError::Lost { device_id, reason };
            readings.lost.insert(device_id, lost);
        }
        readings.xid_errors = exchange.xids.all_counts();
        for metrics in readings.devices.values_mut() {
            let key = metrics.identity.key();
            let errors = key.and_then(|key| readings.xid_errors.get(key));
            metrics.xid_errors = errors.cloned().unwrap_or_default();
        }
        Ok(readings)
    }

    /// Looks up the devices that there is no handle of yet. NVML's handles stay the same until its
    /// shutdown, and to ask for one may take milliseconds.
    fn find_devices(
        &mut self,
        count: u32,
        exchange: &Exchange,
        kept: &mut Kept,
    ) -> Result<(), GpuError> {
        let calls = &exchange.calls;
        let versions_changed = self.versions.complete(&self.nvml, calls, &mut self.system);
        if versions_changed || self.devices.len() != count as usize {
            self.forget_devices(exchange, kept);
        }
        let now = Instant::now();
        for index in 0..count {
            let slot = self.devices.get_mut(index as usize);
            let retry = match slot {
                Some(Ok(_)) => continue,
                Some(Err(missing)) if !missing.retry.is_due(now) => continue,
                Some(Err(missing)) => Some(&mut missing.retry),
                None => None,
            };
            let mut backoff = Backoff::new(self.retry_interval);
            if let Some(retry) = retry {
                std::mem::swap(retry, &mut backoff);
            }
            backoff.failed(now);
            let histories = &mut kept.histories;
            let missing = |reason, renewable| Missing {
                reason,
                renewable,
                retry: backoff,
            };
            let found = match Device::find(index, &self.nvml, &self.versions, calls, histories) {
                Ok(device) => Ok(device),
                Err(Failure::Device(reason)) => Err(missing(reason, true)),
                Err(Failure::Refused(reason)) => Err(missing(reason, false)),
                Err(Failure::Session(reason)) => return Err(GpuError::NoDriver(reason)),
            };
            match self.devices.get_mut(index as usize) {
                Some(slot) => *slot = found,
                None => self.devices.push(found),
            }
        }
        Ok(())
    }

    /// Events are of the devices, and so end with them.
    fn forget_devices(&mut self, exchange: &Exchange, kept: &mut Kept) {
        self.events.close(exchange, &mut kept.stuck);
        for device in self.devices.drain(..).flatten() {
            let (uuid, history) = device.close(&self.nvml, &exchange.calls);
            // One without a name may be any device.
            if !uuid.is_empty() {
                kept.histories.insert(uuid, history);
            }
        }
    }

    /// Gives back all that NVML gave, and unloads it, unless a thread is stuck in it.
    pub(super) fn close(mut self, exchange: &Exchange, kept: &mut Kept) {
        self.forget_devices(exchange, kept);
        let _call = exchange.calls.enter("nvmlShutdown");
        drop(self.nvml);
    }
}

impl Versions {
    /// Reads those that are not known yet. Says whether one is known now.
    fn complete(&mut self, nvml: &Nvml, calls: &Calls, unsupported: &mut Unsupported) -> bool {
        let mut reader = Reader::of_system(nvml, calls, unsupported);
        let driver = self.driver.is_empty() && self.read_driver(&mut reader);
        let cuda = self.cuda.is_empty() && self.read_cuda(&mut reader);
        driver || cuda
    }

    fn read_driver(&mut self, reader: &mut Reader<'_>) -> bool {
        self.driver = reader.text(
            "nvmlSystemGetDriverVersion",
            NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE,
            |lib, _, text, length| {
                let call = lib.nvmlSystemGetDriverVersion.as_ref().ok()?;
                // SAFETY: the buffer is as long as is said.
                Some(unsafe { call(text, length) })
            },
        );
        !self.driver.is_empty()
    }

    fn read_cuda(&mut self, reader: &mut Reader<'_>) -> bool {
        let cuda = reader.get("nvmlSystemGetCudaDriverVersion_v2", |nvml, _| {
            nvml.sys_cuda_driver_version()
        });
        self.cuda = cuda.map(cuda_version).unwrap_or_default();
        !self.cuda.is_empty()
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
