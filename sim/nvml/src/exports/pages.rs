//! Pages of memory that are no longer used because they were faulty.

use std::ffi::{c_uint, c_ulonglong};

use crate::{
    abi::{Answer, Code, Out},
    clock,
    unit::Unit,
    values::Value,
};

/// Between the made-up addresses of pages that the script gives only the number of.
const PAGE: u64 = 1 << 16;

/// There is no memory for more.
const MOST: usize = 1 << 16;

device_calls! {
    fn nvmlDeviceGetRetiredPages(
        cause: c_uint, count: Out<c_uint>, addresses: Out<c_ulonglong>
    ) |unit| {
        addresses.fill(count, &pages(unit, cause)?)
    }

    fn nvmlDeviceGetRetiredPages_v2(
        cause: c_uint, count: Out<c_uint>, addresses: Out<c_ulonglong>, times: Out<c_ulonglong>
    ) |unit| {
        let pages = pages(unit, cause)?;
        addresses.fill(count, &pages)?;
        let now = clock::wall_us() / 1_000_000;
        (0..pages.len()).try_for_each(|index| times.nth(index).put(now))
    }

    fn nvmlDeviceGetRetiredPagesPendingStatus(pending: Out<c_uint>) |unit| {
        unit.put_u32(pending, "retired_pages_pending")
    }
}

/// Their addresses: from a list, or made up where the script says how many.
fn pages(unit: &Unit, cause: c_uint) -> Answer<Vec<u64>> {
    let key = match cause {
        0 => "retired_pages_single_bit",
        1 => "retired_pages_double_bit",
        _ => return Err(Code::INVALID_ARGUMENT),
    };
    if let Value::List(list) = unit.value(key)? {
        let address = |value: &Value| Ok(value.number(unit.seconds)?.u64());
        return list.iter().map(address).collect();
    }
    let count = usize::try_from(unit.number(key)?.integer()).unwrap_or(0);
    Ok((1..)
        .map(|page| page * PAGE)
        .take(count.min(MOST))
        .collect())
}
