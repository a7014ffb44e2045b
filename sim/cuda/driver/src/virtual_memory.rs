//! Addresses and physical memory apart from each other: reserved, made, mapped and given access to.

use std::{
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
    sync::{Arc, Mutex},
};

use cuda_sim_control::{In, Out, exports};

use crate::{
    abi::{CUdeviceptr, CUmemAccessDesc, CUmemAllocationProp, CUmemGenericAllocationHandle},
    allocations::{self, Allocation, Kind},
    code::{Code, INVALID_VALUE, OUT_OF_MEMORY, Outcome},
    device,
    handles::Handles,
};

/// What sizes and addresses are multiples of, as on the real devices.
const GRANULARITY_BYTES: usize = 2 << 20;

/// Physical memory of a device. It goes back when nobody holds it and nothing is mapped to it.
struct Physical {
    file: OwnedFd,
    size_bytes: usize,
    device: usize,
}

impl Drop for Physical {
    fn drop(&mut self) {
        allocations::give_back(self.device, self.size_bytes as u64);
    }
}

static PHYSICAL: Handles<Physical> = Handles::new();
/// Keeps physical memory for as long as it is mapped, by the address where.
static MAPPED: Mutex<Vec<(u64, Arc<Physical>)>> = Mutex::new(Vec::new());

/// Maps something else over addresses that are reserved already, or anywhere.
fn map(address: u64, size_bytes: usize, protection: i32, file: Option<&OwnedFd>) -> Option<u64> {
    let fixed = if address == 0 { 0 } else { libc::MAP_FIXED };
    let (kind, file) = match file {
        Some(file) => (libc::MAP_SHARED, file.as_raw_fd()),
        None => (
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
        ),
    };
    let at = ptr::with_exposed_provenance_mut(usize::try_from(address).ok()?);
    // SAFETY: the addresses are ours: the callers have reserved them, or leave the choice to the
    // kernel.
    let mapped = unsafe { libc::mmap(at, size_bytes, protection, kind | fixed, file, 0) };
    (mapped != libc::MAP_FAILED).then_some(mapped.expose_provenance() as u64)
}

fn check_size(size_bytes: usize) -> Outcome {
    let whole = size_bytes > 0 && size_bytes.is_multiple_of(GRANULARITY_BYTES);
    if whole { Ok(()) } else { Err(INVALID_VALUE) }
}

fn create(size_bytes: usize, device: usize) -> Result<Arc<Physical>, Code> {
    check_size(size_bytes)?;
    allocations::reserve(device, size_bytes as u64)?;
    // SAFETY: the name is a C string.
    let file = unsafe { libc::memfd_create(c"device memory".as_ptr(), libc::MFD_CLOEXEC) };
    if file < 0 {
        allocations::give_back(device, size_bytes as u64);
        return Err(OUT_OF_MEMORY);
    }
    // SAFETY: the descriptor was just made, and nobody else has it.
    let file = unsafe { OwnedFd::from_raw_fd(file) };
    let length = libc::off_t::try_from(size_bytes).map_err(|_| INVALID_VALUE)?;
    // SAFETY: the descriptor is open.
    let sized = unsafe { libc::ftruncate(file.as_raw_fd(), length) };
    let physical = Physical {
        file,
        size_bytes,
        device,
    };
    if sized == 0 {
        Ok(Arc::new(physical))
    } else {
        Err(OUT_OF_MEMORY)
    }
}

fn reserve(result: Out<CUdeviceptr>, size_bytes: usize) -> Outcome {
    result.check()?;
    check_size(size_bytes)?;
    result.set(map(0, size_bytes, libc::PROT_NONE, None).ok_or(OUT_OF_MEMORY)?)
}

