//! Known work: system calls whose number is known exactly.

use std::{
    io::{self, PipeWriter, Read as _, Write as _},
    os::fd::AsRawFd as _,
    sync::Mutex,
    thread,
};

/// Calls `getppid`, which does nothing else and which nothing else here calls.
pub(crate) fn getppid(times: u64) {
    for _ in 0..times {
        // SAFETY: the call has no arguments and cannot fail.
        unsafe { libc::syscall(libc::SYS_getppid) };
    }
}

/// Calls `getppid` from several threads at once, pinned to the CPUs in turn.
pub(crate) fn getppid_on_all_cpus(threads: usize, times_each: u64) {
    let cpus = thread::available_parallelism().unwrap().get();
    let threads: Vec<_> = (0..threads)
        .map(|number| {
            thread::spawn(move || {
                pin_to(number % cpus);
                getppid(times_each);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

pub(crate) fn pin_to(cpu: usize) {
    // SAFETY: the set is a plain bit field, and `cpu` is within it.
    let result = unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Runs `child` in a forked process and returns how that ended: what `waitpid` says.
///
/// `child` may only make system calls: after a fork of a process with threads nothing else is
/// safe. It ends with `_exit(0)` when it returns.
pub(crate) fn in_fork(child: impl FnOnce()) -> i32 {
    wait_for(fork(child))
}

/// Runs `child` in a forked process, as [`in_fork`] does, and returns its number. It ends with
/// the thread that forks it at the latest, however that ends.
pub(crate) fn fork(child: impl FnOnce()) -> i32 {
    // SAFETY: the child makes system calls only, as the caller promises, and never returns.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        0 => {
            let _ends = EndOfChild;
            // SAFETY: no memory is involved.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            child();
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(0) }
        }
        pid => pid,
    }
}

/// Keeps a child that panics from going on as a second test suite.
struct EndOfChild;

impl Drop for EndOfChild {
    fn drop(&mut self) {
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(101) }
    }
}

/// A forked process that ends when this is dropped, which a failing test does as well.
pub(crate) struct Forked(i32);

impl Forked {
    /// See [`fork`].
    pub(crate) fn start(child: impl FnOnce()) -> Self {
        Self(fork(child))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.cast_unsigned()
    }

    /// Waits for its end and returns how that was: what `waitpid` says.
    pub(crate) fn wait(self) -> i32 {
        let status = wait_for(self.0);
        // There is no process to end any more; its number may be another's.
        std::mem::forget(self);
        status
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        let mut status = 0;
        // SAFETY: ends a child of this process that nobody has waited for, and waits for it.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, &raw mut status, 0);
        }
    }
}

/// How a forked process ended: what `waitpid` says.
pub(crate) fn wait_for(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

/// A pipe's ends for reading and writing, which forked processes inherit.
pub(crate) fn pipe() -> (i32, i32) {
    let mut ends = [0; 2];
    // SAFETY: the array has room for the two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    (ends[0], ends[1])
}

/// In a forked process: waits until the parent closes its end. Makes system calls only.
pub(crate) fn wait_for_end_of(wait: i32, go: i32) {
    let mut byte = [0_u8];
    close(go);
    // SAFETY: reads into a buffer of its own.
    unsafe { libc::read(wait, byte.as_mut_ptr().cast(), 1) };
}

/// Closes a descriptor.
pub(crate) fn close(descriptor: i32) {
    // SAFETY: the caller's own, which nothing else uses.
    unsafe { libc::close(descriptor) };
}

/// A forked process that waits for a word before it does its work.
pub(crate) struct Child {
    process: Forked,
    go: PipeWriter,
}

impl Child {
    /// Forks. `child` is called in the child with a function that returns when [`Child::go`] is
    /// called here; what it does before that is done when `start` returns. It may only make
    /// system calls, as in [`in_fork`].
    pub(crate) fn start(child: impl FnOnce(&dyn Fn())) -> Self {
        let (mut is_ready, ready) = io::pipe().unwrap();
        let (wait, go) = io::pipe().unwrap();
        let process = Forked::start(|| {
            // Its own end would keep it waiting for ever.
            close(go.as_raw_fd());
            child(&|| {
                let mut byte = 0_u8;
                // SAFETY: moves single bytes of its own through pipes that it inherited; ends the
                // child if its parent is gone.
                unsafe {
                    libc::write(ready.as_raw_fd(), (&raw const byte).cast(), 1);
                    if libc::read(wait.as_raw_fd(), (&raw mut byte).cast(), 1) != 1 {
                        libc::_exit(2);
                    }
                }
            });
        });
        drop(ready);
        is_ready.read_exact(&mut [0]).unwrap();
        Self { process, go }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Lets it begin its work.
    pub(crate) fn go(&self) {
        (&self.go).write_all(&[0]).unwrap();
    }

    /// Waits for its end and returns how that was: what `waitpid` says.
    pub(crate) fn wait(self) -> i32 {
        self.process.wait()
    }
}

/// A seccomp filter for the calling process, for good: the calls in `refused` fail with the error
/// number that is their first argument; everything else is allowed.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "BPF's field widths"
)]
pub(crate) fn refuse_with_first_argument(refused: [libc::c_long; 2]) {
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let jump = |k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt,
        jf,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    // struct seccomp_data: the number at 0, the first argument's low half at 16.
    let mut program = [
        statement(load, 0),
        jump(refused[0] as u32, 1, 0),
        jump(refused[1] as u32, 0, 3),
        statement(load, 16),
        statement(
            libc::BPF_ALU | libc::BPF_OR | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO,
        ),
        // BPF_RET | BPF_A: return the accumulator.
        statement(0x16, 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program lives across the call, which copies it.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        ) != 0
        {
            libc::_exit(9);
        }
    }
}

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Capture;

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LINES.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// Keeps what is logged from now on.
pub(crate) fn capture_log() {
    // Another test may have done it.
    let _ = log::set_logger(&Capture);
    log::set_max_level(log::LevelFilter::Debug);
}

/// What was logged since the last time.
pub(crate) fn captured() -> Vec<String> {
    std::mem::take(&mut LINES.lock().unwrap())
}
