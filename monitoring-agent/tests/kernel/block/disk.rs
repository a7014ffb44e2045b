//! A disk of its own for each test: a loop device. Made with the kernel's own calls, because a
//! guest has no tools.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::fs::{FileExt as _, OpenOptionsExt as _},
    },
};

use super::backing::Backing;
use crate::poll::{poll_at_end, poll_until};

/// Requests of include/uapi/linux/loop.h and include/uapi/linux/fs.h.
const LOOP_SET_DIRECT_IO: u64 = 0x4c08;
const LOOP_CONFIGURE: u64 = 0x4c0a;
const LOOP_CTL_ADD: u64 = 0x4c80;
const LOOP_CTL_REMOVE: u64 = 0x4c81;
const BLKDISCARD: u64 = 0x1277;

/// The flag of a loop device that is given up when nobody has it open any more.
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// The disks' size.
pub(crate) const SIZE_BYTES: u32 = 64 * 1024 * 1024;

/// The first number that is tried for a disk: far above those that anybody else uses.
const FIRST_NUMBER: libc::c_int = 700;

/// A request's worth of data, placed as direct I/O wants it.
#[repr(align(4096))]
pub(crate) struct Data(pub(crate) [u8; 64 * 1024]);

impl Data {
    #[allow(clippy::large_stack_arrays, reason = "a test's stack has room")]
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self([0; 64 * 1024]))
    }
}

/// A disk that is gone when dropped, with the file that it is made of.
pub(crate) struct Disk {
    number: libc::c_int,
    /// Closed before the device goes.
    file: Option<File>,
    pub(crate) backing: Backing,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let backing = Backing::new(SIZE_BYTES);
        let made_of = backing.open();
        // Before 6.15 the device takes the size that the kernel remembers, and does not ask.
        assert_eq!(made_of.metadata().unwrap().len(), u64::from(SIZE_BYTES));
        let found = (FIRST_NUMBER..FIRST_NUMBER + 100)
            .find_map(|number| Some((number, loop_device(number, &made_of)?)));
        let (number, device) = found.expect("the kernel has loop devices (module `loop`)");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(format!("/dev/loop{number}"))
            .unwrap();
        drop(device);
        Self {
            number,
            file: Some(file),
            backing,
        }
    }

    /// Has the loop device do asynchronous direct I/O on its file, which it completes by parts
    /// when the file reads short.
    pub(crate) fn complete_by_parts(&self) {
        ioctl(self.file().as_raw_fd(), LOOP_SET_DIRECT_IO, 1).unwrap();
    }

    pub(crate) fn path(&self) -> String {
        format!("/dev/{}", self.name())
    }

    /// Changes a setting of the device's queue.
    pub(crate) fn set(&self, setting: &str, value: &str) {
        let path = format!("/sys/block/{}/queue/{setting}", self.name());
        std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// The name of the device, as the kernel has it.
    pub(crate) fn name(&self) -> String {
        format!("loop{}", self.number)
    }

    pub(crate) fn file(&self) -> &File {
        self.file.as_ref().unwrap()
    }

    /// Writes this many bytes at the beginning, with direct I/O: one request.
    pub(crate) fn write(&self, data: &Data, length: usize) -> io::Result<usize> {
        self.file().write_at(&data.0[..length], 0)
    }

    /// Reads this many bytes with direct I/O: one request.
    pub(crate) fn read(&self, data: &mut Data, length: usize, offset: u64) -> io::Result<usize> {
        self.file().read_at(&mut data.0[..length], offset)
    }

    /// As [`Self::write`], and has the data forced out of the device's cache.
    pub(crate) fn write_through(&self, data: &Data, length: usize) {
        let vector = libc::iovec {
            iov_base: data.0.as_ptr().cast_mut().cast(),
            iov_len: length,
        };
        let fd = self.file().as_raw_fd();
        // SAFETY: the vector and the data, which are only read, live across the call.
        let written = unsafe { libc::pwritev2(fd, &raw const vector, 1, 0, libc::RWF_DSYNC) };
        assert_eq!(usize::try_from(written).ok(), Some(length));
    }

    pub(crate) fn discard(&self, length: u64) {
        let range = [0, length];
        ioctl(self.file().as_raw_fd(), BLKDISCARD, &raw const range as u64).unwrap();
    }

    pub(crate) fn remove(&mut self) {
        if self.file.take().is_some() {
            poll_at_end("the loop device can be removed", || {
                control(LOOP_CTL_REMOVE, self.number).ok()
            });
        }
    }

    /// The kernel's own numbers of the device: the columns of /proc/diskstats behind its name.
    pub(crate) fn stats(&self) -> Stats {
        let text = std::fs::read_to_string("/proc/diskstats").unwrap();
        let mut lines = text.lines().map(str::split_ascii_whitespace);
        let name = self.name();
        let columns = lines
            .find_map(|mut columns| (columns.nth(2) == Some(&*name)).then_some(columns))
            .unwrap();
        let columns: Vec<u64> = columns.map(|column| column.parse().unwrap()).collect();
        Stats {
            reads: columns[0],
            read_bytes: columns[2] * 512,
            writes: columns[4],
            merged_writes: columns[5],
            written_bytes: columns[6] * 512,
            discards: columns[11],
            discarded_bytes: columns[13] * 512,
            flushes: columns[15],
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.backing.behave(super::backing::WELL);
        self.remove();
    }
}

/// What /proc/diskstats says of a disk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) reads: u64,
    pub(crate) read_bytes: u64,
    pub(crate) writes: u64,
    pub(crate) merged_writes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) discards: u64,
    pub(crate) discarded_bytes: u64,
    pub(crate) flushes: u64,
}

