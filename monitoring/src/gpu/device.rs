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
mod temperature;
mod throttle;

use std::{collections::BTreeMap, sync::Arc};

use nvml_wrapper::Nvml;
use nvml_wrapper_sys::bindings::nvmlDevice_t;

pub(super) use reader::{Failure, Reader, Unsupported};

use super::{GpuIdentity, GpuMetrics, Named, Reading, calls::Calls, plausible, session::Versions};

/// A device as long as its handle holds.
pub(super) struct Device {
    index: u32,
    handle: nvmlDevice_t,
    identity: Arc<GpuIdentity>,
    clocks_max_hertz: Vec<Named<f64>>,
    temperature_thresholds: Vec<Named<f64>>,
    supported_reasons: Option<u64>,
    fans: u32,
    links: Vec<u32>,
    link_rate: Option<f64>,
    unsupported: Unsupported,
    fields: fields::Fields,
    processes: processes::Buffers,
    activity: Option<activity::Samples>,
    mig: mig::Instances,
    history: History,
}

/// What is measured from one poll to the next. It outlives the session.
#[derive(Debug, Default)]
pub(super) struct History {
    pcie: pcie::Counted,
    processes_seen: processes::Seen,
}

impl Device {
    /// The device of a number, with all that is read once.
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
        let identity = identity::read(&mut reader, versions);
        let clocks_max_hertz = clocks::read_max(&mut reader);
        let temperature_thresholds = temperature::read_thresholds(&mut reader);
        let supported_reasons = throttle::read_supported(&mut reader);
        let fans = power::count_fans(&mut reader);
        let links = nvlink::find_links(&mut reader);
        let link_rate = pcie::read_link_rate(&mut reader);
        let activity = activity::is_supported(&mut reader).then(activity::Samples::default);
        reader.finish()?;
        let history = histories.remove(&identity.uuid).unwrap_or_default();
        Ok(Self {
            index,
            handle,
            identity: Arc::new(identity),
            clocks_max_hertz,
            temperature_thresholds,
            supported_reasons,
            fans,
            links,
            link_rate,
            unsupported,
            fields: fields::Fields::of_driver(&versions.driver),
            processes: processes::Buffers::default(),
            activity,
            mig: mig::Instances::default(),
            history,
        })
    }

    /// All that is known of it now.
    pub(super) fn read(&mut self, nvml: &Nvml, calls: &Calls) -> Result<GpuMetrics, Failure> {
        let mut reader = Reader::new(nvml, self.handle, calls, &mut self.unsupported);
        let reader = &mut reader;
        let fields = self.fields.read(reader);
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
        let samples = self.activity.as_mut();
        let activity = samples
            .map(|samples| samples.read(reader, None))
            .unwrap_or_default();
        let pcie = &mut self.history.pcie;
        let mut metrics = GpuMetrics {
            device_id: self.index,
            identity: Arc::clone(&self.identity),
            utilization: Reading::from(percent.map(f64::from)),
            temperature: Reading::from(temperature::read(reader)),
            memory_utilization_ratio: utilization.and_then(|it| plausible::ratio(it.memory)),
            encoder_utilization_ratio: encoder.and_then(|it| plausible::ratio(it.utilization)),
            decoder_utilization_ratio: decoder.and_then(|it| plausible::ratio(it.utilization)),
            memory: memory::read(reader),
            memory_temperature_celsius: temperature::memory(&fields),
            temperature_thresholds_celsius: self.temperature_thresholds.clone(),
            power_watts: power::read(reader),
            power_limit_watts: power::read_limit(reader),
            energy_joules: power::read_energy(reader),
            clocks_hertz: clocks::read(reader),
            clocks_max_hertz: self.clocks_max_hertz.clone(),
            fan_speed_ratios: power::read_fans(reader, self.fans),
            pcie: pcie::read(
                reader,
                &fields,
                self.activity.is_some(),
                self.link_rate,
                pcie,
            ),
            throttle_reasons: throttle::read(reader, self.supported_reasons, &fields),
            ecc_errors: ecc::read_errors(reader),
            remapped_rows: ecc::remapped_rows(&fields),
            retired_pages: ecc::read_retired_pages(reader, &fields),
            nvlink: nvlink::read(reader, &self.links, &fields),
            mig: self.mig.read(reader, self.activity.is_some()),
            processes: self
                .processes
                .read(reader, &mut self.history.processes_seen),
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
        (self.handle, self.index, &self.identity)
    }

    /// Gives back what NVML gave. What is left is for the device's next session.
    pub(super) fn close(self, nvml: &Nvml, calls: &Calls) -> (String, History) {
        let _call = calls.enter("nvmlGpmSampleFree");
        self.activity
            .into_iter()
            .for_each(|samples| samples.free(nvml));
        self.mig.free(nvml);
        (self.identity.uuid.clone(), self.history)
    }
}
