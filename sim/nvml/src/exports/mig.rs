//! MIG instances: parts of a GPU that stand for GPUs of their own.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlDeviceAttributes_t};

use crate::{
    abi::{Answer, Code, Out},
    handle::Handle,
    script::Mig,
    unit::Unit,
};

const MEBIBYTE: u64 = 1 << 20;

device_calls! {
    fn nvmlDeviceGetMigMode(current: Out<c_uint>, pending: Out<c_uint>) |unit| {
        pending.check()?;
        unit.put_u32(current, "mig_mode")?;
        unit.put_u32(pending, "mig_mode_pending")
    }

    fn nvmlDeviceGetMaxMigDeviceCount(count: Out<c_uint>) |unit| {
        unit.whole()?;
        count.put(match unit.u32("mig_max") {
            Ok(most) if unit.is_divided() => most,
            // NVML has no error for a GPU that cannot be divided, or is not.
            Ok(_) | Err(Code::NOT_SUPPORTED) => 0,
            Err(other) => return Err(other),
        })
    }

    fn nvmlDeviceGetMigDeviceHandleByIndex(index: c_uint, device: Out<nvmlDevice_t>) |unit| {
        device.check()?;
        unit.whole()?;
        let instances = unit.u32("mig_max")?;
        if index >= instances {
            return Err(Code::INVALID_ARGUMENT);
        }
        let mig = Some(index as usize).filter(|mig| *mig < unit.gpu().mig.len());
        if mig.is_none() || !unit.is_divided() {
            return Err(Code::NOT_FOUND);
        }
        device.put(Handle { mig, ..unit.handle }.pointer())
    }

    fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device: Out<nvmlDevice_t>) |unit| {
        device.check()?;
        instance(unit)?;
        device.put(Handle { mig: None, ..unit.handle }.pointer())
    }

    fn nvmlDeviceIsMigDeviceHandle(is_instance: Out<c_uint>) |unit| {
        is_instance.put(unit.mig().is_some().into())
    }

    fn nvmlDeviceGetGpuInstanceId(id: Out<c_uint>) |unit| {
        id.check()?;
        id.put(instance(unit)?.gpu_instance_id)
    }

    fn nvmlDeviceGetComputeInstanceId(id: Out<c_uint>) |unit| {
        id.check()?;
        id.put(instance(unit)?.compute_instance_id)
    }

    fn nvmlDeviceGetAttributes_v2(attributes: Out<nvmlDeviceAttributes_t>) |unit| {
        attributes.check()?;
        instance(unit)?;
        attributes.put(nvmlDeviceAttributes_t {
            multiprocessorCount: unit.u32("multiprocessors")?,
            sharedCopyEngineCount: 1,
            sharedDecoderCount: 1,
            sharedEncoderCount: 0,
            sharedJpegCount: 1,
            sharedOfaCount: 0,
            gpuInstanceSliceCount: unit.u32("gpu_instance_slices")?,
            computeInstanceSliceCount: unit.u32("compute_instance_slices")?,
            memorySizeMB: unit.u64("memory_total")? / MEBIBYTE,
        })
    }
}

/// Only instances have what belongs to instances.
fn instance(unit: &Unit) -> Answer<&Mig> {
    unit.mig().ok_or(Code::NOT_SUPPORTED)
}