impl Stats {
    /// What was added since an earlier look.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            reads: self.reads - earlier.reads,
            read_bytes: self.read_bytes - earlier.read_bytes,
            writes: self.writes - earlier.writes,
            merged_writes: self.merged_writes - earlier.merged_writes,
            written_bytes: self.written_bytes - earlier.written_bytes,
            discards: self.discards - earlier.discards,
            discarded_bytes: self.discarded_bytes - earlier.discarded_bytes,
            flushes: self.flushes - earlier.flushes,
        }
    }
}

/// The loop device of a number, over a file, unless it is another one's. It is given up with the
/// last descriptor, which a suite that is killed closes as well; what that leaves is a device over
/// nothing, which is removed here.
fn loop_device(number: libc::c_int, file: &File) -> Option<File> {
    control(LOOP_CTL_ADD, number)
        .or_else(|_| {
            control(LOOP_CTL_REMOVE, number)?;
            control(LOOP_CTL_ADD, number)
        })
        .ok()?;
    let path = format!("/dev/loop{number}");
    let device = poll_until("the loop device's file", || {
        OpenOptions::new().read(true).write(true).open(&path).ok()
    });
    // `struct loop_config`: the file, 0 for its own block size, and `struct loop_info64`, of which
    // the flags are word 13.
    let mut config = [0_u32; 76];
    config[0] = file.as_raw_fd().cast_unsigned();
    config[2 + 13] = LO_FLAGS_AUTOCLEAR;
    ioctl(device.as_raw_fd(), LOOP_CONFIGURE, config.as_ptr() as u64).ok()?;
    Some(device)
}

fn control(request: u64, number: libc::c_int) -> io::Result<()> {
    let control = OpenOptions::new().write(true).open("/dev/loop-control")?;
    ioctl(control.as_raw_fd(), request, number.cast_unsigned().into())
}

fn ioctl(fd: RawFd, request: u64, argument: u64) -> io::Result<()> {
    // SAFETY: the argument is what the request asks for: a number, or what lives across the call.
    let result = unsafe { libc::ioctl(fd, request, argument) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
