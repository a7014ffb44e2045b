//! Copies, and memory that is set.

use monitoring_common::cuda::{
    Hook, NO_ARGUMENT, Thread, direction,
    kind::{COPY, COPY_BATCH, COPY_STRUCTURE, SET},
    layout,
    lost::UNSIZED,
};
use monitoring_ebpf::{atomic, lost::lost};

use crate::{
    memory::sums_of,
    registers::{user_half, user_word},
    windows,
};

/// Most copies of one call whose bytes are added up.
const MAX_BATCH: u64 = 64;

/// `CU_MEMORYTYPE_HOST`.
const HOST: u32 = 1;
/// `CU_MEMORYTYPE_DEVICE`, and `CU_MEMORYTYPE_ARRAY` behind it.
const DEVICE: u32 = 2;
const ARRAY: u32 = 3;

/// Where in a structure of the driver's the types of memory and the extent lie. Rows are in bytes.
/// NVIDIA keeps the layout of public structures.
struct Driver {
    source: u64,
    destination: u64,
    extent: u64,
    dimensions: u64,
}

const DRIVER_2D: Driver = Driver {
    source: 16,
    destination: 72,
    extent: 112,
    dimensions: 2,
};
const DRIVER_3D: Driver = Driver {
    source: 32,
    destination: 120,
    extent: 176,
    dimensions: 3,
};

/// Where in a structure of the runtime's the arrays, the extent and the direction lie. Where one of
/// the two is an array, rows are in its elements, whose size nothing tells.
struct Runtime {
    arrays: [u64; 2],
    extent: u64,
    direction: Option<u64>,
}

const RUNTIME_3D: Runtime = Runtime {
    arrays: [0, 64],
    extent: 128,
    direction: Some(152),
};
const RUNTIME_3D_PEER: Runtime = Runtime {
    arrays: [0, 72],
    extent: 144,
    direction: None,
};

/// Arguments: bytes, or bytes a row; rows; direction.
#[inline(always)]
pub(crate) fn copied(hook: Hook, thread: &mut Thread, left_ns: u64) {
    let [bytes, rows, given, _] = thread.arguments;
    let bytes = if hook.argument(1) == NO_ARGUMENT {
        bytes
    } else {
        bytes.wrapping_mul(rows)
    };
    let direction = if hook.argument(2) == NO_ARGUMENT {
        hook.variant().into()
    } else {
        given & 0xffff_ffff
    };
    add(thread, direction, bytes);
    // It returned with what the device had computed by then, in the order of the default stream.
    if hook.waits() && direction == u64::from(direction::DEVICE_TO_HOST) {
        windows::stream_ended(thread, 0, left_ns);
    }
}

/// Counts the bytes of a call whose return is not seen as those that it asks for. What its arguments
/// point to is right `at_entry` only.
#[inline(always)]
pub(crate) fn not_timed(hook: Hook, thread: &mut Thread, at_entry: bool) {
    match hook.kind() {
        COPY => copied(hook, thread, 0),
        SET => set(hook, thread),
        COPY_STRUCTURE if at_entry => copied_structure(hook.variant(), thread),
        COPY_BATCH if at_entry => copied_batch(thread),
        COPY_STRUCTURE | COPY_BATCH => lost(UNSIZED),
        _ => {}
    }
}

/// Argument: the structure.
#[inline(never)]
pub(crate) fn copied_structure(variant: u8, thread: &mut Thread) {
    let structure = thread.arguments[0];
    let found = match variant {
        layout::DRIVER_2D => of_driver(structure, &DRIVER_2D),
        layout::DRIVER_3D => of_driver(structure, &DRIVER_3D),
        layout::RUNTIME_3D => of_runtime(structure, &RUNTIME_3D),
        layout::OPERANDS_3D => {
            lost(UNSIZED);
            None
        }
        _ => of_runtime(structure, &RUNTIME_3D_PEER),
    };
    // What could not be read or told is counted already.
    if let Some((direction, bytes)) = found {
        add(thread, direction.into(), bytes);
    }
}

