//! Many short processes: what is lost of them, what has no name, and what the agent needs for it.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use monitoring_profile::{Profile, SampleRef};

use super::{
    capture::{Capture, PPROF, Stacks, agent_with, label, shown, stacks, sum_of},
    workload::build_with,
};
use crate::process::{Agent, sum};

/// How long a capture lasts, and how long processes come and go if nothing else is said:
/// `PROFILE_CHURN_SECONDS` makes it more captures, one after the other, to watch the memory.
const SECONDS: u32 = 20;
const SECONDS_VARIABLE: &str = "PROFILE_CHURN_SECONDS";

/// Processes a second, and threads that start them.
const EACH_SECOND: u32 = 200;
const STARTERS: u32 = 4;

/// A machine that is busy with other things does not manage as many; one that manages fewer shows
/// nothing.
const FEWEST_EACH_SECOND: f64 = 50.0;

/// Enough that a share of 1 % means something.
const HERTZ: u32 = 499;
const FEWEST_SAMPLES: i64 = 500;

/// What each process computes: about two milliseconds.
const THOUSANDS_OF_TURNS: &str = "5000";

/// What all processes together may add to the agent's memory once it has seen those of the first eighth
/// of the time, beside names and mappings. Those are bounded, and `profile_memory_bytes` tells of them:
/// where new programs come all the time, as beside a compiler, they grow to their bound.
const GROWTH_KIB: u64 = 16 << 10;

/// Shares of samples that may be lost, or be without a name.
const MOST: f64 = 0.01;

