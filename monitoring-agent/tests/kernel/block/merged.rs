//! Requests that the kernel makes one: their bytes stay complete.

use super::{
    SOURCE, bytes,
    disk::{Data, Disk},
    nothing_is_left, requests,
};
use crate::{
    node::{ME, Node, losses},
    poll::poll_until,
};

/// Pages in each of two rows of requests.
const ROW: i64 = 8;

const PAGE_BYTES: i64 = 4096;

/// The kernel's `struct iocb` of `include/uapi/linux/aio_abi.h`.
#[repr(C)]
struct Iocb {
    data: u64,
    key_and_flags: [u32; 2],
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    flags: [u32; 2],
}

/// `IOCB_CMD_PWRITE`.
const PWRITE: u16 = 1;

/// The kernel's `struct io_event`.
#[repr(C)]
struct Event {
    data: u64,
    iocb: u64,
    result: i64,
    result2: i64,
}

/// Writes pages at these places with one call, and waits for all of them.
fn write_at_once(disk: &Disk, data: &Data, offsets: &[i64]) {
    let fd = u32::try_from(std::os::fd::AsRawFd::as_raw_fd(disk.file())).unwrap();
    let blocks: Vec<Iocb> = offsets
        .iter()
        .map(|offset| Iocb {
            data: 0,
            key_and_flags: [0; 2],
            opcode: PWRITE,
            priority: 0,
            fd,
            buffer: data.0.as_ptr() as u64,
            length: PAGE_BYTES.unsigned_abs(),
            offset: *offset,
            reserved: 0,
            flags: [0; 2],
        })
        .collect();
    let pointers: Vec<*const Iocb> = blocks.iter().map(std::ptr::from_ref).collect();
    let count = i64::try_from(offsets.len()).unwrap();
    let mut context: u64 = 0;
    let mut events: Vec<Event> = Vec::with_capacity(offsets.len());
    // SAFETY: the blocks, their data and the room for the events live until all are complete.
    unsafe {
        let made = libc::syscall(libc::SYS_io_setup, count, &raw mut context);
        assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
        let submitted = libc::syscall(libc::SYS_io_submit, context, count, pointers.as_ptr());
        assert_eq!(submitted, count, "{}", std::io::Error::last_os_error());
        let complete = libc::syscall(
            libc::SYS_io_getevents,
            context,
            count,
            count,
            events.as_mut_ptr(),
            std::ptr::null::<libc::timespec>(),
        );
        assert_eq!(complete, count);
        events.set_len(offsets.len());
        libc::syscall(libc::SYS_io_destroy, context);
    }
    assert!(events.iter().all(|event| event.result == PAGE_BYTES));
}

#[test]
fn requests_that_become_one_keep_their_bytes() {
    let disk = Disk::new();
    let data = Data::new();
    // A loop device does not merge unless it is told to. The scheduler merges requests.
    disk.set("nomerges", "0");
    disk.set("scheduler", "mq-deadline");
    let mut node = Node::start(&["process", SOURCE]);
    let before = disk.stats();
    // Two rows in turn: each request continues the one before the last, which it cannot be merged
    // into before all of them reach the scheduler.
    let pages = (0..2 * ROW).map(|number| (number % 2) * 1024 * 1024 + (number / 2) * PAGE_BYTES);
    write_at_once(&disk, &data, &pages.collect::<Vec<_>>());
    let moved = disk.stats().since(&before);
    let batch = node.collect(SOURCE);
    let all = (2 * ROW * PAGE_BYTES).unsigned_abs();
    assert_eq!(losses(&batch), []);
    assert_eq!(bytes(&batch, &disk.name(), "write", ME), all);
    assert_eq!(moved.written_bytes, all);
    assert_eq!(requests(&batch, &disk.name(), "write"), moved.writes);
    assert!(moved.merged_writes > 0, "{moved:?}");
    assert_eq!(
        moved.writes + moved.merged_writes,
        all / PAGE_BYTES.unsigned_abs()
    );
    nothing_is_left(&mut node);
}

#[test]
fn what_a_process_writes_back_itself_is_its_own() {
    let disk = Disk::new();
    let mut node = Node::start(&["process", SOURCE]);
    let before = disk.stats();
    let buffered = std::fs::OpenOptions::new()
        .write(true)
        .open(disk.path())
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&buffered, &vec![1; 1024 * 1024], 0).unwrap();
    buffered.sync_all().unwrap();
    let moved = poll_until("the data is on the disk", || {
        let moved = disk.stats().since(&before);
        (moved.written_bytes == 1024 * 1024).then_some(moved)
    });
    let batch = node.collect(SOURCE);
    assert_eq!(losses(&batch), []);
    // The kernel's flusher may have been faster with a part of it.
    let own = bytes(&batch, &disk.name(), "write", ME);
    let flushers = bytes(&batch, &disk.name(), "write", "other");
    assert_eq!(own + flushers, 1024 * 1024);
    assert!(own > 0, "all of it was written by others");
    assert!(requests(&batch, &disk.name(), "write") <= moved.writes);
}
