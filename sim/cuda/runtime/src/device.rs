//! Devices: which there are, which is the thread's, and waiting for it.

use std::ffi::c_char;

use cuda_sim_control::{Out, Text, abi::CUmemoryPool, exports};

use crate::{
    code::{Code, Outcome},
    driver::{self, check},
    shape::DeviceProperties,
};

/// Numbers of `cudaDeviceProp` that are attributes of the driver: where they lie, which they are.
const NUMBERS: [(usize, u32); 20] = [
    (304, 12),
    (308, 10),
    (320, 1),
    (324, 2),
    (328, 3),
    (332, 4),
    (336, 5),
    (340, 6),
    (344, 7),
    (348, 13),
    (360, 75),
    (364, 76),
    (388, 16),
    (576, 31),
    (584, 33),
    (604, 41),
    (616, 38),
    (624, 39),
    (652, 83),
    (744, 115),
];
/// Where the other members lie.
const NAME_BYTES: i32 = 256;
const UUID_AT: usize = 256;
const MEMORY_AT: usize = 288;
const SHARED_AT: usize = 296;
/// The driver's attribute of the shared memory of a block.
const SHARED: u32 = 8;

fn attribute(which: u32, device: i32) -> Result<i32, Code> {
    let mut value = 0;
    check((driver::initialised()?.cuDeviceGetAttribute)(
        &raw mut value,
        which,
        device,
    ))?;
    Ok(value)
}

fn properties(device: i32) -> Result<DeviceProperties, Code> {
    let driver = driver::initialised()?;
    let mut all = [0_u8; size_of::<DeviceProperties>()];
    check((driver.cuDeviceGetName)(
        all.as_mut_ptr().cast(),
        NAME_BYTES,
        device,
    ))?;
    let mut put = |at: usize, bytes: &[u8]| all[at..at + bytes.len()].copy_from_slice(bytes);
    let mut uuid = [0; 16];
    check((driver.cuDeviceGetUuid)(uuid.as_mut_ptr(), device))?;
    put(UUID_AT, &uuid);
    let mut memory = 0;
    check((driver.cuDeviceTotalMem)(&raw mut memory, device))?;
    put(MEMORY_AT, &memory.to_ne_bytes());
    let shared = i64::from(attribute(SHARED, device)?);
    put(SHARED_AT, &shared.to_ne_bytes());
    for (at, which) in NUMBERS {
        put(at, &attribute(which, device)?.to_ne_bytes());
    }
    Ok(DeviceProperties(all))
}

fn synchronize() -> Outcome {
    check((driver::plain()?.cuCtxSynchronize)())
}

exports! {
    fn cudaGetDeviceCount(result: Out<i32>) {
        check((driver::initialised()?.cuDeviceGetCount)(result.pointer()))
    }
    fn cudaSetDevice(device: i32) {
        driver::set_device(device)
    }
    fn cudaInitDevice(device: i32, _device_flags: u32, _flags: u32) {
        driver::context(device).map(|_| ())
    }
    fn cudaGetDevice(result: Out<i32>) {
        driver::initialised()?;
        result.set(driver::device())
    }
    fn cudaSetDeviceFlags(_flags: u32) {
        driver::initialised().map(|_| ())
    }
    fn cudaGetDeviceFlags(result: Out<u32>) {
        driver::initialised()?;
        result.set(0)
    }
    fn cudaDeviceSynchronize() {
        synchronize()
    }
    fn cudaThreadSynchronize() {
        synchronize()
    }
    fn cudaDeviceReset() {
        synchronize()
    }
    fn cudaDeviceGetAttribute(result: Out<i32>, which: u32, device: i32) {
        result.set(attribute(which, device)?)
    }
    fn cudaGetDeviceProperties(result: Out<DeviceProperties>, device: i32) {
        result.set(properties(device)?)
    }
    fn cudaGetDeviceProperties_v2(result: Out<DeviceProperties>, device: i32) {
        result.set(properties(device)?)
    }
    fn cudaDriverGetVersion(result: Out<i32>) {
        check((driver::initialised()?.cuDriverGetVersion)(result.pointer()))
    }
    fn cudaRuntimeGetVersion(result: Out<i32>) {
        result.set(driver::VERSION)
    }
    fn cudaDeviceGetPCIBusId(text: Out<c_char>, size: i32, device: i32) {
        check((driver::initialised()?.cuDeviceGetPCIBusId)(text.pointer(), size, device))
    }
    fn cudaDeviceGetByPCIBusId(device: Out<i32>, text: Text) {
        let find = driver::initialised()?.cuDeviceGetByPCIBusId;
        check(find(device.pointer(), text.pointer()))
    }
    fn cudaDeviceCanAccessPeer(result: Out<i32>, device: i32, peer: i32) {
        check((driver::initialised()?.cuDeviceCanAccessPeer)(result.pointer(), device, peer))
    }
    fn cudaDeviceEnablePeerAccess(peer: i32, _flags: u32) {
        driver::context(peer).map(|_| ())
    }
    fn cudaDeviceDisablePeerAccess(peer: i32) {
        driver::context(peer).map(|_| ())
    }
    fn cudaDeviceGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>) {
        let ask = driver::plain()?.cuCtxGetStreamPriorityRange;
        check(ask(least.pointer(), greatest.pointer()))
    }
    fn cudaDeviceGetLimit(result: Out<usize>, limit: u32) {
        check((driver::plain()?.cuCtxGetLimit)(result.pointer(), limit))
    }
    fn cudaDeviceSetLimit(limit: u32, value: usize) {
        check((driver::plain()?.cuCtxSetLimit)(limit, value))
    }
    fn cudaDeviceGetDefaultMemPool(result: Out<CUmemoryPool>, device: i32) {
        check((driver::initialised()?.cuDeviceGetDefaultMemPool)(result.pointer(), device))
    }
    fn cudaDeviceGetMemPool(result: Out<CUmemoryPool>, device: i32) {
        check((driver::initialised()?.cuDeviceGetMemPool)(result.pointer(), device))
    }
    fn cudaDeviceSetMemPool(device: i32, pool: CUmemoryPool) {
        check((driver::initialised()?.cuDeviceSetMemPool)(device, pool))
    }
    fn cudaProfilerStart() {
        check((driver::plain()?.cuProfilerStart)())
    }
    fn cudaProfilerStop() {
        check((driver::plain()?.cuProfilerStop)())
    }
}
