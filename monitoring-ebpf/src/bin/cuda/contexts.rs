//! Which device a thread works on.

use aya_ebpf::{btf_maps::HashMap, macros::btf_map};
use monitoring_common::cuda::{Address, MAX_CONTEXTS, Thread, lost::DETAILS_FULL};
use monitoring_ebpf::lost::lost;

use crate::{pid, registers::user_word};

/// The device of each context.
#[btf_map]
static CONTEXTS: HashMap<Address, u32, MAX_CONTEXTS> = HashMap::new();

/// Argument: the device's number.
#[inline(always)]
#[allow(
    clippy::cast_possible_truncation,
    reason = "no machine has 65,536 devices"
)]
pub(crate) fn device_chosen(thread: &mut Thread) {
    thread.device = thread.arguments[0] as u16;
}

/// Argument: the context.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "as above")]
pub(crate) fn context_chosen(thread: &mut Thread) {
    let context = address(thread.arguments[0]);
    // SAFETY: the value is one word, written once.
    if let Some(device) = unsafe { CONTEXTS.get(context) } {
        thread.device = *device as u16;
    }
}

/// Arguments: where the context was put, the device's number.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "as above")]
pub(crate) fn context_of_device(thread: &mut Thread) {
    let device = thread.arguments[1] as u32;
    let Some(context) = user_word(thread.arguments[0]) else {
        return;
    };
    if CONTEXTS.insert(address(context), device, 0).is_err() {
        lost(DETAILS_FULL);
    }
}

/// Something of the running process.
#[inline(always)]
pub(crate) fn address(value: u64) -> Address {
    Address {
        value,
        pid: pid(),
        padding: 0,
    }
}
