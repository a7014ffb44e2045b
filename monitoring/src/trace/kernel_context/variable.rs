//! The variable `otel_thread_ctx_v1` of each thread. Knows not what it points to.

use std::arch::{asm, global_asm};

use super::Record;

// Weak, because another library of the process may define it as well, or another version of this
// one; then there is one of them. Kept though perhaps nobody uses it, because the note speaks of it.
global_asm!(
    ".pushsection .tbss.otel_thread_ctx_v1, \"awTR\", \"nobits\"",
    ".weak otel_thread_ctx_v1",
    ".balign 8",
    "otel_thread_ctx_v1: .zero 8",
    ".size otel_thread_ctx_v1, 8",
    ".popsection",
);

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .note.stratoswarm, \"\", \"note\"",
    ".balign 4",
    ".4byte 992f - 991f",
    ".4byte 994f - 993f",
    ".4byte 1",
    "991: .asciz \"StratoSwarm\"",
    "992: .balign 4",
    "993: .8byte otel_thread_ctx_v1@dtpoff",
    "994: .balign 4",
    ".popsection",
);

/// Has the thread's variable point there from now on.
pub(super) fn point_to(record: *mut Record) {
    // SAFETY: the variable is this thread's own, and a pointer.
    unsafe { address().write_volatile(record) }
}

/// Where the thread's variable is. Its place from the thread's own register is known when the program
/// starts, or when the library that it is in is loaded.
#[cfg(target_arch = "x86_64")]
fn address() -> *mut *mut Record {
    let address;
    // SAFETY: the first word that the register leads to is its own address; the linker puts the
    // variable's place where the second instruction finds it.
    unsafe {
        asm!(
            "mov {address}, qword ptr fs:[0]",
            "add {address}, qword ptr [rip + otel_thread_ctx_v1@GOTTPOFF]",
            address = out(reg) address,
            options(nostack, readonly),
        );
    }
    address
}

#[cfg(target_arch = "aarch64")]
fn address() -> *mut *mut Record {
    let address;
    // SAFETY: reads the thread's register; the linker puts the variable's place where the next two
    // instructions find it.
    unsafe {
        asm!(
            "mrs {address}, tpidr_el0",
            "adrp {place}, :gottprel:otel_thread_ctx_v1",
            "ldr {place}, [{place}, :gottprel_lo12:otel_thread_ctx_v1]",
            "add {address}, {address}, {place}",
            address = out(reg) address,
            place = out(reg) _,
            options(nostack, readonly),
        );
    }
    address
}
