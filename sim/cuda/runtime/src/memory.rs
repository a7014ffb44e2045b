//! Allocating and freeing memory, and asking about addresses.

use std::ffi::c_void;

use cuda_sim_control::{
    In, NullStream, Out,
    abi::{CUdeviceptr, CUmemLocation, CUmemoryPool, CUstream, Opaque},
    exports,
};

use crate::{
    code::{Code, INVALID_VALUE, Outcome},
    driver::{self, check},
    shape::{Extent, PitchedPtr, PointerAttributes},
};

/// Host or device memory, by its address.
type Address = u64;

/// The driver's pointer attributes: kind of memory, whether it is managed, device, addresses on the
/// device and on the host.
const ASKED: [u32; 5] = [2, 8, 9, 3, 4];

/// Numbers of `cudaMemoryType`.
const UNREGISTERED: u32 = 0;
const MANAGED: u32 = 3;

/// No memory is asked for, and none is given: that is no error to the runtime.
fn allocate(
    result: Out<Address>,
    bytes: usize,
    ask: impl FnOnce(*mut CUdeviceptr) -> u32,
) -> Outcome {
    result.check()?;
    if bytes == 0 {
        return result.set(0);
    }
    check(ask(result.pointer()))
}

/// Freeing null does nothing, but for initialising the device.
fn free(address: Address, free: impl FnOnce(CUdeviceptr) -> u32) -> Outcome {
    if address == 0 {
        Ok(())
    } else {
        check(free(address))
    }
}

fn on_stream(
    result: Out<Address>,
    bytes: usize,
    pool: Option<CUmemoryPool>,
    stream: CUstream,
    null: NullStream,
) -> Outcome {
    let driver = driver::driver(null)?;
    allocate(result, bytes, |result| match pool {
        Some(pool) => (driver.cuMemAllocFromPoolAsync)(result, bytes, pool, stream),
        None => (driver.cuMemAllocAsync)(result, bytes, stream),
    })
}

fn pitched(result: Out<Address>, pitch: *mut usize, width: usize, height: usize) -> Outcome {
    let driver = driver::plain()?;
    allocate(result, width.saturating_mul(height), |result| {
        (driver.cuMemAllocPitch)(result, pitch, width, height, 4)
    })
}

fn attributes(address: Address) -> Result<PointerAttributes, Code> {
    let (mut kind, mut managed, mut device) = (0_u32, 0_u32, 0_i32);
    let (mut on_device, mut on_host) = (0_u64, 0_u64);
    let results: [*mut c_void; 5] = [
        (&raw mut kind).cast(),
        (&raw mut managed).cast(),
        (&raw mut device).cast(),
        (&raw mut on_device).cast(),
        (&raw mut on_host).cast(),
    ];
    let ask = driver::plain()?.cuPointerGetAttributes;
    check(ask(5, ASKED.as_ptr(), results.as_ptr(), address))?;
    let known = on_device != 0;
    Ok(PointerAttributes {
        kind: if managed == 0 { kind } else { MANAGED },
        device: if kind == UNREGISTERED { -1 } else { device },
        device_address: on_device,
        host_address: if known { on_host } else { address },
    })
}

fn location(device: i32) -> CUmemLocation {
    // CU_MEM_LOCATION_TYPE_DEVICE, and _HOST for cudaCpuDeviceId
    let kind = if device < 0 { 2 } else { 1 };
    CUmemLocation { kind, id: device }
}

