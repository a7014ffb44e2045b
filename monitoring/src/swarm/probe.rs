//! The places in a program's code that others can watch: one for each hook, and a note in the file
//! that says where it is and where its arguments are (USDT, provider `stratoswarm`).
//!
//! Knows no metric. A place is an instruction that does nothing. Whoever watches puts a trap there;
//! as long as nobody does, a hook costs what it takes to have its arguments in registers. They are
//! those in which functions get theirs on this machine, in the same order. A text is two arguments,
//! its address and its length in bytes; a number that need not be whole is the bits of its `f64`.

/// A note, by a place's name and its arguments: `SIZE@REGISTER` for each.
///
/// The layout is that of `SystemTap`'s `sys/sdt.h`, which all tools read: three addresses, of the
/// place, of a section by which a reader sees how far the file was moved since it was linked, and of
/// a counter of those who watch, which there is none of; then three texts.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri)
))]
macro_rules! note {
    ($name:literal, $arguments:literal) => {
        concat!(
            ".pushsection .note.stapsdt, \"?\", \"note\"\n",
            ".balign 4\n",
            ".4byte 992f - 991f\n",
            ".4byte 994f - 993f\n",
            ".4byte 3\n",
            "991: .asciz \"stapsdt\"\n",
            "992: .balign 4\n",
            "993: .8byte 990b\n",
            ".8byte _.stapsdt.base\n",
            ".8byte 0\n",
            ".asciz \"stratoswarm\"\n",
            ".asciz \"",
            $name,
            "\"\n",
            ".asciz \"",
            $arguments,
            "\"\n",
            "994: .balign 4\n",
            ".popsection\n",
            ".ifndef _.stapsdt.base\n",
            ".pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n",
            ".weak _.stapsdt.base\n",
            ".hidden _.stapsdt.base\n",
            "_.stapsdt.base: .space 1\n",
            ".size _.stapsdt.base, 1\n",
            ".popsection\n",
            ".endif\n",
        )
    };
}

/// A place. The first of its two instructions is one byte long, which every kernel steps over
/// without a second trap, and the one of the note. The five bytes behind it are for kernels that can
/// put a call there instead of a trap (since 6.18), and for those who look for them.
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
macro_rules! place {
    ($name:literal, $note:literal, $($register:tt = $argument:expr),+) => {
        // SAFETY: instructions that do nothing, and a note beside the code. Who watches may read what
        // the arguments point to, so that memory has to be as the program says.
        unsafe {
            core::arch::asm!(
                "990: nop",
                ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
                note!($name, $note),
                $(in($register) $argument,)+
                options(att_syntax, nostack, preserves_flags, readonly),
            );
        }
    };
    ($name:literal, $a:expr, $b:expr) => {
        place!($name, "8@%rdi 8@%rsi", "rdi" = $a, "rsi" = $b)
    };
    ($name:literal, $a:expr, $b:expr, $c:expr) => {
        place!($name, "8@%rdi 8@%rsi 8@%rdx", "rdi" = $a, "rsi" = $b, "rdx" = $c)
    };
    ($name:literal, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr) => {
        place!(
            $name, "8@%rdi 8@%rsi 8@%rdx 8@%rcx 8@%r8",
            "rdi" = $a, "rsi" = $b, "rdx" = $c, "rcx" = $d, "r8" = $e
        )
    };
}

/// A place: one instruction, which every kernel steps over without a second trap.
#[cfg(all(target_os = "linux", target_arch = "aarch64", not(miri)))]
macro_rules! place {
    ($name:literal, $note:literal, $($register:tt = $argument:expr),+) => {
        // SAFETY: an instruction that does nothing, and a note beside the code. Who watches may read
        // what the arguments point to, so that memory has to be as the program says.
        unsafe {
            core::arch::asm!(
                "990: nop",
                note!($name, $note),
                $(in($register) $argument,)+
                options(nostack, preserves_flags, readonly),
            );
        }
    };
    ($name:literal, $a:expr, $b:expr) => {
        place!($name, "8@x0 8@x1", "x0" = $a, "x1" = $b)
    };
    ($name:literal, $a:expr, $b:expr, $c:expr) => {
        place!($name, "8@x0 8@x1 8@x2", "x0" = $a, "x1" = $b, "x2" = $c)
    };
    ($name:literal, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr) => {
        place!(
            $name, "8@x0 8@x1 8@x2 8@x3 8@x4",
            "x0" = $a, "x1" = $b, "x2" = $c, "x3" = $d, "x4" = $e
        )
    };
}

/// Where programs have no such places.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri)
)))]
macro_rules! place {
    ($name:literal, $($argument:expr),+) => {
        let _ = ($name, $($argument,)+);
    };
}

/// Address and length.
#[inline(always)]
fn text(text: &str) -> (u64, u64) {
    (text.as_ptr() as u64, text.len() as u64)
}

#[inline(always)]
pub(super) fn agent_spawned(agent: &str) {
    let (at, length) = text(agent);
    place!("agent_spawned", at, length);
}

#[inline(always)]
pub(super) fn agent_stopped(agent: &str) {
    let (at, length) = text(agent);
    place!("agent_stopped", at, length);
}

#[inline(always)]
pub(super) fn message_sent(agent: &str, bytes: u64) {
    let (at, length) = text(agent);
    place!("message_sent", at, length, bytes);
}

#[inline(always)]
pub(super) fn message_received(agent: &str, bytes: u64) {
    let (at, length) = text(agent);
    place!("message_received", at, length, bytes);
}

#[inline(always)]
pub(super) fn goal_completed(agent: &str) {
    let (at, length) = text(agent);
    place!("goal_completed", at, length);
}

#[inline(always)]
pub(super) fn goal_failed(agent: &str) {
    let (at, length) = text(agent);
    place!("goal_failed", at, length);
}

#[inline(always)]
pub(super) fn generation(agent: &str, number: u64, best: f64, mean: f64) {
    let (at, length) = text(agent);
    place!(
        "generation",
        at,
        length,
        number,
        best.to_bits(),
        mean.to_bits()
    );
}

#[inline(always)]
pub(super) fn job_queue_depth(queue: &str, depth: u64) {
    let (at, length) = text(queue);
    place!("job_queue_depth", at, length, depth);
}

#[inline(always)]
pub(super) fn resource_allocated(resource: &str, agent: &str, amount: f64) {
    let (resource_at, resource_length) = text(resource);
    let (at, length) = text(agent);
    place!(
        "resource_allocated",
        resource_at,
        resource_length,
        at,
        length,
        amount.to_bits()
    );
}
