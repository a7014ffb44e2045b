//! Time off the CPU, by reason: what lasted a known time, and what adds up to the clock.

use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Instant,
};

use super::{
    HELD, Look, ROUNDING, Watched, assert_grew, node, wait_for,
    worker::{NAPS, Task, Worker},
};
use crate::{
    node::{ME, Node, sample},
    poll::poll_until,
};

const CPUS: usize = 2;

#[test]
fn a_sleep_from_before_the_start_grows_while_it_lasts() {
    let worker = Worker::start(None);
    let mut node = node();
    let first = Look::at(&mut node);
    for _ in 0..5 {
        wait_for(HELD / 4);
        let now = Look::at(&mut node);
        let grew = now.seconds("sleep") - first.seconds("sleep");
        assert_grew("sleep", grew, now.since(&first), 1.0);
        assert_grew(
            "everything",
            now.all_seconds() - first.all_seconds(),
            now.since(&first),
            1.0,
        );
    }
    drop(worker);
}

/// Has one worker do something for [`HELD`], and rest before and after.
fn held(task: Task, reason: &str) {
    let mut node = node();
    let mut worker = Worker::labelled(&node, None);
    let first = Look::at(&mut node);
    let before = worker.awake_seconds();
    worker.does(task);
    let awake = worker.awake_seconds() - before;
    let last = Look::at(&mut node);
    let grew = last.seconds(reason) - first.seconds(reason);
    let (_, most) = last.since(&first);
    // The clock may begin before the worker has fallen asleep.
    let held = HELD.as_secs_f64() - awake - ROUNDING;
    assert!(
        (held..most).contains(&grew),
        "{reason} grew by {grew} s of {most} s, with {awake} s awake"
    );
    // The rest before and after is what is left.
    let slept = last.seconds("sleep") - first.seconds("sleep");
    assert!(slept <= most - held, "{slept} s of {most} s asleep");
}

#[test]
fn a_futex_is_a_lock() {
    held(Task::Futex, "lock");
}

/// Guests have no block device; waiting for `io_uring` is waiting for I/O to the kernel, and here
/// it has a known length. What waits for a disk has the same bit set by the same function.
#[test]
fn io_uring_is_io() {
    held(Task::IoUring, "io_wait");
}

#[test]
fn the_standard_librarys_locks_are_locks() {
    const THREADS: usize = 8;
    let mut node = node();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let gate = Arc::clone(&gate);
            let (sender, receiver) = std::sync::mpsc::channel();
            let thread = thread::spawn(move || {
                // SAFETY: gettid has no arguments.
                sender.send(unsafe { libc::gettid() }).unwrap();
                let (open, changed) = &*gate;
                drop(
                    changed
                        .wait_while(open.lock().unwrap(), |open| !*open)
                        .unwrap(),
                );
            });
            (thread, receiver.recv().unwrap())
        })
        .collect();
    let start = format!("{} ", libc::SYS_futex);
    let waiting = |task: &str| {
        let call = std::fs::read_to_string(format!("/proc/self/task/{task}/syscall"));
        call.is_ok_and(|call| call.starts_with(&start))
    };
    for (_, task) in &threads {
        poll_until("a thread at the gate", || {
            waiting(&task.to_string()).then_some(())
        });
    }
    let lock = |look: &Look| {
        let labels = [("agent", ME), ("reason", "lock")];
        let metric = sample(&look.batch, "sched_offcpu_seconds_total", &labels).unwrap();
        metric.get_counter().get_value()
    };
    let first = Look::at(&mut node);
    wait_for(HELD);
    let last = Look::at(&mut node);
    let all = std::fs::read_dir("/proc/self/task").unwrap().count();
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    for (thread, _) in threads {
        thread.join().unwrap();
    }
    // Other threads of this process may wait for one, too, but not the one that looks.
    let grew = lock(&last) - lock(&first);
    let (shortest, most) = last.since(&first);
    let (at_gate, all_others) = (THREADS as f64, all as f64 - 1.0);
    assert!(
        (at_gate * shortest - ROUNDING..all_others * most).contains(&grew),
        "{grew} s in {shortest} to {most} s"
    );
}

#[test]
fn stopped_is_stopped() {
    let mut node = node();
    let worker = Worker::labelled(&node, None);
    worker.signal(libc::SIGSTOP);
    worker.has_state("T");
    let first = Look::at(&mut node);
    wait_for(HELD);
    let last = Look::at(&mut node);
    let grew = last.seconds("stopped") - first.seconds("stopped");
    assert_grew("stopped", grew, last.since(&first), 1.0);
    worker.signal(libc::SIGCONT);
    worker.has_state("S");
    let slept = Look::at(&mut node);
    wait_for(HELD);
    let last = Look::at(&mut node);
    let grew = last.seconds("sleep") - slept.seconds("sleep");
    assert_grew("sleep", grew, last.since(&slept), 1.0);
}

/// Between two looks: time off the CPU; CPU time; and between which lengths their sum must be.
///
/// A hypervisor may take a CPU away. The kernel knows, and then counts no CPU time, but to the
/// scheduler the task is on it.
struct Sum {
    off: f64,
    cpu: f64,
    stolen: f64,
    least: f64,
    most: f64,
    first: Look,
    last: Look,
}