/// Arguments: an array of bytes, how many.
#[inline(never)]
pub(crate) fn copied_batch(thread: &mut Thread) {
    let [sizes, count, _, _] = thread.arguments;
    if count > MAX_BATCH {
        lost(UNSIZED);
        return;
    }
    let mut bytes: u64 = 0;
    for place in 0..MAX_BATCH {
        if place >= count {
            break;
        }
        let Some(size) = user_word(sizes + 8 * place) else {
            return;
        };
        bytes = bytes.wrapping_add(size);
    }
    add(thread, direction::UNKNOWN.into(), bytes);
}

/// Arguments: elements, or elements a row; rows; slices. The variant is an element's size.
#[inline(always)]
pub(crate) fn set(hook: Hook, thread: &mut Thread) {
    let [elements, rows, slices, _] = thread.arguments;
    let mut bytes = elements << hook.variant();
    if hook.argument(1) != NO_ARGUMENT {
        bytes = bytes.wrapping_mul(rows);
    }
    if hook.argument(2) != NO_ARGUMENT {
        bytes = bytes.wrapping_mul(slices);
    }
    thread.bytes = bytes;
    if let Some(sums) = sums_of(thread) {
        // SAFETY: the pointer is to a map's value; only an address is taken.
        atomic::add(unsafe { &raw mut (*sums).set_bytes }, bytes);
    }
}

#[inline(always)]
fn of_driver(structure: u64, driver: &Driver) -> Option<(u8, u64)> {
    let from = user_half(structure + driver.source)?;
    let to = user_half(structure + driver.destination)?;
    let on_device = |memory| matches!(memory, DEVICE | ARRAY);
    let direction = match (from, to) {
        (HOST, HOST) => direction::HOST_TO_HOST,
        (HOST, to) if on_device(to) => direction::HOST_TO_DEVICE,
        (from, HOST) if on_device(from) => direction::DEVICE_TO_HOST,
        (from, to) if on_device(from) && on_device(to) => direction::DEVICE_TO_DEVICE,
        _ => direction::UNKNOWN,
    };
    Some((
        direction,
        extent(structure + driver.extent, driver.dimensions)?,
    ))
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the value is small")]
fn of_runtime(structure: u64, runtime: &Runtime) -> Option<(u8, u64)> {
    for array in runtime.arrays {
        if user_word(structure + array)? != 0 {
            lost(UNSIZED);
            return None;
        }
    }
    let direction = match runtime.direction {
        Some(place) => user_half(structure + place)?.min(direction::UNKNOWN.into()) as u8,
        None => direction::DEVICE_TO_DEVICE,
    };
    Some((direction, extent(structure + runtime.extent, 3)?))
}

/// Bytes a row, rows, and slices where there are three dimensions.
#[inline(always)]
fn extent(place: u64, dimensions: u64) -> Option<u64> {
    let mut bytes = user_word(place)?.wrapping_mul(user_word(place + 8)?);
    if dimensions == 3 {
        bytes = bytes.wrapping_mul(user_word(place + 16)?);
    }
    Some(bytes)
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the value is small")]
fn add(thread: &mut Thread, direction: u64, bytes: u64) {
    let Some(sums) = sums_of(thread) else {
        return;
    };
    // A number that is no direction is the caller's mistake, which the library has let pass.
    let direction = usize::try_from(direction).unwrap_or(usize::MAX);
    let direction = direction.min(direction::UNKNOWN.into());
    thread.bytes = bytes;
    thread.direction = direction as u16;
    // SAFETY: the pointer is to a map's value; only an address is taken, and it is within.
    unsafe {
        if let Some(sum) = (*sums).copied_bytes.get_mut(direction) {
            atomic::add(sum, bytes);
        }
    }
}