exports! {
    fn cudaMalloc(result: Out<Address>, bytes: usize) {
        let driver = driver::plain()?;
        allocate(result, bytes, |result| (driver.cuMemAlloc)(result, bytes))
    }
    fn cudaMallocManaged(result: Out<Address>, bytes: usize, flags: u32) {
        let driver = driver::plain()?;
        allocate(result, bytes, |result| (driver.cuMemAllocManaged)(result, bytes, flags))
    }
    fn cudaMallocPitch(
        result: Out<Address>, pitch_bytes: Out<usize>, width_bytes: usize, height: usize,
    ) {
        pitch_bytes.check()?;
        pitched(result, pitch_bytes.pointer(), width_bytes, height)
    }
    fn cudaMalloc3D(result: Out<PitchedPtr>, extent: Extent) {
        let (mut address, mut pitch_bytes) = (0, 0);
        let height = extent.height.checked_mul(extent.depth).ok_or(INVALID_VALUE)?;
        let at = Out::to(&mut address);
        pitched(at, &raw mut pitch_bytes, extent.width_bytes, height)?;
        let (width, height) = (extent.width_bytes, extent.height);
        result.set(PitchedPtr { address, pitch_bytes, width, height })
    }
    fn cudaMallocAsync | cudaMallocAsync_ptsz [null] (
        result: Out<Address>, bytes: usize, stream: CUstream,
    ) {
        on_stream(result, bytes, None, stream, null)
    }
    fn cudaMallocFromPoolAsync | cudaMallocFromPoolAsync_ptsz [null] (
        result: Out<Address>, bytes: usize, pool: CUmemoryPool, stream: CUstream,
    ) {
        on_stream(result, bytes, Some(pool), stream, null)
    }
    fn cudaMallocHost(result: Out<Address>, bytes: usize) {
        let driver = driver::plain()?;
        allocate(result, bytes, |result| (driver.cuMemAllocHost)(result, bytes))
    }
    fn cudaHostAlloc(result: Out<Address>, bytes: usize, flags: u32) {
        let driver = driver::plain()?;
        allocate(result, bytes, |result| (driver.cuMemHostAlloc)(result, bytes, flags))
    }
    fn cudaFree(address: Address) {
        let driver = driver::plain()?;
        free(address, |address| (driver.cuMemFree)(address))
    }
    fn cudaFreeAsync | cudaFreeAsync_ptsz [null] (address: Address, stream: CUstream) {
        let driver = driver::driver(null)?;
        free(address, |address| (driver.cuMemFreeAsync)(address, stream))
    }
    fn cudaFreeHost(address: Address) {
        let driver = driver::plain()?;
        free(address, |address| (driver.cuMemFreeHost)(address))
    }
    fn cudaHostRegister(address: Address, bytes: usize, flags: u32) {
        check((driver::plain()?.cuMemHostRegister)(address, bytes, flags))
    }
    fn cudaHostUnregister(address: Address) {
        check((driver::plain()?.cuMemHostUnregister)(address))
    }
    fn cudaHostGetDevicePointer(result: Out<Address>, address: Address, flags: u32) {
        check((driver::plain()?.cuMemHostGetDevicePointer)(result.pointer(), address, flags))
    }
    fn cudaHostGetFlags(result: Out<u32>, address: Address) {
        check((driver::plain()?.cuMemHostGetFlags)(result.pointer(), address))
    }
    fn cudaMemGetInfo(available: Out<usize>, total: Out<usize>) {
        check((driver::plain()?.cuMemGetInfo)(available.pointer(), total.pointer()))
    }
    fn cudaPointerGetAttributes(result: Out<PointerAttributes>, address: Address) {
        result.set(attributes(address)?)
    }
    fn cudaMemPrefetchAsync | cudaMemPrefetchAsync_ptsz [null] (
        address: Address, bytes: usize, device: i32, stream: CUstream,
    ) {
        let prefetch = driver::driver(null)?.cuMemPrefetchAsync;
        check(prefetch(address, bytes, location(device), 0, stream))
    }
    fn cudaMemAdvise(address: Address, bytes: usize, advice: u32, device: i32) {
        check((driver::plain()?.cuMemAdvise)(address, bytes, advice, location(device)))
    }
    fn cudaMemPoolCreate(result: Out<CUmemoryPool>, properties: In<Opaque>) {
        let create = driver::plain()?.cuMemPoolCreate;
        check(create(result.pointer(), properties.pointer().cast()))
    }
    fn cudaMemPoolDestroy(pool: CUmemoryPool) {
        check((driver::plain()?.cuMemPoolDestroy)(pool))
    }
    fn cudaMemPoolTrimTo(pool: CUmemoryPool, keep_bytes: usize) {
        check((driver::plain()?.cuMemPoolTrimTo)(pool, keep_bytes))
    }
    fn cudaMemPoolSetAttribute(pool: CUmemoryPool, which: u32, value: In<u64>) {
        check((driver::plain()?.cuMemPoolSetAttribute)(pool, which, value.pointer()))
    }
    fn cudaMemPoolGetAttribute(pool: CUmemoryPool, which: u32, result: Out<u64>) {
        check((driver::plain()?.cuMemPoolGetAttribute)(pool, which, result.pointer()))
    }
}