/// Lets workers go on with what they do. CPU times are read after the first look and before the
/// last one, so that the time that it takes to look can be told.
fn over_time(node: &mut Watched, workers: &[Worker]) -> Sum {
    let cpu = || workers.iter().map(Worker::cpu_seconds).sum::<f64>();
    let first = Look::at(node);
    let (begun, before, stolen) = (Instant::now(), cpu(), stolen_seconds());
    wait_for(5 * HELD);
    let (stolen, after, took) = (stolen_seconds() - stolen, cpu(), begun.elapsed());
    let last = Look::at(node);
    let tasks = workers.len() as f64;
    Sum {
        off: last.all_seconds() - first.all_seconds(),
        cpu: after - before,
        stolen,
        least: tasks * took.as_secs_f64(),
        most: tasks * last.since(&first).1,
        first,
        last,
    }
}

/// Most time off the CPU that hides behind one event that is counted as lost, while some tasks
/// share a CPU.
const SLICE: f64 = 0.02;

/// What rounding to ticks of 10 ms may hide of the stolen time, on each CPU.
const TICKS: f64 = 0.01 * CPUS as f64;

/// Time that a hypervisor took from all CPUs so far: the eighth number of `/proc/stat`'s first line.
fn stolen_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let ticks = stat.split_whitespace().nth(8).unwrap();
    ticks.parse::<f64>().unwrap() / 100.0
}

impl Sum {
    fn assert_complete(&self) {
        let sum = self.off + self.cpu;
        let unseen = (self.last.lost() - self.first.lost()) as f64 * SLICE;
        assert!(
            sum >= 0.99 * self.least - self.stolen - TICKS - unseen && sum <= 1.01 * self.most,
            "{} s off and {} s on the CPU are {sum} s, with {} s stolen and {unseen} s unseen, of \
             {} to {} s",
            self.off,
            self.cpu,
            self.stolen,
            self.least,
            self.most
        );
    }

    fn grew(&self, reason: &str) -> f64 {
        self.last.seconds(reason) - self.first.seconds(reason)
    }
}

fn spinners(node: &Node, cpus: impl Iterator<Item = usize>) -> Vec<Worker> {
    let start = |cpu| {
        let mut worker = Worker::labelled(node, Some(cpu));
        worker.begins(Task::Spin);
        worker
    };
    let workers: Vec<_> = cpus.map(start).collect();
    for worker in &workers {
        worker.computes();
    }
    workers
}

#[test]
fn a_task_that_never_leaves_its_cpu() {
    let mut node = node();
    let workers = spinners(&node, std::iter::once(CPUS - 1));
    let sum = over_time(&mut node, &workers);
    sum.assert_complete();
    assert!(
        (sum.off - sum.grew("preempted")).abs() < ROUNDING,
        "nothing but others on its CPU keeps it from it"
    );
}

#[test]
fn four_that_compute_on_two_cpus() {
    let mut node = node();
    let workers = spinners(&node, (0..4).map(|number| number % CPUS));
    let sum = over_time(&mut node, &workers);
    sum.assert_complete();
    assert!((sum.off - sum.grew("preempted")).abs() < ROUNDING);
    let share = sum.off / sum.most;
    assert!(share > 0.45, "off the CPU for {share} of the time");
    // What has ended of it is in the histogram.
    let waited = sum.last.waits().1 - sum.first.waits().1;
    assert!(waited > 0.8 * sum.off, "{waited} s of {} s", sum.off);
}

#[test]
fn all_time_is_accounted_for() {
    let mut node = node();
    let mut workers = spinners(&node, [0, 0, 1].into_iter());
    for task in [Task::Naps, Task::Futex, Task::Children, Task::Naps] {
        let mut worker = Worker::labelled(&node, None);
        if !matches!(task, Task::Children) {
            worker.begins(task);
        }
        workers.push(worker);
    }
    over_time(&mut node, &workers).assert_complete();
}

#[test]
fn a_woken_task_waits_on_the_run_queue() {
    let mut node = node();
    let spinning = spinners(&node, [0, 0].into_iter());
    let mut worker = Worker::labelled(&node, Some(0));
    let (before, first) = (worker.switches(), Look::at(&mut node));
    worker.does(Task::Naps);
    let (after, last) = (worker.switches(), Look::at(&mut node));
    let grew = |reason| last.seconds(reason) - first.seconds(reason);
    // Sleeps of 2 ms, of which falling asleep is a part: the rest of the way back is waiting.
    assert!(after[0] - before[0] >= NAPS);
    assert!(grew("sleep") >= NAPS as f64 * 1e-3, "{}", grew("sleep"));
    assert!(grew("runqueue") > 0.0, "two others compute on its CPU");
    let waits = last.waits().1 - first.waits().1;
    let lasting = 2.0 * last.since(&first).1;
    assert!(
        (grew("runqueue") + grew("preempted") - waits).abs() <= lasting,
        "the histogram has what ended"
    );
    drop(spinning);
}
