//! This machine's tables of system calls, their names and those of their errors, and where its kernel
//! keeps the number of the running one. Knows no family.

use std::borrow::Cow;

use monitoring_common::syscalls::{COMPAT, INVALID};
use syscalls::Errno;

#[cfg(target_arch = "aarch64")]
pub(crate) use syscalls::{aarch64::Sysno as Native, arm::Sysno as Compat};
#[cfg(target_arch = "x86_64")]
pub(crate) use syscalls::{x86::Sysno as Compat, x86_64::Sysno as Native};

/// The field of `pt_regs` with the number of the running call.
#[cfg(target_arch = "x86_64")]
pub(crate) const NUMBER_FIELD: &str = "orig_ax";
#[cfg(target_arch = "aarch64")]
pub(crate) const NUMBER_FIELD: &str = "syscallno";

/// A system call's name. Calls of 32-bit processes begin with `compat_`; a number without a name
/// in the tables that the agent was built with is `unknown_N`.
pub(crate) fn name(syscall: u16) -> Cow<'static, str> {
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
pub(crate) fn errno(errno: u32) -> Cow<'static, str> {
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
