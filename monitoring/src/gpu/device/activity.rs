//! What the parts of a device were doing between two samples (GPM; Hopper and later).
//!
//! By the bindings: nvml-wrapper's samples may not outlive a borrow of the library, and these are
//! kept from poll to poll. Whoever owns [`Samples`] has to give them back before the shutdown.

use std::time::{Duration, Instant};

use nvml_wrapper::Nvml;
use nvml_wrapper_sys::bindings::{
    NVML_GPM_METRICS_GET_VERSION, nvmlGpmMetric_t, nvmlGpmMetric_t__bindgen_ty_1,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_ANY_TENSOR_UTIL as ANY_TENSOR,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_DFMA_TENSOR_UTIL as DFMA_TENSOR,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_DRAM_BW_UTIL as DRAM,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_FP16_UTIL as FP16,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_FP32_UTIL as FP32,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_FP64_UTIL as FP64,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_GRAPHICS_UTIL as GRAPHICS,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_HMMA_TENSOR_UTIL as HMMA_TENSOR,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_IMMA_TENSOR_UTIL as IMMA_TENSOR,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_INTEGER_UTIL as INTEGER,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_MAX as MOST_METRICS,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC as NVLINK_RECEIVED,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC as NVLINK_TRANSMITTED,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_PCIE_RX_PER_SEC as PCIE_RECEIVED,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_PCIE_TX_PER_SEC as PCIE_TRANSMITTED,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_SM_OCCUPANCY as SM_OCCUPANCY,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_SM_UTIL as SM, nvmlGpmMetricsGet_t, nvmlGpmSample_t,
};

use super::{
    super::{Activity, Named, calls::Calls, plausible},
    Reader,
};

/// Samples that are closer to each other say little.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);
/// NVML has traffic in MiB per second.
const MEBIBYTE: f64 = 1024.0 * 1024.0;
/// Faster than anything there is, by far.
const MOST_MEBIBYTES: f64 = 1e9;
/// A measured share may be a little over 100 %, because its parts are not read at one moment.
const MOST_PERCENT: f64 = 105.0;

const METRICS: [u32; 16] = [
    GRAPHICS,
    SM,
    SM_OCCUPANCY,
    ANY_TENSOR,
    DFMA_TENSOR,
    HMMA_TENSOR,
    IMMA_TENSOR,
    FP64,
    FP32,
    FP16,
    INTEGER,
    DRAM,
    PCIE_TRANSMITTED,
    PCIE_RECEIVED,
    NVLINK_TRANSMITTED,
    NVLINK_RECEIVED,
];

/// The sample of the poll before, and room for the next.
#[derive(Debug, Default)]
pub(super) struct Samples {
    before: Option<(nvmlGpmSample_t, Instant)>,
    spare: Option<nvmlGpmSample_t>,
    activity: Activity,
}

/// Whether the device can be sampled.
pub(super) fn is_supported(reader: &mut Reader<'_>) -> bool {
    let call = "nvmlGpmQueryDeviceSupport";
    let supported = reader.get(call, |_, device| device.gpm_support());
    if supported == Some(false) {
        reader.set_unsupported(call);
    }
    supported == Some(true)
}

impl Samples {
    /// What the device, or one of its GPU instances, did since the poll before.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>, gpu_instance: Option<u32>) -> Activity {
        let now = Instant::now();
        if self
            .before
            .is_some_and(|(_, then)| now.duration_since(then) < LEAST_INTERVAL)
        {
            return self.activity.clone();
        }
        self.activity = Activity::default();
        let Some(sample) = self.spare.take().or_else(|| allocate(reader)) else {
            return Activity::default();
        };
        if !take(reader, sample, gpu_instance) {
            self.spare = Some(sample);
            return Activity::default();
        }
        if let Some((before, _)) = self.before.replace((sample, now)) {
            self.spare = Some(before);
            let call = match gpu_instance {
                None => "nvmlGpmMetricsGet",
                Some(_) => "nvmlGpmMetricsGet(MIG)",
            };
            self.activity = compare(reader, call, before, sample).unwrap_or_default();
        }
        self.activity.clone()
    }

    /// Gives back what NVML gave.
    pub(super) fn free(self, nvml: &Nvml, calls: &Calls) {
        let before = self.before.map(|(sample, _)| sample);
        for sample in before.into_iter().chain(self.spare) {
            let _call = calls.enter("nvmlGpmSampleFree");
            if let Ok(free) = nvml.lib().nvmlGpmSampleFree.as_ref() {
                // SAFETY: the sample is of this session, and nobody else has it.
                unsafe { free(sample) };
            }
        }
    }
}

