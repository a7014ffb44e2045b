//! What names of functions cost: the agent's reader of ELF symbols and blazesym, which maps files, asked
//! for the same addresses, each in a process of its own that does nothing else.
//!
//! `cargo xtask bench -- symbols`

use std::{
    env,
    fs::{self, File},
    io::{Read as _, Write as _},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    ptr,
    time::Instant,
};

use blazesym::symbolize::{
    Input, Symbolizer,
    source::{Elf, Source},
};
use monitoring_agent::profile::{
    mappings::{Mappings, Place},
    symbols::Symbols,
};
use object::{Object as _, ObjectSection as _, SectionKind};

/// Where this variable is set, this program is the one that is measured: it has a reader's name.
const READER: &str = "SYMBOLS_READER";
const FILE: &str = "SYMBOLS_FILE";

const OURS: &str = "monitoring-agent";
const THEIRS: &str = "blazesym";

/// Addresses that are asked for at a time.
const COUNTS: [usize; 2] = [1, 4_000];

/// Runs of each, of which the median is shown.
const ROUNDS: usize = 5;

const PAGE: usize = 4096;

/// Whether this process is one that the benchmark has started.
pub(crate) fn is_workload() -> bool {
    env::var_os(READER).is_some()
}

pub(crate) fn measure() {
    println!("names of functions, median of {ROUNDS} runs");
    for path in files() {
        for count in COUNTS {
            let offsets = offsets(&path, count);
            for reader in [OURS, THEIRS] {
                let (ms, kib) = median(|| run(reader, &path, &offsets));
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                println!("{name:40} {count:5} addresses, {reader:16} {ms:8.1} ms, {kib:8.0} KiB");
            }
        }
    }
    println!();
}

/// Of all sizes.
fn files() -> Vec<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").expect("this process has mappings");
    let mut words = maps.split_whitespace();
    let libc = words
        .find(|word| word.contains("/libc.so"))
        .expect("a C library");
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = sysroot.expect("rustc builds this").stdout;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot).trim());
    let libraries = fs::read_dir(sysroot.join("lib")).expect("rustc's libraries");
    let mut libraries = libraries.flatten().map(|entry| entry.path());
    let driver = libraries.find(|path| path.display().to_string().contains("librustc_driver-"));
    vec![
        libc.into(),
        env!("CARGO_BIN_EXE_monitoring-agent").into(),
        driver.expect("rustc's own library"),
    ]
}

/// Places of code in a file, the same ones each time.
fn offsets(path: &Path, count: usize) -> Vec<u64> {
    let bytes = fs::read(path).expect("the file is there");
    let file = object::File::parse(&*bytes).expect("it is a program or a library");
    let sections = file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text);
    let ranges = sections.filter_map(|section| section.file_range());
    let (start, length) = ranges.max_by_key(|range| range.1).expect("it has code");
    let mut state = 1_u64;
    let next = || {
        // Knuth's multiplier; the upper half is random enough.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        start + (state >> 32) % length
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn median(run: impl Fn() -> (f64, f64)) -> (f64, f64) {
    let runs: Vec<_> = (0..ROUNDS).map(|_| run()).collect();
    let mut times: Vec<_> = runs.iter().map(|run| run.0).collect();
    let mut sizes: Vec<_> = runs.iter().map(|run| run.1).collect();
    times.sort_by(f64::total_cmp);
    sizes.sort_by(f64::total_cmp);
    (times[ROUNDS / 2], sizes[ROUNDS / 2])
}

/// Milliseconds, and the KiB of memory by which the process grew at most.
fn run(reader: &str, path: &Path, offsets: &[u64]) -> (f64, f64) {
    let mut command = Command::new(env::current_exe().expect("this program has a path"));
    command.env(READER, reader).env(FILE, path);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = pipes.spawn().expect("this program can be started again");
    let bytes: Vec<u8> = offsets
        .iter()
        .flat_map(|offset| offset.to_ne_bytes())
        .collect();
    let mut input = child.stdin.take().expect("it was piped");
    input.write_all(&bytes).expect("the child reads");
    drop(input);
    let output = child.wait_with_output().expect("the child ends");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace();
    let mut next = || numbers.next().and_then(|number| number.parse::<f64>().ok());
    let (Some(ms), Some(kib)) = (next(), next()) else {
        panic!("{reader} of {}: {text}", path.display());
    };
    (ms, kib)
}

/// Names what it is asked for, and says what that took.
pub(crate) fn work() {
    let path = PathBuf::from(env::var_os(FILE).expect("the benchmark names the file"));
    let mut bytes = Vec::new();
    let read = std::io::stdin().read_to_end(&mut bytes);
    read.expect("the benchmark says the places");
    let offsets: Vec<u64> = bytes
        .as_chunks()
        .0
        .iter()
        .map(|bytes| u64::from_ne_bytes(*bytes))
        .collect();
    match env::var(READER).as_deref() {
        Ok(OURS) => {
            let places = places(&path, &offsets);
            let symbols = Symbols::new();
            measured(|| symbols.name(&places, &[]).len());
        }
        _ => measured(|| {
            let symbolizer = Symbolizer::builder()
                .enable_code_info(false)
                .enable_inlined_fns(false)
                .build();
            let mut elf = Elf::new(path);
            elf.debug_syms = false;
            let source = Source::Elf(elf);
            let named = symbolizer.symbolize(&source, Input::FileOffset(&offsets));
            named.expect("the file can be read").len()
        }),
    }
}

/// The places as the agent has them: the file is one that this process has mapped.
fn places(path: &Path, offsets: &[u64]) -> Vec<Place> {
    let file = File::open(path).expect("the file is there");
    // SAFETY: new memory of a file, at a place of the kernel's choice; nobody reads it.
    let at = unsafe {
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        let file = file.as_raw_fd();
        libc::mmap(
            ptr::null_mut(),
            PAGE,
            protection,
            libc::MAP_PRIVATE,
            file,
            0,
        )
    };
    let mappings = Mappings::start().expect("root follows what is mapped");
    mappings.catch_up();
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the result lives across the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let now_ns = (now.tv_sec * 1_000_000_000 + now.tv_nsec).cast_unsigned();
    let mut found = Vec::new();
    mappings.places(std::process::id(), now_ns, &[at as u64], &mut found);
    let Some(Place::File { file, .. }) = found.first() else {
        panic!("{} is not known to be mapped: {found:?}", path.display());
    };
    let place = |offset: &u64| Place::File {
        file: file.clone(),
        offset: *offset,
        start: 0,
        end: u64::MAX,
        file_offset: 0,
    };
    offsets.iter().map(place).collect()
}

fn measured(name: impl FnOnce() -> usize) {
    fs::write("/proc/self/clear_refs", "5").expect("the peak can be set back");
    let before = status_kib("VmRSS:");
    let begun = Instant::now();
    let count = name();
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    println!(
        "{ms} {} {count}",
        status_kib("VmHWM:").saturating_sub(before)
    );
}

fn status_kib(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("this process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .expect("it says so in KiB")
}
