//! A program that makes calls of one kind, each as long as it is told: the test's executable, told by
//! its environment to be it.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    ptr,
    time::Duration,
};

use syscalls::Sysno;

use crate::{cuda::known_as, process::Agent};

/// The agent's name for it.
pub(super) const SERVICE: &str = "sleeper";

/// The call that it makes, and nobody else here does.
pub(super) const CALL: &str = "pselect6";

/// What makes the executable this program.
const VARIABLE: &str = "TRACES_SLEEPER";

/// What it says begins so, to tell it from what the test harness prints.
const SAYS: &str = "sleeper: ";

/// A running one. It ends when it is dropped.
pub(super) struct Sleeper {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

pub(super) fn rule() -> String {
    format!("[[agents]]\nname = '{SERVICE}'\nenvironment = '{VARIABLE}=*'\n")
}

/// Tracing of this program's life, and of its calls that last so long; of no others.
pub(super) fn section(slow: &str) -> String {
    let others = Sysno::iter().map(|call| call.name());
    let others: Vec<_> = others.filter(|name| *name != CALL).collect();
    format!(
        "[sources.trace]\nslow_system_call = '{slow}'\nprocess = '0s'\noff_cpu = 'never'\n\
         slow_disk_request = 'never'\nslow_connect = 'never'\nconnection = 'never'\n\
         cuda_wait = 'never'\nspans_per_second = 100000\nerrors = []\n\
         exclude_system_calls = {others:?}\n"
    )
}

impl Sleeper {
    /// Starts one, and waits until the agent knows it.
    pub(super) fn start(agent: &Agent) -> Self {
        let (_, module) = module_path!().split_once("::").unwrap();
        let test = format!("{module}::a_program_sleeps");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([&test, "--exact", "--nocapture", "--test-threads=1"])
            .env(VARIABLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut sleeper = Self {
            child,
            input,
            output,
        };
        sleeper.hears();
        known_as(agent, SERVICE);
        sleeper
    }

    /// Has it make so many calls that last so long.
    pub(super) fn sleep(&mut self, calls: u64, duration: Duration) {
        self.begin(calls, duration);
        assert_eq!(self.made(), calls);
    }

    /// Has it begin with so many calls that last so long.
    pub(super) fn begin(&mut self, calls: u64, duration: Duration) {
        writeln!(self.input, "{calls} {}", duration.as_nanos()).expect("the program listens");
    }

    /// How many calls it has made, once it is through.
    pub(super) fn made(&mut self) -> u64 {
        self.hears().parse().unwrap()
    }

    fn hears(&mut self) -> String {
        let lines = self.output.by_ref().map(Result::unwrap);
        let mut said = lines.filter_map(|line| Some(line.split_once(SAYS)?.1.to_owned()));
        said.next().expect("the program runs; see above")
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One call, which lasts as long as it is told, or a little longer.
fn sleep(nanoseconds: i64) {
    let time = libc::timespec {
        tv_sec: nanoseconds / 1_000_000_000,
        tv_nsec: nanoseconds % 1_000_000_000,
    };
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: it is about no file, and the time lives across the call, which may change it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pselect6,
            0,
            none,
            none,
            none,
            &raw const time,
            none,
        )
    };
    assert_eq!(result, 0);
}

/// Nothing, unless [`Sleeper::start`] has started it: then it does as it is told until nobody is left to
/// tell it anything.
#[test]
fn a_program_sleeps() {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    println!("\n{SAYS}ready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (calls, nanoseconds) = line.split_once(' ').unwrap();
        let (calls, nanoseconds): (u64, i64) =
            (calls.parse().unwrap(), nanoseconds.parse().unwrap());
        for _ in 0..calls {
            sleep(nanoseconds);
        }
        println!("\n{SAYS}{calls}");
    }
}
