//! Renders each snapshot once, in each form that is asked for, into bytes that all scrapes share.
//!
//! A scrape adds only its tail: the age of the snapshot, which belongs to the scrape. In gzip the
//! tail is a block of its own, so that nothing is compressed twice. Knows no HTTP.

use std::{
    io::Write as _,
    mem,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use ::prometheus::proto::{MetricFamily, MetricType};
use bytes::Bytes;
use flate2::{Compression, Crc, write::DeflateEncoder};

use super::{json, prometheus};
use crate::snapshot::{Latest, Snapshot};

/// The metric that every scrape ends with.
pub const AGE_NAME: &str = "monitoring_agent_snapshot_age_seconds";

/// Its help text.
pub const AGE_HELP: &str = "Age of the snapshot that this scrape shows.";

/// What a scrape can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The text format of Prometheus; versions 0.0.4 and 1.0.0 have the same bytes.
    Text,
    /// See [`json`].
    Json,
}

/// The newest snapshot in its rendered forms.
#[derive(Debug)]
pub struct Renders {
    latest: Latest,
    newest: Mutex<Arc<Render>>,
}

/// One snapshot in the forms that were asked for so far. It does not keep the snapshot itself
/// alive: between two scrapes the numbers may be replaced many times.
#[derive(Debug, Default)]
struct Render {
    snapshot: Weak<Snapshot>,
    text: OnceLock<Shared>,
    json: OnceLock<Shared>,
}

impl Renders {
    /// Renders of whatever is the newest snapshot when a scrape comes.
    pub fn new(latest: Latest) -> Self {
        Self {
            latest,
            newest: Mutex::default(),
        }
    }

    /// The newest snapshot as the two pieces of an answer: the part that all scrapes of this
    /// snapshot share, and this scrape's tail. Together they are one text, or one gzip member.
    pub fn scrape(&self, form: Form, gzip: bool) -> [Bytes; 2] {
        let snapshot = self.snapshot();
        let render = self.render_of(&snapshot);
        let age = snapshot.taken.elapsed().as_secs_f64();
        let (shared, tail) = match form {
            Form::Text => (
                render
                    .text
                    .get_or_init(|| Shared::new(prometheus::shared(&snapshot.families))),
                prometheus::tail(age),
            ),
            Form::Json => (
                render
                    .json
                    .get_or_init(|| Shared::new(json::shared(&snapshot.families))),
                json::tail(age),
            ),
        };
        if gzip {
            shared.gzip(&tail)
        } else {
            shared.identity(tail)
        }
    }

    /// The newest snapshot itself.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.latest.borrow())
    }

    fn render_of(&self, snapshot: &Arc<Snapshot>) -> Arc<Render> {
        // A panic while the lock is held leaves a whole render behind, the old or the new one.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = Arc::downgrade(snapshot);
        if !newest.snapshot.ptr_eq(&wanted) {
            *newest = Arc::new(Render {
                snapshot: wanted,
                ..Render::default()
            });
        }
        Arc::clone(&newest)
    }
}

/// Whether a family can be written at all. Sources deliver only such; one that slipped through
/// must not take the whole scrape with it: the encoder refuses a family without samples, has no
/// notion of untyped ones, and a name that comes twice makes a scrape invalid.
pub(super) fn exportable(family: &MetricFamily) -> bool {
    use MetricType::{COUNTER, GAUGE, HISTOGRAM};
    matches!(family.get_field_type(), COUNTER | GAUGE | HISTOGRAM)
        && !family.get_metric().is_empty()
        && !family.name().is_empty()
        && family.name() != AGE_NAME
}

/// The part of an answer that is the same for all scrapes of a snapshot.
#[derive(Debug)]
struct Shared {
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
    fn new(mut body: Vec<u8>) -> Self {
        body.shrink_to_fit();
        Self {
            identity: Bytes::from(body),
            gzip: OnceLock::new(),
        }
    }

    fn identity(&self, tail: String) -> [Bytes; 2] {
        [self.identity.clone(), Bytes::from(tail)]
    }

    fn gzip(&self, tail: &str) -> [Bytes; 2] {
        let open = self
            .gzip
            .get_or_init(|| OpenMember::compress(&self.identity));
        [open.bytes.clone(), Bytes::from(open.close(tail.as_bytes()))]
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
        let length = u16::try_from(tail.len()).expect("a tail is one line");
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

#[cfg(test)]
mod tests;
