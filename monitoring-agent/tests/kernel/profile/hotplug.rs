//! A CPU that is switched off and on again is sampled as before, and what is missing is counted.
//!
//! On a machine that others use nobody's CPU is taken away: these tests are for guests, where the
//! suite is told to run what it ignores elsewhere.

use std::{fs, io::Read as _, os::fd::AsRawFd as _, ptr};

use monitoring_agent::profile::mappings::{Mappings, Place};

use super::{
    program::Leaf,
    recorder::{Recorder, cpu, enough_samples},
    worker::{Task, Worker, all_ns, cpu_ns},
};
use crate::{
    node::{ME, Node},
    poll::poll_until,
};

/// The file that switches the CPU.
const SWITCH: &str = "/sys/devices/system/cpu/cpu1/online";

const HERTZ: u32 = 499;

/// A guest's processors are emulated one after the other: its timers come late, and on a machine that is
/// busy they miss most of their turns. An event that is dead has none at all, however often it is tried.
const TRIES: usize = 10;

/// Switches the CPU, and on again at the end of the test.
struct Cpu1 {
    is_off: bool,
}

impl Cpu1 {
    fn take() -> Self {
        assert!(
            std::env::var_os("MONITORING_TEST_GUEST").is_some(),
            "only a guest can do without a CPU: `cargo xtask test --kernels hotplug`"
        );
        Self { is_off: false }
    }

    fn off(&mut self) {
        self.is_off = true;
        fs::write(SWITCH, "0").unwrap_or_else(|error| panic!("{SWITCH}: {error}"));
    }

    fn on(&mut self) {
        self.is_off = false;
        fs::write(SWITCH, "1").unwrap_or_else(|error| panic!("{SWITCH}: {error}"));
    }
}

impl Drop for Cpu1 {
    fn drop(&mut self) {
        if self.is_off {
            let _ = fs::write(SWITCH, "1");
        }
    }
}

/// Has the calling thread run on one CPU only.
fn run_on(cpu: usize) {
    // SAFETY: a plain set of bits, which lives across the call.
    let moved = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set)
    };
    assert_eq!(moved, 0, "CPU {cpu}: {}", std::io::Error::last_os_error());
}

fn compute_on_cpu_1() {
    run_on(1);
    let end = cpu_ns() + 1_000_000_000;
    while cpu_ns() < end {
        Leaf::A.run(100_000, 3);
    }
    // It is on the way somewhere else before the CPU goes.
    run_on(0);
}

/// Has somebody compute on the CPU until that has given enough samples; never more than its time allows.
/// What is computed tells its samples, and the seconds of CPU time that they are of.
fn is_sampled(mut compute: impl FnMut() -> (f64, f64)) {
    let (mut samples, mut wanted) = (0.0, 0.0);
    let enough = enough_samples() as f64;
    for _ in 0..TRIES {
        let (more, seconds) = compute();
        samples += more;
        wanted += f64::from(HERTZ) * seconds;
        if samples >= enough {
            break;
        }
    }
    println!("{samples} samples for {wanted:.0}");
    assert!(
        samples >= enough && samples <= wanted * 1.05,
        "{samples} samples for {wanted}"
    );
}

