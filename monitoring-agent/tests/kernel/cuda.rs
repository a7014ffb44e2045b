//! Family `cuda`: this program is one that has CUDA's runtime in it. Its functions only count
//! themselves; where they are called from, and how often, is what the family must find out.

mod arriving;
mod library;
mod loading;
mod processes;
mod spans;
mod work;

use std::{
    ffi::c_void,
    fs::{self, File},
    os::fd::AsRawFd as _,
    path::Path,
    ptr,
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    thread,
};

use monitoring_agent::{config::Config, source::Batch};
use prometheus::proto::MetricFamily;
use tempfile::TempDir;

use self::library::{LAUNCHED, allocate, free, launch, wait_for_device};
use crate::{
    node::{ME, Node, counter, losses, sample},
    poll::poll_until,
};

const SOURCE: &str = "cuda";
const THREADS: u64 = 4;
const LAUNCHES: u64 = 2_000;
const BYTES: usize = 4_096;

/// Held by each test: all of them are the same process.
static PROCESS: Mutex<()> = Mutex::new(());

/// Something executable with the name of one of CUDA's libraries, which is how a program is known as
/// one that uses CUDA. It is mapped until it is dropped.
struct Mapped {
    address: *mut c_void,
    _folder: TempDir,
}

const PAGE: usize = 4_096;

impl Mapped {
    /// What this process executes, as the driver's library.
    fn driver() -> Self {
        Self::new(Path::new("/proc/self/exe"), "libcuda.so.1")
    }

    fn new(from: &Path, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::copy(from, &path).unwrap();
        let file = File::open(&path).unwrap();
        let (protection, flags) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE);
        let (descriptor, anywhere) = (file.as_raw_fd(), ptr::null_mut());
        // SAFETY: a new mapping, of which nothing is executed.
        let address = unsafe { libc::mmap(anywhere, PAGE, protection, flags, descriptor, 0) };
        assert_ne!(address, libc::MAP_FAILED);
        Self {
            address,
            _folder: folder,
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping made above, which nobody uses.
        unsafe { libc::munmap(self.address, PAGE) };
    }
}

/// A node that counts the calls of this process, and of nobody but the test that has it.
fn watched() -> (Node, Mapped, MutexGuard<'static, ()>) {
    watched_with(|_| {})
}

/// The same, by a changed configuration.
fn watched_with(change: impl FnOnce(&mut Config)) -> (Node, Mapped, MutexGuard<'static, ()>) {
    let alone = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    let driver = Mapped::driver();
    let mut node = Node::with(&["process", SOURCE], change);
    let coverage = [("agent", ME), ("state", "static")];
    poll_until("this process is probed", || {
        let batch = node.collect(SOURCE);
        sample(&batch, "cuda_probe_coverage", &coverage).map(|_| ())
    });
    (node, driver, alone)
}

/// How often this process has launched.
fn launched() -> u64 {
    LAUNCHED.load(Relaxed)
}

/// What this process's threads do.
fn work() {
    for function in 1..=LAUNCHES {
        launch(
            usize::from(function % 10 != 0) * work as *const () as usize,
            0,
        );
    }
    let kept = allocate(BYTES);
    free(allocate(BYTES));
    // Freed before.
    free(kept);
    free(kept);
    allocate(BYTES);
    wait_for_device();
}

#[test]
fn calls_are_counted_once_and_completely() {
    let (mut node, _driver, _alone) = watched();
    let before = launched();
    let workers: Vec<_> = (0..THREADS).map(|_| thread::spawn(work)).collect();
    for worker in workers {
        worker.join().unwrap();
    }
    assert_eq!(launched() - before, THREADS * LAUNCHES);
    let batch = node.collect(SOURCE);
    let count = |call: &str| {
        let labels = [("agent", ME), ("api", "runtime"), ("call", call)];
        let metric = sample(&batch, "cuda_call_duration_seconds", &labels);
        metric.map_or(0, |metric| metric.get_histogram().get_sample_count())
    };
    assert_eq!(count("cudaLaunchKernel"), THREADS * LAUNCHES);
    assert_eq!(count("cudaMalloc"), THREADS * 3);
    assert_eq!(count("cudaFree"), THREADS * 3);
    assert_eq!(count("cudaDeviceSynchronize"), THREADS);
    let nested = [("agent", ME), ("api", "driver"), ("call", "cuMemAlloc")];
    assert!(sample(&batch, "cuda_call_duration_seconds", &nested).is_none());
    let failed = [("agent", ME), ("call", "cudaLaunchKernel"), ("code", "1")];
    assert_eq!(
        counter(&batch, "cuda_errors_total", &failed),
        THREADS * LAUNCHES / 10
    );
    let me = [("agent", ME)];
    let bytes = THREADS * BYTES as u64;
    assert_eq!(counter(&batch, "cuda_alloc_bytes_total", &me), 3 * bytes);
    assert_eq!(counter(&batch, "cuda_free_bytes_total", &me), 2 * bytes);
    assert_eq!(counter(&batch, "cuda_double_frees_total", &me), THREADS);
    assert_eq!(held(&batch, "0"), Some(bytes));
    let launches: f64 = batch
        .families
        .iter()
        .filter(|family| family.name() == "gpu_kernel_launches_total")
        .flat_map(MetricFamily::get_metric)
        .map(|metric| metric.get_counter().get_value())
        .sum();
    assert!(
        (launches - (THREADS * LAUNCHES) as f64).abs() < 0.5,
        "{launches}"
    );
    let programs = batch.programs.iter().filter(|program| program.attached);
    let programs: Vec<_> = programs.map(|program| &*program.name).collect();
    let at_functions = ["cuda_session", "cuda_enter"].map(|name| programs.contains(&name));
    assert!(at_functions[0] != at_functions[1], "{programs:?}");
    let windows = sample(&batch, "gpu_kernel_execution_seconds", &me).unwrap();
    let windows = windows.get_histogram().get_sample_count();
    assert!((1..=THREADS).contains(&windows), "{windows}");
    assert!(losses(&batch).is_empty(), "{:?}", losses(&batch));
}

/// Bytes that this process holds on a device.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "exact counts"
)]
fn held(batch: &Batch, device: &str) -> Option<u64> {
    let labels = [("agent", ME), ("device_id", device)];
    let gauge = sample(batch, "cuda_allocated_bytes", &labels)?;
    Some(gauge.get_gauge().get_value() as u64)
}
