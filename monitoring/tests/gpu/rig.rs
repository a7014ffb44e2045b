//! A simulator in a folder of a test's own, and waiting for a state up to a deadline.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use monitoring::gpu::{GpuMonitor, GpuMonitorBuilder, Named};
use tempfile::TempDir;

/// Far longer than anything takes that works.
const PATIENCE: Duration = Duration::from_mins(1);

/// A simulator. It lasts as long as this does.
pub(crate) struct Sim {
    folder: TempDir,
    pub(crate) library: PathBuf,
}

impl Sim {
    pub(crate) fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = nvml_sim::install(folder.path(), script);
        Self { folder, library }
    }

    /// A folder without a library yet.
    pub(crate) fn absent() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libnvidia-ml.so.1");
        Self { folder, library }
    }

    /// Puts another copy of the library in place of the one there is.
    pub(crate) fn install(&self, script: &str) {
        nvml_sim::install(self.folder.path(), script);
    }

    pub(crate) fn rewrite(&self, script: &str) {
        nvml_sim::rewrite(&self.library, script);
    }

    /// A monitor that is quick to notice things.
    pub(crate) fn builder(&self) -> GpuMonitorBuilder {
        GpuMonitor::builder()
            .library(&self.library)
            .call_deadline(Duration::from_secs(30))
            .poll_interval(Duration::from_millis(20))
            .retry_interval(Duration::from_millis(50))
    }

    pub(crate) fn open(&self) -> GpuMonitor {
        self.builder().open().unwrap()
    }
}

/// Polls until `done` returns something.
pub(crate) fn poll_until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A number of a list, by its name.
pub(crate) fn named<T: Copy>(list: &[Named<T>], name: &str) -> Option<T> {
    let found = list.iter().find(|named| named.name == name);
    found.map(|named| named.value)
}

/// Numbers that went through a division or two.
pub(crate) fn assert_close(what: &str, got: Option<f64>, want: Option<f64>) {
    let close = match (got, want) {
        (Some(got), Some(want)) => (got - want).abs() <= want.abs() * 1e-12,
        (got, want) => got == want,
    };
    assert!(close, "{what}: {got:?} instead of {want:?}");
}
