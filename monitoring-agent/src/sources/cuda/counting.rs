//! What the kernel programs have counted, at each collection, and their own state. Knows nothing of
//! processes that are watched without having made a call.

use std::{os::fd::OwnedFd, sync::TryLockError};

use aya::maps::MapData;
use monitoring_common::agents::MAX_AGENTS;
use prometheus::proto::MetricFamily;

use super::{
    calls::CallMaps,
    launches::LaunchMap,
    leftovers::Leftovers,
    loading::Kernel,
    overhead::Activity,
    sums::SumMaps,
    users::Users,
    watcher::{Shared, lock},
};
use crate::{
    kernel_state::{self, Losses},
    source::{Batch, ProgramState},
};

/// The maps.
pub(super) struct Counting {
    pub(super) calls: CallMaps,
    pub(super) sums: SumMaps,
    pub(super) launches: LaunchMap,
    pub(super) leftovers: Leftovers,
    pub(super) users: Users,
    pub(super) losses: Losses,
    /// What was read when no file had been probed yet: as long as none is, nothing can be counted.
    pub(super) nothing: Option<Counted>,
    /// What the kernel said last of the programs, and how often it did not run them.
    pub(super) programs: (Vec<ProgramState>, u64),
    /// The programs at functions.
    pub(super) at_functions: Vec<(&'static str, Option<OwnedFd>)>,
}

/// What the kernel programs have counted.
#[derive(Clone)]
pub(super) struct Counted {
    families: Vec<MetricFamily>,
    activities: [Activity; MAX_AGENTS],
    /// Entries in the maps of calls.
    calls: [u64; 2],
    /// Entries in the map of launches.
    functions: u64,
}

impl Counting {
    /// All of it; `agents` are the names, by number.
    pub(super) fn collect(
        &mut self,
        agents: &[String],
        shared: &Shared,
        kernel: &Kernel,
    ) -> anyhow::Result<Batch> {
        // Before anything is read: until a file is probed, nothing is there.
        let probed = shared.has_probed();
        let counted = match &self.nothing {
            Some(nothing) if !probed => nothing.clone(),
            _ => self.counted(agents, shared, kernel)?,
        };
        if !probed {
            self.nothing = Some(counted.clone());
        }
        let mut families = counted.families;
        families.extend(overhead(agents, &counted.activities, shared, kernel)?);
        let (programs, recursions) = self.programs(kernel);
        let mut lost = self.losses.read()?;
        lost.push(("recursion", recursions));
        let mut maps = Vec::new();
        for ((name, map), entries) in self.calls.maps().into_iter().zip(counted.calls) {
            maps.push(kernel_state::map(name, map.fd(), Some(entries)));
        }
        let (name, map) = self.launches.map();
        maps.push(kernel_state::map(name, map.fd(), Some(counted.functions)));
        for (name, map) in self.maps() {
            maps.push(kernel_state::map(name, map.fd(), None));
        }
        Ok(Batch {
            families,
            lost,
            programs,
            maps,
            ..Batch::default()
        })
    }

    /// Maps whose entries nobody counts at a collection.
    fn maps(&self) -> impl Iterator<Item = (&'static str, &MapData)> {
        let maps = self.sums.maps().into_iter().chain(self.leftovers.maps());
        maps.chain([self.users.map(), self.calls.entered_map()])
    }

    /// Reads all that the kernel programs have counted.
    fn counted(
        &mut self,
        agents: &[String],
        shared: &Shared,
        kernel: &Kernel,
    ) -> anyhow::Result<Counted> {
        let untimed = lock(&kernel.overhead).ever_untimed();
        let mut calls = self.calls.collect(agents, untimed)?;
        let find_names = || shared.look_for_names();
        let launches = &mut self.launches;
        let (launches, functions) = launches.collect(agents, &mut self.users, find_names)?;
        let sums = &mut self.sums;
        let mut families = sums.collect(agents, &mut self.users, &calls.activities)?;
        for (activity, nested) in calls.activities.iter_mut().zip(self.sums.nested()) {
            activity.nested = nested;
        }
        families.extend(calls.families);
        families.push(launches);
        families.push(self.leftovers.collect(agents, &mut self.users)?);
        Ok(Counted {
            families,
            activities: calls.activities,
            calls: calls.entries,
            functions,
        })
    }

    /// The programs' states. While one of them is attached to a file, those of the last time: that
    /// may take as long as a file system wants.
    fn programs(&mut self, kernel: &Kernel) -> (Vec<ProgramState>, u64) {
        match kernel.loaded.try_lock() {
            Ok(loaded) => self.programs = kernel_state::programs(&loaded),
            Err(TryLockError::Poisoned(broken)) => {
                self.programs = kernel_state::programs(&broken.into_inner());
            }
            Err(TryLockError::WouldBlock) => {}
        }
        let (mut states, recursions) = self.programs.clone();
        for (name, descriptor) in &self.at_functions {
            if let Some(descriptor) = descriptor {
                states.push(kernel_state::program(name, descriptor));
            }
        }
        (states, recursions)
    }
}

fn overhead(
    agents: &[String],
    activities: &[Activity; MAX_AGENTS],
    shared: &Shared,
    kernel: &Kernel,
) -> anyhow::Result<Vec<MetricFamily>> {
    let mut overhead = lock(&kernel.overhead);
    let families = overhead.collect(agents, activities)?;
    if overhead.is_dropping() {
        drop(overhead);
        shared.follow_budget();
    }
    Ok(families)
}
