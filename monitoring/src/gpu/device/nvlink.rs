//! All NVLinks of a device together: data and errors.
//!
//! The data is that of the counters without the protocol's own. Those of raw bytes, which newer
//! devices have as well, count something else, and do not stand in for them.
//!
//! Knows nothing of what is at the other end.

use nvml_wrapper::enum_wrappers::nv_link::ErrorCounter;
use nvml_wrapper_sys::bindings::NVML_NVLINK_MAX_LINKS;

use super::{
    super::{Named, NvLink, plausible},
    Reader,
    fields::{self, Field, Values},
    reader::Probed,
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

/// The links that the device has, whether they are up or not.
#[derive(Debug, Default)]
pub(super) struct Links(Vec<Link>);

#[derive(Debug)]
struct Link {
    number: u32,
    /// What each counter last said: a link that goes down must not take its errors with it.
    errors: [Option<u64>; ERRORS.len()],
}

impl Links {
    /// Looks for links. One that was there does not go.
    pub(super) fn find(&mut self, reader: &mut Reader<'_>) {
        for number in 0..NVML_NVLINK_MAX_LINKS {
            // The numbers beyond the last link are unsupported, which says nothing of the call.
            let call = "nvmlDeviceGetNvLinkState";
            let state = reader.probe(call, |_, device| {
                device.link_wrapper_for(number).is_active()
            });
            let known = self.0.iter().any(|link| link.number == number);
            if matches!(state, Some(Ok(_))) && !known {
                let errors = [None; ERRORS.len()];
                self.0.push(Link { number, errors });
            }
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>, links: &mut Links, fields: &Values) -> NvLink {
    if links.0.is_empty() {
        return NvLink::default();
    }
    let bytes = |field| {
        fields
            .count(field)
            .and_then(|kibibytes| kibibytes.checked_mul(KIBIBYTE))
    };
    let errors = |(kind, (name, field, counter, call)): (_, (_, &Field, ErrorCounter, _))| {
        let sum = if field.is_unsupported(reader) {
            sum_errors(reader, &mut links.0, kind, counter, call)
        } else {
            fields.count(field)
        };
        sum.map(|value| Named { name, value })
    };
    NvLink {
        transmitted_bytes: bytes(&fields::NVLINK_TRANSMITTED),
        received_bytes: bytes(&fields::NVLINK_RECEIVED),
        errors: ERRORS.into_iter().enumerate().filter_map(errors).collect(),
    }
}

/// The sum over all links that have ever told; nothing if one that may tell does not, because a
/// sum without it would fall.
fn sum_errors(
    reader: &mut Reader<'_>,
    links: &mut [Link],
    kind: usize,
    counter: ErrorCounter,
    call: &'static str,
) -> Option<u64> {
    if reader.is_unsupported(call) {
        return None;
    }
    let mut sum = None;
    for link in links {
        let errors = reader.probe(call, |_, device| {
            device.link_wrapper_for(link.number).error_counter(counter)
        })?;
        match errors {
            Ok(errors) => link.errors[kind] = Some(plausible::count_u64(errors)?),
            Err(Probed::Failed) => return None,
            // It is down.
            Err(Probed::Absent) => {}
        }
        if let Some(errors) = link.errors[kind] {
            sum = Some(sum.unwrap_or(0_u64).checked_add(errors)?);
        }
    }
    if sum.is_none() {
        // No link tells: it is the device, as far as one can say.
        reader.set_refused(call);
    }
    sum
}
