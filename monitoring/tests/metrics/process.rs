//! The process's own metrics are what the kernel says.

use std::{
    fs,
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use monitoring::MetricsCollector;

use super::series;

fn value(name: &str) -> f64 {
    let families = MetricsCollector::new().gather();
    let metric = series(&families, name, &[]);
    if name.ends_with("_total") {
        metric.get_counter().get_value()
    } else {
        metric.get_gauge().get_value()
    }
}

/// A number of /proc/self/status, in its unit.
fn status(key: &str) -> f64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Calls `f` until what it says is right: other tests of this process begin and end threads, and
/// open files, between two readings.
fn eventually<T: std::fmt::Debug>(mut f: impl FnMut() -> T, is_right: impl Fn(&T) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let said = f();
        if is_right(&said) {
            return;
        }
        assert!(Instant::now() < deadline, "{said:?}");
        thread::yield_now();
    }
}

/// A metric is what the kernel says, but for this much.
fn agrees(metric: &str, kernels: impl Fn() -> f64, error: f64) {
    let both = || (metric, value(metric), kernels());
    eventually(both, |(_, metric, kernels)| {
        (metric - kernels).abs() <= error
    });
}

#[test]
fn metrics_of_the_process_are_the_kernels() {
    let resident = || status("VmRSS:") * 1024.0;
    agrees("process_resident_memory_bytes", resident, 8e6);
    let address_space = || status("VmSize:") * 1024.0;
    agrees("process_virtual_memory_bytes", address_space, 8e6);
    agrees("process_threads", || status("Threads:"), 0.0);
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap();
    let limit = limit.split_whitespace().next().unwrap();
    let limit: f64 = limit.parse().unwrap_or(f64::INFINITY);
    assert_eq!(value("process_max_fds"), limit);
}

#[test]
fn metrics_of_the_process_count_its_files() {
    let open = || {
        let before = value("process_open_fds");
        let files = [(); 5].map(|()| fs::File::open("/proc/self/status").unwrap());
        let with = value("process_open_fds");
        drop(files);
        [before, with, value("process_open_fds")]
    };
    eventually(open, |[before, with, after]| {
        *with == before + 5.0 && after == before
    });
}

#[test]
fn metrics_of_the_process_count_its_time() {
    let before = value("process_cpu_seconds_total");
    let start = Instant::now();
    let mut work = 0_u64;
    // Time on a CPU, of which a busy machine gives a thread less than passes.
    while value("process_cpu_seconds_total") - before < 0.1 {
        for number in 0..100_000_u64 {
            work = black_box(work.wrapping_mul(3) + number);
        }
        assert!(start.elapsed().as_secs() < 60, "the CPU time does not grow");
    }
    let started = value("process_start_time_seconds");
    // `ps` gets this from the same files; the directory's time is the kernel's own word.
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split_whitespace().next().unwrap().parse().unwrap();
    let now = std::time::SystemTime::now();
    let now = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    assert!(
        started <= now + 1.0 && started > now - uptime,
        "{started} at {now}"
    );
    assert!(
        now - started < 3600.0,
        "{started} at {now}: this test takes seconds"
    );
}

#[test]
fn metrics_of_the_process_are_in_no_other_collector() {
    MetricsCollector::isolated().counter("c_total", "");
    assert_eq!(MetricsCollector::isolated().gather().len(), 0);
    let with_prefix = MetricsCollector::new();
    let names: Vec<String> = with_prefix
        .gather()
        .iter()
        .map(|f| f.name().to_owned())
        .collect();
    let process = names.iter().filter(|name| name.starts_with("process_"));
    assert_eq!(process.count(), 7, "{names:?}");
    assert!(names.is_sorted());
}