fn map_physical(address: u64, size_bytes: usize, physical: Arc<Physical>) -> Outcome {
    check_size(size_bytes)?;
    if address == 0 || size_bytes > physical.size_bytes {
        return Err(INVALID_VALUE);
    }
    map(address, size_bytes, libc::PROT_NONE, Some(&physical.file)).ok_or(INVALID_VALUE)?;
    allocations::insert(Allocation {
        address,
        size_bytes,
        kind: Kind::Mapped,
        device: physical.device,
    });
    let mut mapped = MAPPED.lock().map_err(|_| INVALID_VALUE)?;
    mapped.push((address, physical));
    Ok(())
}

exports! {
    fn cuMemGetAllocationGranularity(
        result: Out<usize>,
        properties: In<CUmemAllocationProp>,
        _option: u32,
    ) {
        device::index(properties.get()?.location.id)?;
        result.set(GRANULARITY_BYTES)
    }
    fn cuMemAddressReserve(
        result: Out<CUdeviceptr>,
        size_bytes: usize,
        _alignment: usize,
        _wish: CUdeviceptr,
        _flags: u64,
    ) {
        reserve(result, size_bytes)
    }
    fn cuMemAddressFree(address: CUdeviceptr, size_bytes: usize) {
        check_size(size_bytes)?;
        if allocations::find(address).is_some() {
            return Err(INVALID_VALUE);
        }
        let address = usize::try_from(address).map_err(|_| INVALID_VALUE)?;
        let at = ptr::with_exposed_provenance_mut(address);
        // SAFETY: the program reserved these addresses, and gives them back.
        let freed = unsafe { libc::munmap(at, size_bytes) };
        if freed == 0 { Ok(()) } else { Err(INVALID_VALUE) }
    }
    fn cuMemCreate(
        result: Out<CUmemGenericAllocationHandle>,
        size_bytes: usize,
        properties: In<CUmemAllocationProp>,
        _flags: u64,
    ) {
        result.check()?;
        let device = device::index(properties.get()?.location.id)?;
        result.set(PHYSICAL.insert(create(size_bytes, device)?) as u64)
    }
    fn cuMemRelease(handle: CUmemGenericAllocationHandle) {
        let handle = usize::try_from(handle).map_err(|_| INVALID_VALUE)?;
        PHYSICAL.remove(handle).map(|_| ())
    }
    fn cuMemMap(
        address: CUdeviceptr,
        size_bytes: usize,
        _offset: usize,
        handle: CUmemGenericAllocationHandle,
        _flags: u64,
    ) {
        let handle = usize::try_from(handle).map_err(|_| INVALID_VALUE)?;
        map_physical(address, size_bytes, PHYSICAL.get(handle)?)
    }
    fn cuMemSetAccess(
        address: CUdeviceptr,
        size_bytes: usize,
        access: In<CUmemAccessDesc>,
        count: usize,
    ) {
        allocations::check(address, size_bytes)?;
        let flags = access.get_all(count)?.into_iter().map(|access| access.flags);
        // The flags are bits: reading and writing.
        let protection = match flags.fold(0, |all, flags| all | flags) {
            0 => libc::PROT_NONE,
            1 => libc::PROT_READ,
            _ => libc::PROT_READ | libc::PROT_WRITE,
        };
        let address = usize::try_from(address).map_err(|_| INVALID_VALUE)?;
        let at = ptr::with_exposed_provenance_mut(address);
        // SAFETY: the range was mapped by us, which the check has found.
        let done = unsafe { libc::mprotect(at, size_bytes, protection) };
        if done == 0 { Ok(()) } else { Err(INVALID_VALUE) }
    }
    fn cuMemUnmap(address: CUdeviceptr, size_bytes: usize) {
        let removed = allocations::remove(address, &[Kind::Mapped])?;
        if removed.size_bytes != size_bytes {
            allocations::insert(removed);
            return Err(INVALID_VALUE);
        }
        map(address, size_bytes, libc::PROT_NONE, None).ok_or(INVALID_VALUE)?;
        let mut mapped = MAPPED.lock().map_err(|_| INVALID_VALUE)?;
        mapped.retain(|(known, _)| *known != address);
        Ok(())
    }
}
