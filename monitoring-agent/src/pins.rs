//! A bpffs that exists for the length of a function: how families come to share maps.
//!
//! aya can hand an existing map to an object only through a pin. Pins outlive a killed process, so
//! they are made in a mount namespace of a thread's own, which the kernel takes down with the
//! thread, whatever ends it.

use std::{ffi::CStr, io, path::Path, ptr, thread};

use anyhow::{Context as _, anyhow};

use crate::{privileges::SYS_ADMIN, source::StartError};

/// Where the thread mounts its bpffs, over whatever the machine has there.
const MOUNT_POINT: &CStr = c"/sys/fs/bpf";

/// Runs `work` on a thread that has an empty bpffs of its own, and gives it that folder.
///
/// # Errors
///
/// [`StartError::Unsupported`] when the process may not make a mount namespace; otherwise what
/// `work` returns.
pub fn in_private_bpffs<T: Send>(
    work: impl FnOnce(&Path) -> Result<T, StartError> + Send,
) -> Result<T, StartError> {
    let in_thread = || {
        mount_bpffs().map_err(StartError::Unsupported)?;
        let folder = MOUNT_POINT.to_str().context("the mount point is ASCII")?;
        work(Path::new(folder))
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("loader".into())
            .spawn_scoped(scope, in_thread);
        let joined = thread.context("start the loader thread")?.join();
        joined.map_err(|_| anyhow!("the loader thread panicked"))?
    })
}

fn mount_bpffs() -> Result<(), String> {
    // SAFETY: gives this thread its own mount namespace and file system state; no memory is
    // touched, and no other thread is affected.
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    check(unshared, "a mount namespace of its own")?;
    // Slave, not private: what the node unmounts later is unmounted here too.
    mount(
        None,
        c"/",
        None,
        libc::MS_REC | libc::MS_SLAVE,
        "its mounts as slaves",
    )?;
    if !Path::new("/sys/fs/bpf").exists() {
        return Err("this kernel has no bpffs (/sys/fs/bpf is missing)".to_owned());
    }
    mount(
        Some(c"bpf"),
        MOUNT_POINT,
        Some(c"bpf"),
        0,
        "a bpffs of its own",
    )?;
    // aya's loader reads the whole kernel BTF onto the heap, 20 MB for nothing: no program of ours
    // uses CO-RE. It does without what it does not find.
    if Path::new("/sys/kernel/btf").exists() {
        mount(
            Some(c"tmpfs"),
            c"/sys/kernel/btf",
            Some(c"tmpfs"),
            0,
            "a folder without BTF",
        )?;
    }
    Ok(())
}

fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
    what: &str,
) -> Result<(), String> {
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: all strings end in NUL and live across the call; there is no data argument.
    let result = unsafe {
        libc::mount(
            pointer(source),
            target.as_ptr(),
            pointer(kind),
            flags,
            ptr::null(),
        )
    };
    check(result, what)
}

fn check(result: libc::c_int, what: &str) -> Result<(), String> {
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(format!(
        "the loader could not get {what} ({error}); {}",
        SYS_ADMIN.cure()
    ))
}
