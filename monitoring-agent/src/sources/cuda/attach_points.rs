//! Where in a library or program the functions are that are counted.

use std::{collections::BTreeMap, fs::File, path::Path};

use anyhow::Context as _;
use monitoring_common::cuda::Hook;
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, SymbolKind, read::ReadCache};

use super::functions::hook_of;

/// A place for a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachPoint {
    /// Offset in the file.
    pub offset: u64,
    /// What stands there.
    pub hook: Hook,
}

/// All places of an ELF file, each once, in the order of their offsets. Only what is looked at is
/// read, so that a library of gigabytes costs no more memory than its table of symbols.
pub fn attach_points(file: &File, path: &Path) -> anyhow::Result<Vec<AttachPoint>> {
    let cache = ReadCache::new(file);
    let elf = object::File::parse(&cache).with_context(|| format!("read {}", path.display()))?;
    let mut points = BTreeMap::new();
    for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
        // An import is a name without a place.
        if symbol.is_undefined() || symbol.kind() != SymbolKind::Text {
            continue;
        }
        let Ok(Some(hook)) = symbol.name().map(hook_of) else {
            continue;
        };
        let address = symbol.address();
        let offset = elf.segments().find_map(|segment| {
            let within = address.checked_sub(segment.address())?;
            let (start, length) = segment.file_range();
            (within < length).then(|| start + within)
        });
        if let Some(offset) = offset {
            // Several names of one function are one place.
            points.entry(offset).or_insert(hook);
        }
    }
    let points = points.into_iter();
    Ok(points
        .map(|(offset, hook)| AttachPoint { offset, hook })
        .collect())
}
