//! Stacks that come up the ring. Knows no counts.

use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::Context as _;
use aya::maps::{Map, MapData, RingBuf};
use monitoring_common::profile::StackHead;

use super::NewStack;
use crate::{loader::Loaded, ring::decode};

/// The ring of new stacks.
pub(super) struct Stacks {
    ring: RingBuf<MapData>,
    frames: Vec<u64>,
}

impl Stacks {
    /// Takes the ring out of the object.
    pub(super) fn new(loaded: &mut Loaded) -> anyhow::Result<Self> {
        let ring = Map::RingBuf(loaded.take_map("STACKS")?);
        Ok(Self {
            ring: ring.try_into().context("map STACKS")?,
            frames: Vec::new(),
        })
    }

    /// For waiting.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// Hands over all that is in the ring.
    pub(super) fn hear(&mut self, each: &mut dyn FnMut(NewStack<'_>)) {
        while let Some(record) = self.ring.next() {
            if let Some(stack) = stack(&record, &mut self.frames) {
                each(stack);
            }
        }
    }
}

/// The stack of a record; its frames are put into `frames`. `None` for what is no such record, which
/// no program writes.
fn stack<'a>(record: &[u8], frames: &'a mut Vec<u64>) -> Option<NewStack<'a>> {
    let (head, rest) = record.split_at_checked(size_of::<StackHead>())?;
    let head: StackHead = decode(head)?;
    frames.clear();
    let words = rest.chunks_exact(size_of::<u64>());
    frames.extend(words.filter_map(decode::<u64>));
    let (user, kernel) = frames.split_at_checked(head.user_frames.into())?;
    Some(NewStack {
        key: head.key,
        time_ns: head.time_ns,
        process_start_ns: head.process_start_ns,
        comm: head.comm,
        process_comm: head.process_comm,
        user,
        kernel: kernel.get(..head.kernel_frames.into())?,
        window: head.window,
        samples: head.samples,
        value: head.value,
    })
}

#[cfg(test)]
mod tests {
    use super::stack;
    use monitoring_common::profile::StackHead;

    fn record(user: u16, kernel: u16, frames: &[u64]) -> Vec<u8> {
        let mut record = vec![0; size_of::<StackHead>()];
        let counts = std::mem::offset_of!(StackHead, user_frames);
        record[counts..counts + 2].copy_from_slice(&user.to_ne_bytes());
        record[counts + 2..counts + 4].copy_from_slice(&kernel.to_ne_bytes());
        record.extend(frames.iter().flat_map(|frame| frame.to_ne_bytes()));
        record
    }

    #[test]
    fn frames_are_the_programs_and_then_the_kernels() {
        let mut frames = vec![7];
        let record = record(2, 1, &[10, 11, 12]);
        let stack = stack(&record, &mut frames).unwrap();
        assert_eq!((stack.user, stack.kernel), (&[10, 11][..], &[12][..]));
    }

    #[test]
    fn what_is_too_short_is_no_stack() {
        let mut frames = Vec::new();
        for record in [vec![], record(1, 0, &[]), record(1, 1, &[10])] {
            assert!(stack(&record, &mut frames).is_none(), "{record:?}");
        }
    }
}
