//! The host source against the real `node_exporter` on this machine: same series, same types, same
//! numbers.
//!
//! Both read the same kernel files, but not at the same instant. So each of `node_exporter`'s
//! scrapes is taken between two collections of ours: a counter of theirs must lie between ours
//! exactly, a gauge within 1 % of that range. A gauge that moved up and down again meanwhile, or
//! one of the kernel's estimates that fell (which both sides smooth from the time of their own
//! first look), is met by asking again; a wrong number stays wrong until the deadline.

#[path = "node_exporter/exporter.rs"]
mod exporter;
#[path = "node_exporter/scratch.rs"]
mod scratch;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    hint::black_box,
    io::Write as _,
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use monitoring_agent::{source::Source as _, sources::host::Host};
use prometheus::proto::MetricType;

use exporter::Exporter;

const DEADLINE: Duration = Duration::from_mins(1);
/// `USER_HZ`, in which the kernel writes CPU time, is 100 on every architecture.
const TICK_SECONDS: f64 = 0.01;

/// `node_exporter`'s families that the host source has, with our name where it is another.
const FAMILIES: [(&str, Option<&str>); 34] = [
    ("node_boot_time_seconds", None),
    ("node_cpu_seconds_total", None),
    ("node_disk_io_time_seconds_total", None),
    ("node_disk_read_bytes_total", None),
    ("node_disk_reads_completed_total", None),
    ("node_disk_writes_completed_total", None),
    ("node_disk_written_bytes_total", None),
    ("node_filefd_allocated", None),
    ("node_filefd_maximum", None),
    ("node_filesystem_avail_bytes", None),
    ("node_filesystem_size_bytes", None),
    ("node_load1", None),
    ("node_load15", None),
    ("node_load5", None),
    (
        "node_memory_Buffers_bytes",
        Some("node_memory_buffers_bytes"),
    ),
    ("node_memory_Cached_bytes", Some("node_memory_cached_bytes")),
    (
        "node_memory_MemAvailable_bytes",
        Some("node_memory_available_bytes"),
    ),
    ("node_memory_MemFree_bytes", Some("node_memory_free_bytes")),
    (
        "node_memory_MemTotal_bytes",
        Some("node_memory_total_bytes"),
    ),
    (
        "node_memory_SwapFree_bytes",
        Some("node_memory_swap_free_bytes"),
    ),
    (
        "node_memory_SwapTotal_bytes",
        Some("node_memory_swap_total_bytes"),
    ),
    ("node_network_receive_bytes_total", None),
    ("node_network_receive_drop_total", None),
    ("node_network_receive_errs_total", None),
    ("node_network_receive_packets_total", None),
    ("node_network_speed_bytes", None),
    ("node_network_transmit_bytes_total", None),
    ("node_network_transmit_drop_total", None),
    ("node_network_transmit_errs_total", None),
    ("node_network_transmit_packets_total", None),
    ("node_pressure_cpu_waiting_seconds_total", None),
    ("node_pressure_io_waiting_seconds_total", None),
    ("node_pressure_memory_waiting_seconds_total", None),
    ("node_uname_info", None),
];

#[test]
fn same_series_and_numbers() {
    let exporter = Exporter::start();
    let mut host = Host::with_roots(Path::new("/proc"), Path::new("/sys"), "here", "cpu");
    let before = agreeing_bracket(&mut host, &exporter);

    let burnt = burn_cpu(Duration::from_secs(2));
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let written = write_file(scratch, 64 << 20);
    let sent = send_over_loopback(64 << 20);

    let after = agreeing_bracket(&mut host, &exporter);
    let grown = Growth {
        before: &before,
        after: &after,
    };
    grown.check_all();
    // The work is in the counters, so that they were not compared at rest.
    grown.check_least("node_cpu_seconds_total", "mode=user", burnt.as_secs_f64());
    match scratch::disk_of(scratch).and_then(|disk| counted(&before.theirs, disk)) {
        Ok(disk) => grown.check_least(
            "node_disk_written_bytes_total",
            &format!("device={disk}"),
            written,
        ),
        // The counters of all disks were compared above, if perhaps at rest.
        Err(why) => eprintln!("not checked that a disk wrote {written} bytes: {why}"),
    }
    grown.check_least("node_network_receive_bytes_total", "device=lo", sent);
    grown.check_least("node_network_transmit_bytes_total", "device=lo", sent);
}

/// The disk, if its traffic is in the metrics; else why it cannot be looked for there.
fn counted(look: &Look, disk: String) -> Result<String, String> {
    let label = BTreeSet::from([format!("device={disk}")]);
    let series = ("node_disk_written_bytes_total".to_owned(), label);
    if look.samples.contains_key(&series) {
        Ok(disk)
    } else {
        Err(format!("{disk} is a device that node_exporter leaves out"))
    }
}

/// A series: the family, and its labels as `name=value`.
type Series = (String, BTreeSet<String>);

/// One look at all families, by `node_exporter`'s names.
#[derive(Debug, Default)]
struct Look {
    samples: BTreeMap<Series, f64>,
    counters: BTreeSet<String>,
}

/// A scrape of theirs between two collections of ours.
struct Bracket {
    first: Look,
    theirs: Look,
    last: Look,
}

fn agreeing_bracket(host: &mut Host, exporter: &Exporter) -> Bracket {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let bracket = Bracket {
            first: ours(host),
            theirs: exporter.scrape(),
            last: ours(host),
        };
        let complaints = bracket.complaints();
        if complaints.is_empty() {
            return bracket;
        }
        assert!(
            Instant::now() < deadline,
            "still after {DEADLINE:?}:\n{}",
            complaints.join("\n")
        );
    }
}

