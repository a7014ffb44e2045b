//! A network namespace that lives as long as its descriptor, and as what runs in it.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::process::CommandExt as _,
    },
    panic, process,
    process::Command,
    thread,
};

/// A network namespace without a name.
pub(crate) struct Namespace(File);

impl Namespace {
    /// A new one, in which only loopback is up.
    pub(crate) fn new() -> Self {
        let made = thread::spawn(|| {
            // SAFETY: concerns only this thread, which ends at once.
            check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).expect("the tests need root");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Self(made.join().unwrap());
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Runs `work` on a thread within the namespace.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let entered = move || {
            enter(self.0.as_raw_fd()).unwrap();
            work()
        };
        let done = thread::scope(|scope| scope.spawn(entered).join());
        done.unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    }

    /// A program that will run within the namespace, and end with the thread that starts it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let namespace = self.0.as_raw_fd();
        let prepare = move || {
            // SAFETY: the call takes numbers only.
            check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
            enter(namespace)
        };
        // SAFETY: only system calls are made between fork and exec.
        unsafe { command.pre_exec(prepare) };
        command
    }

    /// Runs iproute2's `ip` within the namespace.
    pub(crate) fn ip(&self, arguments: &[&str]) {
        self.output("ip", arguments);
    }

    /// What a program that runs within the namespace prints. It must succeed.
    pub(crate) fn output(&self, program: &str, arguments: &[&str]) -> String {
        printed(self.command(program).args(arguments))
    }

    /// Where other programs of this machine find the namespace.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd())
    }
}

/// What a program prints. It must succeed.
pub(super) fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; `cargo xtask setup` installs what the tests need")
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn enter(namespace: RawFd) -> io::Result<()> {
    // SAFETY: the call takes numbers only; the descriptor is open as long as its `Namespace`.
    check(unsafe { libc::setns(namespace, libc::CLONE_NEWNET) })
}

/// The error of a system call that returned -1.
pub(super) fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
