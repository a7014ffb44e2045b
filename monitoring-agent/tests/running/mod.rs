//! Programs that tests start, which end with them. Knows no program.

use std::{
    io::{self, BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use crate::poll::poll_until;

/// A child process that ends with the test, however that ends, and what it wrote to stderr so far.
pub(crate) struct Running {
    pub(crate) child: Child,
    log: Arc<Mutex<String>>,
}

#[allow(dead_code, reason = "not every suite does all of it")]
impl Running {
    /// Starts a program. One that is missing fails the test with what to do.
    pub(crate) fn start(command: &mut Command) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        let end_with_this_thread = || {
            // SAFETY: the call takes numbers only.
            match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: only a system call is made between fork and exec.
        unsafe { command.pre_exec(end_with_this_thread) };
        let spawned = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| {
            panic!("{program}: {error}; `cargo xtask setup` installs what the tests need")
        });
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, sink) = (child.stderr.take().unwrap(), Arc::clone(&log));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = sink.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, log }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log has a line with `text`, and gives that line.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        poll_until(&format!("the log says {text:?}"), || {
            let log = self.log();
            log.lines()
                .find(|line| line.contains(text))
                .map(str::to_owned)
        })
    }

    pub(crate) fn signal(&self, signal: libc::c_int) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: signals the process that this test started and has not waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        poll_until("the process ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ends the process that `start` made; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
