//! Device memory, and what of it the bus can reach.

use nvml_wrapper_sys::bindings::{nvmlBAR1Memory_t, nvmlMemory_t, nvmlMemory_v2_t};

use crate::{
    abi::{Answer, Code, Out},
    unit::Unit,
};

/// NVML's way to number the versions of structures: the size, and the number in the top byte.
const VERSION: u32 = 0x0200_0028;
const _: () = assert!(size_of::<nvmlMemory_v2_t>() == 40);

device_calls! {
    fn nvmlDeviceGetMemoryInfo(memory: Out<nvmlMemory_t>) |unit| {
        memory.check()?;
        let parts = Parts::of(unit)?;
        // This older structure counts what is reserved as used.
        let used = parts.used.wrapping_add(parts.reserved.unwrap_or(0));
        memory.put(nvmlMemory_t { total: parts.total, free: parts.free, used })
    }

    fn nvmlDeviceGetMemoryInfo_v2(memory: Out<nvmlMemory_v2_t>) |unit| {
        if memory.get()?.version != VERSION {
            return Err(Code::ARGUMENT_VERSION_MISMATCH);
        }
        let Parts { total, free, used, reserved } = Parts::of(unit)?;
        let reserved = reserved.ok_or(Code::NOT_SUPPORTED)?;
        memory.put(nvmlMemory_v2_t { version: VERSION, total, reserved, free, used })
    }

    fn nvmlDeviceGetBAR1MemoryInfo(memory: Out<nvmlBAR1Memory_t>) |unit| {
        memory.check()?;
        let total = unit.u64("bar1_total")?;
        let used = unit.u64("bar1_used")?;
        let free = total.wrapping_sub(used);
        memory.put(nvmlBAR1Memory_t { bar1Total: total, bar1Free: free, bar1Used: used })
    }
}

struct Parts {
    total: u64,
    free: u64,
    used: u64,
    reserved: Option<u64>,
}

impl Parts {
    fn of(unit: &Unit) -> Answer<Self> {
        let (total, used) = (unit.u64("memory_total")?, unit.u64("memory_used")?);
        let reserved = match unit.u64("memory_reserved") {
            Err(Code::NOT_SUPPORTED) => None,
            reserved => Some(reserved?),
        };
        let free = match unit.u64("memory_free") {
            Err(Code::NOT_SUPPORTED) => total
                .saturating_sub(used)
                .saturating_sub(reserved.unwrap_or(0)),
            free => free?,
        };
        Ok(Self {
            total,
            free,
            used,
            reserved,
        })
    }
}
