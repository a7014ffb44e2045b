//! What a probe costs on this machine: measured on two functions of the agent's own, which do
//! nothing and begin as CUDA's functions do.

use std::{arch::naked_asm, hint::black_box, ops::ControlFlow, path::Path, time::Instant};

use anyhow::{Context as _, ensure};
use monitoring_common::cuda::{Hook, MAX_CALLS, kind::PLAIN};

use super::super::{calls::CallMaps, probes::Ends};
use crate::{
    loader::{Loaded, release},
    process_maps::{self, Reader},
};

/// What probes add, in nanoseconds: the least of several measurements, so that whatever else the
/// machine does meanwhile is not in it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::struct_field_names, reason = "the unit")]
pub(in super::super) struct Trap {
    /// To a call that is counted when it is entered.
    pub(super) entry_ns: f64,
    /// To that by the return of a call that is timed.
    pub(super) return_ns: f64,
    /// To a call within another one.
    pub(super) nested_ns: f64,
    /// To the duration that the kernel programs measure of a call.
    pub(super) own_ns: f64,
}

/// Measurements, of which the lowest counts.
const ROUNDS: u32 = 24;

/// Calls of one measurement: short, so that some are not interrupted.
const CALLS: u32 = 48;

/// Calls within one, where that is measured.
const NESTED: u32 = 8;

/// The number of the calls that are made here: the last one, which no function of CUDA's has.
#[allow(clippy::cast_possible_truncation, reason = "a few hundred")]
pub(in super::super) const CALL: u16 = MAX_CALLS as u16 - 1;

/// Measures. `set_untimed` tells the kernel programs whether leaves are counted at entry.
pub(super) fn measure(
    loaded: &mut Loaded,
    ends: &Ends,
    calls: &mut CallMaps,
    mut set_untimed: impl FnMut(bool) -> anyhow::Result<()>,
) -> anyhow::Result<Trap> {
    let [alone, calling] = [0, NESTED].map(least_ns);
    let program = Path::new("/proc/self/exe");
    let hook = Hook::new(CALL, PLAIN).that_is_a_leaf();
    let places = [outer as *const () as u64, inner as *const () as u64].map(file_offset);
    let [outer, inner] = places;
    let places = [(outer?, hook.0), (inner?, hook.0)];
    set_untimed(true)?;
    let entries = ends.attach_entries(loaded, program, &places)?;
    let entered = least_ns(0);
    let returns = ends.attach_returns(loaded, program, &places)?;
    set_untimed(false)?;
    let empty = Probed::least(calls, 0);
    let full = Probed::least(calls, NESTED);
    release((entries, returns));
    calls.forget(CALL)?;
    let (empty, full) = (empty?, full?);
    // What a call within adds, over what it adds when nobody looks.
    let nested = |more: f64, less: f64| ((more - less) - (calling - alone)) / f64::from(NESTED);
    Ok(Trap {
        entry_ns: (entered - alone).max(0.0),
        return_ns: (empty.taken_ns - entered).max(0.0),
        nested_ns: nested(full.duration_ns, empty.duration_ns).max(0.0),
        own_ns: (empty.duration_ns - alone).max(0.0),
    })
}

/// A call that is probed.
struct Probed {
    /// What it takes.
    taken_ns: f64,
    /// What the kernel programs take for its duration.
    duration_ns: f64,
}

impl Probed {
    fn least(calls: &mut CallMaps, nested: u32) -> anyhow::Result<Self> {
        let mut least = Self {
            taken_ns: f64::INFINITY,
            duration_ns: f64::INFINITY,
        };
        let mut before = calls.durations(CALL)?;
        for _ in 0..ROUNDS {
            least.taken_ns = least.taken_ns.min(round_ns(nested));
            let now = calls.durations(CALL)?;
            let (sum, count) = (now.0 - before.0, now.1 - before.1);
            ensure!(
                count == u64::from(CALLS),
                "{count} of {CALLS} calls were seen"
            );
            least.duration_ns = least.duration_ns.min(sum as f64 / count as f64);
            before = now;
        }
        Ok(least)
    }
}

/// Time of a call.
fn least_ns(nested: u32) -> f64 {
    let rounds = (0..ROUNDS).map(|_| round_ns(nested));
    rounds.fold(f64::INFINITY, f64::min)
}

fn round_ns(nested: u32) -> f64 {
    let begun = Instant::now();
    for _ in 0..CALLS {
        black_box(outer(black_box(nested)));
    }
    begun.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

/// Where something of this program lies in its file.
fn file_offset(address: u64) -> anyhow::Result<u64> {
    let mut offset = None;
    let list = process_maps::open(Path::new("/proc/self"));
    let mut reader = Reader::new(list.context("open the own mappings")?);
    let read = reader.for_each(|mapping| {
        if !mapping.range.contains(&address) {
            return ControlFlow::Continue(());
        }
        offset = Some(mapping.offset_of(address));
        ControlFlow::Break(())
    });
    read.context("read the own mappings")?;
    offset.context("find the own program among the own mappings")
}

/// Calls the other one so many times.
#[unsafe(naked)]
extern "C" fn outer(calls: u32) -> u32 {
    #[cfg(target_arch = "x86_64")]
    naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "sub rsp, 8",
        "mov ebx, edi",
        "2:",
        "test ebx, ebx",
        "jz 3f",
        "call {inner}",
        "dec ebx",
        "jmp 2b",
        "3:",
        "xor eax, eax",
        "add rsp, 8",
        "pop rbx",
        "pop rbp",
        "ret",
        inner = sym inner,
    );
    #[cfg(target_arch = "aarch64")]
    naked_asm!(
        "stp x29, x30, [sp, #-32]!",
        "mov x29, sp",
        "str x19, [sp, #16]",
        "mov w19, w0",
        "2:",
        "cbz w19, 3f",
        "bl {inner}",
        "sub w19, w19, #1",
        "b 2b",
        "3:",
        "mov w0, #0",
        "ldr x19, [sp, #16]",
        "ldp x29, x30, [sp], #32",
        "ret",
        inner = sym inner,
    );
}

/// Does nothing.
#[unsafe(naked)]
extern "C" fn inner() -> u32 {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("push rbp", "mov rbp, rsp", "xor eax, eax", "pop rbp", "ret");
    #[cfg(target_arch = "aarch64")]
    naked_asm!(
        "stp x29, x30, [sp, #-16]!",
        "mov x29, sp",
        "mov w0, #0",
        "ldp x29, x30, [sp], #16",
        "ret",
    );
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_functions_are_where_the_program_has_them() {
        let program = fs::read("/proc/self/exe").unwrap();
        let at = usize::try_from(file_offset(inner as *const () as u64).unwrap()).unwrap();
        // SAFETY: the function's code is longer than what is read of it.
        let code = unsafe { std::slice::from_raw_parts(inner as *const u8, 4) };
        assert_eq!(&program[at..at + 4], code);
        assert_eq!([outer(0), outer(1_000), inner()], [0; 3]);
    }
}
