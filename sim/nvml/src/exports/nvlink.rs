//! The links to other GPUs.

use std::ffi::{c_uint, c_ulonglong};

use crate::{
    abi::{Answer, Code, Out},
    unit::Unit,
    values::Value,
};

/// By NVML's numbers of counters.
pub(super) const ERRORS: [&str; 4] = [
    "nvlink_replay_errors",
    "nvlink_recovery_errors",
    "nvlink_crc_flit_errors",
    "nvlink_crc_data_errors",
];

device_calls! {
    fn nvmlDeviceGetNvLinkState(link: c_uint, active: Out<c_uint>) |unit| {
        active.check()?;
        active.put((of_link(unit, "nvlink_active", link)? != 0).into())
    }

    fn nvmlDeviceGetNvLinkVersion(link: c_uint, version: Out<c_uint>) |unit| {
        version.check()?;
        existing(unit, link)?;
        version.put(unit.nth("nvlink_version", link as usize)?.u32())
    }

    fn nvmlDeviceGetNvLinkErrorCounter(
        link: c_uint, counter: c_uint, count: Out<c_ulonglong>
    ) |unit| {
        count.check()?;
        let key = ERRORS.get(counter as usize).ok_or(Code::INVALID_ARGUMENT)?;
        count.put(of_link(unit, key, link)?)
    }

    fn nvmlDeviceGetNvLinkUtilizationCounter(
        link: c_uint, counter: c_uint, received: Out<c_ulonglong>, sent: Out<c_ulonglong>
    ) |unit| {
        sent.check()?;
        received.check()?;
        if counter > 1 {
            return Err(Code::INVALID_ARGUMENT);
        }
        received.put(share(unit, "nvlink_rx_kib", link)?)?;
        sent.put(share(unit, "nvlink_tx_kib", link)?)
    }
}

/// How many links the device has.
pub(super) fn links(unit: &Unit) -> Answer<u32> {
    unit.u32("nvlink_links")
}

fn existing(unit: &Unit, link: u32) -> Answer {
    if link < links(unit)? {
        return Ok(());
    }
    Err(Code::INVALID_ARGUMENT)
}

/// What is given for each link, or for all alike.
pub(super) fn of_link(unit: &Unit, key: &str, link: u32) -> Answer<u64> {
    existing(unit, link)?;
    Ok(unit.nth(key, link as usize)?.u64())
}

/// The sum of what is given for each link.
pub(super) fn sum(unit: &Unit, key: &str) -> Answer<u64> {
    let of_link = |link| of_link(unit, key, link);
    (0..links(unit)?).try_fold(0_u64, |sum, link| Ok(sum.wrapping_add(of_link(link)?)))
}

/// A link's own part, where a single number is the device's sum: all links carry the same.
pub(super) fn share(unit: &Unit, key: &str, link: u32) -> Answer<u64> {
    existing(unit, link)?;
    if matches!(unit.value(key)?, Value::List(_)) {
        return of_link(unit, key, link);
    }
    let (all, links) = (unit.u64(key)?, u64::from(links(unit)?));
    // The first ones carry what cannot be divided.
    Ok(all / links + u64::from(u64::from(link) < all % links))
}

/// The device's sum, where a single number is that already.
pub(super) fn total(unit: &Unit, key: &str) -> Answer<u64> {
    match unit.value(key)? {
        Value::List(_) => sum(unit, key),
        _ => unit.u64(key),
    }
}
