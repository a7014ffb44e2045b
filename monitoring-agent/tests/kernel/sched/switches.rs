//! Switches and waits for a CPU: the kernel counts the same ones in /proc.

use super::{
    Look, node,
    worker::{CHILDREN, NAPS, Task, Worker},
};

const CPU: usize = 0;

/// What workers have switched, by the kernel and by us, from one moment at rest to another.
fn compare(workers: usize, tasks: &[Task]) -> [u64; 2] {
    let mut node = node();
    let mut workers: Vec<_> = (0..workers)
        .map(|_| Worker::labelled(&node, Some(CPU)))
        .collect();
    let kernel = |workers: &[Worker]| {
        let each = workers.iter().map(Worker::switches);
        each.fold([0, 0], |sum, each| [sum[0] + each[0], sum[1] + each[1]])
    };
    // Whatever they did under the name that they were born with is behind them.
    for worker in &mut workers {
        worker.does(Task::Naps);
    }
    let (before, first) = (kernel(&workers), Look::at(&mut node));
    for task in tasks {
        for worker in &mut workers {
            worker.begins(*task);
        }
        workers.iter_mut().for_each(Worker::is_done);
    }
    let (after, last) = (kernel(&workers), Look::at(&mut node));
    let theirs = [after[0] - before[0], after[1] - before[1]];
    let ours = ["voluntary", "involuntary"].map(|kind| last.switches(kind) - first.switches(kind));
    assert_eq!(ours, theirs, "voluntary and involuntary");
    // Each time that a worker left its CPU it came back, after a wait of some length.
    let waits = last.waits().0 - first.waits().0;
    assert_waits(waits, theirs[0] + theirs[1], &last);
    theirs
}

/// Each wait is in the histogram, or its beginning or end is counted as not seen.
fn assert_waits(ours: u64, theirs: u64, look: &Look) {
    let unseen = look.lost();
    assert!(
        ours <= theirs && ours + unseen >= theirs,
        "{ours} waits and {unseen} unseen of {theirs}"
    );
}

#[test]
fn sleeps_are_voluntary() {
    let [voluntary, _] = compare(1, &[Task::Naps, Task::Naps]);
    assert!(voluntary >= 2 * NAPS, "{voluntary} switches");
}

#[test]
fn yields_are_involuntary() {
    // On a busy machine, one may have done all of its yields before the other begins.
    let yielded = (0..20).any(|_| compare(2, &[Task::Yields])[1] > 0);
    assert!(yielded, "two workers on one CPU yield to each other");
}

#[test]
fn preemptions_are_involuntary() {
    let [_, involuntary] = compare(2, &[Task::Compute, Task::Naps, Task::Compute]);
    assert!(
        involuntary >= 10,
        "{involuntary} switches of two that compute"
    );
}

#[test]
fn children_count_from_their_first_switch_on() {
    let mut node = node();
    let mut worker = Worker::labelled(&node, None);
    worker.does(Task::Naps);
    let (before, first) = (worker.switches(), Look::at(&mut node));
    worker.does(Task::Children);
    let children = worker.switches_of_children();
    let (after, last) = (worker.switches(), Look::at(&mut node));
    assert_eq!(children.len(), CHILDREN);
    for (kind, name) in ["voluntary", "involuntary"].iter().enumerate() {
        let of_children: u64 = children.iter().map(|switches| switches[kind]).sum();
        let ours = last.switches(name) - first.switches(name);
        assert_eq!(ours, of_children + after[kind] - before[kind], "{name}");
    }
    // A child's way to its first CPU is a wait, too; each of them is off its CPU at the end.
    let left: u64 = children.iter().flatten().sum();
    let own = after.iter().sum::<u64>() - before.iter().sum::<u64>();
    assert_waits(last.waits().0 - first.waits().0, left + own, &last);
}
