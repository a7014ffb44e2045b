//! A wait for `io_uring` of known length, by system calls alone.

use std::{
    ffi::c_void,
    io, ptr,
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Release},
    },
    time::Duration,
};

/// `IORING_OP_TIMEOUT` of the kernel's `include/uapi/linux/io_uring.h`.
const TIMEOUT: u8 = 11;

/// `IORING_ENTER_GETEVENTS` of the same: wait for completions.
const GETEVENTS: u32 = 1;

/// Where the two parts of the ring are mapped from.
const OFFSET_RINGS: libc::off_t = 0;
const OFFSET_ENTRIES: libc::off_t = 0x1000_0000;

/// `struct io_uring_params`; of its offsets only those are named that are used.
#[repr(C)]
#[derive(Default)]
struct Parameters {
    entries: u32,
    completions: u32,
    flags: u32,
    thread_cpu: u32,
    thread_idle: u32,
    features: u32,
    work_queue: u32,
    reserved: [u32; 3],
    submission_head: u32,
    submission_tail: u32,
    submission_rest: [u32; 4],
    submission_array: u32,
    submission_more: [u32; 3],
    completion: [u32; 10],
}

const _: () = assert!(size_of::<Parameters>() == 120);

/// `struct io_uring_sqe`, for a timeout.
#[repr(C)]
struct Entry {
    operation: u8,
    flags: u8,
    priority: u16,
    descriptor: i32,
    count: u64,
    time: *const libc::timespec,
    number: u32,
    rest: [u32; 9],
}

const _: () = assert!(size_of::<Entry>() == 64);

/// Waits in `io_uring_enter` until a timeout comes; whether one did. Allocates nothing.
pub(super) fn times_out(after: Duration) -> bool {
    match timeout(after) {
        Ok(done) => done == 1,
        Err(_) => false,
    }
}

fn timeout(after: Duration) -> io::Result<i64> {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: i64::from(after.subsec_nanos()),
    };
    let mut parameters = Parameters::default();
    // SAFETY: the parameters live across the call.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, &raw mut parameters) };
    let ring = i32::try_from(checked(ring)?).unwrap_or(-1);
    let rings = map(ring, OFFSET_RINGS)?;
    let entries = map(ring, OFFSET_ENTRIES)?;
    // SAFETY: the kernel has made both areas, of a page at least, and says where what lies. Nobody
    // else writes to them before the call.
    unsafe {
        entries.cast::<Entry>().write(Entry {
            operation: TIMEOUT,
            flags: 0,
            priority: 0,
            descriptor: -1,
            count: 0,
            time: &raw const time,
            number: 1,
            rest: [0; 9],
        });
        rings
            .byte_add(parameters.submission_array as usize)
            .cast::<u32>()
            .write(0);
        let tail = &*rings
            .byte_add(parameters.submission_tail as usize)
            .cast::<AtomicU32>();
        tail.store(tail.load(Acquire) + 1, Release);
    }
    // SAFETY: the timeout's time lives across the call.
    checked(unsafe {
        libc::syscall(
            libc::SYS_io_uring_enter,
            ring,
            1,
            1,
            GETEVENTS,
            ptr::null::<u8>(),
            0,
        )
    })
}

fn map(ring: i32, offset: libc::off_t) -> io::Result<*mut c_void> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: a new mapping, of a page.
    let area = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, flags, ring, offset) };
    if area == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(area)
}

fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
