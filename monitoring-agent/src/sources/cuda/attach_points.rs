//! Where in a library or program the functions are that are counted.
//!
//! Owns the decision which symbols are such places; how a file's tables are read is [`executed`]'s
//! business. Knows neither processes nor probes.
//!
//! [`executed`]: crate::executed

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, btree_map},
    fs::File,
    path::Path,
};

use anyhow::Context as _;
use monitoring_common::cuda::Hook;

use super::functions::{api_of, hook_of};
use crate::executed::{
    elf::{Elf, Fault},
    files,
};

/// A place for a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachPoint {
    /// Offset in the file.
    pub offset: u64,
    /// What stands there.
    pub hook: Hook,
}

/// What a file's tables say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The places, each once, in the order of their offsets.
    pub points: Vec<AttachPoint>,
    /// Whether one of them is a function of the CUDA runtime.
    pub runtime: bool,
    /// Whether there is a table of all symbols (`.symtab`): whoever strips a file removes it.
    pub symbols: bool,
}

impl files::Content for Content {
    type Point = AttachPoint;

    const NOTHING: &'static str = "none of CUDA's functions are in it";

    fn read(file: &File) -> Result<Self, Fault> {
        content(file)
    }

    fn points(&self) -> &[AttachPoint] {
        &self.points
    }
}

/// Most places in one file: every function in each of its versions is a quarter of it.
const MAX_POINTS: usize = 4_096;

/// All places of an ELF file, each once, in the order of their offsets. Only what is looked at is
/// read, in bounded steps, so that neither a library of gigabytes nor a table that claims to have
/// them costs memory.
///
/// # Errors
///
/// It is no 64-bit ELF file for this machine, its tables are torn or larger than any real one's,
/// or it cannot be read.
pub fn attach_points(file: &File, path: &Path) -> anyhow::Result<Vec<AttachPoint>> {
    let content = content(file).with_context(|| format!("read {}", path.display()))?;
    Ok(content.points)
}

/// All that is of interest about an ELF file; see [`attach_points`].
fn content(file: &File) -> Result<Content, Fault> {
    let mut elf = Elf::open(file)?;
    let mut content = Content::default();
    let mut points = BTreeMap::new();
    for table in elf.symbol_tables()? {
        content.symbols |= table.whole;
        elf.functions(&table, may_be_counted, &mut |name, offset| {
            let Some(hook) = str::from_utf8(name).ok().and_then(hook_of) else {
                return Ok(());
            };
            let at = points.len();
            // Several names of one function are one place: the first table's, which is the one
            // that the dynamic linker uses, and in it the first.
            if let btree_map::Entry::Vacant(place) = points.entry(offset) {
                if at == MAX_POINTS {
                    return Err(Fault::Excessive("places of counted functions"));
                }
                place.insert(hook);
                content.runtime |= str::from_utf8(name).is_ok_and(|name| api_of(name) == "runtime");
            }
            Ok(())
        })?;
    }
    let points = points.into_iter();
    content.points = points
        .map(|(offset, hook)| AttachPoint { offset, hook })
        .collect();
    Ok(content)
}

/// Whether a name is worth a look into the list: cheaper by far, and false for nearly all.
fn may_be_counted(name: &[u8]) -> bool {
    name.starts_with(b"cu") || name.starts_with(b"__cu")
}
