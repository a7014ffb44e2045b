//! Which device a thread works on.

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, btf_maps::HashMap, macros::btf_map};
use monitoring_common::cuda::{Address, MAX_CONTEXTS, Thread, lost::DETAILS_FULL};
use monitoring_ebpf::lost::lost;

use crate::registers::user_word;

/// The device of each context.
#[btf_map]
static CONTEXTS: HashMap<Address, u64, MAX_CONTEXTS, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

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
    let context = address(thread, thread.arguments[0]);
    // SAFETY: the value is one word, written once.
    if let Some(device) = unsafe { CONTEXTS.get(context) } {
        thread.device = *device as u16;
    }
}

/// Argument: the context. Threads stack few: what is below the fourth is forgotten.
#[inline(always)]
pub(crate) fn context_pushed(thread: &mut Thread) {
    thread.devices_below = thread.devices_below << 16 | u64::from(thread.device);
    context_chosen(thread);
}

/// The context below is the thread's again.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "as above")]
pub(crate) fn context_popped(thread: &mut Thread) {
    thread.device = thread.devices_below as u16;
    thread.devices_below >>= 16;
}

/// Arguments: where the context was put, the device's number.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "as above")]
pub(crate) fn context_of_device(thread: &Thread) {
    let device = thread.arguments[1] & 0xffff_ffff;
    let Some(context) = user_word(thread.arguments[0]) else {
        return;
    };
    if CONTEXTS
        .insert(address(thread, context), device, 0)
        .is_err()
    {
        lost(DETAILS_FULL);
    }
}

/// Arguments: where the context was put, the device's number.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "as above")]
pub(crate) fn context_created(thread: &mut Thread) {
    context_of_device(thread);
    thread.devices_below = thread.devices_below << 16 | u64::from(thread.device);
    thread.device = thread.arguments[1] as u16;
}

/// Something of the thread's process.
#[inline(always)]
pub(crate) fn address(thread: &Thread, value: u64) -> Address {
    Address {
        value,
        process: thread.process,
    }
}
