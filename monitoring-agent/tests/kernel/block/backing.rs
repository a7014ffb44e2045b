//! A file that does what a test tells it to: fails, reads short, or keeps a request waiting. It is
//! the one file of a file system in user space (FUSE). Has no content and knows no disk.
//!
//! A process of its own serves it, and alone knows of it: when the suite ends, however it does,
//! that process ends as well, and the kernel has every request to the file fail. Otherwise whoever
//! waits for one could not even be killed.

mod server;

use std::{
    fs::{File, OpenOptions},
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use self::server::{COMMAND_BYTES, Server};
use crate::{poll::poll_until, work::Forked};

/// How the file answers reads and writes from now on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behaviour {
    /// Reads and writes from this offset on fail.
    pub(crate) fails_from: u64,
    /// Most bytes that one read gives.
    pub(crate) read_bytes: u32,
}

/// All goes well.
pub(crate) const WELL: Behaviour = Behaviour {
    fails_from: u64::MAX,
    read_bytes: u32::MAX,
};

/// The file, there until dropped.
pub(crate) struct Backing {
    // Ends before its folder goes.
    server: Forked,
    folder: tempfile::TempDir,
    commands: PipeWriter,
    told: PipeReader,
    holds: AtomicU64,
}

impl Backing {
    pub(crate) fn new(size_bytes: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        File::create(&path).unwrap();
        let target = [path.as_os_str().as_bytes(), b"\0"].concat();
        let (wait, commands) = io::pipe().unwrap();
        let (mut told, tell) = io::pipe().unwrap();
        let mut server = Server::new(size_bytes, target, wait, tell);
        let process = Forked::start(|| {
            // Its own end would keep it from learning that the suite is gone.
            crate::work::close(commands.as_raw_fd());
            server.run();
        });
        // The server's pipes are now the other process's alone.
        drop(server);
        let mut error = [0; 8];
        told.read_exact(&mut error).expect("the server's word");
        let error = i32::try_from(u64::from_ne_bytes(error)).unwrap();
        let error = io::Error::from_raw_os_error(error);
        let mounts = error.raw_os_error() == Some(0);
        assert!(mounts, "the kernel has FUSE (module `fuse`): {error}");
        Self {
            server: process,
            folder,
            commands,
            told,
            holds: AtomicU64::new(0),
        }
    }

    /// Opens the file, which has a name in the mounts of its server only.
    pub(crate) fn open(&self) -> File {
        let root = PathBuf::from(format!("/proc/{}/root", self.server.pid()));
        let folder = self.folder.path().strip_prefix("/").unwrap();
        let path = root.join(folder).join("file");
        let file = OpenOptions::new().read(true).write(true).open(&path);
        file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.command(0, behaviour);
    }

    /// Reads and writes wait until this is dropped, which a failing test does as well.
    pub(crate) fn hold(&self) -> Held<'_> {
        let hold = self.holds.fetch_add(1, Relaxed) + 1;
        self.command(hold, WELL);
        Held(self)
    }

    /// Waits until a read or write waits.
    pub(crate) fn wait_until_held(&self) {
        let hold = self.holds.load(Relaxed);
        poll_until("a request reaches the file", || {
            let mut word = [0; 8];
            if !server::is_readable(&self.told, 0) {
                return None;
            }
            (&self.told).read_exact(&mut word).unwrap();
            (u64::from_ne_bytes(word) == hold).then_some(())
        });
    }

    /// The server obeys before it looks at the next read or write.
    fn command(&self, hold: u64, behaviour: Behaviour) {
        let mut command = [0; COMMAND_BYTES];
        let words = [hold, behaviour.fails_from, behaviour.read_bytes.into()];
        for (bytes, word) in command.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        let obeys = (&self.commands).write_all(&command).is_ok();
        assert!(obeys || thread::panicking(), "the file's server is gone");
    }
}

/// See [`Backing::hold`].
pub(crate) struct Held<'a>(&'a Backing);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.behave(WELL);
    }
}
