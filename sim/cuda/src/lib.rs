//! Stand-ins for CUDA's libraries, put where a test wants them. Knows where cargo builds them, and
//! nothing of what they do.
//!
//! ```no_run
//! let folder = std::path::Path::new("folder of this test's own");
//! let libraries = cuda_sim::install(folder)?;
//! let counts = folder.join("counts");
//! std::process::Command::new("program")
//!     .env("LD_LIBRARY_PATH", folder)
//!     .env("CUDA_SIM_COUNTS", &counts)
//!     .status()?;
//! for library in cuda_sim::read_counts(&counts)? {
//!     println!("{}: {:?}", library.library, library.calls);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]

mod program;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

pub use cuda_sim_control::{Calls, Counts};
pub use program::{Linkage, build_program};
// Named, so that cargo builds the libraries for whoever depends on this package.
use {cuda_sim_driver as _, cuda_sim_runtime as _};

/// What may go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Cargo has not built a library beside the running program.
    #[error("{name} is not beside {beside}: build it with `cargo build -p cuda-sim`")]
    NotBuilt {
        /// The file.
        name: &'static str,
        /// The running program.
        beside: PathBuf,
    },
    /// A file could not be read, written or run.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A line of counts is none.
    #[error("{path}: {source}")]
    Counts {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The C compiler, which is `cc`, refused.
    #[error("cc failed:\n{0}")]
    Compiler(String),
}

/// The stand-ins in a folder, by the names that programs look for.
#[derive(Debug, Clone)]
pub struct Libraries {
    /// `libcuda.so.1`
    pub driver: PathBuf,
    /// `libcudart.so.12`
    pub runtime: PathBuf,
}

/// Copies both libraries into a folder. A program finds them there by `LD_LIBRARY_PATH`.
pub fn install(folder: &Path) -> Result<Libraries, Error> {
    Ok(Libraries {
        driver: copy("libcuda_sim_driver.so", &folder.join("libcuda.so.1"))?,
        runtime: copy("libcuda_sim_runtime.so", &folder.join("libcudart.so.12"))?,
    })
}

/// The runtime as a static library.
pub fn static_runtime() -> Result<PathBuf, Error> {
    built("libcuda_sim_runtime.a")
}

/// What libraries have written to the file that `CUDA_SIM_COUNTS` named, in the order in which
/// processes ended. A process that was killed has written nothing.
pub fn read_counts(path: &Path) -> Result<Vec<Counts>, Error> {
    let text = fs::read_to_string(path).map_err(|source| file(path, source))?;
    let line = |line: &str| {
        serde_json::from_str(line).map_err(|source| Error::Counts {
            path: path.to_owned(),
            source,
        })
    };
    text.lines().map(line).collect()
}

fn copy(name: &'static str, to: &Path) -> Result<PathBuf, Error> {
    fs::copy(built(name)?, to).map_err(|source| file(to, source))?;
    Ok(to.to_owned())
}

/// Cargo puts libraries beside the program, or, if that is a test or an example, a folder above or
/// in the next.
fn built(name: &'static str) -> Result<PathBuf, Error> {
    let program = env::current_exe().map_err(|source| file(Path::new(name), source))?;
    let folder = program.parent().unwrap_or(Path::new("/"));
    let folders = [
        folder.to_owned(),
        folder.join("../deps"),
        folder.join("deps"),
        folder.join(".."),
    ];
    let found = folders
        .map(|folder| folder.join(name))
        .into_iter()
        .find(|path| path.is_file());
    found.ok_or(Error::NotBuilt {
        name,
        beside: program,
    })
}

fn file(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}
