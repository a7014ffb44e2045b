//! What functions that run on GPUs are called, for whoever else wants to name one. Source `cuda` finds
//! the names out; who asks gets what is known by then.

use std::sync::{Arc, Mutex, PoisonError};

use monitoring_common::cuda::ProcessId;

use super::{
    functions,
    kernels::{Kernels, Name},
};

/// The names that source `cuda` knows, as long as one runs.
#[derive(Debug, Default)]
pub struct KernelNames(Mutex<Option<Arc<Mutex<Kernels>>>>);

impl KernelNames {
    /// Has these names asked for from now on.
    pub(super) fn are_in(&self, kernels: &Arc<Mutex<Kernels>>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(Arc::clone(kernels));
    }

    /// What a process's function is called, if that is known by now.
    pub fn name(&self, process: ProcessId, function: u64) -> Option<Arc<Name>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kernels = Arc::clone(known.as_ref()?);
        drop(known);
        let kernels = kernels.lock().unwrap_or_else(PoisonError::into_inner);
        kernels.name(process, function)
    }
}

/// The name of a call by its number, and the library that has it: `runtime` or `driver`.
pub fn call(number: u16) -> Option<(&'static str, &'static str)> {
    let name = functions::name_of(number)?;
    Some((name, functions::api_of(name)))
}
