//! Time off the CPU: a program that sleeps in one function and waits for a lock in another.

use std::time::Duration;

use super::{
    capture::{Capture, PPROF, Stacks, agent, has_chain, is_of, label, shown, stacks, sum_of},
    workload::Workload,
};

/// How often it sleeps, 10 ms each, and how often it waits for a lock, 20 ms each.
const SLEEPS: u64 = 150;
const WAITS: u64 = 75;

/// Longer than both take together on a machine that is busy.
const CAPTURED_SECONDS: u32 = 8;

#[test]
fn waits_are_where_they_happen_and_have_their_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), "");
    let arguments = [SLEEPS, WAITS].map(|times| times.to_string());
    let arguments = arguments.each_ref().map(String::as_str);
    let mut program = Workload::start(folder.path(), "waits", &arguments);
    let pid = program.pid();
    let query = format!("type=offcpu&pid={pid}");
    let capture = Capture::begin(&agent, PPROF, CAPTURED_SECONDS, &query);
    program.begin();
    let measured: [u64; 2] = program.done(Duration::ZERO);
    capture.must_still_run();
    let profile = capture.profile();
    program.end();

    let chains = [
        (["sleep_often", "sleeps"], SLEEPS, "sleep"),
        (["wait_often", "waits_for_lock"], WAITS, "lock"),
    ];
    for ((chain, times, reason), measured) in chains.into_iter().zip(measured) {
        let of = |kind: &str, reason: &str| -> Stacks {
            let all = stacks(&profile, kind, |sample| {
                is_of(sample, pid) && (reason.is_empty() || label(sample, "reason") == reason)
            });
            all.into_iter()
                .filter(|(stack, _)| has_chain(stack, &chain))
                .collect()
        };
        let sum = |stacks: &Stacks| u64::try_from(sum_of(stacks, |_| true)).unwrap();
        let all = of("offcpu", "");
        // It measured itself: what it ran between two waits is in its numbers, and not in these.
        let ratio = sum(&all) as f64 / measured as f64;
        println!("{chain:?}: {:.2} % of {measured} ns", ratio * 100.0);
        assert!(
            (0.95..=1.001).contains(&ratio),
            "{ratio} of {measured} ns\n{}",
            shown(&all)
        );
        // Each wait is one switch, unless the thread is preempted on its way into it.
        let for_it = of("switches", reason);
        let few = times - times / 20;
        assert!((few..=times).contains(&sum(&for_it)), "{}", shown(&for_it));
        let waited = sum(&of("offcpu", reason)) as f64 / measured as f64;
        assert!(waited >= 0.8, "for {reason}: {waited}\n{}", shown(&all));
        // The kernel's part of the stack says the same.
        let schedules = sum_of(&for_it, |stack| stack.iter().any(|name| name == "schedule"));
        assert_eq!(schedules, sum_of(&for_it, |_| true), "{}", shown(&for_it));
    }
}
