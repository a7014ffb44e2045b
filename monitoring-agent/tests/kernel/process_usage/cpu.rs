//! CPU time, processes and threads.

use std::{fs, time::Instant};

use monitoring_agent::source::Batch;

use super::{
    SOURCE, cpu_ns, gauge, modes, watch,
    worker::{self, AGENT, Worker},
};
use crate::{
    node::{ME, Node, losses},
    poll::{PATIENCE, poll_until},
};

/// The exact CPU time of all of a process's threads, as the scheduler counts it.
fn scheduler_ns(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let times = threads.map(|thread| {
        let path = thread.unwrap().path().join("schedstat");
        // A thread may end between the two.
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split(' ')
            .next()
            .map_or(0.0, |time| time.parse().unwrap_or(0.0))
    });
    times.sum()
}

/// The worker's time by the scheduler and by the source, at one moment in which it does nothing.
fn at_rest(node: &mut Node, worker: &Worker) -> (f64, Batch) {
    poll_until("the worker rests", || {
        let before = scheduler_ns(worker.pid());
        let batch = node.collect(SOURCE);
        #[allow(clippy::float_cmp, reason = "the same number, twice")]
        let rests = before == scheduler_ns(worker.pid());
        rests.then_some((before, batch))
    })
}

/// Collects until an agent's time since `before` is the truth within 1 %, and asserts that it never
/// is more. The truth is asked for before and after, because asking takes time as well.
///
/// A task's last steps, after its parent was told of its end, are in no rusage: they show where
/// a processor is emulated.
fn comes_to(node: &mut Node, agent: &str, before: f64, mut truth: impl FnMut() -> f64) -> Batch {
    let begun = Instant::now();
    let emulated = std::env::var_os("MONITORING_TEST_GUEST").is_some();
    let tolerance = if emulated { 1.05 } else { 1.01 };
    poll_until("the time of processes that ended", || {
        let least = truth();
        let batch = node.collect(SOURCE);
        let (ours, most) = (cpu_ns(&batch, agent) - before, truth());
        let late = begun.elapsed() > PATIENCE / 2;
        assert!(
            ours <= most * tolerance && !late,
            "{ours} ns of {most} ns; {:?}",
            losses(&batch)
        );
        (ours >= least * 0.99).then_some(batch)
    })
}

#[test]
fn a_process_that_runs_is_counted_to_the_nanosecond() {
    let mut node = Node::with(&[SOURCE], watch);
    let mut worker = Worker::start(&node);
    let (truth_before, before) = at_rest(&mut node, &worker);
    worker.order("spin 3");
    let begun = Instant::now();
    while cpu_ns(&node.collect(SOURCE), AGENT) - cpu_ns(&before, AGENT) < 3e8 {
        assert!(begun.elapsed() < PATIENCE, "it does not spin");
        let least = scheduler_ns(worker.pid()) - truth_before;
        let ours = cpu_ns(&node.collect(SOURCE), AGENT) - cpu_ns(&before, AGENT);
        let most = scheduler_ns(worker.pid()) - truth_before;
        // Seconds as `f64` are that exact.
        assert!(
            (least - 100.0..=most + 100.0).contains(&ours),
            "{ours} ns, not {least} to {most}"
        );
    }
    worker.order("calm");
    assert_eq!(losses(&node.collect(SOURCE)), []);
}

#[test]
fn threads_and_processes_that_end() {
    let mut node = Node::with(&[SOURCE], watch);
    let mut worker = Worker::start(&node);
    let (_, batch) = at_rest(&mut node, &worker);
    let (before, truth) = (modes(&batch, AGENT), worker.used_modes_ns());
    worker.order("burn 3 200");
    let used = worker.used_modes_ns();
    let burnt = used.iter().sum::<f64>() - truth.iter().sum::<f64>();
    let batch = comes_to(&mut node, AGENT, before.iter().sum(), || {
        worker.used_ns() - truth.iter().sum::<f64>()
    });
    assert!(burnt > 6e8);
    // The kernel divides a process's whole life in the same way, but from another beginning.
    let ours = modes(&batch, AGENT)[0] - before[0];
    let apart = (ours - (used[0] - truth[0])).abs();
    assert!(
        apart < 0.1 * burnt,
        "{ours} ns in user mode, {used:?} from {truth:?}"
    );
    // Each lives between two collections only, as most do.
    let (before, truth): (f64, f64) = (before.iter().sum(), truth.iter().sum());
    worker.order("forks 300 2");
    let forked = worker.used_ns() - truth;
    let batch = comes_to(&mut node, AGENT, before, || worker.used_ns() - truth);
    assert!(forked > burnt + 6e8);
    assert_eq!(losses(&batch), []);
    // And at last the worker itself, whose label ends with it.
    worker.order("burn 1 300");
    let all = worker.end() - truth;
    let batch = comes_to(&mut node, AGENT, before, || all);
    assert!(all > forked + 3e8);
    assert_eq!(losses(&batch), []);
}

