//! Waits for a CPU agree with libbpf-tools' runqlat, which watches the same switches by programs of
//! its own.

use std::{
    io::Read as _,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use crate::process::{Agent, Running, sum};

const THREADS: usize = 4;

/// Seconds that runqlat counts for.
const SECONDS: &str = "5";

/// Computing threads that end when dropped.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..THREADS).map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || while !stop.load(Relaxed) {})
        });
        let threads = threads.collect();
        Self { stop, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A bucket: above, up to, how many. In seconds.
type Bucket = (f64, f64, f64);

/// Lines such as `        16 -> 31         : 123      |***   |`, in microseconds cut to whole ones.
fn theirs(output: &str) -> Vec<Bucket> {
    let buckets = output.lines().filter_map(|line| {
        let (range, rest) = line.split_once(" : ")?;
        let (low, high) = range.split_once("->")?;
        let [low, high] = [low, high].map(|text| text.trim().parse::<f64>().ok());
        let count = rest.split_whitespace().next()?.parse().ok()?;
        Some((low? / 1e6, (high? + 1.0) / 1e6, count))
    });
    buckets.collect()
}

/// All agents' buckets together: what was counted between two scrapes.
fn ours(before: &str, after: &str) -> Vec<Bucket> {
    let name = "sched_runqueue_latency_seconds_bucket";
    let mut bounds: Vec<(f64, String)> = Vec::new();
    for line in after.lines().filter(|line| line.starts_with(name)) {
        let bound = line
            .split_once("le=\"")
            .unwrap()
            .1
            .split_once('"')
            .unwrap()
            .0;
        if bounds.iter().all(|(_, known)| known != bound) {
            bounds.push((
                bound.replace("+Inf", "inf").parse().unwrap(),
                bound.to_owned(),
            ));
        }
    }
    bounds.sort_by(|left, right| left.0.total_cmp(&right.0));
    let mut below = (0.0, 0.0);
    let buckets = bounds.iter().map(|(bound, text)| {
        let label = format!("le=\"{text}\"");
        let cumulative = sum(after, name, &label) - sum(before, name, &label);
        let bucket = (below.0, *bound, cumulative - below.1);
        below = (*bound, cumulative);
        bucket
    });
    buckets.collect()
}

/// The bucket that a quantile lies in.
fn quantile(buckets: &[Bucket], share: f64) -> (f64, f64) {
    let all: f64 = buckets.iter().map(|(.., count)| count).sum();
    assert!(all > 0.0, "nothing counted in {buckets:?}");
    let mut counted = 0.0;
    let found = buckets.iter().find(|(.., count)| {
        counted += count;
        counted >= share * all
    });
    found.map(|(low, high, _)| (*low, *high)).unwrap()
}

#[test]
fn waits_agree_with_runqlat() {
    let agent = Agent::start(&[]);
    let _load = Load::start();
    let mut command = Command::new("/usr/sbin/runqlat");
    let mut runqlat = Running::start(command.args([SECONDS, "1"]).stdout(Stdio::piped()));
    let mut output = runqlat.child.stdout.take().unwrap();
    let before = agent.fresh_metrics();
    let mut text = String::new();
    output
        .read_to_string(&mut text)
        .expect("runqlat writes text");
    let after = agent.fresh_metrics();
    let (ours, theirs) = (ours(&before, &after), theirs(&text));
    for share in [0.5, 0.99] {
        // Their buckets end at powers of two of microseconds, ours at every second one of seconds,
        // which lie 5 % below: the two share a part of their ranges where they mean the same.
        let (our_low, our_high) = quantile(&ours, share);
        let (their_low, their_high) = quantile(&theirs, share);
        assert!(
            our_low < their_high && their_low < our_high,
            "{share}: ours {our_low} to {our_high} s, theirs {their_low} to {their_high} s\n\
             {ours:?}\n{text}"
        );
    }
    // Both counted for about as long. runqlat forgets a wait that began before it did.
    let count = |buckets: &[Bucket]| buckets.iter().map(|(.., count)| count).sum::<f64>();
    let ratio = count(&ours) / count(&theirs);
    assert!((0.7..1.5).contains(&ratio), "ours {ours:?}\n{text}");
}
