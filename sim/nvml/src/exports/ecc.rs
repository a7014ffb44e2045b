//! Errors of memories that are checked, and how the large one is repaired.

use std::ffi::{c_uint, c_ulonglong};

use crate::{
    abi::{Answer, Code, Out},
    unit::Unit,
};

const KINDS: [&str; 2] = ["corrected", "uncorrected"];
const SCOPES: [&str; 2] = ["volatile", "aggregate"];
const LOCATIONS: [&str; 8] = [
    "l1_cache",
    "l2_cache",
    "device_memory",
    "register_file",
    "texture_memory",
    "texture_shm",
    "cbu",
    "sram",
];

device_calls! {
    fn nvmlDeviceGetEccMode(current: Out<c_uint>, pending: Out<c_uint>) |unit| {
        pending.check()?;
        unit.put_u32(current, "ecc_mode")?;
        unit.put_u32(pending, "ecc_mode_pending")
    }

    fn nvmlDeviceGetTotalEccErrors(kind: c_uint, scope: c_uint, count: Out<c_ulonglong>) |unit| {
        let key = key(kind, scope)?;
        enabled(unit)?;
        unit.put_u64(count, &key)
    }

    fn nvmlDeviceGetMemoryErrorCounter(
        kind: c_uint, scope: c_uint, location: c_uint, count: Out<c_ulonglong>
    ) |unit| {
        let key = key(kind, scope)?;
        let location = LOCATIONS.get(location as usize).ok_or(Code::INVALID_ARGUMENT)?;
        enabled(unit)?;
        unit.put_u64(count, &format!("{key}_{location}"))
    }

    fn nvmlDeviceGetRemappedRows(
        correctable: Out<c_uint>, uncorrectable: Out<c_uint>,
        pending: Out<c_uint>, failure: Out<c_uint>
    ) |unit| {
        for out in [uncorrectable, pending, failure] {
            out.check()?;
        }
        unit.put_u32(correctable, "remapped_rows_correctable")?;
        unit.put_u32(uncorrectable, "remapped_rows_uncorrectable")?;
        unit.put_u32(pending, "remapped_rows_pending")?;
        unit.put_u32(failure, "remapped_rows_failure")
    }
}

fn key(kind: c_uint, scope: c_uint) -> Answer<String> {
    let kind = KINDS.get(kind as usize).ok_or(Code::INVALID_ARGUMENT)?;
    let scope = SCOPES.get(scope as usize).ok_or(Code::INVALID_ARGUMENT)?;
    Ok(format!("ecc_{kind}_{scope}"))
}

/// With ECC off, nothing is counted.
fn enabled(unit: &Unit) -> Answer {
    if unit.u32("ecc_mode")? == 0 {
        return Err(Code::NOT_SUPPORTED);
    }
    Ok(())
}
