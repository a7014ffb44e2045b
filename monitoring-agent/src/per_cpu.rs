//! Reads maps with few system calls: whole hash maps in batches, per-CPU array elements singly.
//!
//! aya reads one entry a call, and opens `/sys/devices/system/cpu/possible` for each: about 10 µs
//! an entry, where `BPF_MAP_LOOKUP_BATCH` (since 5.6) needs about 1 µs.

use std::{
    io,
    marker::PhantomData,
    mem,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    ptr,
};

use anyhow::Context as _;
use aya::{Pod, maps::MapData};

/// `BPF_MAP_DELETE_ELEM` of the same.
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;

/// Entries asked for at a time. With 128 CPUs and values of 240 bytes this is a buffer of 2 MB.
const BATCH: usize = 64;

/// `BPF_MAP_LOOKUP_BATCH` of `enum bpf_cmd` in the kernel's `include/uapi/linux/bpf.h`.
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;

/// `BPF_MAP_LOOKUP_AND_DELETE_BATCH` of the same.
const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_int = 25;

/// `BPF_MAP_DELETE_BATCH` of the same.
const BPF_MAP_DELETE_BATCH: libc::c_int = 27;

/// `BPF_MAP_LOOKUP_ELEM` of the same.
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;

/// The member of `union bpf_attr` for single elements.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The `batch` member of `union bpf_attr`.
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Reads per-CPU hash maps whose values are of type `V`; keeps its buffers between reads.
#[derive(Debug)]
pub struct PerCpuReader<K: Pod, V: Pod> {
    cpus: usize,
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K: Pod, V: Pod> PerCpuReader<K, V> {
    /// A reader for this machine's number of possible CPUs.
    pub fn new() -> anyhow::Result<Self> {
        let () = Aligned::<V>::ASSERTED;
        Ok(Self {
            cpus: possible_cpus()?,
            keys: Vec::new(),
            values: Vec::new(),
        })
    }

    /// A reader for hash maps that have one value for all CPUs.
    pub fn of_one_value() -> Self {
        let () = Aligned::<V>::ASSERTED;
        Self {
            cpus: 1,
            keys: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Hands every entry to `visit`: its key, and its value on each possible CPU.
    ///
    /// Entries that kernel programs add meanwhile may or may not be seen.
    pub fn for_each(&mut self, map: impl AsFd, visit: impl FnMut(K, &[V])) -> anyhow::Result<()> {
        self.each_batch(map.as_fd(), BPF_MAP_LOOKUP_BATCH, visit)
    }

    /// Hands every entry to `visit` and removes it.
    pub fn take_each(&mut self, map: impl AsFd, visit: impl FnMut(K, &[V])) -> anyhow::Result<()> {
        self.each_batch(map.as_fd(), BPF_MAP_LOOKUP_AND_DELETE_BATCH, visit)
    }

    fn each_batch(
        &mut self,
        map: BorrowedFd<'_>,
        command: libc::c_int,
        mut visit: impl FnMut(K, &[V]),
    ) -> anyhow::Result<()> {
        let mut position: u64 = 0;
        let mut first = true;
        loop {
            let (read, last) = self.read_batch(map, command, &mut position, first)?;
            first = false;
            for (key, values) in self.keys[..read].iter().zip(self.values.chunks(self.cpus)) {
                visit(*key, values);
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Fills the buffers; returns how many entries they hold and whether these were the last.
    fn read_batch(
        &mut self,
        map: BorrowedFd<'_>,
        command: libc::c_int,
        position: &mut u64,
        first: bool,
    ) -> anyhow::Result<(usize, bool)> {
        let mut size = self.keys.len().max(BATCH);
        loop {
            // SAFETY: `Pod` types are valid when zeroed.
            self.keys.resize_with(size, || unsafe { mem::zeroed() });
            // SAFETY: as above.
            self.values
                .resize_with(size * self.cpus, || unsafe { mem::zeroed() });
            let mut attr = BatchAttr {
                in_batch: if first {
                    0
                } else {
                    &raw const *position as u64
                },
                out_batch: &raw mut *position as u64,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.values.as_mut_ptr() as u64,
                count: u32::try_from(size).context("batch size")?,
                map_fd: descriptor(map)?,
                elem_flags: 0,
                flags: 0,
            };
            // SAFETY: the buffers have room for `count` entries; `position` is the hash map's
            // 4-byte batch token with room to spare; all outlive the call.
            let result = unsafe { bpf(command, &mut attr) };
            let read = usize::try_from(attr.count).context("batch count")?;
            let Err(error) = result else {
                return Ok((read, false));
            };
            match error.raw_os_error() {
                Some(libc::ENOENT) => return Ok((read, true)),
                // One hash bucket holds more entries than the buffers.
                Some(libc::ENOSPC) => size *= 2,
                Some(libc::EINTR) => {}
                _ => return Err(error).context("read a map in batches"),
            }
        }
    }
}

/// Reads single elements of per-CPU arrays whose values are of type `V`.
#[derive(Debug)]
pub struct PerCpuElements<V: Pod>(Vec<V>);

impl<V: Pod> PerCpuElements<V> {
    /// A reader for this machine's number of possible CPUs.
    pub fn new() -> anyhow::Result<Self> {
        let () = Aligned::<V>::ASSERTED;
        // SAFETY: `Pod` types are valid when zeroed.
        Ok(Self(vec![unsafe { mem::zeroed() }; possible_cpus()?]))
    }

    /// The element's value on each possible CPU.
    pub fn read(&mut self, map: &MapData, index: u32) -> anyhow::Result<&[V]> {
        let mut attr = ElementAttr {
            map_fd: descriptor(map.fd())?,
            padding: 0,
            key: &raw const index as u64,
            value: self.0.as_mut_ptr() as u64,
            flags: 0,
        };
        // SAFETY: the key is an array's 4-byte index, and the buffer has room for each CPU's
        // value; both outlive the call.
        let result = unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) };
        result.context("read an element of a per-CPU map")?;
        Ok(&self.0)
    }
}

/// Removes an entry of a hash map. One that is not there is removed already.
pub fn remove<K: Pod>(map: impl AsFd, key: &K) -> anyhow::Result<()> {
    let mut attr = ElementAttr {
        map_fd: descriptor(map)?,
        padding: 0,
        key: ptr::from_ref(key) as u64,
        value: 0,
        flags: 0,
    };
    // SAFETY: the key is the map's, and outlives the call.
    match unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut attr) } {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => {
            Err(error).context("remove an entry of a map")
        }
        _ => Ok(()),
    }
}

/// Removes entries of a hash map, with few system calls. Those that are not there are removed already.
pub fn remove_all<K: Pod>(map: impl AsFd, keys: &[K]) -> anyhow::Result<()> {
    let mut left = keys;
    while !left.is_empty() {
        let mut attr = BatchAttr {
            in_batch: 0,
            out_batch: 0,
            keys: left.as_ptr() as u64,
            values: 0,
            count: u32::try_from(left.len()).context("batch size")?,
            map_fd: descriptor(&map)?,
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: there are `count` keys, which outlive the call.
        let result = unsafe { bpf(BPF_MAP_DELETE_BATCH, &mut attr) };
        // It stops at the first that is not there.
        let removed = usize::try_from(attr.count).context("batch count")?;
        left = match result {
            Ok(()) => &[],
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                left.get(removed + 1..).unwrap_or_default()
            }
            Err(error) => return Err(error).context("remove entries of a map"),
        };
    }
    Ok(())
}

/// The kernel hands out per-CPU values at multiples of 8 bytes.
struct Aligned<V>(PhantomData<V>);

impl<V> Aligned<V> {
    const ASSERTED: () = assert!(size_of::<V>().is_multiple_of(8) && align_of::<V>() <= 8);
}

fn descriptor(fd: impl AsFd) -> anyhow::Result<u32> {
    u32::try_from(fd.as_fd().as_raw_fd()).context("map descriptor")
}

fn possible_cpus() -> anyhow::Result<usize> {
    aya::util::nr_cpus()
        .map_err(|(file, error)| anyhow::Error::new(error).context(format!("read {file}")))
}

/// The system call `bpf`.
///
/// # Safety
///
/// `attr` must be what the kernel expects for `command`, and what it points to must be as large
/// as the map says, and outlive the call.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<()> {
    // SAFETY: as the caller promises.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attr), size_of::<T>()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
