//! Which XID events each event set has still to get.
//!
//! An event goes to each set that waits for it, once. What happened before a GPU was registered
//! with a set is not delivered to that set: NVML keeps nothing for sets that are made later.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use crate::{
    abi::{Answer, Code},
    library,
    script::{Script, Xid},
    values::Number,
};

/// NVML's bit for these events.
pub(crate) const XID: u64 = 8;

/// Event sets are numbered from here on, so that null is none.
const FIRST: usize = 1;

#[derive(Default)]
struct Sets {
    made: usize,
    /// By set.
    open: HashMap<usize, Cursors>,
}

/// How often each entry was delivered, by GPU.
type Cursors = HashMap<usize, Vec<u64>>;

fn sets() -> MutexGuard<'static, Sets> {
    static SETS: LazyLock<Mutex<Sets>> = LazyLock::new(Mutex::default);
    SETS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A new event set.
pub(crate) fn create() -> usize {
    let mut sets = sets();
    let set = FIRST + sets.made;
    sets.made += 1;
    sets.open.insert(set, Cursors::new());
    set
}

pub(crate) fn free(set: usize) -> Answer {
    let gone = sets().open.remove(&set);
    gone.map(drop).ok_or(Code::INVALID_ARGUMENT)
}

/// The set gets the events of this GPU, if these are among the types that it asks for.
pub(crate) fn register(set: usize, gpu: usize, types: u64) -> Answer {
    let script = library::script()?;
    let seconds = library::seconds();
    let mut sets = sets();
    let xids = script.gpus.get(gpu).map_or(&[][..], |gpu| &gpu.xids);
    let start = xids.iter().map(|xid| due(xid, seconds)).collect();
    let cursors = sets.open.get_mut(&set).ok_or(Code::INVALID_ARGUMENT)?;
    if types & XID != 0 {
        cursors.entry(gpu).or_insert(start);
    }
    Ok(())
}

/// The next event for a set, if there is one, and its GPU.
pub(crate) fn next(set: usize, script: &Script, seconds: f64) -> Answer<Option<(usize, Xid)>> {
    let mut sets = sets();
    let cursors = sets.open.get_mut(&set).ok_or(Code::INVALID_ARGUMENT)?;
    for (place, gpu) in script.gpus.iter().enumerate() {
        let Some(delivered) = cursors.get_mut(&place) else {
            continue;
        };
        delivered.resize(delivered.len().max(gpu.xids.len()), 0);
        let mut entries = delivered.iter_mut().zip(&gpu.xids);
        let next = entries.find(|(count, xid)| **count < due(xid, seconds));
        if let Some((count, xid)) = next {
            *count += 1;
            return Ok(Some((place, xid.clone())));
        }
    }
    Ok(None)
}

/// How often an entry has happened so long after the script was first read.
fn due(xid: &Xid, seconds: f64) -> u64 {
    let after = seconds - xid.after_seconds;
    match xid.every_seconds {
        Some(every) if every > 0.0 && after >= 0.0 => {
            let times = Number::Float(after / every);
            u64::try_from(times.integer()).unwrap_or(u64::MAX)
        }
        Some(_) => 0,
        None => (after >= 0.0).into(),
    }
}
