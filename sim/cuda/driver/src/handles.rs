//! What handles stand for. A handle is the address of the thing itself, so that no two are alike
//! while both live; it is looked up and never followed.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use crate::code::{Code, INVALID_HANDLE};

/// All things of one kind.
pub(crate) struct Handles<T>(RwLock<BTreeMap<usize, Arc<T>>>);

impl<T> Handles<T> {
    pub(crate) const fn new() -> Self {
        Self(RwLock::new(BTreeMap::new()))
    }

    /// Makes a handle.
    pub(crate) fn insert(&self, thing: Arc<T>) -> usize {
        let handle = handle(&thing);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(handle, thing);
        handle
    }

    /// What a handle stands for.
    pub(crate) fn get(&self, handle: usize) -> Result<Arc<T>, Code> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&handle).cloned().ok_or(INVALID_HANDLE)
    }

    /// Takes a handle back.
    pub(crate) fn remove(&self, handle: usize) -> Result<Arc<T>, Code> {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.remove(&handle).ok_or(INVALID_HANDLE)
    }
}

/// The handle of a thing.
pub(crate) fn handle<T>(thing: &Arc<T>) -> usize {
    Arc::as_ptr(thing).addr()
}
