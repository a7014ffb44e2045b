//! Device memory, of a device or of a MIG instance.
//!
//! Knows nothing of who uses it.

use nvml_wrapper_sys::bindings::nvmlMemory_t;

use super::{
    super::{Memory, plausible},
    Reader,
};

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Memory> {
    if let Some(memory) = read_v2(reader, "nvmlDeviceGetMemoryInfo_v2") {
        return Some(memory);
    }
    // A driver before 510 has no second version. In the first, what is reserved counts as used.
    if !reader.is_unsupported("nvmlDeviceGetMemoryInfo_v2") {
        return None;
    }
    let empty = nvmlMemory_t {
        total: 0,
        free: 0,
        used: 0,
    };
    let memory = reader.raw("nvmlDeviceGetMemoryInfo", empty, |lib, handle, memory| {
        let call = lib.nvmlDeviceGetMemoryInfo.as_ref().ok()?;
        // SAFETY: the handle is of this session, and the room is of the call's own type.
        Some(unsafe { call(handle, memory) })
    })?;
    sane(memory.used, memory.free, None, memory.total)
}

/// The memory of the MIG instance whose handle the reader has.
pub(super) fn read_mig(reader: &mut Reader<'_>) -> Option<Memory> {
    read_v2(reader, "nvmlDeviceGetMemoryInfo_v2(MIG)")
}

fn read_v2(reader: &mut Reader<'_>, call: &'static str) -> Option<Memory> {
    let memory = reader.get(call, |_, device| device.memory_info())?;
    sane(
        memory.used,
        memory.free,
        Some(memory.reserved),
        memory.total,
    )
}

/// Memory whose numbers can be true together.
fn sane(used: u64, free: u64, reserved: Option<u64>, total: u64) -> Option<Memory> {
    let total_bytes = plausible::count_u64(total).filter(|total| *total > 0)?;
    let part = |bytes: u64| (bytes <= total_bytes).then_some(bytes);
    Some(Memory {
        used_bytes: part(used)?,
        free_bytes: part(free)?,
        reserved_bytes: reserved.and_then(part),
        total_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_cannot_be_true_are_absent() {
        assert_eq!(sane(1, 2, None, 0), None);
        assert_eq!(sane(11, 2, None, 10), None);
        assert_eq!(sane(1, u64::MAX, None, 10), None);
        assert_eq!(sane(1, 2, None, u64::MAX), None);
        let memory = sane(3, 6, Some(1), 10).unwrap();
        assert_eq!((memory.used_bytes, memory.free_bytes), (3, 6));
        assert_eq!((memory.reserved_bytes, memory.total_bytes), (Some(1), 10));
        assert_eq!(sane(3, 6, Some(u64::MAX), 10).unwrap().reserved_bytes, None);
    }
}
