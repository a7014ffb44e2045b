//! perf, which samples the same program by its own means, and what it saw.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::capture::{Stacks, wait_until_settled};
use crate::process::Running;

/// `perf record`, at work.
pub(super) struct Recording {
    perf: Running,
    file: PathBuf,
}

impl Recording {
    /// Samples the stacks of a process so many times a second. It samples when this returns.
    pub(super) fn start(folder: &Path, pid: u32, hertz: u32) -> Self {
        let file = folder.join("perf.data");
        let mut command = Command::new("perf");
        command
            .args(["record", "--quiet", "-g", "-e", "cpu-clock"])
            .args(["-F", &hertz.to_string(), "-p", &pid.to_string()])
            .arg("-o")
            .arg(&file);
        let perf = Running::start(command.stdout(Stdio::null()));
        wait_until_settled(perf.child.id(), 0);
        Self { perf, file }
    }

    /// Ends it; the stacks that it saw, in samples.
    pub(super) fn stacks(mut self) -> Stacks {
        self.perf.signal(libc::SIGINT);
        self.perf.wait();
        let mut script = Command::new("perf");
        script.args(["script", "--no-inline", "-F", "ip,sym", "-i"]);
        let output = script.arg(&self.file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{}", self.perf.log());
        read(&String::from_utf8(output.stdout).unwrap())
    }
}

/// Reads what `perf script -F ip,sym` prints: a line for each frame, leaf first, and an empty one
/// behind each stack.
fn read(script: &str) -> Stacks {
    let mut stacks = BTreeMap::new();
    let mut stack = Vec::new();
    for line in script.lines().chain([""]) {
        match line.trim_start().split_once(' ') {
            Some((_, name)) => stack.push(name.trim_end().to_owned()),
            None if stack.is_empty() => {}
            None => {
                stack.reverse();
                *stacks.entry(std::mem::take(&mut stack)).or_default() += 1;
            }
        }
    }
    stacks
}

/// The total variation distance of two samples of stacks: the share of one that would have to be
/// elsewhere for both to be the same.
pub(super) fn distance(one: &Stacks, other: &Stacks) -> f64 {
    let total = |stacks: &Stacks| stacks.values().sum::<i64>() as f64;
    let share = |stacks: &Stacks, stack| stacks.get(stack).copied().unwrap_or(0) as f64;
    let (one_total, other_total) = (total(one), total(other));
    let here = one.keys();
    let all = here.chain(other.keys().filter(|stack| !one.contains_key(*stack)));
    let differences =
        all.map(|stack| (share(one, stack) / one_total - share(other, stack) / other_total).abs());
    differences.sum::<f64>() / 2.0
}

#[test]
fn reads_what_perf_prints() {
    let script = "\t            1284 sixty\n\t            175e main\n\n\
                  ffffffff82 an_interrupt\n 1284 sixty\n 175e main\n\n\
                  \t 1284 sixty\n\t 175e main\n\n 10 std::vector<int, char>::at\n 7f [unknown]\n\n";
    let stack = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let want: Stacks = [
        (stack(&["main", "sixty"]), 2),
        (stack(&["main", "sixty", "an_interrupt"]), 1),
        (stack(&["[unknown]", "std::vector<int, char>::at"]), 1),
    ]
    .into();
    assert_eq!(read(script), want);
}

#[test]
fn distances_are_shares() {
    let of = |shares: &[(&str, i64)]| -> Stacks {
        let stacks = shares.iter();
        stacks
            .map(|(name, count)| (vec![(*name).to_owned()], *count))
            .collect()
    };
    let one = of(&[("a", 60), ("b", 40)]);
    assert!(distance(&one, &of(&[("a", 600), ("b", 400)])) < 1e-12);
    assert!((distance(&one, &of(&[("a", 5), ("b", 5)])) - 0.1).abs() < 1e-12);
    assert!((distance(&one, &of(&[("c", 7)])) - 1.0).abs() < 1e-12);
}
