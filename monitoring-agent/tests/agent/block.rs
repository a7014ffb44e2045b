//! Agreement with fio, which does the work and times it, and with biolatency of libbpf-tools, which
//! watches the same tracepoints by other means.

use std::{
    fs::File,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
};

use monitoring_common::block::lost;
use serde_json::Value;

use crate::{
    poll::poll_until,
    process::{Agent, Running, sum, value},
};

const SIZE_BYTES: u32 = 64 * 1024 * 1024;
const BLOCK_BYTES: u32 = 4096;

/// A loop device over a file. It ends with its descriptor, even if the test is killed.
pub(crate) struct Disk {
    pub(crate) path: String,
    _open: File,
}

impl Disk {
    pub(crate) fn over(file: &Path) -> Self {
        File::create(file)
            .unwrap()
            .set_len(SIZE_BYTES.into())
            .unwrap();
        let losetup = |arguments: &[&str], file: &Path| {
            let mut losetup = Command::new("losetup");
            let output = losetup.args(arguments).arg(file).output();
            let output = output.expect("losetup; `cargo xtask setup` installs what the tests need");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let path = losetup(&["--find", "--show"], file);
        let open = File::open(&path).unwrap();
        // Detached while it is open, it goes when it is closed.
        losetup(&["--detach"], Path::new(&path));
        Self { path, _open: open }
    }

    pub(crate) fn name(&self) -> &str {
        self.path.strip_prefix("/dev/").unwrap()
    }
}

/// A request to a disk, for metrics that only exist once there was one.
pub(crate) fn known_requests() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::over(&folder.path().join("disk"));
    // Nothing of the new disk is in memory yet.
    let mut first = [0; BLOCK_BYTES as usize];
    File::open(&disk.path)
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
}

/// What fio says of its reads or writes.
struct Work {
    requests: f64,
    bytes: f64,
    /// At half, and at 99 in 100.
    quantiles_s: [f64; 2],
    mean_s: f64,
}

/// Goes over the whole disk once at random. One request at a time, by plain `pread` and `pwrite`:
/// then fio's time of a request begins when it is submitted and ends when it is complete, and
/// none is spent in a queue of fio's own.
fn fio(disk: &Disk, what: &str) -> Work {
    let mut fio = Command::new("fio");
    fio.args(["--name=block", "--ioengine=psync", "--direct=1"]);
    fio.arg("--output-format=json");
    fio.args([
        format!("--filename={}", disk.path),
        format!("--rw=rand{what}"),
        format!("--bs={BLOCK_BYTES}"),
        format!("--size={SIZE_BYTES}"),
    ]);
    let output = fio.output();
    let output = output.expect("fio; `cargo xtask setup` installs what the tests need");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let report = &report["jobs"][0][what];
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{report}"));
    let times_ns = &report["clat_ns"];
    Work {
        requests: number(&report["total_ios"]),
        bytes: number(&report["io_bytes"]),
        quantiles_s: ["50.000000", "99.000000"]
            .map(|quantile| number(&times_ns["percentile"][quantile]) / 1e9),
        mean_s: number(&times_ns["mean"]) / 1e9,
    }
}

/// A histogram as exported: upper bounds and cumulative counts, count, and mean.
struct Exported {
    buckets: Vec<(f64, f64)>,
    count: f64,
    mean_s: f64,
}

fn exported(metrics: &str, name: &str, disk: &Disk, operation: &str) -> Exported {
    let labels = format!("device=\"{}\",operation=\"{operation}\"", disk.name());
    let start = format!("{name}_bucket{{{labels},le=\"");
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(&start));
    let buckets = lines.filter_map(|line| {
        let (bound, count) = line.split_once("\"} ")?;
        Some((bound.parse().ok()?, count.parse().ok()?))
    });
    let of = |what: &str| {
        let sample = format!("{name}_{what}{{{labels}}}");
        value(metrics, &sample).unwrap_or_else(|| panic!("no {sample}"))
    };
    Exported {
        buckets: buckets.collect(),
        count: of("count"),
        mean_s: of("sum") / of("count"),
    }
}

impl Exported {
    /// The number of the bucket that holds a quantile, and its bounds.
    fn quantile(&self, quantile: f64) -> (usize, (f64, f64)) {
        self.bucket(|_, count| count >= quantile * self.count)
    }

    /// The number of the bucket that holds a duration.
    fn bucket_of(&self, duration_s: f64) -> usize {
        self.bucket(|bound, _| bound >= duration_s).0
    }

    fn bucket(&self, is_it: impl Fn(f64, f64) -> bool) -> (usize, (f64, f64)) {
        let mut buckets = self.buckets.iter();
        let at = buckets.position(|(bound, count)| is_it(*bound, *count));
        let at = at.expect("the last bucket has no bound");
        let lower = at
            .checked_sub(1)
            .map_or(0.0, |before| self.buckets[before].0);
        (at, (lower, self.buckets[at].0))
    }
}

/// biolatency's buckets: bounds in seconds, and counts.
fn biolatency_buckets(report: &str) -> Vec<((f64, f64), f64)> {
    let rows = report.lines().filter_map(|line| {
        let (bounds, rest) = line.split_once(" : ")?;
        let (lower, upper) = bounds.split_once("->")?;
        let count = rest.split_whitespace().next()?.parse().ok()?;
        let seconds = |text: &str| Some(text.trim().parse::<f64>().ok()? / 1e6);
        // "2 -> 3" are the microseconds from 2 to just under 4.
        Some(((seconds(lower)?, seconds(upper)? + 1e-6), count))
    });
    rows.collect()
}

