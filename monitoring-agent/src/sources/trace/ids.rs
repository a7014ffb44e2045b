//! Ids of traces and spans: the same whenever they are asked for, so that a span's parent can be
//! named before, or without, the parent being known. Other on every machine, and after every boot.
//!
//! Knows nothing of TCP connections, whose ids are the same on two machines.

use std::{fs, hash::Hasher as _};

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::process_key::ProcessKey;

/// What is told apart by an id beside the kinds of events, whose numbers are below.
const ROOT_TRACE: u64 = 256;
const ROOT_SPAN: u64 = 257;
const WINDOW_TRACE: u64 = 258;
const INSTANCE: u64 = 259;

/// Makes ids.
#[derive(Clone, Debug)]
pub(super) struct Ids(SipHasher13);

impl Ids {
    /// Ids of this machine since it was booted.
    pub(super) fn of_machine() -> Self {
        let read = |path: &str| fs::read(path).unwrap_or_default();
        // A machine that is a copy of another one, memory included, has the other's boot.
        let of_machine = [
            read("/proc/sys/kernel/random/boot_id"),
            read("/etc/machine-id"),
            read("/proc/sys/kernel/hostname"),
        ];
        Self::keyed(&of_machine)
    }

    fn keyed(parts: &[Vec<u8>]) -> Self {
        let mut hasher = SipHasher13::new();
        for part in parts {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        let key = hasher.finish128();
        Self(SipHasher13::new_with_keys(key.h1, key.h2))
    }

    /// The span of an event: of a kind, that began at a time on a thread. `more` tells those apart
    /// of which a thread begins several at once.
    pub(super) fn span(&self, kind: usize, tid: u32, start_ns: u64, more: u64) -> u64 {
        self.short([kind as u64, tid.into(), start_ns, more])
    }

    /// The trace of a process's spans in a minute.
    pub(super) fn root_trace(&self, process: ProcessKey, minute: u64) -> u128 {
        self.long([ROOT_TRACE, process.pid.into(), process.start_ns, minute])
    }

    /// The root of that trace.
    pub(super) fn root_span(&self, process: ProcessKey, minute: u64) -> u64 {
        self.short([ROOT_SPAN, process.pid.into(), process.start_ns, minute])
    }

    /// The trace of what a thread waited for a GPU to do, from one time to another.
    pub(super) fn window_trace(&self, tid: u32, start_ns: u64, end_ns: u64) -> u128 {
        self.long([WINDOW_TRACE, tid.into(), start_ns, end_ns])
    }

    /// One process of all times and machines.
    pub(super) fn instance(&self, process: ProcessKey) -> u128 {
        self.long([INSTANCE, process.pid.into(), process.start_ns, 0])
    }

    fn long(&self, of: [u64; 4]) -> u128 {
        let mut hasher = self.0;
        for word in of {
            hasher.write_u64(word);
        }
        let hash = hasher.finish128();
        // Zero is no id.
        (u128::from(hash.h1) << 64 | u128::from(hash.h2)).max(1)
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "half of the bits are enough"
    )]
    fn short(&self, of: [u64; 4]) -> u64 {
        (self.long(of) as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const PROCESS: ProcessKey = ProcessKey {
        pid: 7,
        start_ns: 5_000,
    };

    #[test]
    fn ids_are_the_same_again_and_different_for_everything_else() {
        let ids = Ids::keyed(&[b"boot".to_vec()]);
        let mut seen = HashSet::new();
        for of in [
            (0, 7, 1, 0),
            (1, 7, 1, 0),
            (0, 8, 1, 0),
            (0, 7, 2, 0),
            (0, 7, 1, 1),
        ] {
            let (kind, tid, start_ns, more) = of;
            assert!(seen.insert(ids.span(kind, tid, start_ns, more).into()));
        }
        let others = [
            ProcessKey { pid: 8, ..PROCESS },
            ProcessKey {
                start_ns: 6_000,
                ..PROCESS
            },
        ];
        for process in [PROCESS, others[0], others[1]] {
            for minute in 0..3 {
                assert!(seen.insert(ids.root_trace(process, minute)));
                assert!(seen.insert(ids.root_span(process, minute).into()));
            }
            assert!(seen.insert(ids.instance(process)));
        }
        assert!(seen.insert(ids.window_trace(7, 5_000, 6_000)));

        let again = Ids::keyed(&[b"boot".to_vec()]);
        assert_eq!(ids.span(0, 7, 1, 0), again.span(0, 7, 1, 0));
        assert_eq!(ids.root_trace(PROCESS, 1), again.root_trace(PROCESS, 1));
        for other in [&[b"toob".to_vec()][..], &[b"bo".to_vec(), b"ot".to_vec()]] {
            assert_ne!(ids.span(0, 7, 1, 0), Ids::keyed(other).span(0, 7, 1, 0));
        }
    }

    #[test]
    fn this_machine_has_its_own() {
        let [ids, again] = [Ids::of_machine(), Ids::of_machine()];
        assert_eq!(ids.span(0, 7, 1, 0), again.span(0, 7, 1, 0));
        assert_ne!(ids.span(0, 7, 1, 0), Ids::keyed(&[]).span(0, 7, 1, 0));
    }
}