#[test]
fn nothing_ever_falls() {
    let mut node = Node::with(&[SOURCE], watch);
    let mut worker = Worker::start(&node);
    let (_, mut last) = at_rest(&mut node, &worker);
    let (before, truth) = (cpu_ns(&last, AGENT), worker.used_ns());
    worker.begin("forks 400 1");
    worker.begin("used");
    let answers = std::thread::spawn(move || {
        let _ = worker.answer();
        let used: f64 = worker.answer_ns().iter().sum();
        (worker, used)
    });
    let mut rounds = 0;
    loop {
        let over = answers.is_finished();
        let batch = node.collect(SOURCE);
        for agent in [AGENT, ME, "other"] {
            let pairs = modes(&last, agent).into_iter().zip(modes(&batch, agent));
            for (earlier, later) in pairs {
                assert!(later >= earlier, "{agent}: {later} after {earlier}");
            }
        }
        last = batch;
        rounds += 1;
        if over {
            break;
        }
    }
    let (mut worker, used) = answers.join().unwrap();
    assert!(used > truth + 4e8);
    assert!(rounds > 10, "{rounds} rounds see little");
    let batch = comes_to(&mut node, AGENT, before, || worker.used_ns() - truth);
    assert_eq!(losses(&batch), []);
}

#[test]
fn a_new_label_takes_the_time_from_then_on() {
    let mut node = Node::with(&[SOURCE], watch);
    let mut worker = Worker::start(&node);
    let (_, first) = at_rest(&mut node, &worker);
    let truth = worker.used_ns();
    worker.order("burn 1 300");
    let burnt = worker.used_ns() - truth;
    let old = comes_to(&mut node, AGENT, cpu_ns(&first, AGENT), || {
        worker.used_ns() - truth
    });
    node.labels.set_rules(&[worker::rule("renamed")]);
    node.labels.scan().unwrap();
    let (_, new) = at_rest(&mut node, &worker);
    assert!(cpu_ns(&new, "renamed") < 1e7, "{}", cpu_ns(&new, "renamed"));
    assert!(cpu_ns(&new, AGENT) >= cpu_ns(&old, AGENT));
    let truth = worker.used_ns();
    worker.order("burn 1 300");
    let batch = comes_to(&mut node, "renamed", cpu_ns(&new, "renamed"), || {
        worker.used_ns() - truth
    });
    let first_ns = cpu_ns(&batch, AGENT) - cpu_ns(&first, AGENT);
    assert!(
        (0.99..1.2).contains(&(first_ns / burnt)),
        "{first_ns} of {burnt}"
    );
    assert!((gauge(&batch, "agent_active", AGENT)).abs() < 0.5);
    assert!((gauge(&batch, "agent_active", "renamed") - 1.0).abs() < 0.5);
    assert_eq!(losses(&batch), []);
}

/// CPU time of this process and of its children that it waited for.
fn used_ns() -> f64 {
    let us: i64 = worker::used_us().iter().sum();
    us as f64 * 1e3
}

/// Makes a child of this process with a number of the caller's choice; it burns and ends. `false`
/// if the number is another process's.
fn child_numbered(pid: libc::pid_t, ms: usize) -> bool {
    // struct clone_args of the kernel's include/uapi/linux/sched.h, up to set_tid_size.
    let mut arguments = [0_u64; 10];
    arguments[4] = u64::try_from(libc::SIGCHLD).unwrap();
    arguments[8] = (&raw const pid).addr() as u64;
    arguments[9] = 1;
    // SAFETY: a fork in all but the number; the child makes system calls only.
    let child = unsafe {
        let size = size_of_val(&arguments);
        let child = libc::syscall(libc::SYS_clone3, arguments.as_mut_ptr(), size);
        if child == 0 {
            worker::burn(ms);
            libc::_exit(0);
        }
        libc::pid_t::try_from(child).unwrap()
    };
    if child < 0 {
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::EEXIST), "{error}");
        return false;
    }
    assert_eq!(child, pid);
    // SAFETY: waits for the child made above.
    let waited = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    assert_eq!(waited, child);
    true
}

