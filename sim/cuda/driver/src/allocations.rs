//! All memory that the driver knows of, and what each device has given away. Device memory is
//! memory of the host.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    collections::BTreeMap,
    ptr,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    code::{Code, INVALID_VALUE, OUT_OF_MEMORY},
    device,
};

/// What CUDA guarantees of an allocation's address, and more than processors want.
const ALIGNMENT: usize = 512;
/// From here on memory is mapped, so that only what is touched is really there.
const MAPPED_BYTES: usize = 1 << 20;

/// How memory came about, by which it is freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Device,
    Managed,
    /// A variable of a module, which lives as long.
    Global,
    /// Allocated by the driver, on the host.
    Host,
    /// The program's own, which it has told the driver of.
    Registered,
    /// Physical memory that is mapped to reserved addresses.
    Mapped,
}

impl Kind {
    /// Whether this takes a device's memory.
    fn is_accounted(self) -> bool {
        matches!(self, Self::Device | Self::Managed | Self::Global)
    }
}

/// One piece of memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allocation {
    pub(crate) address: u64,
    pub(crate) size_bytes: usize,
    pub(crate) kind: Kind,
    pub(crate) device: usize,
}

static ALL: RwLock<BTreeMap<u64, Allocation>> = RwLock::new(BTreeMap::new());
static USED_BYTES: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// Bytes of a device that are taken.
pub(crate) fn used(device: usize) -> u64 {
    USED_BYTES[device].load(Ordering::Relaxed)
}

/// Takes bytes of a device, if there are so many.
pub(crate) fn reserve(device: usize, size_bytes: u64) -> Result<(), Code> {
    let more = |used: u64| {
        let more = used.checked_add(size_bytes)?;
        (more <= device::memory_bytes()).then_some(more)
    };
    let relaxed = Ordering::Relaxed;
    let taken = USED_BYTES[device].fetch_update(relaxed, relaxed, more);
    taken.map(|_| ()).map_err(|_| OUT_OF_MEMORY)
}

/// Gives bytes of a device back.
pub(crate) fn give_back(device: usize, size_bytes: u64) {
    USED_BYTES[device].fetch_sub(size_bytes, Ordering::Relaxed);
}

/// Allocates memory; 0 bytes are none.
pub(crate) fn allocate(size_bytes: usize, kind: Kind, device: usize) -> Result<u64, Code> {
    if size_bytes == 0 {
        return Err(INVALID_VALUE);
    }
    if kind.is_accounted() {
        reserve(device, size_bytes as u64)?;
    }
    let Some(address) = back(size_bytes) else {
        if kind.is_accounted() {
            give_back(device, size_bytes as u64);
        }
        return Err(OUT_OF_MEMORY);
    };
    insert(Allocation {
        address,
        size_bytes,
        kind,
        device,
    });
    Ok(address)
}

/// Frees what was allocated as one of these kinds, by its first address.
pub(crate) fn free(address: u64, kinds: &[Kind]) -> Result<(), Code> {
    let allocation = remove(address, kinds)?;
    if allocation.kind.is_accounted() {
        give_back(allocation.device, allocation.size_bytes as u64);
    }
    unback(&allocation);
    Ok(())
}

/// Makes memory known that somebody else keeps.
pub(crate) fn insert(allocation: Allocation) {
    let mut all = ALL.write().unwrap_or_else(PoisonError::into_inner);
    all.insert(allocation.address, allocation);
}

/// Forgets memory of one of these kinds, by its first address.
pub(crate) fn remove(address: u64, kinds: &[Kind]) -> Result<Allocation, Code> {
    let mut all = ALL.write().unwrap_or_else(PoisonError::into_inner);
    let known = all.get(&address).ok_or(INVALID_VALUE)?;
    if !kinds.contains(&known.kind) {
        return Err(INVALID_VALUE);
    }
    all.remove(&address).ok_or(INVALID_VALUE)
}

/// The memory that an address lies in.
pub(crate) fn find(address: u64) -> Option<Allocation> {
    let all = ALL.read().unwrap_or_else(PoisonError::into_inner);
    let (_, last) = all.range(..=address).next_back()?;
    (address - last.address < last.size_bytes as u64).then_some(*last)
}

/// Fails unless the driver knows the memory of the whole range.
pub(crate) fn check(address: u64, size_bytes: usize) -> Result<(), Code> {
    if size_bytes == 0 {
        return Ok(());
    }
    let mut next = address;
    let end = address
        .checked_add(size_bytes as u64)
        .ok_or(INVALID_VALUE)?;
    // Mapped pieces may lie side by side.
    while next < end {
        let within = find(next).ok_or(INVALID_VALUE)?;
        next = within.address + within.size_bytes as u64;
    }
    Ok(())
}

fn layout(size_bytes: usize) -> Option<Layout> {
    Layout::from_size_align(size_bytes, ALIGNMENT).ok()
}

fn back(size_bytes: usize) -> Option<u64> {
    if size_bytes < MAPPED_BYTES {
        // SAFETY: the size is not 0, which `allocate` has checked.
        let memory = unsafe { alloc_zeroed(layout(size_bytes)?) };
        return (!memory.is_null()).then_some(memory.expose_provenance() as u64);
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: this maps memory where there was none.
    let memory = unsafe { libc::mmap(ptr::null_mut(), size_bytes, protection, flags, -1, 0) };
    (memory != libc::MAP_FAILED).then_some(memory.expose_provenance() as u64)
}

fn unback(allocation: &Allocation) {
    let size_bytes = allocation.size_bytes;
    let address = usize::try_from(allocation.address).expect("the host has 64 bits");
    if size_bytes >= MAPPED_BYTES {
        // SAFETY: `back` mapped these bytes, and they are no longer known to anybody.
        unsafe { libc::munmap(ptr::with_exposed_provenance_mut(address), size_bytes) };
    } else if let Some(layout) = layout(size_bytes) {
        // SAFETY: `back` allocated these bytes so, and they are no longer known to anybody.
        unsafe { dealloc(ptr::with_exposed_provenance_mut(address), layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_found_and_freed_once() {
        for size_bytes in [1, 4096, 3 << 20] {
            let address = allocate(size_bytes, Kind::Device, 7).unwrap();
            assert_eq!(used(7), size_bytes as u64);
            let last = address + size_bytes as u64 - 1;
            assert_eq!(find(last).unwrap().address, address);
            assert_eq!(check(address, size_bytes), Ok(()));
            assert!(check(address, size_bytes + 1).is_err() || find(last + 1).is_some());
            assert_eq!(free(address, &[Kind::Host]), Err(INVALID_VALUE));
            assert_eq!(free(address, &[Kind::Device]), Ok(()));
            assert_eq!(free(address, &[Kind::Device]), Err(INVALID_VALUE));
            assert_eq!(used(7), 0);
        }
    }

    #[test]
    fn a_device_has_no_more_than_it_has() {
        let all = device::memory_bytes();
        assert_eq!(reserve(6, all), Ok(()));
        assert_eq!(allocate(1, Kind::Device, 6), Err(OUT_OF_MEMORY));
        assert_eq!(reserve(6, u64::MAX), Err(OUT_OF_MEMORY));
        give_back(6, all);
        assert_eq!(used(6), 0);
    }
}
