//! What one process uses of CUDA. Knows no files' contents.

use crate::executed::{FileKey, MappedFile};

/// What a process uses of CUDA.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// Libraries of the runtime and the driver by their names.
    pub(super) runtime: Vec<FileKey>,
    pub(super) driver: Vec<FileKey>,
    /// Other files with the runtime in them.
    pub(super) containing: Vec<FileKey>,
    /// These files and all others that it executes, as it has them mapped. They are remembered as long
    /// as somebody uses them.
    pub(super) mapped: Vec<(MappedFile, FileKey)>,
    /// Whether its program has no symbols.
    pub(super) stripped: bool,
    pub(super) failure: Option<String>,
}

impl Uses {
    /// The files that are probed for it.
    pub(super) fn probed(&self) -> impl Iterator<Item = FileKey> {
        let named = self.runtime.iter().chain(&self.driver);
        named.chain(&self.containing).copied()
    }

    /// Whether it has a file mapped, as the kernel told of it.
    pub(super) fn has(&self, file: MappedFile) -> bool {
        self.mapped.iter().any(|(mapped, _)| *mapped == file)
    }

    /// The first failure is as good as any.
    pub(super) fn fail(&mut self, what: &str, reason: &str) {
        self.failure
            .get_or_insert_with(|| format!("{what}: {reason}"));
    }
}
