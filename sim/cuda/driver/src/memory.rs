//! Allocating and freeing device memory, and asking about addresses.

use cuda_sim_control::{In, NullStream, Out, exports};

use crate::{
    abi::{CUdeviceptr, CUmemLocation, CUmemoryPool, CUstream, MEMORY_DEVICE, MEMORY_HOST, Opaque},
    allocations::{self, Allocation, Kind},
    code::{Code, INVALID_VALUE, NOT_FOUND, NOT_SUPPORTED, Outcome},
    context, pool, stream,
};

/// Rows begin at multiples of this.
const PITCH_BYTES: usize = 512;

fn allocate(result: Out<CUdeviceptr>, size_bytes: usize, kind: Kind) -> Outcome {
    result.check()?;
    let device = context::current()?.device;
    result.set(allocations::allocate(size_bytes, kind, device)?)
}

fn free(address: CUdeviceptr) -> Outcome {
    context::current()?;
    allocations::free(address, &[Kind::Device, Kind::Managed])
}

fn allocate_on_stream(
    result: Out<CUdeviceptr>,
    size_bytes: usize,
    stream: CUstream,
    null: NullStream,
) -> Outcome {
    stream::get(stream, null)?;
    allocate(result, size_bytes, Kind::Device)
}

/// An attribute of memory by its number in `CUpointer_attribute`, and how many bytes it has.
fn attribute(which: u32, memory: &Allocation, address: u64) -> Result<(u64, usize), Code> {
    let on_device = !matches!(memory.kind, Kind::Host | Kind::Registered);
    let of_type = if on_device {
        MEMORY_DEVICE
    } else {
        MEMORY_HOST
    };
    let on_host = matches!(memory.kind, Kind::Managed | Kind::Host | Kind::Registered);
    Ok(match which {
        2 => (u64::from(of_type), 4),
        3 => (address, 8),
        4 if on_host => (address, 8),
        1 | 4 => (0, 8),
        6 => (0, 4),
        7 | 11 => (memory.address, 8),
        8 => (u64::from(memory.kind == Kind::Managed), 4),
        9 => (memory.device as u64, 4),
        12 => (memory.size_bytes as u64, 8),
        13 => (1, 4),
        _ => return Err(NOT_SUPPORTED),
    })
}

fn write(result: Out<u8>, (value, size_bytes): (u64, usize)) -> Outcome {
    result.set_all(value.to_ne_bytes().into_iter().take(size_bytes))
}

exports! {
    fn cuMemAlloc_v2(result: Out<CUdeviceptr>, size_bytes: usize) {
        allocate(result, size_bytes, Kind::Device)
    }
    fn cuMemAllocManaged(result: Out<CUdeviceptr>, size_bytes: usize, flags: u32) {
        // CU_MEM_ATTACH_GLOBAL, _HOST or _SINGLE
        if !matches!(flags, 1 | 2 | 4) {
            return Err(INVALID_VALUE);
        }
        allocate(result, size_bytes, Kind::Managed)
    }
    fn cuMemAllocPitch_v2(
        result: Out<CUdeviceptr>,
        pitch: Out<usize>,
        width_bytes: usize,
        height: usize,
        element_bytes: u32,
    ) {
        pitch.check()?;
        if !matches!(element_bytes, 4 | 8 | 16) {
            return Err(INVALID_VALUE);
        }
        let pitch_bytes = width_bytes.checked_next_multiple_of(PITCH_BYTES).ok_or(INVALID_VALUE)?;
        let size_bytes = pitch_bytes.checked_mul(height).ok_or(INVALID_VALUE)?;
        allocate(result, size_bytes, Kind::Device)?;
        pitch.set(pitch_bytes)
    }
    fn cuMemAllocAsync | cuMemAllocAsync_ptsz [null] (
        result: Out<CUdeviceptr>,
        size_bytes: usize,
        stream: CUstream,
    ) {
        allocate_on_stream(result, size_bytes, stream, null)
    }
    fn cuMemAllocFromPoolAsync | cuMemAllocFromPoolAsync_ptsz [null] (
        result: Out<CUdeviceptr>,
        size_bytes: usize,
        pool: CUmemoryPool,
        stream: CUstream,
    ) {
        pool::check(pool)?;
        allocate_on_stream(result, size_bytes, stream, null)
    }
    fn cuMemFree_v2(address: CUdeviceptr) {
        free(address)
    }
    fn cuMemFreeAsync | cuMemFreeAsync_ptsz [null] (address: CUdeviceptr, stream: CUstream) {
        stream::get(stream, null)?;
        free(address)
    }
    fn cuMemGetAddressRange_v2(
        base: Out<CUdeviceptr>,
        size_bytes: Out<usize>,
        address: CUdeviceptr,
    ) {
        let memory = allocations::find(address).ok_or(NOT_FOUND)?;
        base.set_if_wanted(memory.address);
        size_bytes.set_if_wanted(memory.size_bytes);
        Ok(())
    }
    fn cuPointerGetAttribute(result: Out<u8>, which: u32, address: CUdeviceptr) {
        let memory = allocations::find(address).ok_or(INVALID_VALUE)?;
        write(result, attribute(which, &memory, address)?)
    }
    fn cuPointerGetAttributes(
        count: u32,
        which: In<u32>,
        results: In<Out<u8>>,
        address: CUdeviceptr,
    ) {
        // Of memory that the driver does not know, all attributes are 0, and that is no error.
        let memory = allocations::find(address);
        let all = which.get_all(count as usize)?.into_iter();
        for (which, result) in all.zip(results.get_all(count as usize)?) {
            let value = match &memory {
                Some(memory) => attribute(which, memory, address)?,
                None if matches!(which, 2 | 6 | 8 | 13) => (0, 4),
                None if which == 9 => (u64::from(u32::MAX), 4),
                None => (0, 8),
            };
            write(result, value)?;
        }
        Ok(())
    }
    fn cuMemAdvise(_address: CUdeviceptr, _bytes: usize, _advice: u32, _device: i32) {
        context::current().map(|_| ())
    }
    fn cuMemAdvise_v2(address: CUdeviceptr, bytes: usize, _advice: u32, _location: CUmemLocation) {
        context::current()?;
        allocations::check(address, bytes)
    }
    fn cuMemPrefetchAsync | cuMemPrefetchAsync_ptsz [null] (
        address: CUdeviceptr,
        bytes: usize,
        _device: i32,
        stream: CUstream,
    ) {
        stream::get(stream, null)?;
        allocations::check(address, bytes)
    }
    fn cuMemPrefetchAsync_v2 | cuMemPrefetchAsync_v2_ptsz [null] (
        address: CUdeviceptr,
        bytes: usize,
        _location: CUmemLocation,
        _flags: u32,
        stream: CUstream,
    ) {
        stream::get(stream, null)?;
        allocations::check(address, bytes)
    }
    fn cuMemRangeGetAttribute(
        _result: Opaque,
        _size: usize,
        _which: u32,
        address: CUdeviceptr,
        bytes: usize,
    ) {
        allocations::check(address, bytes)?;
        Err(NOT_SUPPORTED)
    }
}
