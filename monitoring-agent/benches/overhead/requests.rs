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

use crate::{
    agent::agent,
    process::{Running, Statistics, free_port},
    turns::{Condition, NOBODY, medians, print_added},
};

const ROUNDS: usize = 7;
const REQUESTS: u64 = 100_000;

const DISK_BYTES: u64 = 64 * 1024 * 1024;
const REQUEST_BYTES: usize = 4096;

/// Without the other families, which would add to each `pread`.
const FAMILIES: [&str; 1] = ["block"];

struct Setting {
    /// Holds the file behind the device.
    _folder: tempfile::TempDir,
    device: String,
    /// Detached already: the device goes when this is closed.
    disk: File,
}

pub(crate) fn measure() {
    let setting = Setting::new();
    let conditions: [Condition<'_>; 3] = [
        NOBODY,
        ("monitoring-agent, family block", &|| {
            vec![agent(free_port(), &FAMILIES, false)]
        }),
        ("biolatency of libbpf-tools", &|| vec![setting.biolatency()]),
    ];
    let figures = medians(ROUNDS, &conditions, || [setting.request_ns()]);
    println!("ns per request, median of {ROUNDS} interleaved rounds of {REQUESTS} requests");
    print_added(&conditions, figures.map(|[figure]| figure));
    own_time(&setting);
}

/// The run time of the programs of both, side by side.
fn own_time(setting: &Setting) {
    let statistics = Statistics::on();
    let both = [agent(free_port(), &FAMILIES, false), setting.biolatency()];
    let taken = || both.each_ref().map(Running::program_ns);
    let before = taken();
    setting.request_ns();
    let after = taken();
    drop((both, statistics));
    let each = |at: usize| (after[at] - before[at]) as f64 / REQUESTS as f64;
    let (ours, theirs) = (each(0), each(1));
    println!("  in programs, by the kernel's statistics: agent {ours:.0}, biolatency {theirs:.0}");
    println!(
        "  the agent's programs take {:.2} of biolatency's\n",
        ours / theirs
    );
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
            _folder: folder,
            device,
            disk,
        }
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