impl Bracket {
    fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for look in [&self.first, &self.last] {
            if look.counters != self.theirs.counters {
                let difference = look.counters.symmetric_difference(&self.theirs.counters);
                complaints.push(format!(
                    "counter or not: {:?}",
                    difference.collect::<Vec<_>>()
                ));
            }
            for series in look
                .samples
                .keys()
                .filter(|s| !self.theirs.samples.contains_key(*s))
            {
                complaints.push(format!("only ours: {series:?}"));
            }
            for series in self
                .theirs
                .samples
                .keys()
                .filter(|s| !look.samples.contains_key(*s))
            {
                complaints.push(format!("only theirs: {series:?}"));
            }
        }
        for (series, theirs) in &self.theirs.samples {
            let ours = (
                self.first.samples.get(series),
                self.last.samples.get(series),
            );
            let (Some(first), Some(last)) = ours else {
                continue;
            };
            let slack = if self.theirs.counters.contains(&series.0) {
                0.0
            } else {
                0.01
            };
            let floor = first.min(*last) - slack * first.abs();
            let ceiling = first.max(*last) + slack * last.abs();
            if !(floor..=ceiling).contains(theirs) {
                complaints.push(format!(
                    "{series:?}: theirs {theirs}, ours {first} then {last}"
                ));
            }
        }
        complaints
    }
}

/// What the counters grew by between two brackets.
struct Growth<'a> {
    before: &'a Bracket,
    after: &'a Bracket,
}

impl Growth<'_> {
    fn check_all(&self) {
        for series in self.before.theirs.samples.keys() {
            let counts = self.after.theirs.samples.contains_key(series);
            if counts && self.before.theirs.counters.contains(&series.0) {
                self.check(series);
            }
        }
    }

    /// Their scrape was somewhere between our two looks, so what ours moved by within the brackets
    /// is what they may differ by, beside 1 %. A CPU's time may fall into another tick.
    fn check(&self, series: &Series) {
        let theirs = self.after.theirs.samples[series] - self.before.theirs.samples[series];
        let ours = self.after.first.samples[series] - self.before.first.samples[series];
        let moved =
            |bracket: &Bracket| bracket.last.samples[series] - bracket.first.samples[series];
        let tick = if series.0 == "node_cpu_seconds_total" {
            TICK_SECONDS
        } else {
            0.0
        };
        let slack = moved(self.before) + moved(self.after) + tick + 0.01 * ours.abs();
        assert!(
            // A billionth for the subtraction of large sums of seconds.
            (theirs - ours).abs() <= slack + 1e-9 * self.after.theirs.samples[series],
            "{series:?} grew by {theirs} there and by {ours} here, which is not within {slack}"
        );
    }

    /// Both must have seen `least`, over all series of the family with that label.
    fn check_least(&self, family: &str, label: &str, least: f64) {
        let sum = |look: &Look| -> f64 {
            let of_it = look.samples.iter().filter(|((name, labels), _)| {
                name == family && (label.is_empty() || labels.contains(label))
            });
            of_it.map(|(_, value)| value).sum()
        };
        let theirs = sum(&self.after.theirs) - sum(&self.before.theirs);
        let ours = sum(&self.after.first) - sum(&self.before.last);
        assert!(
            theirs >= 0.99 * least && ours >= 0.99 * least,
            "{family} {label}: {least} of work made it grow by {theirs} there and {ours} here"
        );
    }
}

fn ours(host: &mut Host) -> Look {
    let batch = host.collect().unwrap();
    let lost: Vec<_> = batch.lost.iter().filter(|(_, count)| *count > 0).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let mut look = Look::default();
    for family in &batch.families {
        if family.name() == "node_info" {
            continue;
        }
        let theirs = FAMILIES
            .iter()
            .find(|(name, ours)| ours.unwrap_or(name) == family.name());
        let name = theirs
            .unwrap_or_else(|| panic!("{} is not in FAMILIES", family.name()))
            .0;
        if family.get_field_type() == MetricType::COUNTER {
            look.counters.insert(name.to_owned());
        }
        for metric in family.get_metric() {
            let labels = metric.get_label().iter();
            let labels = labels
                .map(|pair| format!("{}={}", pair.name(), pair.value()))
                .collect();
            let value = match family.get_field_type() {
                MetricType::COUNTER => metric.get_counter().get_value(),
                _ => metric.get_gauge().get_value(),
            };
            let double = look.samples.insert((name.to_owned(), labels), value);
            assert!(double.is_none(), "a series of {name} twice");
        }
    }
    look
}

/// Uses a CPU, by its own count, for that long.
fn burn_cpu(time: Duration) -> Duration {
    let used = || {
        let mut clock = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the pointer is to a timespec of our own, which the call fills.
        let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut clock) };
        assert_eq!(status, 0);
        Duration::new(
            clock.tv_sec.unsigned_abs(),
            u32::try_from(clock.tv_nsec).unwrap(),
        )
    };
    let start = used();
    let so_far = || used().saturating_sub(start);
    while so_far() < time {
        for number in 0..100_000_u64 {
            black_box(number);
        }
    }
    so_far()
}

/// Writes a file through to its disk; returns its size.
fn write_file(folder: &Path, bytes: usize) -> f64 {
    let mut file = tempfile::tempfile_in(folder).unwrap();
    file.write_all(&vec![0x5a; bytes]).unwrap();
    File::sync_all(&file).unwrap();
    bytes as f64
}

/// Sends data to ourselves; returns its size.
fn send_over_loopback(bytes: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut receiver, _) = listener.accept().unwrap();
    let sending = thread::spawn(move || sender.write_all(&vec![0x5a; bytes]).unwrap());
    let arrived = std::io::copy(&mut receiver, &mut std::io::sink()).unwrap();
    sending.join().unwrap();
    assert_eq!(arrived, bytes as u64);
    bytes as f64
}