fn biolatency_quantile(buckets: &[((f64, f64), f64)], quantile: f64) -> (f64, f64) {
    let rank = quantile * buckets.iter().map(|(_, count)| count).sum::<f64>();
    let mut seen = 0.0;
    let found = buckets.iter().find(|(_, count)| {
        seen += count;
        seen >= rank
    });
    found.expect("biolatency saw requests").0
}

/// One round of fio's work, as all three saw it.
struct Round {
    work: Work,
    bytes: f64,
    durations: Exported,
    queue: Exported,
    /// biolatency's buckets.
    theirs: Vec<((f64, f64), f64)>,
    /// Events that interrupted the program while it ran for another one, of whatever disk: the
    /// kernel does not run it inside itself, and counts them.
    recursions: f64,
}

impl Round {
    /// With a disk and an agent of its own, so that every count begins at zero.
    #[expect(clippy::float_cmp, reason = "counts are whole numbers")]
    fn of(what: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::over(&folder.path().join("disk"));
        let rule = "[[agents]]\nname = \"fio\"\ncomm = \"fio\"\n";
        let agent = Agent::with_config(folder.path(), rule);
        let programs = programs_at_completion();
        let mut command = Command::new("biolatency");
        command.args(["-d", disk.name()]).stdout(Stdio::piped());
        let mut biolatency = Running::start(&mut command);
        let mut output = biolatency.child.stdout.take().unwrap();
        // It attaches this one last, and writes nothing before its end.
        poll_until("biolatency watches completions", || {
            (programs_at_completion() > programs).then_some(())
        });
        let work = fio(&disk, what);
        biolatency.signal(libc::SIGINT);
        let mut report = String::new();
        output.read_to_string(&mut report).unwrap();
        let metrics = agent.fresh_metrics();
        let label = format!(
            "agent=\"fio\",device=\"{}\",operation=\"{what}\"",
            disk.name()
        );
        let lost_for = |reason| {
            let label = format!("reason=\"{reason}\",source=\"block\"");
            sum(&metrics, "monitoring_agent_lost_total", &label)
        };
        for full in lost::REASONS {
            assert_eq!(lost_for(full), 0.0, "{full}");
        }
        Self {
            recursions: lost_for("recursion"),
            work,
            bytes: sum(&metrics, "block_io_bytes_total", &label),
            durations: exported(&metrics, "block_io_duration_seconds", &disk, what),
            queue: exported(&metrics, "block_io_queue_seconds", &disk, what),
            theirs: biolatency_buckets(&report),
        }
    }

    /// A round of which the kernel showed its programs every completion.
    ///
    /// A virtual machine may run no program, anybody's, in an interrupt that comes while its
    /// supervisor's process is on the CPU: about one completion in 100,000. biolatency has then
    /// missed the same ones as the agent, which is asserted, and the round is made again. So it is
    /// when the agent says that it lost some, and to biolatency as many are missing at the most.
    #[expect(clippy::float_cmp, reason = "counts are whole numbers")]
    fn complete(what: &str) -> Self {
        for _ in 0..8 {
            let round = Self::of(what);
            let seen: f64 = round.theirs.iter().map(|(_, count)| count).sum();
            let Round {
                work,
                durations: Exported { count, .. },
                queue,
                recursions,
                ..
            } = &round;
            assert_eq!(queue.count, *count);
            assert!(
                (0.0..=*recursions).contains(&(seen - count)),
                "{what}: {count}, biolatency saw {seen}, {recursions} were lost"
            );
            if *count == work.requests {
                return round;
            }
            println!(
                "{what}: {count} of {}, biolatency saw {seen}, {recursions} were lost",
                work.requests
            );
        }
        panic!("{what}: the kernel never showed its programs every completion");
    }
}

#[test]
#[expect(clippy::float_cmp, reason = "counts are whole numbers")]
fn counts_and_durations_agree_with_fio_and_biolatency() {
    for what in ["write", "read"] {
        let Round {
            work,
            bytes,
            durations,
            queue,
            theirs,
            ..
        } = Round::complete(what);
        assert_eq!(work.bytes, f64::from(SIZE_BYTES));
        assert_eq!(bytes, work.bytes, "{what}");
        // What the kernel needs is part of what fio waits for.
        let mean_s = durations.mean_s + queue.mean_s;
        assert!(
            mean_s < work.mean_s && work.mean_s < 10.0 * mean_s,
            "{what}: {mean_s} s, fio waited for {} s",
            work.mean_s
        );
        for (quantile, fio_s) in [0.5, 0.99].into_iter().zip(work.quantiles_s) {
            let (bucket, ours) = durations.quantile(quantile);
            let theirs = biolatency_quantile(&theirs, quantile);
            println!("{what} {quantile}: ours {ours:?}, fio {fio_s}, biolatency {theirs:?}");
            // fio's time is that of a whole `pread`, with the time in the queue, the call and the
            // wakeup: longer than ours, by less than takes it over a whole bucket. Never shorter,
            // but rounded by up to one part in 64.
            let fios = [fio_s * 65.0 / 64.0, fio_s].map(|fio_s| durations.bucket_of(fio_s));
            assert!(
                fios[0] >= bucket && fios[1] <= bucket + 1,
                "{what} {quantile}: ours {ours:?}, fio {fio_s}"
            );
            assert!(
                ours.0 / 2.0 < theirs.1 && theirs.0 < ours.1 * 2.0,
                "{what} {quantile}: ours {ours:?}, biolatency {theirs:?}"
            );
        }
    }
}

/// How many programs run at the completion of a request.
fn programs_at_completion() -> usize {
    let output = Command::new("bpftool").args(["link", "show"]).output();
    let output = output.expect("bpftool; `cargo xtask setup` installs what the tests need");
    let links = String::from_utf8_lossy(&output.stdout);
    links.matches("block_rq_complete").count()
}
