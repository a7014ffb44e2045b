//! Family `cuda`: this program is one that has CUDA's runtime in it. Its functions only count
//! themselves; where they are called from, and how often, is what the family must find out.

use std::{
    fs::{self, File},
    hint::black_box,
    os::fd::AsRawFd as _,
    ptr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use tempfile::TempDir;

use crate::{
    node::{ME, Node, counter, losses, sample},
    poll::poll_until,
};

const SOURCE: &str = "cuda";
const THREADS: u64 = 4;
const LAUNCHES: u64 = 2_000;
const BYTES: usize = 4_096;
/// `cudaErrorInvalidValue`.
const INVALID: i32 = 1;

static LAUNCHED: AtomicU64 = AtomicU64::new(0);

#[repr(C)]
#[derive(Clone, Copy)]
struct Dim3 {
    x: u32,
    y: u32,
    z: u32,
}

type Launch = extern "C" fn(usize, Dim3, Dim3, usize, usize, usize) -> i32;

/// Fails for the null function.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cudaLaunchKernel(
    function: usize,
    _grid: Dim3,
    _block: Dim3,
    _arguments: usize,
    _shared: usize,
    _stream: usize,
) -> i32 {
    LAUNCHED.fetch_add(1, Relaxed);
    if function == 0 { INVALID } else { 0 }
}

/// Makes a call of the driver's, as the real one does.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn cudaMalloc(result: *mut usize, bytes: usize) -> i32 {
    let driver: unsafe extern "C" fn(*mut usize, usize) -> i32 = black_box(cuMemAlloc_v2);
    // SAFETY: the caller's promise.
    unsafe { driver(result, bytes) }
}

#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn cuMemAlloc_v2(result: *mut usize, _bytes: usize) -> i32 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // SAFETY: the caller's promise.
    unsafe { *result = usize::try_from(NEXT.fetch_add(1, Relaxed)).unwrap() << 12 };
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cudaFree(pointer: usize) -> i32 {
    black_box(pointer);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cudaDeviceSynchronize() -> i32 {
    black_box(0)
}

/// Something executable with the name of the driver's library, which is how a program is known as
/// one that uses CUDA.
fn map_a_driver(folder: &TempDir) {
    let path = folder.path().join("libcuda.so.1");
    fs::copy("/proc/self/exe", &path).unwrap();
    let file = File::open(&path).unwrap();
    let (protection, flags) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE);
    // SAFETY: a new mapping, of which nothing is executed and which stays.
    let mapped = unsafe {
        libc::mmap(
            ptr::null_mut(),
            4096,
            protection,
            flags,
            file.as_raw_fd(),
            0,
        )
    };
    assert_ne!(mapped, libc::MAP_FAILED);
}

fn launch(function: usize) {
    let one = Dim3 { x: 1, y: 1, z: 1 };
    let launch: Launch = black_box(cudaLaunchKernel);
    launch(function, one, one, 0, 0, 0);
}

fn allocate() -> usize {
    let mut pointer = 0;
    let malloc: unsafe extern "C" fn(*mut usize, usize) -> i32 = black_box(cudaMalloc);
    // SAFETY: the result is written to a variable of this function's.
    assert_eq!(unsafe { malloc(&raw mut pointer, BYTES) }, 0);
    pointer
}

fn free(pointer: usize) {
    let free: extern "C" fn(usize) -> i32 = black_box(cudaFree);
    free(pointer);
}

/// What this process's threads do.
fn work() {
    for function in 1..=LAUNCHES {
        launch(usize::from(function % 10 != 0) * work as *const () as usize);
    }
    let kept = allocate();
    free(allocate());
    // Freed before.
    free(kept);
    free(kept);
    allocate();
    let wait: extern "C" fn() -> i32 = black_box(cudaDeviceSynchronize);
    wait();
}

#[test]
fn calls_are_counted_once_and_completely() {
    let folder = tempfile::tempdir().unwrap();
    map_a_driver(&folder);
    let mut node = Node::start(&["process", SOURCE]);
    let coverage = [("agent", ME), ("state", "static")];
    poll_until("this process is probed", || {
        let batch = node.collect(SOURCE);
        sample(&batch, "cuda_probe_coverage", &coverage).map(|_| ())
    });
    let workers: Vec<_> = (0..THREADS).map(|_| thread::spawn(work)).collect();
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
    assert_eq!(LAUNCHED.load(Relaxed), THREADS * LAUNCHES);
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
    let held = [("agent", ME), ("device_id", "0")];
    let held = sample(&batch, "cuda_allocated_bytes", &held)
        .unwrap()
        .get_gauge()
        .get_value();
    assert!((held - bytes as f64).abs() < 0.5, "{held}");
    let launches: f64 = batch
        .families
        .iter()
        .filter(|family| family.name() == "gpu_kernel_launches_total")
        .flat_map(|family| family.get_metric())
        .map(|metric| metric.get_counter().get_value())
        .sum();
    assert!(
        (launches - (THREADS * LAUNCHES) as f64).abs() < 0.5,
        "{launches}"
    );
    let windows = sample(&batch, "gpu_kernel_execution_seconds", &me).unwrap();
    let windows = windows.get_histogram().get_sample_count();
    assert!((1..=THREADS).contains(&windows), "{windows}");
    assert!(losses(&batch).is_empty(), "{:?}", losses(&batch));
}