/// Losses that are not zero, but for processes that ended before they could be read. One that nobody
/// samples may do that at any time; and after a moment in which nothing was heard of a CPU it counts,
/// because it may have done something then.
fn unexplained(lost: Vec<(&'static str, u64)>) -> Vec<(&'static str, u64)> {
    let lost = lost.into_iter();
    let lost = lost.filter(|(reason, count)| *count > 0 && *reason != "process");
    lost.collect()
}

#[test]
#[ignore = "takes a CPU away: for guests, `cargo xtask test --kernels hotplug`"]
fn hotplug_of_a_cpu_leaves_its_samples_complete() {
    let mut switch = Cpu1::take();
    let mut worker = Worker::start();
    let mut options = cpu(HERTZ);
    options.pid = Some(worker.pid());
    let mut recorder = Recorder::start(&options);
    let compute = |recorder: &mut Recorder, worker: &mut Worker| {
        let before = recorder.sum(|_| true).samples;
        recorder.watch(worker, Task::Other(compute_on_cpu_1));
        worker.rests();
        recorder.end_window();
        let samples = recorder.sum(|_| true).samples - before;
        (samples as f64, worker.seconds())
    };
    is_sampled(|| compute(&mut recorder, &mut worker));
    // Once with somebody who looks in between, and once too quickly for that.
    for looks in [true, false] {
        switch.off();
        if looks {
            recorder.session.follow_cpus().unwrap();
        }
        switch.on();
        is_sampled(|| compute(&mut recorder, &mut worker));
    }
    let taken = recorder.session.taken().unwrap();
    assert_eq!(recorder.sum(|_| true).samples, taken);
    assert_eq!(recorder.losses(), [("cpu_online", 2)]);
}

#[test]
#[ignore = "takes a CPU away: for guests, `cargo xtask test --kernels hotplug`"]
fn hotplug_of_a_cpu_leaves_the_source_up() {
    let mut switch = Cpu1::take();
    let mut worker = Worker::start();
    let mut node = Node::with(&["process", "profile"], |config| {
        config.sources.profile.hertz = Some(HERTZ);
    });
    let samples = |node: &mut Node| {
        let batch = node.collect("profile");
        let lost = unexplained(batch.lost);
        let family = batch.families.iter();
        let mut family = family.filter(|family| family.name() == "profile_samples_total");
        let metrics = family.next().unwrap().get_metric().iter();
        let of_us = metrics.filter(|metric| {
            let mut labels = metric.get_label().iter();
            labels.any(|label| label.name() == "agent" && label.value() == ME)
        });
        let sum: f64 = of_us.map(|metric| metric.get_counter().get_value()).sum();
        (sum, lost)
    };
    let compute = |node: &mut Node, worker: &mut Worker, round| {
        // The sources run in this process, which is of the same agent as the worker.
        let own_ns = all_ns();
        let (before, _) = samples(node);
        worker.begins(Task::Other(compute_on_cpu_1));
        poll_until("a worker's work", || worker.is_done().then_some(()));
        worker.rests();
        let (after, lost) = samples(node);
        let wanted: &[_] = if round == 0 {
            &[]
        } else {
            &[("cpu_online", round)]
        };
        assert_eq!(lost, wanted, "in round {round}");
        let own = (all_ns() - own_ns) as f64 / 1e9;
        (after - before, worker.seconds() + own)
    };
    for round in 0..=2 {
        if round > 0 {
            switch.off();
            // While it is off, too, there are numbers.
            samples(&mut node);
            switch.on();
        }
        is_sampled(|| compute(&mut node, &mut worker, round));
    }
}

#[test]
#[ignore = "takes a CPU away: for guests, `cargo xtask test --kernels hotplug`"]
fn hotplug_of_a_cpu_leaves_what_is_mapped_there_known() {
    let mut switch = Cpu1::take();
    let mappings = Mappings::start().unwrap();
    mappings.catch_up();
    switch.off();
    switch.on();
    mappings.catch_up();
    let (pid, time_ns, address) = map_on_cpu_1();
    let mut places = Vec::new();
    // The process has ended: nobody can be asked but what was heard.
    mappings.catch_up();
    mappings.places(pid, time_ns, &[address + 16], &mut places);
    let Some(Place::File { file, offset, .. }) = places.first() else {
        panic!("{places:?}");
    };
    let own = std::env::current_exe().unwrap();
    assert_eq!(
        (file.path(), *offset),
        (own.to_str().unwrap().as_bytes(), 16)
    );
    let lost = unexplained(mappings.lost());
    assert!(lost.is_empty(), "{lost:?}");
}

/// A process on the CPU maps this very program, and ends: its number, and when and where.
fn map_on_cpu_1() -> (u32, u64, u64) {
    let file = fs::File::open("/proc/self/exe").unwrap();
    let (mut receive, send) = std::io::pipe().unwrap();
    // SAFETY: the child makes system calls only, and never returns.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        run_on(1);
        // SAFETY: maps a page of a file, and writes two numbers from where they are.
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_EXEC;
            let file = file.as_raw_fd();
            let at = libc::mmap(
                ptr::null_mut(),
                4096,
                protection,
                libc::MAP_PRIVATE,
                file,
                0,
            );
            let mut time: libc::timespec = std::mem::zeroed();
            libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time);
            let time_ns = time.tv_sec * 1_000_000_000 + time.tv_nsec;
            let told = [at as u64, time_ns.cast_unsigned()];
            libc::write(send.as_raw_fd(), told.as_ptr().cast(), size_of_val(&told));
            libc::_exit(0);
        }
    }
    let mut told = [0; 16];
    receive.read_exact(&mut told).unwrap();
    // SAFETY: waits for the child that was made above.
    unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
    let number = |from: usize| u64::from_ne_bytes(told[from..from + 8].try_into().unwrap());
    (pid.cast_unsigned(), number(8), number(0))
}
