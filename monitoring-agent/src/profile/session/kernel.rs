//! What differs from kernel to kernel and from machine to machine: where it keeps what the programs
//! read. Knows no session.

use anyhow::Context as _;

use crate::{
    loader::needed_field,
    offsets::Offsets,
    source::StartError,
    system_calls::{NUMBER_FIELD, Native},
};

/// Fields of `task_struct`, by the global that they go to.
const TASK: [(&str, &str); 4] = [
    ("SPACE_OFFSET", "mm"),
    ("LEADER_OFFSET", "group_leader"),
    ("COMM_OFFSET", "comm"),
    ("START_OFFSET", "start_boottime"),
];

/// Registers: the fields of `pt_regs` that they are in, or for those that are in an array there, the
/// array and the place in it; by the global that they go to.
#[cfg(target_arch = "x86_64")]
const REGISTERS: [(&str, &str, u32); 4] = [
    ("INSTRUCTION_OFFSET", "ip", 0),
    ("FRAME_OFFSET", "bp", 0),
    ("STACK_POINTER_OFFSET", "sp", 0),
    ("MODE_OFFSET", "cs", 0),
];
#[cfg(target_arch = "aarch64")]
const REGISTERS: [(&str, &str, u32); 4] = [
    ("INSTRUCTION_OFFSET", "pc", 0),
    ("FRAME_OFFSET", "regs", 29),
    ("STACK_POINTER_OFFSET", "sp", 0),
    ("MODE_OFFSET", "pstate", 0),
];

/// The second and the third argument of a call; likewise.
#[cfg(target_arch = "x86_64")]
const ARGUMENTS: [(&str, &str, u32); 2] = [("SECOND_OFFSET", "si", 0), ("THIRD_OFFSET", "dx", 0)];
#[cfg(target_arch = "aarch64")]
const ARGUMENTS: [(&str, &str, u32); 2] =
    [("SECOND_OFFSET", "regs", 1), ("THIRD_OFFSET", "regs", 2)];

/// Calls that make address space, by the global that their number goes to.
const GROWTH: [(&str, Native); 3] = [
    ("MMAP", Native::mmap),
    ("MREMAP", Native::mremap),
    ("BRK", Native::brk),
];

/// Bytes of a register.
const REGISTER_BYTES: u32 = 8;

/// Values of the kernel object's globals on this kernel.
pub(super) fn globals(offsets: &mut Offsets) -> Result<Vec<(&'static str, Vec<u32>)>, StartError> {
    let mut globals = Vec::new();
    for (global, name) in TASK {
        globals.push((global, vec![needed_field(offsets, "task_struct", name)?]));
    }
    for (global, name, place) in REGISTERS {
        let offset = needed_field(offsets, "pt_regs", name)? + place * REGISTER_BYTES;
        globals.push((global, vec![offset]));
    }
    Ok(globals)
}

/// Those that tell where memory grows.
pub(super) fn growth(offsets: &mut Offsets) -> Result<Vec<(&'static str, Vec<u32>)>, StartError> {
    let page_bytes = page_bytes().context("size of a page")?;
    let mut globals = vec![
        ("PAGE_SHIFT", vec![page_bytes.trailing_zeros()]),
        (
            "HEAP_END_OFFSET",
            vec![needed_field(offsets, "mm_struct", "brk")?],
        ),
        (
            "NUMBER_OFFSET",
            vec![needed_field(offsets, "pt_regs", NUMBER_FIELD)?],
        ),
    ];
    for (global, name, place) in ARGUMENTS {
        let offset = needed_field(offsets, "pt_regs", name)? + place * REGISTER_BYTES;
        globals.push((global, vec![offset]));
    }
    for (global, call) in GROWTH {
        globals.push((global, vec![call.id().unsigned_abs()]));
    }
    Ok(globals)
}

fn page_bytes() -> Option<u32> {
    // SAFETY: the call has no preconditions.
    u32::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()
}