fn allocate(reader: &mut Reader<'_>) -> Option<nvmlGpmSample_t> {
    reader.raw(
        "nvmlGpmSampleAlloc",
        std::ptr::null_mut(),
        |lib, _, sample| {
            let call = lib.nvmlGpmSampleAlloc.as_ref().ok()?;
            // SAFETY: the room is of the call's own type.
            Some(unsafe { call(sample) })
        },
    )
}

fn take(reader: &mut Reader<'_>, mut sample: nvmlGpmSample_t, gpu_instance: Option<u32>) -> bool {
    match gpu_instance {
        None => reader.raw_with("nvmlGpmSampleGet", &mut sample, |lib, handle, sample| {
            let call = lib.nvmlGpmSampleGet.as_ref().ok()?;
            // SAFETY: handle and sample are of this session.
            Some(unsafe { call(handle, *sample) })
        }),
        Some(id) => reader.raw_with("nvmlGpmMigSampleGet", &mut sample, |lib, handle, sample| {
            let call = lib.nvmlGpmMigSampleGet.as_ref().ok()?;
            // SAFETY: handle and sample are of this session.
            Some(unsafe { call(handle, id, *sample) })
        }),
    }
}

fn compare(
    reader: &mut Reader<'_>,
    call: &'static str,
    before: nvmlGpmSample_t,
    now: nvmlGpmSample_t,
) -> Option<Activity> {
    let mut request = request(before, now);
    let read = reader.raw_with(call, &mut *request, |lib, _, request| {
        let call = lib.nvmlGpmMetricsGet.as_ref().ok()?;
        // SAFETY: both samples are of this session, and as many metrics are asked for as is said.
        Some(unsafe { call(request) })
    });
    if !read {
        return None;
    }
    let value = |id: u32, most: f64| {
        let at = METRICS.iter().position(|metric| *metric == id)?;
        let metric = request.metrics[at];
        (metric.nvmlReturn == 0).then_some(())?;
        plausible::measured(metric.value, most)
    };
    let ratio = |id| value(id, MOST_PERCENT).map(|percent| percent.min(100.0) / 100.0);
    let rate = |id| value(id, MOST_MEBIBYTES).map(|mebibytes| mebibytes * MEBIBYTE);
    let named = |ids: [(&'static str, u32); 4]| {
        let named = |(name, id)| ratio(id).map(|value| Named { name, value });
        ids.into_iter().filter_map(named).collect()
    };
    Some(Activity {
        graphics_ratio: ratio(GRAPHICS),
        sm_ratio: ratio(SM),
        sm_occupancy_ratio: ratio(SM_OCCUPANCY),
        tensor_ratios: named([
            ("any", ANY_TENSOR),
            ("dfma", DFMA_TENSOR),
            ("hmma", HMMA_TENSOR),
            ("imma", IMMA_TENSOR),
        ]),
        arithmetic_ratios: named([
            ("fp64", FP64),
            ("fp32", FP32),
            ("fp16", FP16),
            ("integer", INTEGER),
        ]),
        dram_ratio: ratio(DRAM),
        pcie_transmitted_bytes_per_second: rate(PCIE_TRANSMITTED),
        pcie_received_bytes_per_second: rate(PCIE_RECEIVED),
        nvlink_transmitted_bytes_per_second: rate(NVLINK_TRANSMITTED),
        nvlink_received_bytes_per_second: rate(NVLINK_RECEIVED),
    })
}

/// On the heap, because it is 10 KB.
fn request(before: nvmlGpmSample_t, now: nvmlGpmSample_t) -> Box<nvmlGpmMetricsGet_t> {
    let null = std::ptr::null_mut();
    let metric_info = nvmlGpmMetric_t__bindgen_ty_1 {
        shortName: null,
        longName: null,
        unit: null,
    };
    let empty = nvmlGpmMetric_t {
        metricId: 0,
        nvmlReturn: 0,
        value: 0.0,
        metricInfo: metric_info,
    };
    let mut request = Box::new(nvmlGpmMetricsGet_t {
        version: NVML_GPM_METRICS_GET_VERSION,
        numMetrics: u32::try_from(METRICS.len()).expect("there are a few metrics"),
        sample1: before,
        sample2: now,
        metrics: [empty; MOST_METRICS as usize],
    });
    for (metric, id) in request.metrics.iter_mut().zip(METRICS) {
        metric.metricId = id;
    }
    request
}
