//! The programs at functions of files: attaches them to files as they are found.

use std::{collections::HashMap, fs::File, hash::Hash, os::fd::AsRawFd as _, path::PathBuf};

use monitoring_common::cuda::kind::NAME_FUNCTION;

use super::attach_points::AttachPoint;
use crate::loader::{FunctionLinks, FunctionProbe, Loaded};

/// The program at the first instruction of a function, and the one at its return.
pub(super) const PROGRAMS: [&str; 2] = ["cuda_enter", "cuda_return"];

/// Attached programs, by file.
pub(super) struct Probes<K> {
    enter: FunctionProbe,
    leave: FunctionProbe,
    /// Dropped in this order: no call is begun that nobody sees the end of.
    files: HashMap<K, (FunctionLinks, FunctionLinks)>,
}

impl<K: Eq + Hash> Probes<K> {
    pub(super) fn new(loaded: &Loaded, object: &[u8]) -> anyhow::Result<Self> {
        let [enter, leave] = PROGRAMS;
        Ok(Self {
            enter: loaded.function_probe(object, enter)?,
            leave: loaded.function_probe(object, leave)?,
            files: HashMap::new(),
        })
    }

    /// Attaches to a file's functions, in all processes that map it now or later.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the file; then it is as if nobody had asked.
    pub(super) fn attach(
        &mut self,
        loaded: &mut Loaded,
        key: K,
        file: &File,
        points: &[AttachPoint],
    ) -> anyhow::Result<()> {
        // Whatever its path means in whoever's mount namespace, and even if it has none any more.
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let place = |point: &AttachPoint| (point.offset, point.hook.0);
        let entries: Vec<_> = points.iter().map(place).collect();
        let with_return = points
            .iter()
            .filter(|point| point.hook.kind() != NAME_FUNCTION);
        let returns: Vec<_> = with_return.map(place).collect();
        // In this order: no call is begun that nobody sees the end of.
        let leave = loaded.attach_to_functions(&self.leave, &path, &returns)?;
        let enter = loaded.attach_to_functions(&self.enter, &path, &entries)?;
        self.files.insert(key, (enter, leave));
        Ok(())
    }

    /// Detaches from a file.
    pub(super) fn detach(&mut self, key: &K) {
        self.files.remove(key);
    }
}
