//! Family `block`: durations, bytes and errors of requests to disks.

use crate::{histogram::Histogram, trace::Origin};

/// Bytes of a disk's name in the kernel, its ending zero byte included (`DISK_NAME_LEN`, fixed
/// since it exists).
pub const DISK_NAME_BYTES: usize = 32;

/// Most requests that are on their way at a time. Eight hardware queues of 1,023 requests, as many
/// as fast solid-state disks have in each; 8,192 entries are 1.4 MB.
pub const MAX_IN_FLIGHT: usize = 8_192;

/// Most pairs of disk and operation: 64 disks that are read, written, flushed and trimmed. 256
/// entries are 120 KiB on each possible CPU.
pub const MAX_REQUESTS: usize = 256;

/// Most triples of disk, operation and agent. 2,048 entries are 16 KiB on each possible CPU.
pub const MAX_BYTES: usize = 2_048;

/// What requests are counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct RequestKey {
    /// The disk's name as the kernel has it, by words, which are cheaper to copy and to hash than
    /// bytes.
    pub disk: [u64; DISK_NAME_BYTES / 8],
    /// The operation's number, an `enum req_op` of this kernel.
    pub operation: u32,
    /// Whose bytes; 0 where agents are not told apart.
    pub agent: u32,
}

const _: () = assert!(size_of::<RequestKey>() == DISK_NAME_BYTES + 4 + 4);

impl RequestKey {
    /// The disk's name, up to its ending zero byte.
    ///
    /// # Example
    ///
    /// ```
    /// use monitoring_common::block::RequestKey;
    ///
    /// let first = u64::from_ne_bytes(*b"nvme0n1\0");
    /// let key = RequestKey { disk: [first, 0, 0, 0], operation: 0, agent: 0 };
    /// assert_eq!(key.disk_name(&mut [0; 32]), b"nvme0n1");
    /// ```
    pub fn disk_name<'a>(&self, buffer: &'a mut [u8; DISK_NAME_BYTES]) -> &'a [u8] {
        for (bytes, word) in buffer.chunks_exact_mut(8).zip(self.disk) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        let end = buffer.iter().position(|byte| *byte == 0);
        &buffer[..end.unwrap_or(DISK_NAME_BYTES)]
    }
}

/// One CPU's requests of one disk and operation that came to their end.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Requests {
    /// From the last issue to the end.
    pub duration: Histogram,
    /// From submission to the last issue.
    pub queue: Histogram,
    /// Requests that failed, in whole or in part.
    pub errors: u64,
}

const _: () = assert!(size_of::<Requests>() == 2 * size_of::<Histogram>() + 8);

impl Requests {
    /// No requests.
    pub const EMPTY: Self = Self {
        duration: Histogram::EMPTY,
        queue: Histogram::EMPTY,
        errors: 0,
    };

    /// Adds another CPU's requests.
    pub fn merge(&mut self, other: &Self) {
        self.duration.merge(&other.duration);
        self.queue.merge(&other.queue);
        self.errors = self.errors.wrapping_add(other.errors);
    }
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct InFlight {
    /// When it was submitted, 0 if nobody knows.
    pub submitted_ns: u64,
    /// When it was last given to the driver, 0 if not yet.
    pub issued_ns: u64,
    /// 1 once a part of it has failed.
    pub failed: u32,
    /// Bytes of the parts of it that are done.
    pub done_bytes: u32,
    /// Who submitted it. Only the agent is known where nothing is traced.
    pub origin: Origin,
}

const _: () = assert!(size_of::<InFlight>() == 8 + 8 + 4 + 4 + size_of::<Origin>());

impl InFlight {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        submitted_ns: 0,
        issued_ns: 0,
        failed: 0,
        done_bytes: 0,
        origin: Origin::NOBODY,
    };

    /// When it began, as far as that is known: when it was submitted, or else when it was last given
    /// to the driver. 0 if neither is.
    #[inline(always)]
    pub const fn began_ns(&self) -> u64 {
        if self.submitted_ns == 0 {
            self.issued_ns
        } else {
            self.submitted_ns
        }
    }
}
crate::plain_data!(RequestKey, Requests, InFlight);

/// Slots of the per-CPU array `LOST`.
pub mod lost {
    /// More requests on their way than `MAX_IN_FLIGHT`: one has no durations, and its bytes count
    /// under `other`.
    pub const IN_FLIGHT_FULL: u32 = 0;
    /// More pairs of disk and operation than `MAX_REQUESTS`: durations and errors of a request.
    pub const REQUESTS_FULL: u32 = 1;
    /// More triples of disk, operation and agent than `MAX_BYTES`: the bytes of a request.
    pub const BYTES_FULL: u32 = 2;
    /// The reasons' label values, by slot.
    pub const REASONS: [&str; 3] = ["in_flight_full", "requests_full", "bytes_full"];
}
