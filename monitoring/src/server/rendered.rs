//! A body that many answers share, and the tail that each answer has of its own.
//!
//! In gzip the tail is a block of its own, so that nothing is compressed twice. Knows no HTTP.

use std::{io::Write as _, mem, sync::OnceLock};

use bytes::Bytes;
use flate2::{Compression, Crc, write::DeflateEncoder};

/// The part of an answer that is the same for all scrapes, in the forms
/// that were asked for so far.
#[derive(Debug)]
pub struct Shared {
    identity: Bytes,
    gzip: OnceLock<OpenMember>,
}

/// A gzip member that lacks its last block and its trailer.
#[derive(Debug)]
struct OpenMember {
    bytes: Bytes,
    crc: Crc,
}

impl Shared {
    /// A body of which nothing is compressed yet.
    pub fn new(mut body: Vec<u8>) -> Self {
        body.shrink_to_fit();
        Self {
            identity: Bytes::from(body),
            gzip: OnceLock::new(),
        }
    }

    /// The body and the tail as they are.
    pub fn identity(&self, tail: Vec<u8>) -> [Bytes; 2] {
        [self.identity.clone(), Bytes::from(tail)]
    }

    /// Compresses the body, which is what [`gzip`](Self::gzip) takes long for, if it was not yet.
    pub fn compress(&self) {
        self.open();
    }

    fn open(&self) -> &OpenMember {
        self.gzip
            .get_or_init(|| OpenMember::compress(&self.identity))
    }

    /// Whether the body was compressed already.
    pub fn is_compressed(&self) -> bool {
        self.gzip.get().is_some()
    }

    /// The body and the tail as one gzip member. The body is compressed once.
    pub fn gzip(&self, tail: &[u8]) -> [Bytes; 2] {
        let open = self.open();
        [open.bytes.clone(), Bytes::from(open.close(tail))]
    }
}

impl OpenMember {
    /// Magic, deflate, no flags, no time, no extra flags, unknown system: RFC 1952, section 2.3.
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    /// The final bit, and the type "stored": RFC 1951, section 3.2.4.
    const LAST_STORED_BLOCK: u8 = 1;

    fn compress(body: &[u8]) -> Self {
        let mut crc = Crc::new();
        crc.update(body);
        // Metrics repeat themselves so much that the fastest level already makes them small.
        let mut encoder = DeflateEncoder::new(Self::HEADER.to_vec(), Compression::fast());
        // The flush ends the last block at a byte boundary and marks no block as the final one.
        encoder
            .write_all(body)
            .and_then(|()| encoder.flush())
            .expect("a Vec takes every write");
        let mut bytes = mem::take(encoder.get_mut());
        bytes.shrink_to_fit();
        Self {
            bytes: Bytes::from(bytes),
            crc,
        }
    }

    /// The last block, which stores the tail as it is, and the trailer of the member.
    fn close(&self, tail: &[u8]) -> Vec<u8> {
        let length = u16::try_from(tail.len()).expect("a tail is a few lines");
        let mut crc = Crc::new();
        crc.combine(&self.crc);
        crc.update(tail);
        let mut block = Vec::with_capacity(tail.len() + 13);
        block.push(Self::LAST_STORED_BLOCK);
        block.extend(length.to_le_bytes());
        block.extend((!length).to_le_bytes());
        block.extend(tail);
        block.extend(crc.sum().to_le_bytes());
        // The amount is modulo 2^32, as the trailer wants it.
        block.extend(crc.amount().to_le_bytes());
        block
    }
}
