//! Waits until every kernel program that runs now has ended.
//!
//! The kernel waits so whenever a map within a map is replaced: "userspace, when we return to it,
//! knows that all programs that could be running use the new map" (`maybe_wait_bpf_programs`, since
//! 5.0). Not `membarrier(2)`, which refuses where CPUs run without ticks (`nohz_full`). No program
//! knows the maps; it is the wait that is wanted.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::Context as _;

/// Of `enum bpf_cmd` and `enum bpf_map_type` in the kernel's `include/uapi/linux/bpf.h`.
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;

/// The member of `union bpf_attr` for making a map, as far as it is used.
#[repr(C)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
}

/// The member for elements.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// A map within a map.
#[derive(Debug)]
pub(super) struct Grace {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Grace {
    pub(super) fn new() -> anyhow::Result<Self> {
        let inner = create(BPF_MAP_TYPE_ARRAY, 0).context("make a map to wait with")?;
        let outer = create(BPF_MAP_TYPE_ARRAY_OF_MAPS, inner.as_raw_fd());
        Ok(Self {
            outer: outer.context("make a map of maps to wait with")?,
            inner,
        })
    }

    /// Returns when no program runs any more that ran when this was called: some milliseconds.
    pub(super) fn wait(&self) -> anyhow::Result<()> {
        let (place, inner) = (0_u32, self.inner.as_raw_fd());
        let mut attr = ElementAttr {
            map_fd: number(self.outer.as_raw_fd())?,
            padding: 0,
            key: &raw const place as u64,
            value: &raw const inner as u64,
            flags: 0,
        };
        // SAFETY: the key and the value are four bytes each, as the map has them.
        let result = unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) };
        result.context("wait for the kernel's programs")?;
        Ok(())
    }
}

fn create(map_type: u32, inner: RawFd) -> anyhow::Result<OwnedFd> {
    let mut attr = CreateAttr {
        map_type,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        map_flags: 0,
        inner_map_fd: number(inner)?,
    };
    // SAFETY: the attributes are those of a map.
    let descriptor = unsafe { bpf(BPF_MAP_CREATE, &mut attr)? };
    // SAFETY: the descriptor is new, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn number(descriptor: RawFd) -> anyhow::Result<u32> {
    u32::try_from(descriptor).context("descriptor of a map")
}

/// The system call `bpf`.
///
/// # Safety
///
/// `attr` must be what the kernel expects for `command`, and what it points to must outlive the call.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<RawFd> {
    // SAFETY: as the caller promises.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // Descriptors, and 0.
    RawFd::try_from(result).map_err(io::Error::other)
}
