//! Nanoseconds added to a request to a disk: 4 KiB read at random, one at a time, from a loop
//! device over a file in memory, the fastest disk that a machine without one has.
//!
//! The time is wall time, because most of a request's work is done by others than the one who
//! waits for it. Beside it, in one more run, what the programs themselves take by the kernel's own
//! statistics, which are the same for both programs and know nothing of the machine's moods.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    process::Command,
    time::Instant,
};

use crate::process::{Running, free_port, median, scrape};

const ROUNDS: usize = 7;
const REQUESTS: u64 = 100_000;

const DISK_BYTES: u64 = 64 * 1024 * 1024;
const REQUEST_BYTES: usize = 4096;

/// The agent without the other families, which would add to each `pread`.
const BLOCK_ONLY: &str = "
    [sources.host]\nenabled = false\n[sources.process]\nenabled = false
    [sources.sched]\nenabled = false\n[sources.net]\nenabled = false
    [sources.syscalls]\nenabled = false\n";

/// Its name, and what has to run for it.
type Condition = (&'static str, fn(&Setting) -> Option<Running>);

struct Setting {
    folder: tempfile::TempDir,
    device: String,
    /// Detached already: the device goes when this is closed.
    disk: File,
}

pub(crate) fn measure() {
    let setting = Setting::new();
    let conditions: [Condition; 3] = [
        ("nobody watches", |_| None),
        ("monitoring-agent, family block", |setting| {
            Some(setting.agent(free_port(), &[]))
        }),
        ("biolatency of libbpf-tools", |setting| {
            Some(setting.biolatency())
        }),
    ];
    let mut samples = conditions.map(|_| Vec::new());
    for round in 0..ROUNDS {
        // Forwards and backwards in turn: a drift of the machine falls on all alike.
        let mut order: Vec<_> = (0..conditions.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for condition in order {
            let running = conditions[condition].1(&setting);
            samples[condition].push(setting.request_ns());
            drop(running);
        }
    }
    let [base, agent, theirs] = samples.map(median);
    println!("ns per request, median of {ROUNDS} interleaved rounds of {REQUESTS} requests");
    println!("  {:<46}{base:>8.0}", conditions[0].0);
    for ((name, _), total) in conditions[1..].iter().zip([agent, theirs]) {
        let share = (total - base) / base * 100.0;
        let added = total - base;
        println!("  {name:<46}{total:>8.0}  adds {added:>7.0} ({share:.1} %)");
    }
    own_time(&setting);
}

/// The run time of the programs of both, side by side.
fn own_time(setting: &Setting) {
    let port = free_port();
    // The kernel keeps statistics for everybody while the agent asks for them.
    let agent = setting.agent(port, &["--bpf-stats", "--collection-interval", "200ms"]);
    let biolatency = setting.biolatency();
    let before = programs();
    setting.request_ns();
    let after = programs();
    drop((agent, biolatency));
    let grown = |ours: bool| {
        let of = |programs: &[Program]| -> u64 {
            let wanted = programs.iter().filter(|program| program.ours == ours);
            wanted.map(|program| program.run_ns).sum()
        };
        (of(&after) - of(&before)) as f64 / REQUESTS as f64
    };
    let (ours, theirs) = (grown(true), grown(false));
    println!("  in programs, by the kernel's statistics: agent {ours:.0}, biolatency {theirs:.0}");
    println!(
        "  the agent's programs take {:.2} of biolatency's\n",
        ours / theirs
    );
}

/// A program that runs at requests.
struct Program {
    ours: bool,
    run_ns: u64,
}

/// What `bpftool` says of all of them. biolatency's programs have names of their own.
fn programs() -> Vec<Program> {
    let output = Command::new("bpftool")
        .args(["--json", "prog", "show"])
        .output();
    let output = output.expect("bpftool; `cargo xtask setup` installs what the benchmarks need");
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).expect("bpftool's JSON");
    let all = all.as_array().expect("a list of programs");
    let programs = all.iter().filter_map(|program| {
        let name = program["name"]
            .as_str()
            .filter(|name| name.starts_with("block_"))?;
        Some(Program {
            ours: !name.ends_with("_btf"),
            run_ns: program["run_time_ns"].as_u64().unwrap_or(0),
        })
    });
    programs.collect()
}

impl Setting {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        let path = folder.path().join("disk");
        let file = File::create(&path).expect("a file in memory");
        // Written, so that reads do not find holes.
        let zeros = vec![0; 1024 * 1024];
        for offset in (0..DISK_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, offset).expect("room in memory");
        }
        std::fs::write(folder.path().join("monitoring.toml"), BLOCK_ONLY).expect("room");
        let mut losetup = Command::new("losetup");
        let output = losetup.args(["--find", "--show"]).arg(&path).output();
        let output =
            output.expect("losetup; `cargo xtask setup` installs what the benchmarks need");
        let device = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(!device.is_empty(), "losetup made no device");
        let mut options = OpenOptions::new();
        let disk = options.read(true).custom_flags(libc::O_DIRECT);
        let disk = disk.open(&device).expect("the loop device");
        let mut losetup = Command::new("losetup");
        let status = losetup.args(["--detach", &device]).status();
        assert!(status.is_ok_and(|status| status.success()), "{device}");
        Self {
            folder,
            device,
            disk,
        }
    }

    fn agent(&self, port: u16, arguments: &[&str]) -> Running {
        let config = self.folder.path().join("monitoring.toml");
        let config = config.to_str().expect("a path in UTF-8");
        let agent = Running::agent(port, &[&["--config", config], arguments].concat());
        let metrics = scrape(port, "/metrics");
        assert!(
            metrics.contains("monitoring_agent_source_up{source=\"block\"} 1"),
            "the family does not run: {metrics}"
        );
        agent
    }

    fn biolatency(&self) -> Running {
        let name = self.device.trim_start_matches("/dev/");
        Running::tracer("biolatency", &["-d", name])
    }

    /// Wall time of one request.
    fn request_ns(&self) -> f64 {
        let mut page = Page::new();
        let places = DISK_BYTES / REQUEST_BYTES as u64;
        let mut place = 1;
        let begun = Instant::now();
        for _ in 0..REQUESTS {
            // A full-period generator: jumps about, and costs nothing.
            place = (place * 1_664_525 + 1_013_904_223) % places;
            let offset = place * REQUEST_BYTES as u64;
            let read = self.disk.read_exact_at(page.bytes(), offset);
            read.expect("a read");
        }
        begun.elapsed().as_nanos() as f64 / REQUESTS as f64
    }
}

/// Memory placed as direct I/O wants it.
struct Page(*mut u8);

impl Page {
    const LAYOUT: Layout = match Layout::from_size_align(REQUEST_BYTES, REQUEST_BYTES) {
        Ok(layout) => layout,
        Err(_) => panic!("a power of two"),
    };

    fn new() -> Self {
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(Self::LAYOUT) };
        assert!(!start.is_null(), "memory for a page");
        Self(start)
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the memory is this page's own, as long as this, and initialised.
        unsafe { std::slice::from_raw_parts_mut(self.0, REQUEST_BYTES) }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: `new` allocated it with this layout.
        unsafe { dealloc(self.0, Self::LAYOUT) }
    }
}
