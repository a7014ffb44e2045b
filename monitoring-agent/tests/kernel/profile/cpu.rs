//! What runs on CPUs.

use monitoring_common::profile::{
    Key, MAX_USER_FRAMES,
    mode::{KERNEL, USER},
    status::{COMPLETE, NO_UNWIND_INFO, TRUNCATED},
};

use super::{
    program::{LEAVES, Leaf, callers},
    recorder::{Recorder, Stack, assert_samples, cpu, enough_samples, is_emulated},
    worker::{NAME, Task, Worker},
};

/// The function that a stack of a program ends in.
fn leaf(stack: &Stack) -> Option<Leaf> {
    Leaf::at(*stack.user.first()?)
}

#[test]
fn shares_are_those_of_cpu_time_and_samples_are_as_many() {
    for (hertz, milliseconds) in [(99, 8_000), (999, 4_000)] {
        let mut worker = Worker::start();
        let mut recorder = Recorder::start(&cpu(hertz));
        recorder.watch(&mut worker, Task::Split { milliseconds });
        let pid = worker.pid();
        let all = recorder.sum(|key| key.process == pid);
        let wanted = f64::from(hertz) * worker.seconds();
        let tolerance = 0.02 * wanted + worker.tolerance(hertz);
        assert_samples(all.samples, wanted, tolerance);
        assert_eq!(all.value, all.samples * u64::from(1_000_000_000 / hertz));
        let mut samples = [0_u64; LEAVES.len()];
        for (_, sum, stack) in recorder.of(&worker) {
            if let Some(leaf) = leaf(stack) {
                samples[leaf as usize] += sum.samples;
            }
        }
        for (leaf, seconds) in LEAVES.iter().zip(worker.leaf_seconds()) {
            let share = samples[*leaf as usize] as f64 / all.samples as f64;
            let wanted = seconds / worker.seconds();
            let tolerance = if is_emulated() { 0.1 } else { 0.02 };
            assert!(
                (share - wanted).abs() <= tolerance,
                "{leaf:?} at {hertz} Hz: {share} for {wanted}"
            );
        }
        assert_eq!(recorder.losses(), []);
        assert_eq!(recorder.doubled, 0);
    }
}

#[test]
fn stacks_lead_through_the_calls_to_their_beginning() {
    let mut worker = Worker::start();
    let mut recorder = Recorder::start(&cpu(999));
    for depth in [0, 10, 100, 197, 198, 300] {
        recorder.sums.clear();
        let task = Task::Deep {
            leaf: Leaf::A,
            depth,
            milliseconds: 300,
        };
        recorder.watch(&mut worker, task);
        let mut wanted = callers(usize::try_from(depth).unwrap());
        let status = if wanted.len() < MAX_USER_FRAMES {
            COMPLETE
        } else {
            TRUNCATED
        };
        wanted.truncate(MAX_USER_FRAMES - 1);
        let mut samples = 0;
        for (key, sum, stack) in recorder.of(&worker) {
            if leaf(stack) == Some(Leaf::A) && stack.user[1..] == wanted {
                assert_eq!(key.status, status, "{depth} calls deep");
                samples += sum.samples;
            }
        }
        // The rest is on the way there and back, and where the clock is looked at.
        let all = recorder.sum(|key| key.process == worker.pid()).samples;
        assert!(
            samples * 100 >= all * 90 && all >= enough_samples(),
            "{depth} calls deep: {samples} of {all}"
        );
    }
    assert_eq!(recorder.losses(), []);
}

#[test]
fn what_has_no_frame_pointer_is_said_to_have_none() {
    let mut worker = Worker::start();
    let mut recorder = Recorder::start(&cpu(999));
    let task = Task::Deep {
        leaf: Leaf::Frameless,
        depth: 5,
        milliseconds: 1_000,
    };
    recorder.watch(&mut worker, task);
    let mut samples = 0;
    for (key, sum, stack) in recorder.of(&worker) {
        if leaf(stack) == Some(Leaf::Frameless) && stack.user.len() == 1 {
            assert_eq!(key.status, NO_UNWIND_INFO);
            samples += sum.samples;
        }
    }
    let all = recorder.sum(|key| key.process == worker.pid()).samples;
    assert!(
        samples * 100 >= all * 90 && all >= enough_samples(),
        "{samples} of {all}"
    );
}

#[test]
fn the_kernels_frames_are_those_of_the_call() {
    let mut worker = Worker::start();
    let mut recorder = Recorder::start(&cpu(999));
    recorder.watch(
        &mut worker,
        Task::Calls {
            milliseconds: 1_000,
        },
    );
    let in_kernel = |key: &Key| key.process == worker.pid() && key.mode == KERNEL;
    let (kernel, all) = (
        recorder.sum(in_kernel).samples,
        recorder.sum(|key| key.process == worker.pid()).samples,
    );
    assert!(
        kernel * 100 >= all * 80 && all >= enough_samples(),
        "{kernel} of {all}"
    );
    // All of them come from the one place where calls enter the kernel.
    let mut entries = std::collections::HashMap::<u64, u64>::new();
    for (key, sum, stack) in recorder.of(&worker) {
        if key.mode == USER {
            assert!(stack.kernel.is_empty());
            continue;
        }
        assert!(stack.kernel.iter().all(|frame| frame >> 63 == 1));
        assert!(stack.user.iter().all(|frame| frame >> 63 == 0));
        *entries.entry(*stack.kernel.last().unwrap()).or_default() += sum.samples;
    }
    let most = *entries.values().max().unwrap();
    assert!(most * 100 >= kernel * 90, "{entries:?}");
}

#[test]
fn stacks_tell_whose_they_are() {
    let mut worker = Worker::start();
    let mut recorder = Recorder::start(&cpu(99));
    recorder.watch(&mut worker, Task::Split { milliseconds: 500 });
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", worker.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let started: u64 = fields.split_whitespace().nth(19).unwrap().parse().unwrap();
    let stacks = recorder.of(&worker);
    assert!(!stacks.is_empty());
    for (key, _, stack) in stacks {
        assert_eq!((key.thread, key.padding), (worker.pid(), 0));
        assert_eq!(stack.process_start_ns / 10_000_000, started);
        for comm in [stack.comm, stack.process_comm] {
            let name = comm.split(|byte| *byte == 0).next().unwrap();
            assert_eq!(name, NAME.as_bytes());
        }
        assert!(stack.time_ns > stack.process_start_ns);
    }
}

#[test]
fn only_one_process_is_looked_at_where_that_is_wanted() {
    let mut worker = Worker::start();
    let mut other = Worker::start();
    let mut options = cpu(999);
    options.pid = Some(worker.pid());
    let mut recorder = Recorder::start(&options);
    other.begins(Task::Split { milliseconds: 300 });
    recorder.watch(&mut worker, Task::Split { milliseconds: 300 });
    let all = recorder.sum(|_| true);
    assert_eq!(all, recorder.sum(|key| key.process == worker.pid()));
    assert!(all.samples >= enough_samples());
    assert_eq!(recorder.session.taken().unwrap(), all.samples);
}
