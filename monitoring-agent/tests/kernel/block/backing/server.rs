//! The process that serves the file, in mounts of its own. Like everything after the fork of a
//! process with threads it makes system calls only: what it needs of memory, it has before.

use std::{
    io::{self, Cursor, PipeReader, PipeWriter, Write as _},
    os::fd::{AsRawFd, RawFd},
    ptr::null,
};

use super::{Behaviour, WELL};

/// A command: the number of a hold, or 0, and a behaviour's two numbers.
pub(super) const COMMAND_BYTES: usize = 24;

/// Operations of the kernel's include/uapi/linux/fuse.h.
mod operation {
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const WRITE: u32 = 16;
    pub(super) const STATFS: u32 = 17;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const FSYNC: u32 = 20;
    pub(super) const FLUSH: u32 = 25;
    pub(super) const INIT: u32 = 26;
    pub(super) const INTERRUPT: u32 = 36;
    pub(super) const BATCH_FORGET: u32 = 42;
    pub(super) const FALLOCATE: u32 = 43;
}

/// Bytes of the header of a message from the kernel, and of an answer's.
const HEADER: usize = 40;
const ANSWER_HEADER: usize = 16;

/// Most bytes of one read or write, as the answer to `INIT` says.
const MAX_BYTES: u32 = 1024 * 1024;

pub(super) struct Server {
    size_bytes: u32,
    /// Where the file is mounted, with a zero byte at its end.
    target: Vec<u8>,
    commands: PipeReader,
    told: PipeWriter,
    /// The number of the hold that reads and writes wait for the end of, or 0.
    hold: u64,
    behaviour: Behaviour,
    message: Vec<u8>,
    answer: Vec<u8>,
}

impl Server {
    pub(super) fn new(
        size_bytes: u32,
        target: Vec<u8>,
        commands: PipeReader,
        told: PipeWriter,
    ) -> Self {
        Self {
            size_bytes,
            target,
            commands,
            told,
            hold: 0,
            behaviour: WELL,
            message: vec![0; HEADER + 4096 + MAX_BYTES as usize],
            answer: vec![0; ANSWER_HEADER + MAX_BYTES as usize],
        }
    }

    /// Tells 0 or the number of an error, and serves until the suite is gone.
    pub(super) fn run(&mut self) {
        match self.mount() {
            Ok(device) => {
                self.tell(0);
                self.serve(device);
            }
            Err(error) => self.tell(u64::from(error.raw_os_error().unwrap_or(0).unsigned_abs())),
        }
    }

    /// Mounts the file where nobody else sees it, and returns the descriptor of `/dev/fuse`, which
    /// ends with this process.
    fn mount(&self) -> io::Result<RawFd> {
        let mut options = [0_u8; 80];
        // SAFETY: all strings end with a zero byte and live across their call, the one formatted
        // here in a buffer of zeros that has room for more.
        unsafe {
            is_done(libc::unshare(libc::CLONE_NEWNS))?;
            let private = libc::MS_REC | libc::MS_PRIVATE;
            let root = c"/".as_ptr();
            is_done(libc::mount(null(), root, null(), private, null()))?;
            let device = libc::open(c"/dev/fuse".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
            is_done(device)?;
            let text = &mut Cursor::new(&mut options[..79]);
            write!(text, "fd={device},rootmode=100000,user_id=0,group_id=0")?;
            is_done(libc::mount(
                c"test".as_ptr(),
                self.target.as_ptr().cast(),
                c"fuse".as_ptr(),
                0,
                options.as_ptr().cast(),
            ))?;
            Ok(device)
        }
    }

    fn serve(&mut self, device: RawFd) {
        loop {
            // SAFETY: reads into a buffer of its own.
            let length = unsafe {
                let room = self.message.len();
                libc::read(device, self.message.as_mut_ptr().cast(), room)
            };
            // Nothing to read: the asker was interrupted. Less: the file is gone.
            let Ok(length) = usize::try_from(length) else {
                if io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT) {
                    continue;
                }
                return;
            };
            let operation = self.u32_at(4);
            let ignored = [
                operation::FORGET,
                operation::BATCH_FORGET,
                operation::INTERRUPT,
            ];
            if length < HEADER || ignored.contains(&operation) {
                continue;
            }
            let (error, body) = match self.answer(operation) {
                Ok(body) => (0, body),
                Err(errno) => (-errno, 0),
            };
            let length = ANSWER_HEADER + body;
            #[allow(clippy::cast_possible_truncation, reason = "at most MAX_BYTES more")]
            self.answer[..4].copy_from_slice(&(length as u32).to_ne_bytes());
            self.answer[4..8].copy_from_slice(&error.to_ne_bytes());
            self.answer[8..16].copy_from_slice(&self.message[8..16]);
            // SAFETY: writes from a buffer of its own. The asker may have been interrupted; then
            // nobody wants the answer.
            unsafe { libc::write(device, self.answer.as_ptr().cast(), length) };
        }
    }

