//! The files that are probed, each at all of its places, and how many places there may be where the
//! kernel takes them one by one. Knows neither processes nor notes.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use anyhow::bail;

use super::finder::Hooked;
use crate::{
    executed::FileKey,
    loader::{FunctionLinks, FunctionProbe, Loaded, path_of, release},
};

/// Before 6.6 each place takes a descriptor, and a tenth of a second when it is let go. So all of them
/// may take one part of so many of the descriptors that the agent may have, and no more than that.
const SHARE_OF_DESCRIPTORS: usize = 8;
const MAX_ONE_BY_ONE: usize = 1_024;

/// One file may take one part of so many of those, or the first one would leave nothing to others.
const SHARE_OF_PLACES: usize = 2;

/// The files.
#[derive(Debug)]
pub(super) struct Probes {
    probe: FunctionProbe,
    files: HashMap<FileKey, Probed>,
    /// Places that take a descriptor each, those included that are being let go.
    taken: Arc<AtomicUsize>,
    limit: usize,
}

/// A file that is probed. Its links end before there is room for others.
#[derive(Debug)]
struct Probed {
    _links: FunctionLinks,
    _room: Room,
}

/// Room for places, until it is dropped.
#[derive(Debug)]
struct Room {
    taken: Arc<AtomicUsize>,
    places: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.places, Relaxed);
    }
}

impl Probes {
    pub(super) fn new(probe: FunctionProbe) -> Self {
        Self {
            probe,
            files: HashMap::new(),
            taken: Arc::default(),
            limit: (descriptors() / SHARE_OF_DESCRIPTORS).min(MAX_ONE_BY_ONE),
        }
    }

    /// How many files are probed.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Probes a file at all of its places. `go_on` is asked before each of those that take a call of
    /// their own.
    ///
    /// # Errors
    ///
    /// When there are too many places for this kernel, when the kernel refuses one, or `go_on` is
    /// over: then the file is not probed at all.
    pub(super) fn add(
        &mut self,
        loaded: &mut Loaded,
        found: &Hooked,
        go_on: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let places = found.points.iter().map(|place| (place.offset, place.hook));
        let places: Vec<_> = places.collect();
        let room = self.room(if self.probe.is_at_once() {
            0
        } else {
            places.len()
        })?;
        let path = path_of(&found.file);
        let links = loaded.attach_while(&self.probe, &path, &places, go_on)?;
        let probed = Probed {
            _links: links,
            _room: room,
        };
        self.files.insert(found.key, probed);
        Ok(())
    }

    fn room(&self, places: usize) -> anyhow::Result<Room> {
        if places > self.limit / SHARE_OF_PLACES {
            bail!("more hooks than this kernel probes in one file without taking too long");
        }
        // Only this thread takes any.
        if self.taken.load(Relaxed) + places > self.limit {
            bail!("more hooks than the agent has descriptors for on this kernel");
        }
        self.taken.fetch_add(places, Relaxed);
        Ok(Room {
            taken: Arc::clone(&self.taken),
            places,
        })
    }

    /// Lets a file go.
    pub(super) fn remove(&mut self, key: FileKey) {
        if let Some(probed) = self.files.remove(&key) {
            release(probed);
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        release(std::mem::take(&mut self.files));
    }
}

/// How many descriptors the agent may have.
fn descriptors() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the result lives across the call. Where it fails, there are none.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}
