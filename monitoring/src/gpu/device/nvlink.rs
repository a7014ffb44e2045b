//! All NVLinks of a device together: data and errors.
//!
//! Knows nothing of what is at the other end.

use nvml_wrapper::enum_wrappers::nv_link::ErrorCounter;
use nvml_wrapper_sys::bindings::NVML_NVLINK_MAX_LINKS;

use super::{
    super::{Named, NvLink, plausible},
    Reader,
    fields::{self, Field, Values},
};

/// NVML counts data in KiB.
const KIBIBYTE: u64 = 1024;

/// An error's name, its sum over the links, and the call for one link.
const ERRORS: [(&str, &Field, ErrorCounter, &str); 4] = [
    (
        "crc_flit",
        &fields::NVLINK_CRC_FLIT,
        ErrorCounter::DlCrcFlit,
        "nvmlDeviceGetNvLinkErrorCounter(CRC_FLIT)",
    ),
    (
        "crc_data",
        &fields::NVLINK_CRC_DATA,
        ErrorCounter::DlCrcData,
        "nvmlDeviceGetNvLinkErrorCounter(CRC_DATA)",
    ),
    (
        "replay",
        &fields::NVLINK_REPLAY,
        ErrorCounter::DlReplay,
        "nvmlDeviceGetNvLinkErrorCounter(REPLAY)",
    ),
    (
        "recovery",
        &fields::NVLINK_RECOVERY,
        ErrorCounter::DlRecovery,
        "nvmlDeviceGetNvLinkErrorCounter(RECOVERY)",
    ),
];

/// The numbers of the links that the device has, whether they are up or not.
pub(super) fn find_links(reader: &mut Reader<'_>) -> Vec<u32> {
    let exists = |link: &u32| {
        // The numbers beyond the last link are unsupported, which says nothing of the call.
        let call = "nvmlDeviceGetNvLinkState";
        reader
            .probe(call, |_, device| device.link_wrapper_for(*link).is_active())
            .is_some()
    };
    (0..NVML_NVLINK_MAX_LINKS).filter(exists).collect()
}

pub(super) fn read(reader: &mut Reader<'_>, links: &[u32], fields: &Values) -> NvLink {
    if links.is_empty() {
        return NvLink::default();
    }
    let bytes = |field| {
        fields
            .count(field)
            .and_then(|kibibytes| kibibytes.checked_mul(KIBIBYTE))
    };
    let errors = |(name, field, counter, call): (_, &Field, ErrorCounter, _)| {
        let sum = if field.is_unsupported(reader) {
            sum_errors(reader, links, counter, call)
        } else {
            fields.count(field)
        };
        sum.map(|value| Named { name, value })
    };
    NvLink {
        transmitted_bytes: bytes(&fields::NVLINK_TRANSMITTED),
        received_bytes: bytes(&fields::NVLINK_RECEIVED),
        errors: ERRORS.into_iter().filter_map(errors).collect(),
    }
}

/// The sum over all links, or nothing if one of them does not tell: a sum without it would fall.
fn sum_errors(
    reader: &mut Reader<'_>,
    links: &[u32],
    counter: ErrorCounter,
    call: &'static str,
) -> Option<u64> {
    let mut sum = 0_u64;
    for link in links {
        let errors = reader.get(call, |_, device| {
            device.link_wrapper_for(*link).error_counter(counter)
        })?;
        sum = sum.checked_add(plausible::count_u64(errors)?)?;
    }
    Some(sum)
}