#[test]
fn a_number_that_is_used_again() {
    let mut node = Node::with(&[SOURCE], watch);
    let limit = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    let mut pid = limit.trim().parse::<libc::pid_t>().unwrap() - 7;
    let batch = node.collect(SOURCE);
    let (before, truth) = (cpu_ns(&batch, ME), used_ns());
    for round in 0..20 {
        while !child_numbered(pid, 30) {
            pid -= 1;
        }
        if round % 3 == 0 {
            node.collect(SOURCE);
        }
    }
    poll_until("all of the time", || {
        let least = used_ns() - truth;
        let ours = cpu_ns(&node.collect(SOURCE), ME) - before;
        assert!(ours <= (used_ns() - truth) * 1.01);
        (ours >= least * 0.99).then_some(())
    });
    assert_eq!(losses(&node.collect(SOURCE)), []);
}

#[test]
fn a_thread_that_executes_counts_once() {
    let mut node = Node::with(&[SOURCE], watch);
    let before = cpu_ns(&node.collect(SOURCE), AGENT);
    let mut worker = Worker::start(&node);
    worker.order("burn-in-a-thread 300");
    let burnt = cpu_ns(&node.collect(SOURCE), AGENT) - before;
    assert!(burnt > 2.5e8, "{burnt}");
    // It takes the leader's place, its number and the time at which that one started.
    worker.begin("execute-in-that-thread");
    poll_until("the program that follows", || {
        let comm = fs::read_to_string(format!("/proc/{}/comm", worker.pid())).unwrap();
        (comm.trim() == "exe").then_some(())
    });
    worker.order("nothing");
    comes_to(&mut node, AGENT, before, || worker.used_ns());
}

#[test]
fn processes_and_threads_by_agent() {
    let mut node = Node::with(&[SOURCE], watch);
    let batch = node.collect(SOURCE);
    let is = |batch: &Batch, active: f64, threads: f64| {
        let found = ["agent_active", "agent_threads"].map(|name| gauge(batch, name, AGENT));
        assert!(
            (found[0] - active).abs() < 0.5 && (found[1] - threads).abs() < 0.5,
            "{found:?}, not {active} and {threads}"
        );
    };
    is(&batch, 0.0, 0.0);
    let mut worker = Worker::start(&node);
    worker.order("threads 10");
    worker.order("children 5");
    worker.order("zombie");
    let status = fs::read_to_string(format!("/proc/{}/status", worker.pid())).unwrap();
    let threads = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"));
    let threads: f64 = threads.unwrap().trim().parse().unwrap();
    assert!(threads > 10.5);
    is(&node.collect(SOURCE), 6.0, threads + 5.0);
    assert!(gauge(&node.collect(SOURCE), "agent_threads", "other") >= 2.0);
    worker.end();
    poll_until("the worker's children end", || {
        let batch = node.collect(SOURCE);
        // A thread that ends is no active process any more a moment before it is no thread.
        let gone = |name| gauge(&batch, name, AGENT) < 0.5;
        (gone("agent_active") && gone("agent_threads")).then_some(())
    });
    let batch = node.collect(SOURCE);
    is(&batch, 0.0, 0.0);
    assert_eq!(losses(&batch), []);
}

#[test]
fn tasks_that_do_not_fit_are_lost_and_nothing_is_wrong() {
    let mut node = Node::with_limits(&[SOURCE], &[("CPU_TASKS", 2)]);
    let all = |batch: &Batch| cpu_ns(batch, ME) + cpu_ns(batch, "other");
    let before = all(&node.collect(SOURCE));
    let truth = used_ns();
    for _ in 0..20 {
        assert_eq!(crate::work::in_fork(|| worker::burn(10)), 0);
    }
    assert!(used_ns() - truth > 2e8);
    poll_until("the time of what ended", || {
        (all(&node.collect(SOURCE)) - before >= 2e8).then_some(())
    });
    let batch = node.collect(SOURCE);
    let [(reason, count)] = losses(&batch)[..] else {
        panic!("{:?}", losses(&batch))
    };
    assert_eq!(reason, "tasks_full");
    assert!(count >= 20, "{count}");
}