/// Starts processes until it is told to stop.
fn start_processes(program: &Path, stop: &AtomicBool, started: &AtomicU64) {
    let interval = Duration::from_secs(1) * STARTERS / EACH_SECOND;
    let mut due = Instant::now();
    while !stop.load(Relaxed) {
        let mut command = Command::new(program);
        let command = command.arg(THOUSANDS_OF_TURNS).stdin(Stdio::null());
        assert!(command.status().unwrap().success());
        started.fetch_add(1, Relaxed);
        due += interval;
        // One that is late does not make up for it all at once.
        let earliest = Instant::now().checked_sub(interval);
        due = earliest.map_or(due, |earliest| due.max(earliest));
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Ends what [`start_processes`] does when it is dropped.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// What names and mappings take, in KiB.
fn known_kib(agent: &Agent) -> u64 {
    let bytes = sum(&agent.fresh_metrics(), "profile_memory_bytes", "part=");
    // A number of bytes is whole and not negative.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let kib = (bytes / 1024.0) as u64;
    kib
}

/// Makes the most that the agent has ever had (`VmHWM`) what it has now.
fn forget_peak(agent: &Agent) {
    let file = format!("/proc/{}/clear_refs", agent.process.child.id());
    fs::write(file, "5").unwrap();
}

/// For how long captures are taken, one after the other. They take longer than they are told to where
/// the machine is busy.
fn duration() -> Duration {
    let given = env::var(SECONDS_VARIABLE).ok();
    let seconds = given.map_or(SECONDS, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.into())
}

#[test]
fn of_short_processes_next_to_nothing_is_lost_or_nameless() {
    let folder = tempfile::tempdir().unwrap();
    // Without libraries every function has a name that can be found.
    let short = build_with(folder.path(), "short", &["-static"]);
    // With all that an agent does by default: a history as well.
    let history = folder.path().join("history");
    let history = format!("history_directory = '{}'\n", history.display());
    let agent = agent_with(folder.path(), &history);
    let (stop, started) = (AtomicBool::new(false), AtomicU64::new(0));
    let profiles = thread::scope(|scope| {
        // Also when the test fails: the scope waits for its threads.
        let _stopping = Stopping(&stop);
        for _ in 0..STARTERS {
            scope.spawn(|| start_processes(&short, &stop, &started));
        }
        captures(&agent, &started)
    });

    have_names(&stacks_of(&profiles, &|sample| {
        label(sample, "process") == "short"
    }));
    are_not_lost(&agent, &profiles);
}

/// Captures while processes come and go, and watches the agent's memory.
fn captures(agent: &Agent, started: &AtomicU64) -> Vec<Profile> {
    let (begun, before) = (Instant::now(), started.load(Relaxed));
    let (mut first, mut most) = (0, 0);
    let beside = |resident: u64| resident.saturating_sub(known_kib(agent));
    let mut profiles = Vec::new();
    while profiles.is_empty() || begun.elapsed() < duration() {
        forget_peak(agent);
        let capture = Capture::begin(agent, PPROF, SECONDS, &format!("hz={HERTZ}"));
        let (now, quarter) = (Instant::now(), Duration::from_secs(SECONDS.into()) / 4);
        wait_until(now + quarter);
        let early = agent.status_kib("VmRSS");
        wait_until(now + 3 * quarter);
        let late = agent.status_kib("VmRSS");
        let profile = capture.profile();
        println!(
            "{:4.0} s, {} processes; resident {early} KiB, {late} KiB, at most {} KiB, {} KiB of its own, {} \
             KiB names and mappings",
            begun.elapsed().as_secs_f64(),
            started.load(Relaxed),
            agent.status_kib("VmHWM"),
            agent.status_kib("RssAnon"),
            known_kib(agent),
        );
        if profiles.is_empty() || begun.elapsed() < duration() / 8 {
            first = beside(early);
        }
        most = most.max(beside(late));
        profiles.push(profile);
    }
    assert!(most <= first + GROWTH_KIB, "{first} KiB became {most} KiB");
    let rate = (started.load(Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
    println!("{rate:.0} processes a second");
    assert!(rate >= FEWEST_EACH_SECOND, "{rate} processes a second only");
    profiles
}

/// The stacks of all profiles.
fn stacks_of(profiles: &[Profile], wanted: &dyn Fn(&SampleRef<'_>) -> bool) -> Stacks {
    let mut all = Stacks::new();
    for profile in profiles {
        for (stack, samples) in stacks(profile, "samples", wanted) {
            *all.entry(stack).or_default() += samples;
        }
    }
    all
}

/// The part of the samples whose stack is such.
fn share(stacks: &Stacks, of: &dyn Fn(&[String]) -> bool) -> f64 {
    sum_of(stacks, of) as f64 / sum_of(stacks, |_| true) as f64
}

/// Next to all samples of the short processes have a name.
fn have_names(short: &Stacks) {
    let total = sum_of(short, |_| true);
    assert!(total >= FEWEST_SAMPLES, "{total} samples: {}", shown(short));
    // What was running has a name. Who called it is not always known: the C library has no frame
    // pointers, and what is found where one should be is nobody's address.
    let nameless = |stack: &[String]| stack.last().is_none_or(|name| is_nameless(name));
    let of_short = share(short, &nameless);
    let somewhere = share(short, &|stack: &[String]| {
        stack.iter().any(|name| is_nameless(name))
    });
    println!(
        "{total} samples, nameless {:.3} %, somewhere in the stack {:.3} %",
        of_short * 100.0,
        somewhere * 100.0
    );
    let mut without = short.clone();
    without.retain(|stack, _| stack.iter().any(|name| is_nameless(name)));
    print!("{}", shown(&without));
    assert!(of_short < MOST, "{of_short}: {}", shown(short));
    let main = share(short, &|stack: &[String]| {
        stack.windows(2).any(|two| two == ["main", "computes"])
    });
    assert!(main > 0.2, "{main} is what they compute: {}", shown(short));
}

/// Next to no sample of the node has been lost, by the profile and by the metrics.
fn are_not_lost(agent: &Agent, profiles: &[Profile]) {
    let all = stacks_of(profiles, &|_| true);
    let lost = share(&all, &|stack: &[String]| {
        stack.iter().any(|name| name == "[stack lost]")
    });
    assert!(lost < MOST, "{lost}: {}", shown(&all));
    let metrics = agent.fresh_metrics();
    let counted = sum(
        &metrics,
        "monitoring_agent_lost_total",
        "source=\"profile\"",
    );
    let share = counted / sum_of(&all, |_| true) as f64;
    println!(
        "lost {:.3} %, by the metrics {:.3} %",
        lost * 100.0,
        share * 100.0
    );
    let comments: Vec<_> = profiles.iter().flat_map(Profile::comments).collect();
    assert!(share < MOST, "{counted} lost: {comments:?}");
}

/// Of what stands for a function where no name could be found.
fn is_nameless(name: &str) -> bool {
    name.starts_with('[')
}

/// Waits until a moment that lies within what the test measures.
fn wait_until(moment: Instant) {
    while let Some(left) = moment.checked_duration_since(Instant::now()) {
        thread::sleep(left);
    }
}
