//! What differs from machine to machine: numbers and names of system calls, and where the kernel
//! keeps a call's number and kind.

use std::borrow::Cow;

use monitoring_common::syscalls::{COMPAT, INVALID};
use syscalls::Errno;

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

/// A system call's name. Calls of 32-bit processes begin with `compat_`; a number without a name
/// in the tables that the agent was built with is `unknown_N`.
pub(super) fn name(syscall: u16) -> Cow<'static, str> {
    if syscall == INVALID {
        return "invalid".into();
    }
    let number = usize::from(syscall & !COMPAT);
    if syscall & COMPAT == 0 {
        let name = Native::new(number).map(|call| call.name());
        name.map_or_else(|| format!("unknown_{number}").into(), Cow::from)
    } else {
        let name = Compat::new(number).map(|call| call.name());
        name.map_or_else(
            || format!("compat_unknown_{number}"),
            |name| format!("compat_{name}"),
        )
        .into()
    }
}

/// An error's symbol, such as `ENOENT`, also for the kernel's internal ones (`ERESTARTSYS`); the
/// number where it has none.
pub(super) fn errno(errno: u32) -> Cow<'static, str> {
    let known = i32::try_from(errno)
        .ok()
        .and_then(|errno| Errno::new(errno).name());
    known.map_or_else(|| errno.to_string().into(), Cow::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |syscall, want: &str| assert_eq!(name(syscall), want);
        check(INVALID, "invalid");
        check(511, "unknown_511");
        check(COMPAT | 511, "compat_unknown_511");
        check(Native::openat.id().try_into().unwrap(), "openat");
        check(
            COMPAT | u16::try_from(Compat::openat.id()).unwrap(),
            "compat_openat",
        );
    }

    #[test]
    fn the_running_c_library_agrees() {
        let check = |number: libc::c_long, want: &str| {
            assert_eq!(name(number.try_into().unwrap()), want);
        };
        check(libc::SYS_getppid, "getppid");
        check(libc::SYS_read, "read");
        check(libc::SYS_futex, "futex");
        check(libc::SYS_epoll_pwait2, "epoll_pwait2");
        check(libc::SYS_clone3, "clone3");
    }

    #[test]
    fn errors() {
        let check = |number, want: &str| assert_eq!(errno(number), want);
        check(2, "ENOENT");
        check(11, "EAGAIN");
        check(512, "ERESTARTSYS");
        check(4095, "4095");
    }
}
