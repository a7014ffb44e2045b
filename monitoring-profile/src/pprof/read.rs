//! Reads pprof's files. What it reads may be anything: a file of somebody else's, half of a file,
//! or one made to do harm.

use std::io::{self, Read as _};

use flate2::read::MultiGzDecoder;

use super::content::Content;
use crate::Profile;

/// What a file begins with that is compressed by gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// How much of a file is taken before it is refused.
///
/// What a profile takes in memory is at most some twenty times its file's size after
/// decompression, and usually less than the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes after decompression.
    pub bytes: usize,
    /// Locations in one stack.
    pub stack: usize,
}

impl Default for Limits {
    /// 256 MiB, which is some hundred times what a busy node's profile takes, and stacks of 16,384
    /// locations, where profilers stop at a few thousand at most.
    fn default() -> Self {
        Self {
            bytes: 256 << 20,
            stack: 16_384,
        }
    }
}

/// A file is not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is of another format.
    #[error("it is {0}, not a profile in pprof's format")]
    Foreign(&'static str),
    /// It is text. [`folded::read`](crate::folded::read) may know it.
    #[error("it is text, not a profile in pprof's format")]
    Text,
    /// It ends too early.
    #[error("it is cut off: {0}")]
    Truncated(String),
    /// It cannot be decompressed.
    #[error("it cannot be decompressed: {0}")]
    Gzip(#[source] io::Error),
    /// It is larger than wanted.
    #[error("it has more than {limit} {unit}, which is the limit")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// What there is too much of.
        unit: &'static str,
    },
    /// It contradicts itself, or the format.
    #[error("it is damaged: {0}")]
    Malformed(String),
}

/// Reads a file, compressed by gzip or not.
///
/// # Errors
///
/// If it is no profile, if any part of it is damaged, or if it is larger than the limits. Half a
/// profile is never returned.
pub fn read(bytes: &[u8], limits: Limits) -> Result<Profile, ReadError> {
    if bytes.is_empty() {
        return Err(ReadError::Empty);
    }
    if !bytes.starts_with(&GZIP) {
        return read_plain(bytes, limits);
    }
    let mut plain = Vec::new();
    // One byte more than allowed tells that there is more.
    let most = limits.bytes.saturating_add(1);
    let mut gzip = MultiGzDecoder::new(bytes).take(most as u64);
    match gzip.read_to_end(&mut plain) {
        Ok(0) => Err(ReadError::Empty),
        Ok(_) => read_plain(&plain, limits),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ReadError::Truncated(
            "its compressed data end in the middle".to_owned(),
        )),
        Err(error) => Err(ReadError::Gzip(error)),
    }
}

fn read_plain(file: &[u8], limits: Limits) -> Result<Profile, ReadError> {
    if file.len() > limits.bytes {
        return Err(ReadError::TooLarge {
            limit: limits.bytes,
            unit: "bytes",
        });
    }
    if let Some(format) = foreign(file) {
        return Err(ReadError::Foreign(format));
    }
    // A profile begins with the number of a field and a length, which are no characters.
    let strange = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    if !file[..file.len().min(64)].iter().any(strange) {
        return Err(ReadError::Text);
    }
    Content::read(file, limits)
}

/// Which other format a file has, as far as its first bytes tell.
fn foreign(file: &[u8]) -> Option<&'static str> {
    const BEGINNINGS: [(&[u8], &str); 13] = [
        (&GZIP, "compressed twice"),
        (b"PERFILE2", "a file of perf record"),
        (b"\x7fELF", "a program or library"),
        (b"PK\x03\x04", "an archive"),
        (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
        (b"FLR\0", "a recording of Java's Flight Recorder"),
        (b"heap profile: ", "in pprof's format of old, which is text"),
        (b"--- ", "in pprof's format of old, which is text"),
        (b"<?xml", "SVG or other XML"),
        (b"<svg", "SVG"),
        (b"<!", "SVG or HTML"),
        (b"<html", "HTML"),
        (b"{", "JSON"),
    ];
    let known = BEGINNINGS.iter().find(|(bytes, _)| file.starts_with(bytes));
    known.map(|(_, format)| *format)
}
