//! The source as it runs, beside a library, a driver and GPUs that come and go: what a collection
//! brings, without the minute that the agent leaves between two looks.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::*;

/// How often a test's source looks.
const SOON: Duration = Duration::from_millis(20);

/// How long a test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

fn source(library: &Path) -> Gpu {
    let monitor = GpuMonitor::builder()
        .library(library)
        .poll_interval(SOON)
        .retry_interval(SOON);
    Gpu::new(
        monitor.poll().unwrap(),
        Arc::new(Labels::new(&[])),
        Arc::default(),
        true,
    )
}

/// Collects until this is so.
fn wait_until(source: &mut Gpu, what: &str, is_so: impl Fn(&Batch) -> bool) -> Batch {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let batch = source.collect().unwrap();
        if is_so(&batch) {
            return batch;
        }
        assert!(Instant::now() < deadline, "not so: {what}; last {batch:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_off(batch: &Batch, why: &str) -> bool {
    let off = batch.off.as_ref().is_some_and(|off| off.why.contains(why));
    assert!(!off || batch.families.is_empty());
    off
}

fn delivers(batch: &Batch) -> bool {
    let mut families = batch.families.iter();
    batch.off.is_none() && families.any(|family| family.name() == "gpu_info")
}

#[test]
fn a_library_a_driver_and_a_gpu_that_come_later_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libnvidia-ml.so.1");
    let mut source = source(&library);
    let off = wait_until(&mut source, "no library", |batch| {
        is_off(batch, "no NVIDIA")
    });
    let words = off.off.unwrap();
    let end = "sources.gpu.nvml_library names this file";
    assert!(words.why.ends_with(end) && !words.is_usual, "{words:?}");
    assert!(off.lost == [(LOST_EVENT, 0)] && !off.starting);

    let installed = nvml_sim::install(folder.path(), "driver_loaded = false");
    assert_eq!(installed, library);
    wait_until(&mut source, "no driver", |batch| {
        is_off(batch, "driver does not answer")
    });
    nvml_sim::rewrite(&library, "");
    wait_until(&mut source, "no GPU", |batch| is_off(batch, "knows no GPU"));
    nvml_sim::rewrite(&library, "[[gpus]]\nmodel = 'l4'");
    let batch = wait_until(&mut source, "a GPU", delivers);
    assert!(batch.age < PATIENCE, "{:?}", batch.age);
    nvml_sim::rewrite(&library, "driver_loaded = false");
    wait_until(&mut source, "no driver", |batch| {
        is_off(batch, "driver does not answer")
    });
}

#[test]
fn numbers_are_on_their_way_at_first() {
    let folder = tempfile::tempdir().unwrap();
    let hangs = "[[gpus]]\nmodel = 'l4'\n[[hangs]]\ncall = 'nvmlInit_v2'\nseconds = 600";
    let library = nvml_sim::install(folder.path(), hangs);
    let mut source = source(&library);
    let first = source.collect().unwrap();
    assert!(first.starting && first.off.is_none() && first.families.is_empty());
    nvml_sim::rewrite(&library, "[[gpus]]\nmodel = 'l4'");
    let batch = wait_until(&mut source, "a GPU", delivers);
    assert!(!batch.starting);
}
