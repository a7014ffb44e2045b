//! Not one sample is lost or counted twice, whatever happens: all that the kernel programs have taken
//! is in a count, has come by itself, or is counted as lost.

use std::{thread, time::Duration};

use super::{
    program::Leaf,
    recorder::{Recorder, Sum, assert_samples, cpu, enough_samples, is_emulated},
    worker::{NAME, Task, Worker, cpu_ns},
};

/// Samples of one process, which has ended its work, are all accounted for; the sum.
fn all_are_accounted_for(recorder: &mut Recorder, worker: &Worker) -> Sum {
    worker.rests();
    // Who is about to sleep may be sampled once more, on a CPU that is emulated much later.
    let (all, lost, taken) = crate::poll::poll_until("samples that come no more", || {
        let before = recorder.session.taken().unwrap();
        recorder.end_window();
        let all = recorder.sum(|_| true);
        let lost = recorder.losses().into_iter();
        let lost = lost.filter(|(reason, _)| *reason == "sample");
        let lost: u64 = lost.map(|(_, count)| count).sum();
        let taken = recorder.session.taken().unwrap();
        (taken == before).then_some((all, lost, taken))
    });
    assert_eq!(all.samples + lost, taken, "{all:?} and {lost} lost");
    assert!(taken >= enough_samples(), "{taken} samples");
    all
}

/// Two threads on each CPU, which compute for a second.
fn compute_on_all_cpus() {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for number in 0..2 * cpus {
            scope.spawn(move || {
                let end = cpu_ns() + 500_000_000;
                let mut depth = 0;
                while cpu_ns() < end {
                    depth = (depth + number as u64 + 1) % 50;
                    Leaf::B.run(10_000, depth);
                }
            });
        }
    });
}

#[test]
fn windows_end_without_losing_a_sample() {
    let mut worker = Worker::start();
    let mut options = cpu(9_999);
    options.pid = Some(worker.pid());
    let mut recorder = Recorder::start(&options);
    worker.begins(Task::Other(compute_on_all_cpus));
    while !worker.is_done() {
        recorder.end_window();
    }
    let all = all_are_accounted_for(&mut recorder, &worker);
    let wanted = 9_999.0 * worker.seconds();
    assert_samples(all.samples, wanted, wanted * 0.05);
    assert!(recorder.session.window() > 1);
    assert_eq!(recorder.losses(), []);
    assert_eq!(
        (recorder.doubled, recorder.alone, recorder.without_stack),
        (0, 0, 0)
    );
}

#[test]
fn a_sample_without_room_for_its_count_comes_by_itself() {
    let mut worker = Worker::start();
    let mut options = cpu(4_999);
    options.pid = Some(worker.pid());
    let limits = [("COUNTS_A", 1), ("COUNTS_B", 1)];
    let mut recorder = Recorder::with_limits(&options, &limits);
    recorder.watch(&mut worker, Task::Split { milliseconds: 500 });
    let all = all_are_accounted_for(&mut recorder, &worker);
    assert!(
        recorder.alone >= 20 && recorder.alone < all.samples,
        "{} of {all:?}",
        recorder.alone
    );
    assert_eq!(recorder.losses(), []);
}

#[test]
fn a_full_ring_loses_stacks_and_no_counts() {
    let mut worker = Worker::start();
    let mut options = cpu(4_999);
    options.pid = Some(worker.pid());
    options.ring_bytes = 4096;
    let mut recorder = Recorder::start(&options);
    worker.begins(Task::Other(compute_on_all_cpus));
    // Nobody listens meanwhile.
    crate::poll::poll_until("a worker's work", || worker.is_done().then_some(()));
    all_are_accounted_for(&mut recorder, &worker);
    assert!(recorder.without_stack > 0);
    assert_eq!(recorder.losses(), [("stack", recorder.without_stack)]);
    // There is room again: the stacks of the next window come.
    recorder.watch(&mut worker, Task::Calls { milliseconds: 20 });
    assert_eq!(recorder.losses(), [("stack", recorder.without_stack)]);
}

#[test]
fn samples_without_any_room_are_lost_and_counted() {
    let mut worker = Worker::start();
    let mut options = cpu(4_999);
    options.pid = Some(worker.pid());
    options.ring_bytes = 4096;
    let limits = [("COUNTS_A", 1), ("COUNTS_B", 1)];
    let mut recorder = Recorder::with_limits(&options, &limits);
    worker.begins(Task::Other(compute_on_all_cpus));
    crate::poll::poll_until("a worker's work", || worker.is_done().then_some(()));
    let all = all_are_accounted_for(&mut recorder, &worker);
    let lost = recorder.losses();
    assert_eq!(lost.len(), 1, "{lost:?} lost of {all:?}");
}

#[test]
fn processes_of_a_millisecond_are_seen_in_full() {
    const HERTZ: u32 = 999;
    let mut worker = Worker::start();
    let mut recorder = Recorder::start(&cpu(HERTZ));
    let processes = if is_emulated() { 200 } else { 2_000 };
    recorder.watch(&mut worker, Task::Short { processes });
    let mut samples = 0;
    let mut seen = std::collections::HashSet::new();
    for ((_, key), stack) in &recorder.stacks {
        let leaf = stack.user.first().and_then(|at| Leaf::at(*at));
        if stack.process_comm.starts_with(NAME.as_bytes()) && leaf == Some(Leaf::C) {
            samples += recorder.sums.get(key).map_or(0, |sum| sum.samples);
            seen.insert(key.process);
        }
    }
    // By the time between two looks of each process at its own clock. All that the kernel charges it
    // with is no measure: of a process that goes before others it counts the wait for whoever has the
    // CPU at the moment as well, which on a busy machine is a fourth of a millisecond.
    let wanted = f64::from(HERTZ) * worker.leaf_seconds()[Leaf::C as usize];
    assert_samples(samples, wanted, wanted * 0.06);
    let processes = processes as usize;
    assert!(seen.len() * 4 > processes, "{} processes", seen.len());
    assert_eq!(recorder.losses(), []);
}

#[test]
fn idle_cpus_give_no_samples() {
    const HERTZ: u32 = 999;
    let mut recorder = Recorder::start(&cpu(HERTZ));
    // A window ends as soon as it is told to, and what follows takes its time.
    let (busy, all) = cpu_ticks();
    recorder.end_window();
    recorder.sums.clear();
    recorder.listen(Duration::from_secs(3));
    let (later_busy, later_all) = cpu_ticks();
    recorder.end_window();
    let share = (later_busy - busy) / (later_all - all);
    let samples = recorder.sum(|_| true).samples as f64;
    let ticks = f64::from(HERTZ) * (later_all - all) / ticks_in_a_second();
    let seen = samples / ticks;
    assert!(
        (seen - share).abs() <= 0.1,
        "{seen} of the time is sampled, {share} is busy"
    );
}

/// Ticks in which CPUs were busy, and all, from /proc/stat.
fn cpu_ticks() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let line = stat.lines().next().unwrap();
    let ticks = line.split_whitespace().skip(1);
    let ticks: Vec<f64> = ticks.map(|ticks| ticks.parse().unwrap()).collect();
    // user, nice, system, idle, iowait, irq, softirq; what a hypervisor takes is no time of ours.
    let busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
    (busy, busy + ticks[3] + ticks[4])
}

fn ticks_in_a_second() -> f64 {
    // SAFETY: the call has no preconditions.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}
