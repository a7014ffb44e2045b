//! The library, loaded by the real nvml-wrapper as any program would load it.
//!
//! Each test has a copy of its own, in a folder of its own.

mod events;
mod failures;
mod fields;
mod gpm;
mod hostile;
mod mig;
mod presets;
mod processes;
mod reload;
mod scripts;
mod values;

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use nvml_wrapper::{Device, Nvml, error::NvmlError};
use tempfile::TempDir;

/// Nothing here takes longer, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// A copy of the library, loaded.
struct Rig {
    library: PathBuf,
    nvml: Nvml,
    // Last, because it is removed when dropped.
    _folder: TempDir,
}

impl Rig {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = nvml_sim::install(folder.path(), script);
        let nvml = load(&library).unwrap();
        Self {
            library,
            nvml,
            _folder: folder,
        }
    }

    fn gpu(&self) -> Device<'_> {
        self.nvml.device_by_index(0).unwrap()
    }

    fn rewrite(&self, script: &str) {
        nvml_sim::rewrite(&self.library, script);
    }
}

fn load(library: &std::path::Path) -> Result<Nvml, NvmlError> {
    Nvml::builder().lib_path(library.as_os_str()).init()
}

/// A script of one GPU with values of its own.
fn one(model: &str, values: &str) -> String {
    format!("[[gpus]]\nmodel = \"{model}\"\n[gpus.values]\n{values}\n")
}

/// Waits until something holds.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < DEADLINE, "never happened: {what}");
        thread::yield_now();
    }
}

/// Asserts an error of NVML's.
macro_rules! refused {
    ($result:expr, $error:ident) => {
        match $result {
            Err(nvml_wrapper::error::NvmlError::$error) => {}
            other => panic!("{}: {other:?}", stringify!($result)),
        }
    };
}
use refused;
