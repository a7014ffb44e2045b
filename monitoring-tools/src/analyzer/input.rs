//! Where profiles come from.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use monitoring_profile::{
    Profile, folded,
    pprof::{self, Limits, ReadError},
};

/// Profiles put together.
///
/// # Errors
///
/// If one cannot be read, or does not go with those before it; says which.
pub(super) fn merged(files: &[PathBuf]) -> Result<Profile> {
    let mut merged: Option<Profile> = None;
    for file in files {
        let next = one(file)?;
        match &mut merged {
            None => merged = Some(next),
            Some(merged) => merged
                .merge(&next)
                .with_context(|| format!("add {} to what comes before it", file.display()))?,
        }
    }
    merged.context("there is no file")
}

/// The profile in a file, or on standard input, which is called `-`.
pub(super) fn one(file: &Path) -> Result<Profile> {
    let limits = Limits::default();
    let bytes = if file == Path::new("-") {
        bytes(&mut io::stdin().lock(), limits)
    } else {
        File::open(file).and_then(|mut open| bytes(&mut open, limits))
    };
    let bytes = bytes.with_context(|| format!("read {}", file.display()))?;
    let profile = match pprof::read(&bytes, limits) {
        Err(ReadError::Text) => folded::read(&bytes, limits),
        read => read,
    };
    profile.with_context(|| format!("read {}", file.display()))
}

/// What there is to read, and no more than is refused anyway.
fn bytes(from: &mut impl Read, limits: Limits) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limits.bytes as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Which of a profile's values is wanted.
pub(super) fn value(profile: &Profile, kind: Option<&str>) -> Result<usize> {
    let types = profile.sample_types();
    if types.is_empty() {
        bail!("the profile measures nothing");
    }
    let Some(kind) = kind else {
        return Ok(profile.default_type());
    };
    profile.type_named(kind).with_context(|| {
        let known: Vec<&str> = types.iter().map(|known| known.kind.as_str()).collect();
        format!(
            "the profile has no type {kind}; it has {}",
            known.join(", ")
        )
    })
}
