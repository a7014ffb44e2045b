//! Bytes of a file, read where they are wanted: a file that somebody else cuts short while it is read
//! is an error, where a mapping of it would end the process.

use std::{fs::File, io, os::unix::fs::FileExt as _};

/// What can be read at any place.
#[derive(Debug)]
pub(super) enum Bytes {
    File(File),
    Memory(Vec<u8>),
}

impl Bytes {
    /// Fills the buffer.
    pub(super) fn exact(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let read = self.some(offset, buffer)?;
        if read < buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// As much as there is. Returns how much.
    pub(super) fn some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => {
                let mut read = 0;
                while read < buffer.len() {
                    let at = offset.saturating_add(read as u64);
                    match file.read_at(&mut buffer[read..], at) {
                        Ok(0) => break,
                        Ok(length) => read += length,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(read)
            }
            Self::Memory(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = bytes.get(from..).unwrap_or_default();
                let length = rest.len().min(buffer.len());
                buffer[..length].copy_from_slice(&rest[..length]);
                Ok(length)
            }
        }
    }
}
