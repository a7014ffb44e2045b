//! GPM: what the parts of a device were doing between two samples.

use std::{
    collections::HashMap,
    ffi::c_uint,
    mem::offset_of,
    ptr,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlGpmMetric_t, nvmlGpmMetricsGet_t, nvmlGpmSample_st, nvmlGpmSample_t,
    nvmlGpmSupport_t,
};

use crate::{
    abi::{Answer, Code, Out, SUCCESS},
    dispatch,
    handle::Handle,
    unit::Unit,
};

/// The version of both structures.
const VERSION: u32 = 1;

/// A request has room for no more.
const MOST: u32 = 210;

pub(crate) use calls_on_devices::NAMES as DEVICE_NAMES;

library_calls! {
    library fn nvmlGpmSampleAlloc(sample: Out<nvmlGpmSample_t>) {
        sample.check()?;
        let mut samples = samples();
        samples.made += 1;
        let number = samples.made;
        samples.kept.insert(number, Allocated::default());
        sample.put(ptr::without_provenance_mut::<nvmlGpmSample_st>(number))
    }

    anytime fn nvmlGpmSampleFree(sample: nvmlGpmSample_t) {
        let gone = samples().kept.remove(&sample.addr());
        gone.map(drop).ok_or(Code::INVALID_ARGUMENT)
    }

    indirect fn nvmlGpmMetricsGet(request: Out<nvmlGpmMetricsGet_t>) {
        metrics(request)
    }

    indirect fn nvmlGpmMigSampleGet(device: nvmlDevice_t, gpu_instance: c_uint, sample: nvmlGpmSample_t) {
        let unit = dispatch::on_device("nvmlGpmMigSampleGet", device)?;
        unit.whole()?;
        supported(&unit)?;
        let mut instances = unit.gpu().mig.iter();
        let mig = instances.position(|mig| mig.gpu_instance_id == gpu_instance);
        let mig = mig.ok_or(Code::INVALID_ARGUMENT)?;
        take(sample, Handle { mig: Some(mig), ..unit.handle }, unit.seconds)
    }
}

mod calls_on_devices {
    //! The calls whose first argument is the device.

    use super::{Code, Out, VERSION, c_uint, nvmlGpmSample_t, nvmlGpmSupport_t, supported, take};

    device_calls! {
        fn nvmlGpmQueryDeviceSupport(support: Out<nvmlGpmSupport_t>) |unit| {
            if support.get()?.version != VERSION {
                return Err(Code::ARGUMENT_VERSION_MISMATCH);
            }
            let isSupportedDevice = supported(unit).is_ok().into();
            support.put(nvmlGpmSupport_t { version: VERSION, isSupportedDevice })
        }

        fn nvmlGpmSampleGet(sample: nvmlGpmSample_t) |unit| {
            supported(unit)?;
            take(sample, unit.handle, unit.seconds)
        }

        fn nvmlGpmQueryIfStreamingEnabled(state: Out<c_uint>) |unit| {
            supported(unit)?;
            state.put(0)
        }
    }
}

/// So many bytes are a sample's own: real ones are large, and it shows when they are not freed.
const ROOM: usize = 4096;

/// A sample that a program has.
struct Allocated {
    taken: Option<Sample>,
    _room: Vec<u8>,
}

impl Default for Allocated {
    fn default() -> Self {
        Self {
            taken: None,
            // Other bytes than zero, so that they are in memory indeed.
            _room: vec![1; ROOM],
        }
    }
}

/// A sample that was taken.
#[derive(Clone, Copy)]
struct Sample {
    handle: Handle,
    seconds: f64,
}

#[derive(Default)]
struct Samples {
    made: usize,
    kept: HashMap<usize, Allocated>,
}

fn samples() -> MutexGuard<'static, Samples> {
    static SAMPLES: LazyLock<Mutex<Samples>> = LazyLock::new(Mutex::default);
    SAMPLES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn supported(unit: &Unit) -> Answer {
    match unit.u32("gpm_supported") {
        Ok(1..) => Ok(()),
        _ => Err(Code::NOT_SUPPORTED),
    }
}

fn take(sample: nvmlGpmSample_t, handle: Handle, seconds: f64) -> Answer {
    let mut samples = samples();
    let kept = samples.kept.get_mut(&sample.addr());
    kept.ok_or(Code::INVALID_ARGUMENT)?.taken = Some(Sample { handle, seconds });
    Ok(())
}

/// Answers a request. It is read and written part by part, because programs that were built with
/// an older version of NVML have less room behind it than the structure is long now.
fn metrics(request: Out<nvmlGpmMetricsGet_t>) -> Answer {
    request.check()?;
    let version: u32 = request
        .field(offset_of!(nvmlGpmMetricsGet_t, version))
        .get()?;
    let count: u32 = request
        .field(offset_of!(nvmlGpmMetricsGet_t, numMetrics))
        .get()?;
    if version != VERSION {
        return Err(Code::ARGUMENT_VERSION_MISMATCH);
    }
    if count > MOST {
        return Err(Code::INVALID_ARGUMENT);
    }
    let sample = |offset: usize| {
        let sample: nvmlGpmSample_t = request.field(offset).get()?;
        let sample = samples()
            .kept
            .get(&sample.addr())
            .and_then(|sample| sample.taken);
        sample.ok_or(Code::INVALID_ARGUMENT)
    };
    let first = sample(offset_of!(nvmlGpmMetricsGet_t, sample1))?;
    let last = sample(offset_of!(nvmlGpmMetricsGet_t, sample2))?;
    if first.handle != last.handle || first.seconds > last.seconds {
        return Err(Code::INVALID_ARGUMENT);
    }
    let unit = dispatch::enter("nvmlGpmMetricsGet", first.handle)?;
    let metrics: Out<nvmlGpmMetric_t> = request.field(offset_of!(nvmlGpmMetricsGet_t, metrics));
    for index in 0..count as usize {
        let place = metrics.nth(index);
        let mut metric = place.get()?;
        metric.nvmlReturn = SUCCESS;
        match value(&unit, metric.metricId, first.seconds, last.seconds) {
            Ok(value) => metric.value = value,
            Err(code) => metric.nvmlReturn = code.0,
        }
        place.put(metric)?;
    }
    Ok(())
}

fn value(unit: &Unit, metric: u32, from: f64, to: f64) -> Answer<f64> {
    let key = match metric {
        1 => "gpm_graphics",
        2 => "gpm_sm",
        3 => "gpm_sm_occupancy",
        4 => "gpm_integer",
        5 => "gpm_any_tensor",
        6 => "gpm_dfma_tensor",
        7 => "gpm_hmma_tensor",
        9 => "gpm_imma_tensor",
        10 => "gpm_dram",
        11 => "gpm_fp64",
        12 => "gpm_fp32",
        13 => "gpm_fp16",
        20 => "gpm_pcie_tx_mib",
        21 => "gpm_pcie_rx_mib",
        60 => "gpm_nvlink_rx_mib",
        61 => "gpm_nvlink_tx_mib",
        _ => return Err(Code::NOT_SUPPORTED),
    };
    unit.value(key)?.mean(from, to)
}
