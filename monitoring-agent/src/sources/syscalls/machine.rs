//! What differs from machine to machine: numbers of system calls, and where the kernel keeps a call's
//! number and kind.

use monitoring_common::syscalls::{COMPAT, NATIVE_CALLS};

use crate::{
    loader,
    offsets::{ABSENT, Offsets},
    source::StartError,
    system_calls::{Compat, NUMBER_FIELD, Native},
};

/// Where `task_struct` tells that a call is a 32-bit one, and by which bit: `TS_COMPAT` of
/// `arch/x86/include/asm/thread_info.h`.
#[cfg(target_arch = "x86_64")]
const COMPAT_FIELD: (&str, u32) = ("thread_info.status", 0x0002);
/// `TIF_32BIT` of `arch/arm64/include/asm/thread_info.h`.
#[cfg(target_arch = "aarch64")]
const COMPAT_FIELD: (&str, u32) = ("thread_info.flags", 1 << 22);

/// The calls that return a second time, in the child.
#[cfg(target_arch = "x86_64")]
const FORKS: [Native; 4] = [Native::fork, Native::vfork, Native::clone, Native::clone3];
#[cfg(target_arch = "aarch64")]
const FORKS: [Native; 2] = [Native::clone, Native::clone3];

/// Values of the kernel object's globals on this machine.
pub(super) fn globals(offsets: &mut Offsets) -> Result<Vec<(&'static str, Vec<u32>)>, StartError> {
    let (compat_field, compat_mask) = COMPAT_FIELD;
    let field = |offsets: &mut Offsets, structure: &str, path: &str| {
        Ok::<_, StartError>(vec![loader::field(offsets, structure, path)?])
    };
    let native = |calls: &[Native]| numbers(calls.iter().map(Native::id), 0);
    let compat = |calls: &[Compat]| numbers(calls.iter().map(Compat::id), COMPAT);
    let exits = [
        native(&[Native::exit, Native::exit_group]),
        compat(&[Compat::exit, Compat::exit_group]),
    ];
    let forks = [
        native(&FORKS),
        compat(&[Compat::fork, Compat::vfork, Compat::clone, Compat::clone3]),
    ];
    let sigreturns = [
        native(&[Native::rt_sigreturn]),
        compat(&[Compat::sigreturn, Compat::rt_sigreturn]),
    ];
    Ok(vec![
        (
            "COMPAT_OFFSET",
            field(offsets, "task_struct", compat_field)?,
        ),
        ("COMPAT_MASK", vec![compat_mask]),
        ("NUMBER_OFFSET", field(offsets, "pt_regs", NUMBER_FIELD)?),
        ("EXITS", filled(&exits.concat(), 4)),
        ("FORKS", filled(&forks.concat(), 8)),
        ("SIGRETURNS", filled(&sigreturns.concat(), 4)),
    ])
}

/// The calls that are never spans, as the kernel object has them: a bit for each number of the native
/// table, and behind them for each of the 32-bit table. What this machine does not have is left out.
pub(super) fn never_spans(names: &[String]) -> Vec<u32> {
    let table = usize::from(NATIVE_CALLS);
    let mut words = vec![0; 2 * table / 32];
    let mut set = |number: usize| words[number / 32] |= 1 << (number % 32);
    let is_in_table = |number: &usize| *number < table;
    for name in names {
        let native = name.parse().map(|call: Native| call.id());
        let native = native.ok().and_then(|number| usize::try_from(number).ok());
        native.filter(is_in_table).into_iter().for_each(&mut set);
        let compat = name.parse().map(|call: Compat| call.id());
        let compat = compat.ok().and_then(|number| usize::try_from(number).ok());
        let compat = compat.filter(is_in_table);
        compat
            .map(|number| table + number)
            .into_iter()
            .for_each(&mut set);
    }
    words
}

/// Calls in the form of `CallKey::syscall`.
fn numbers(calls: impl Iterator<Item = i32>, table: u16) -> Vec<u32> {
    calls
        .map(|number| number.unsigned_abs() | u32::from(table))
        .collect()
}

/// The length that the global has, the rest of it filled with what is no call.
fn filled(calls: &[u32], length: usize) -> Vec<u32> {
    let rest = std::iter::repeat(ABSENT);
    calls.iter().copied().chain(rest).take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_has_its_bits() {
        let words = never_spans(&["read".to_owned(), "futex".to_owned(), "none".to_owned()]);
        let is_set = |number: i32, table: u16| {
            let number = usize::try_from(number).unwrap() + usize::from(table);
            words[number / 32] >> (number % 32) & 1 == 1
        };
        assert!(is_set(Native::read.id(), 0) && is_set(Native::futex.id(), 0));
        assert!(is_set(Compat::read.id(), NATIVE_CALLS));
        assert!(is_set(Compat::futex.id(), NATIVE_CALLS));
        assert_eq!(words.iter().map(|word| word.count_ones()).sum::<u32>(), 4);
        assert_eq!(words.len(), 32);
    }
}
