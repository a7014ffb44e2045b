//! The same question by turns of a quarter of a second: a profiler runs all the time, and its events
//! are switched on and off beside a load that goes on. Hundreds of pairs in a few minutes show less
//! than a hundredth, which runs of seconds do not on a machine that others share.
//!
//! What a profiler does in its own processes happens in both turns, and is told beside.
//!
//! `cargo xtask bench -- slices`, and `--pairs=N`.

use std::{
    ffi::c_ulong,
    fs,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{LOADS, SAME_SAMPLING, Setting, WARM_UP, cpus, pairs_or};
use crate::process::Running;

/// Pairs of turns, unless the command line says how many.
const PAIRS: usize = 300;

/// How long a turn is: 25 samples a CPU at 99 Hz.
const TURN: Duration = Duration::from_millis(250);

/// How long the agent's windows are: a few ends of windows fall into a measurement, ten times as
/// many as by default.
const WINDOW: &str = "60s";

/// Room for each thread's number in the load's file, and for all.
const LINE: u64 = 64;
const FILE_BYTES: u64 = 256 * LINE;

/// `_IO('$', 0)` and `_IO('$', 1)`, in `linux/perf_event.h`.
const ENABLE: c_ulong = 0x2400;
const DISABLE: c_ulong = 0x2401;

pub(crate) fn measure() {
    let setting = Setting::new();
    let pairs = pairs_or(PAIRS);
    println!(
        "less done by all CPUs while events are on, {pairs} pairs of turns of {} ms",
        TURN.as_millis()
    );
    println!(
        "  {:<42}{:<28}of the watcher's own",
        "", "mean (standard error)"
    );
    for load in LOADS {
        println!("  {load}");
        for hertz in [19, 99] {
            let name = format!("monitoring-agent, {hertz} Hz");
            report(&setting, &name, load, pairs, &setting.agent(hertz, WINDOW));
        }
        let perf = Running::perf(&setting.folder.path().join("perf.data"));
        report(&setting, "perf record -g -F 99 -a", load, pairs, &perf);
        drop(perf);
        let bpftrace = Running::bpftrace(SAME_SAMPLING);
        report(&setting, "bpftrace profile:hz:99", load, pairs, &bpftrace);
    }
    println!();
}

fn report(setting: &Setting, name: &str, load: &str, pairs: usize, watcher: &Running) {
    let events = events_of(watcher);
    let load = Load::start(setting, load, pairs);
    thread::sleep(WARM_UP);
    let (begun, before) = (Instant::now(), watcher.cpu_ns());
    let mut costs = Vec::new();
    for pair in 0..pairs {
        let on_first = pair % 2 == 1;
        let first = load.turn(&events, on_first);
        let second = load.turn(&events, !on_first);
        let (on, off) = if on_first {
            (first, second)
        } else {
            (second, first)
        };
        costs.push((1.0 - on / off) * 100.0);
    }
    let own = (watcher.cpu_ns() - before) as f64;
    let own = own / (begun.elapsed().as_secs_f64() * 1e9 * cpus() as f64) * 100.0;
    let number = costs.len() as f64;
    let mean = costs.iter().sum::<f64>() / number;
    let squares = costs.iter().map(|cost| (cost - mean).powi(2)).sum::<f64>();
    let error = (squares / (number - 1.0).max(1.0) / number).sqrt();
    println!("    {name:<40}{mean:>8.3} % ({error:>5.3} %){own:>18.3} %");
}

/// The load, which goes on until this is dropped.
struct Load {
    child: Child,
    numbers: fs::File,
}

impl Load {
    fn start(setting: &Setting, name: &str, pairs: usize) -> Self {
        let path = setting.folder.path().join("numbers");
        let numbers = fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path);
        let numbers = numbers.expect("a file for the numbers");
        numbers.set_len(FILE_BYTES).expect("room for the numbers");
        // It is ended before that.
        let seconds = (pairs * 2 + 60).to_string();
        let mut command = Command::new(&setting.load);
        command
            .args([name, &seconds, &cpus().to_string()])
            .arg(&path);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self {
            child: child.expect("the load starts"),
            numbers,
        }
    }

    /// What gets done in a second of a turn.
    fn turn(&self, events: &[OwnedFd], on: bool) -> f64 {
        for event in events {
            let request = if on { ENABLE } else { DISABLE };
            // SAFETY: the descriptor is a perf event's, and the request takes no argument.
            let result = unsafe { libc::ioctl(event.as_raw_fd(), request, 0) };
            assert_eq!(result, 0, "switch an event");
        }
        let (begun, before) = (Instant::now(), self.done());
        thread::sleep(TURN);
        let (elapsed, after) = (begun.elapsed(), self.done());
        (after - before) as f64 / elapsed.as_secs_f64()
    }

    fn done(&self) -> u64 {
        let mut all = vec![0; usize::try_from(FILE_BYTES).expect("16 KiB")];
        let read = self.numbers.read_exact_at(&mut all, 0);
        read.expect("the numbers can be read");
        let lines = all.chunks_exact(usize::try_from(LINE).expect("64"));
        let first = lines.filter_map(|line| line.first_chunk().copied());
        first.map(u64::from_ne_bytes).sum()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A watcher's perf events, by descriptors of our own.
fn events_of(watcher: &Running) -> Vec<OwnedFd> {
    let pid = libc::c_long::from(watcher.pid());
    // SAFETY: a number is passed, and a new descriptor or an error comes back.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    assert!(process >= 0, "pidfd_open, since 5.3");
    let owned = |descriptor: libc::c_long| {
        let descriptor = i32::try_from(descriptor).expect("a descriptor");
        // SAFETY: the call has just made it, for us alone.
        unsafe { OwnedFd::from_raw_fd(descriptor) }
    };
    let process = owned(process);
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("the watcher runs");
    let events = entries.filter_map(Result::ok).filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        let number: libc::c_long = entry.file_name().to_str()?.parse().ok()?;
        (target.to_str()? == "anon_inode:[perf_event]").then_some(number)
    });
    let events: Vec<_> = events
        .map(|number| {
            // SAFETY: as above.
            let event =
                unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) };
            assert!(event >= 0, "pidfd_getfd, since 5.6");
            owned(event)
        })
        .collect();
    assert!(!events.is_empty(), "the watcher has perf events");
    events
}