    /// Bytes of the answer's body, or an error number.
    fn answer(&mut self, operation: u32) -> Result<usize, i32> {
        match operation {
            // Version 7.31; flags: FUSE_ASYNC_READ, FUSE_BIG_WRITES, FUSE_ASYNC_DIO,
            // FUSE_MAX_PAGES.
            operation::INIT => {
                let flags = 1 | 1 << 5 | 1 << 15 | 1 << 22;
                let background = 16 | 16 << 16;
                let pages = MAX_BYTES / 4096;
                let words = [7, 31, MAX_BYTES, flags, background, MAX_BYTES, 1, pages];
                Ok(self.body(&words, 64))
            }
            operation::GETATTR => {
                let mut words = [0; 26];
                words[4] = 1;
                words[6] = self.size_bytes;
                words[19..24].copy_from_slice(&[libc::S_IFREG | 0o600, 1, 0, 0, 0]);
                words[24] = 4096;
                Ok(self.body(&words, 104))
            }
            // FOPEN_DIRECT_IO: the kernel keeps nothing, so that every request comes here.
            operation::OPEN => Ok(self.body(&[0, 0, 1], 16)),
            operation::STATFS => {
                Ok(self.body(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4096, 255, 4096], 80))
            }
            operation::RELEASE | operation::FSYNC | operation::FLUSH | operation::FALLOCATE => {
                Ok(0)
            }
            operation::READ | operation::WRITE => {
                self.obey();
                let offset =
                    u64::from(self.u32_at(HEADER + 8)) | u64::from(self.u32_at(HEADER + 12)) << 32;
                let size = self.u32_at(HEADER + 16);
                if offset >= self.behaviour.fails_from {
                    return Err(libc::EIO);
                }
                if operation == operation::WRITE {
                    return Ok(self.body(&[size], 8));
                }
                let given = size.min(self.behaviour.read_bytes).min(MAX_BYTES);
                Ok(self.body(&[], given as usize))
            }
            _ => Err(libc::ENOSYS),
        }
    }

    /// Takes all commands, which are older than what the caller is about to answer, and waits for
    /// more while there is a hold.
    fn obey(&mut self) {
        let mut told = 0;
        loop {
            if self.hold > told {
                told = self.hold;
                self.tell(told);
            }
            let patience = if self.hold == 0 { 0 } else { -1 };
            if !is_readable(&self.commands, patience) {
                return;
            }
            let mut command = [0_u8; COMMAND_BYTES];
            // SAFETY: reads into a buffer of its own; ends this process, with the suite.
            unsafe {
                let fd = self.commands.as_raw_fd();
                let read = libc::read(fd, command.as_mut_ptr().cast(), COMMAND_BYTES);
                if usize::try_from(read) != Ok(COMMAND_BYTES) {
                    libc::_exit(0);
                }
            }
            let word = |at: usize| u64::from_ne_bytes(command[at..at + 8].try_into().unwrap());
            self.hold = word(0);
            self.behaviour = Behaviour {
                fails_from: word(8),
                read_bytes: u32::try_from(word(16)).unwrap_or(u32::MAX),
            };
        }
    }

    fn tell(&self, word: u64) {
        // SAFETY: writes a number of its own.
        unsafe { libc::write(self.told.as_raw_fd(), (&raw const word).cast(), 8) };
    }

    fn u32_at(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.message[offset..offset + 4].try_into().unwrap())
    }

    /// Makes words, and zeros up to a length in bytes, the answer's body.
    fn body(&mut self, words: &[u32], length: usize) -> usize {
        let body = &mut self.answer[ANSWER_HEADER..ANSWER_HEADER + length];
        body.fill(0);
        for (bytes, word) in body.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        length
    }
}

/// Whether a pipe has something to read, or its end, within some milliseconds; -1 is for ever.
pub(super) fn is_readable(pipe: &impl AsRawFd, timeout_ms: i32) -> bool {
    let mut wanted = libc::pollfd {
        fd: pipe.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one structure of its own.
    unsafe { libc::poll(&raw mut wanted, 1, timeout_ms) == 1 }
}

fn is_done(result: i32) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
