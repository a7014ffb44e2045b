//! Waits for a CPU agree with libbpf-tools' runqlat, which watches the same switches by programs of
//! its own.

use std::{
    fs,
    io::Read as _,
    process::{ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use crate::{
    poll::{PATIENCE, poll_until},
    process::{Agent, Running, sum},
};

/// Two threads have each of these CPUs to share, so that they wait on a node of any size.
const CPUS: [usize; 2] = [0, 1];
const THREADS: usize = 2 * CPUS.len();

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
        let threads = (0..THREADS).map(|thread| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                pin(CPUS[thread % CPUS.len()]);
                while !stop.load(Relaxed) {}
            })
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

/// Keeps the calling thread on one CPU.
fn pin(cpu: usize) {
    // SAFETY: the set is a plain bit field, and the CPU is within it.
    let result = unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    assert_eq!(result, 0, "CPU {cpu}: {}", std::io::Error::last_os_error());
}

/// Waits until runqlat has attached its programs.
fn wait_for_links(tool: &Running) {
    let folder = format!("/proc/{}/fd", tool.child.id());
    let links = || {
        let descriptors = fs::read_dir(&folder).unwrap().map_while(Result::ok);
        let targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        let names = targets.map(|target| target.display().to_string());
        names.filter(|name| name == LINK).count()
    };
    poll_until("runqlat has attached its programs", || {
        (links() >= HOOKS).then_some(())
    });
}

/// What the descriptor of an attached program refers to.
const LINK: &str = "anon_inode:bpf_link";

/// Hooks of runqlat: `sched_wakeup`, `sched_wakeup_new`, `sched_switch`.
const HOOKS: usize = 3;

/// All that a program writes until it ends.
fn output_of(mut stdout: ChildStdout) -> String {
    let (send, received) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        // Nobody listens any more after the deadline.
        let _ = send.send(stdout.read_to_string(&mut text).map(|_| text));
    });
    let text = received.recv_timeout(PATIENCE);
    let text = text.expect("runqlat ends when it has counted for long enough");
    text.expect("runqlat writes text")
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
    let output = runqlat.child.stdout.take().unwrap();
    wait_for_links(&runqlat);
    let before = agent.fresh_metrics();
    let text = output_of(output);
    let after = agent.fresh_metrics();
    let (ours, theirs) = (ours(&before, &after), theirs(&text));
    for (share, near) in [(0.5, 0.02), (0.99, 0.004)] {
        // Their buckets end at powers of two of microseconds, ours at every second one of seconds,
        // which lie 5 % below: the two share a part of their ranges where they mean the same. A
        // quantile that lies at a bucket's end may be on either side of it, since the two did not
        // begin and end at the same moment.
        let around = |buckets: &[Bucket]| {
            [share - near, share, share + near].map(|share| quantile(buckets, share))
        };
        let same = around(&ours).into_iter().any(|(our_low, our_high)| {
            let mut theirs = around(&theirs).into_iter();
            theirs.any(|(low, high)| our_low < high && low < our_high)
        });
        assert!(same, "{share}: ours {ours:?}\n{text}");
    }
    // Both counted for about as long. runqlat forgets a wait that began before it did.
    let count = |buckets: &[Bucket]| buckets.iter().map(|(.., count)| count).sum::<f64>();
    let ratio = count(&ours) / count(&theirs);
    assert!((0.7..1.5).contains(&ratio), "ours {ours:?}\n{text}");
}
