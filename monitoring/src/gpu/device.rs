//! One device in a session: what is read of it once, and what at each poll.
//!
//! Each file beside this one owns a few readings and knows nothing of the others'. Knows nothing
//! of other devices, nor of when it is polled.

mod activity;
mod clocks;
mod ecc;
mod fields;
mod identity;
mod memory;
mod mig;
mod nvlink;
mod pcie;
mod power;
mod processes;
mod reader;
mod shares;
mod steady;
mod temperature;
mod throttle;

use std::{collections::BTreeMap, sync::Arc};

use nvml_wrapper::Nvml;
use nvml_wrapper_sys::bindings::nvmlDevice_t;

pub(super) use reader::{Failure, Reader, Unsupported};

use super::{
    Activity, GpuIdentity, GpuMetrics, Reading, calls::Calls, plausible, session::Versions,
};

/// A device as long as its handle holds.
pub(super) struct Device {
    index: u32,
    handle: nvmlDevice_t,
    steady: steady::Steady,
    unsupported: Unsupported,
    processes: processes::Buffers,
    activity: activity::Samples,
    mig: mig::Instances,
    /// It ends with the session, because the device's counters may.
    pcie: pcie::Counted,
    history: History,
}

/// What is measured from one poll to the next. It outlives the session.
#[derive(Debug, Default)]
pub(super) struct History {
    shares: shares::Shares,
}

impl Device {
    /// The device of a number, with all that is read once. One that does not tell its UUID is not
    /// found, because all that is known of a device is known by that.
    pub(super) fn find(
        index: u32,
        nvml: &Nvml,
        versions: &Versions,
        calls: &Calls,
        histories: &mut BTreeMap<String, History>,
    ) -> Result<Self, Failure> {
        let device = {
            let _call = calls.enter("nvmlDeviceGetHandleByIndex_v2");
            nvml.device_by_index(index)
                .map_err(|error| Failure::of_handle(&error))?
        };
        // SAFETY: the handle is used only with the session that it is of.
        let handle = unsafe { device.handle() };
        let mut unsupported = Unsupported::default();
        let mut reader = Reader::new(nvml, handle, calls, &mut unsupported);
        let steady = steady::Steady::new(&mut reader, versions);
        reader.check()?;
        if steady.identity.uuid.is_empty() {
            return Err(Failure::Device("it does not tell its UUID".into()));
        }
        let history = histories.remove(&steady.identity.uuid).unwrap_or_default();
        Ok(Self {
            index,
            handle,
            steady,
            unsupported,
            processes: processes::Buffers::default(),
            activity: activity::Samples::default(),
            mig: mig::Instances::default(),
            pcie: pcie::Counted::default(),
            history,
        })
    }

    /// All that is known of it now.
    pub(super) fn read(&mut self, nvml: &Nvml, calls: &Calls) -> Result<GpuMetrics, Failure> {
        self.unsupported.begin_poll();
        let mut reader = Reader::new(nvml, self.handle, calls, &mut self.unsupported);
        let reader = &mut reader;
        if self.mig.read_mode(reader) {
            reader.forget_unsupported();
            self.steady.expire();
        }
        self.steady.refresh(reader);
        let steady = &mut self.steady;
        let fields = fields::Values::read(reader, &steady.identity.driver_version);
        let utilization = reader.get("nvmlDeviceGetUtilizationRates", |_, device| {
            device.utilization_rates()
        });
        let percent = utilization
            .as_ref()
            .and_then(|rates| plausible::percent(rates.gpu));
        let encoder = reader.get("nvmlDeviceGetEncoderUtilization", |_, device| {
            device.encoder_utilization()
        });
        let decoder = reader.get("nvmlDeviceGetDecoderUtilization", |_, device| {
            device.decoder_utilization()
        });
        let activity = if steady.sampled {
            self.activity.read(reader, None)
        } else {
            Activity::default()
        };
        let mut metrics = GpuMetrics {
            device_id: self.index,
            identity: Arc::clone(&steady.identity),
            utilization: Reading::from(percent.map(f64::from)),
            temperature: Reading::from(temperature::read(reader)),
            memory_utilization_ratio: utilization.and_then(|it| plausible::ratio(it.memory)),
            encoder_utilization_ratio: encoder.and_then(|it| plausible::ratio(it.utilization)),
            decoder_utilization_ratio: decoder.and_then(|it| plausible::ratio(it.utilization)),
            memory: memory::read(reader),
            memory_temperature_celsius: temperature::memory(&fields),
            temperature_thresholds_celsius: steady.temperature_thresholds.clone(),
            power_watts: power::read(reader),
            power_limit_watts: power::read_limit(reader),
            energy_joules: power::read_energy(reader),
            clocks_hertz: clocks::read(reader),
            clocks_max_hertz: steady.clocks_max_hertz.clone(),
            fan_speed_ratios: power::read_fans(reader, steady.fans),
            pcie: pcie::read(
                reader,
                &fields,
                steady.sampled,
                steady.link_rate,
                &mut self.pcie,
            ),
            throttle_reasons: throttle::read(reader, steady.supported_reasons, &fields),
            ecc_errors: ecc::read_errors(reader),
            remapped_rows: ecc::remapped_rows(&fields),
            retired_pages: ecc::read_retired_pages(reader, &fields),
            nvlink: nvlink::read(reader, &mut steady.links, &fields),
            mig: self.mig.read(reader, steady.sampled),
            processes: self.processes.read(reader, &mut self.history.shares),
            activity,
            ..GpuMetrics::default()
        };
        reader.check()?;
        pcie::prefer_measured(&mut metrics.pcie, &metrics.activity);
        metrics.unsupported = self.unsupported.names();
        Ok(metrics)
    }

    /// Its handle, index and identity.
    pub(super) fn who(&self) -> (nvmlDevice_t, u32, &GpuIdentity) {
        (self.handle, self.index, &self.steady.identity)
    }

    /// Gives back what NVML gave. What is left is for the device's next session.
    pub(super) fn close(self, nvml: &Nvml, calls: &Calls) -> (String, History) {
        self.activity.free(nvml, calls);
        self.mig.free(nvml, calls);
        (self.steady.identity.uuid.clone(), self.history)
    }
}
