//! This machine's tables of system calls, and where its kernel keeps the number of the running one.
//! Knows no family.

#[cfg(target_arch = "aarch64")]
pub(crate) use syscalls::{aarch64::Sysno as Native, arm::Sysno as Compat};
#[cfg(target_arch = "x86_64")]
pub(crate) use syscalls::{x86::Sysno as Compat, x86_64::Sysno as Native};

/// The field of `pt_regs` with the number of the running call.
#[cfg(target_arch = "x86_64")]
pub(crate) const NUMBER_FIELD: &str = "orig_ax";
#[cfg(target_arch = "aarch64")]
pub(crate) const NUMBER_FIELD: &str = "syscallno";
