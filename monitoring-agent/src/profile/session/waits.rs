//! Stacks of threads that wait. A thread may leave its CPU in one window and be back in another: its
//! stack is remembered for as long, and told again in each window that counts something under it.
//!
//! Time that goes on is counted by a pass over all tasks at the end of each window.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs,
};

use anyhow::Context as _;
use aya::maps::{Array, Map};
use monitoring_common::profile::Waiting;

use super::{Counted, Key, NewStack, ring::Stacks};
use crate::{clock::monotonic_ns, loader::Loaded, ring::decode};

/// The program that passes over all tasks.
pub(super) const PASS: &str = "every_task";

/// A stack of our own.
#[derive(Clone, Debug)]
struct Kept {
    time_ns: u64,
    process_start_ns: u64,
    comm: [u8; 16],
    process_comm: [u8; 16],
    user: Box<[u64]>,
    kernel: Box<[u64]>,
    /// The last window in which it was heard of or waited with.
    window: u32,
}

/// A stack, whatever the thread waits for: by its key without the reason.
type Id = Key;

/// What is known of stacks off the CPU.
#[derive(Debug, Default)]
pub(super) struct Waits {
    known: HashMap<Id, Kept>,
    /// Keys that were told in a window that has not ended.
    told: HashSet<(u32, Key)>,
    /// To be told: the key, the window, and samples that came by themselves with their value.
    due: VecDeque<(Key, u32, u64, u64)>,
}

impl Waits {
    /// Gives each task of the node its memory.
    pub(super) fn start(loaded: &mut Loaded) -> anyhow::Result<Self> {
        loaded.iterate(PASS)?;
        let complete = Map::Array(loaded.take_map("COMPLETE")?);
        let mut complete: Array<_, u32> = complete.try_into().context("map COMPLETE")?;
        let set = complete.set(0, 1, 0);
        set.context("say that every task has its memory")?;
        Ok(Self::default())
    }

    /// Takes what is in the ring.
    pub(super) fn listen(&mut self, stacks: &mut Stacks) {
        stacks.hear(&mut |stack| self.take(&stack));
    }

    fn take(&mut self, stack: &NewStack<'_>) {
        // One without frames counts for a thread that was not running.
        if !(stack.user.is_empty() && stack.kernel.is_empty()) {
            let kept = Kept {
                time_ns: stack.time_ns,
                process_start_ns: stack.process_start_ns,
                comm: stack.comm,
                process_comm: stack.process_comm,
                user: stack.user.into(),
                kernel: stack.kernel.into(),
                window: stack.window,
            };
            self.known.insert(id(stack.key), kept);
        }
        if stack.samples > 0 || stack.value > 0 || self.told.insert((stack.window, stack.key)) {
            let due = (stack.key, stack.window, stack.samples, stack.value);
            self.due.push_back(due);
        }
    }

    /// Tells what is to be told.
    pub(super) fn tell(&mut self, each: &mut dyn FnMut(NewStack<'_>)) {
        while let Some((key, window, samples, value)) = self.due.pop_front() {
            // Its names are asked for once, however long it goes on waiting.
            let kept = self.known.entry(id(key));
            let kept = kept.or_insert_with(|| unknown(key, window));
            each(NewStack {
                key,
                time_ns: kept.time_ns,
                process_start_ns: kept.process_start_ns,
                comm: kept.comm,
                process_comm: kept.process_comm,
                user: &kept.user,
                kernel: &kept.kernel,
                window,
                samples,
                value,
            });
        }
    }

    /// Adds the time that goes on, which the pass has written, to what was counted in a window, and says
    /// which stacks are known.
    pub(super) fn end_window(&mut self, passed: &[u8], window: u32, counted: &mut Vec<Counted>) {
        // What was only told is no count.
        counted.retain(|counted| counted.samples > 0 || counted.value > 0);
        let places = counted.iter().enumerate();
        let places: HashMap<Key, usize> = places
            .map(|(place, counted)| (counted.key, place))
            .collect();
        for waiting in passed.chunks_exact(size_of::<Waiting>()) {
            let Some(waiting) = decode::<Waiting>(waiting) else {
                continue;
            };
            if let Some(kept) = self.known.get_mut(&id(waiting.key)) {
                kept.window = window.wrapping_add(1);
            }
            if let Some(place) = places.get(&waiting.key) {
                counted[*place].value += waiting.ns;
            } else {
                counted.push(Counted {
                    key: waiting.key,
                    samples: 0,
                    value: waiting.ns,
                    stack_sent: false,
                });
            }
        }
        for counted in counted.iter_mut() {
            // Of threads that have waited since before the session nothing is to be known.
            let has_none = counted.key.user == 0 && counted.key.kernel == 0;
            counted.stack_sent = has_none || self.known.contains_key(&id(counted.key));
            if counted.stack_sent && self.told.insert((window, counted.key)) {
                self.due.push_back((counted.key, window, 0, 0));
            }
        }
    }

    /// Forgets what nobody waits with any more, once all is told. A thread may have been back after
    /// the window's end and before the pass; so stacks are kept for one window more.
    pub(super) fn forget(&mut self, ended: u32) {
        if self.due.is_empty() {
            self.known
                .retain(|_, kept| kept.window.wrapping_sub(ended).cast_signed() >= 0);
            self.told
                .retain(|(window, _)| window.wrapping_sub(ended).cast_signed() > 0);
        }
    }
}

/// The stack of a key.
fn id(key: Key) -> Id {
    Key { reason: 0, ..key }
}

/// What is known of a thread that has waited since before the session: there are no frames, and its
/// names are asked of /proc.
fn unknown(key: Key, window: u32) -> Kept {
    Kept {
        time_ns: monotonic_ns(),
        process_start_ns: 0,
        comm: name(key.process, key.thread),
        process_comm: name(key.process, key.process),
        user: Box::default(),
        kernel: Box::default(),
        window,
    }
}

/// A thread's name; zeros if it is gone.
fn name(process: u32, thread: u32) -> [u8; 16] {
    let mut name = [0; 16];
    let read = fs::read(format!("/proc/{process}/task/{thread}/comm")).unwrap_or_default();
    let read = read.strip_suffix(b"\n").unwrap_or(&read);
    for (to, from) in name.iter_mut().zip(read) {
        *to = *from;
    }
    name
}
