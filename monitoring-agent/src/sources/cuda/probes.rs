//! The programs at functions of files: attaches them to files as they are found.
//!
//! Since 6.13 one program stands at both ends of a function, and says at each entry whether it
//! wants to see the return. Before, one stands at each end, and the returns of calls whose result
//! nobody needs are attached by themselves, so that they can be taken away.

use std::{collections::HashMap, fs::File, hash::Hash, os::fd::OwnedFd, path::Path};

use anyhow::Context as _;
use monitoring_common::cuda::{Hook, kind::NAME_FUNCTION};

use super::attach_points::AttachPoint;
use crate::{
    loader::{FunctionLinks, FunctionProbe, Loaded, path_of, release},
    source::StartError,
};

/// The program at the first instruction of a function, and the one at its return.
const PROGRAMS: [&str; 2] = ["cuda_enter", "cuda_return"];

/// The program at both.
const SESSION: &str = "cuda_session";

/// An offset in a file, and what stands there, as the kernel wants it.
type Place = (u64, u64);

/// The programs that see a call's beginning and its end.
pub(super) enum Ends {
    /// One at both.
    Session(FunctionProbe),
    /// One each.
    Pair {
        enter: FunctionProbe,
        leave: FunctionProbe,
    },
}

impl Ends {
    fn new(loaded: &mut Loaded, object: &[u8]) -> Result<Self, StartError> {
        if let Some(session) = loaded.session_probe(object, SESSION)? {
            return Ok(Self::Session(session));
        }
        let [enter, leave] = PROGRAMS;
        Ok(Self::Pair {
            enter: loaded.function_probe(object, enter)?,
            leave: loaded.function_probe(object, leave)?,
        })
    }

    /// Attaches what sees calls begin, and, where that is the same, end.
    pub(super) fn attach_entries(
        &self,
        loaded: &mut Loaded,
        path: &Path,
        places: &[Place],
    ) -> anyhow::Result<FunctionLinks> {
        let (Self::Session(probe) | Self::Pair { enter: probe, .. }) = self;
        loaded.attach_to_functions(probe, path, places)
    }

    /// Attaches what sees calls end, where that is not the same, and there are such places.
    pub(super) fn attach_returns(
        &self,
        loaded: &mut Loaded,
        path: &Path,
        places: &[Place],
    ) -> anyhow::Result<Option<FunctionLinks>> {
        match self {
            Self::Pair { leave, .. } if !places.is_empty() => {
                let links = loaded.attach_to_functions(leave, path, places);
                links.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The programs that are attached, by their descriptors. They have none of their own where they
    /// are the object's.
    pub(super) fn programs(&self) -> anyhow::Result<Vec<(&'static str, Option<OwnedFd>)>> {
        let probes = match self {
            Self::Session(probe) => vec![probe],
            Self::Pair { enter, leave } => vec![enter, leave],
        };
        let programs = probes.into_iter().map(|probe| {
            let (name, descriptor) = probe.program();
            let copied = descriptor.map(|each| each.try_clone_to_owned()).transpose();
            Ok((name, copied.context("copy a program's descriptor")?))
        });
        programs.collect()
    }

    /// Whether the program at the entry decides about each return.
    pub(super) fn is_session(&self) -> bool {
        matches!(self, Self::Session(_))
    }
}

/// Attached programs, by file.
pub(super) struct Probes<K> {
    ends: Ends,
    files: HashMap<K, Attached>,
    /// The last attachment's number.
    last: u16,
}

/// The probes of a file.
struct Attached {
    // Dropped in this order: no call is begun that nobody sees the end of.
    entries: FunctionLinks,
    returns: Option<FunctionLinks>,
    leaf_returns: Option<FunctionLinks>,
    /// Where the leaves' are attached again.
    leaves: Vec<Place>,
    file: File,
}

impl<K: Eq + Hash> Probes<K> {
    pub(super) fn new(loaded: &mut Loaded, object: &[u8]) -> Result<Self, StartError> {
        Ok(Self {
            ends: Ends::new(loaded, object)?,
            files: HashMap::new(),
            last: 0,
        })
    }

    pub(super) fn ends(&self) -> &Ends {
        &self.ends
    }

    /// Attaches to a file's functions, in all processes that map it now or later. The returns of
    /// leaves are attached as well, whatever was before.
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
        // Never 0. It only has to differ from those of the few others that the kernel may take for
        // the same file.
        self.last = self.last % u16::MAX + 1;
        let number = self.last;
        let places = |wanted: &dyn Fn(Hook) -> bool| -> Vec<Place> {
            let points = points.iter().filter(|point| wanted(point.hook));
            let place = |point: &AttachPoint| (point.offset, point.hook.attached_by(number).0);
            points.map(place).collect()
        };
        let leaves = places(&Hook::is_leaf);
        let others = places(&|hook| hook.kind() != NAME_FUNCTION && !hook.is_leaf());
        let file = file.try_clone().context("keep the file open")?;
        let path = path_of(&file);
        // In this order: no call is begun that nobody sees the end of.
        let leaf_returns = self.ends.attach_returns(loaded, &path, &leaves)?;
        let returns = self.ends.attach_returns(loaded, &path, &others)?;
        let entries = self
            .ends
            .attach_entries(loaded, &path, &places(&|_| true))?;
        let attached = Attached {
            entries,
            returns,
            leaf_returns,
            leaves,
            file,
        };
        self.files.insert(key, attached);
        Ok(())
    }

    /// Detaches from a file.
    pub(super) fn detach(&mut self, key: &K) {
        if let Some(attached) = self.files.remove(key) {
            release((attached.entries, attached.returns, attached.leaf_returns));
        }
    }

    /// Takes the returns of leaves away. Their calls have to be counted at entry by then.
    pub(super) fn detach_leaf_returns(&mut self) {
        let returns = self.files.values_mut();
        let returns: Vec<_> = returns
            .filter_map(|file| file.leaf_returns.take())
            .collect();
        if !returns.is_empty() {
            release(returns);
        }
    }

    /// Brings the returns of leaves back.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a file that it had accepted. The others have theirs.
    pub(super) fn attach_leaf_returns(&mut self, loaded: &mut Loaded) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        for file in self.files.values_mut() {
            if file.leaf_returns.is_none() {
                let path = path_of(&file.file);
                match self.ends.attach_returns(loaded, &path, &file.leaves) {
                    Ok(returns) => file.leaf_returns = returns,
                    Err(error) => outcome = Err(error),
                }
            }
        }
        outcome
    }
}
