//! A file that does what a test tells it to: fails, reads short, or keeps a request waiting. It is
//! the one file of a file system in user space (FUSE) that a thread of this process serves. Has no
//! content and knows no disk.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex},
    thread,
};

use crate::poll::poll_until;

/// How the file answers reads and writes from now on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behaviour {
    /// Reads and writes wait.
    pub(crate) hold: bool,
    /// Reads and writes from this offset on fail.
    pub(crate) fails_from: u64,
    /// Most bytes that one read gives.
    pub(crate) read_bytes: u32,
}

/// All goes well.
pub(crate) const WELL: Behaviour = Behaviour {
    hold: false,
    fails_from: u64::MAX,
    read_bytes: u32::MAX,
};

struct State {
    behaviour: Behaviour,
    /// A read or write waits.
    held: bool,
}

/// The file, mounted until dropped.
pub(crate) struct Backing {
    folder: tempfile::TempDir,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Backing {
    pub(crate) fn new(size_bytes: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let device = device.expect("the kernel has FUSE (module `fuse`)");
        let backing = Self {
            folder,
            shared: Arc::new((
                Mutex::new(State {
                    behaviour: WELL,
                    held: false,
                }),
                Condvar::new(),
            )),
        };
        File::create(backing.path()).unwrap();
        let options = format!(
            "fd={},rootmode=100000,user_id=0,group_id=0\0",
            device.as_raw_fd()
        );
        let target = [backing.path().as_os_str().as_bytes(), b"\0"].concat();
        // SAFETY: all four are strings that end with a zero byte and live across the call.
        let result = unsafe {
            libc::mount(
                c"test".as_ptr(),
                target.as_ptr().cast(),
                c"fuse".as_ptr(),
                0,
                options.as_ptr().cast(),
            )
        };
        assert_eq!(result, 0, "mount: {}", std::io::Error::last_os_error());
        let shared = Arc::clone(&backing.shared);
        // It ends when the file is unmounted.
        thread::spawn(move || serve(device, size_bytes, &shared));
        backing
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        let (state, changed) = &*self.shared;
        state.lock().unwrap().behaviour = behaviour;
        changed.notify_all();
    }

    /// Reads and writes wait until this is dropped, which a failing test does as well: nobody can
    /// end a process that waits for a disk.
    pub(crate) fn hold(&self) -> Held<'_> {
        self.behave(Behaviour { hold: true, ..WELL });
        Held(self)
    }

    /// Waits until a read or write waits.
    pub(crate) fn wait_until_held(&self) {
        poll_until("a request reaches the file", || {
            self.shared.0.lock().unwrap().held.then_some(())
        });
    }
}

/// See [`Backing::hold`].
pub(crate) struct Held<'a>(&'a Backing);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.behave(WELL);
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        self.behave(WELL);
        let target = [self.path().as_os_str().as_bytes(), b"\0"].concat();
        // SAFETY: the path ends with a zero byte and lives across the call. Whoever still has the
        // file keeps it until he closes it.
        unsafe { libc::umount2(target.as_ptr().cast(), libc::MNT_DETACH) };
    }
}

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

/// Bytes of the header of a message from the kernel.
const HEADER: usize = 40;

/// Most bytes of one write, as the answer to `INIT` says.
const MAX_WRITE: u32 = 1024 * 1024;

fn serve(mut device: File, size_bytes: u32, shared: &(Mutex<State>, Condvar)) {
    let mut message = vec![0; HEADER + 4096 + MAX_WRITE as usize];
    // An error means that the file is unmounted.
    while let Ok(length) = device.read(&mut message) {
        let message = &message[..length];
        let operation = u32_at(message, 4);
        let ignored = [
            operation::FORGET,
            operation::BATCH_FORGET,
            operation::INTERRUPT,
        ];
        if ignored.contains(&operation) {
            continue;
        }
        let (error, body) = match answer(operation, message, size_bytes, shared) {
            Ok(body) => (0, body),
            Err(errno) => (-errno, Vec::new()),
        };
        let length = u32::try_from(16 + body.len()).unwrap();
        let mut reply = length.to_ne_bytes().to_vec();
        reply.extend(error.to_ne_bytes());
        reply.extend(&message[8..16]);
        reply.extend(body);
        // The asker may have been interrupted; then nobody wants the answer.
        let _ = device.write(&reply);
    }
}

/// The body of an answer, or an error number.
fn answer(
    operation: u32,
    message: &[u8],
    size_bytes: u32,
    shared: &(Mutex<State>, Condvar),
) -> Result<Vec<u8>, i32> {
    match operation {
        // Version 7.31; flags: FUSE_ASYNC_READ, FUSE_BIG_WRITES, FUSE_ASYNC_DIO, FUSE_MAX_PAGES.
        operation::INIT => {
            let flags = 1 | 1 << 5 | 1 << 15 | 1 << 22;
            let background = 16 | 16 << 16;
            let pages = MAX_WRITE / 4096;
            let words = [7, 31, MAX_WRITE, flags, background, MAX_WRITE, 1, pages];
            Ok(padded(&words, 64))
        }
        operation::GETATTR => {
            let mut words = vec![0, 0, 0, 0, 1, 0, size_bytes, 0];
            words.resize(4 + 15, 0);
            words.extend([libc::S_IFREG | 0o600, 1, 0, 0, 0, 4096, 0]);
            Ok(padded(&words, 104))
        }
        // FOPEN_DIRECT_IO: the kernel keeps nothing, so that every request comes here.
        operation::OPEN => Ok(padded(&[0, 0, 1], 16)),
        operation::STATFS => Ok(padded(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4096, 255, 4096], 80)),
        operation::RELEASE | operation::FSYNC | operation::FLUSH | operation::FALLOCATE => {
            Ok(Vec::new())
        }
        operation::READ | operation::WRITE => {
            let behaviour = wait_while_held(shared);
            let offset = u64::from(u32_at(message, HEADER + 8))
                | u64::from(u32_at(message, HEADER + 12)) << 32;
            let size = u32_at(message, HEADER + 16);
            if offset >= behaviour.fails_from {
                return Err(libc::EIO);
            }
            if operation == operation::WRITE {
                return Ok(padded(&[size], 8));
            }
            Ok(vec![0; size.min(behaviour.read_bytes) as usize])
        }
        _ => Err(libc::ENOSYS),
    }
}

fn wait_while_held((state, changed): &(Mutex<State>, Condvar)) -> Behaviour {
    let mut state = state.lock().unwrap();
    while state.behaviour.hold {
        state.held = true;
        state = changed.wait(state).unwrap();
    }
    state.held = false;
    state.behaviour
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

/// Words, and zeros up to a length in bytes.
fn padded(words: &[u32], length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.resize(length, 0);
    bytes
}
