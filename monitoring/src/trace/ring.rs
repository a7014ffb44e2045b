//! A ring of records between the one thread that fills it and the one that reads it, which becomes
//! a larger one when it was full.
//!
//! Knows nothing of spans' meaning, and nothing of how many rings there are.

use std::{
    cell::{Cell, UnsafeCell},
    mem::MaybeUninit,
    ptr,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use super::record::Record;

/// How many records a thread's first ring holds: 16 KiB.
const FIRST: usize = 128;

/// How many times the records of a ring fit into the next one.
const GROWTH: usize = 4;

/// The most records in a ring: 512 KiB. A thread that does nothing but start and end spans fills it
/// in a tenth of a millisecond.
const LARGEST: usize = 4096;

/// How many records the reader takes before it gives their room back.
const RETURNED_AT_ONCE: usize = 64;

/// What both sides share.
struct Ring {
    slots: Box<[Slot]>,
    /// How many records were written. Only the producer writes it.
    written: Padded<AtomicUsize>,
    /// How many of them were read. Only the consumer writes it.
    read: Padded<AtomicUsize>,
    /// Where the producer went on when this one was full.
    next: OnceLock<Arc<Ring>>,
}

type Slot = UnsafeCell<MaybeUninit<Record>>;

/// A cache line of its own, so that one side's writes do not slow down the other's; two, because
/// processors fetch them in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Padded<T>(T);

// SAFETY: A slot is touched by one side at a time: by the consumer from when `written` has passed it
// until `read` has, else by the producer. Records may be sent.
unsafe impl Sync for Ring {}

// SAFETY: As above.
unsafe impl Send for Ring {}

/// The side that fills.
///
/// Its thread may come back into it from an allocator that makes spans, so that it takes no more
/// than a shared reference to itself.
pub(super) struct Producer {
    ring: UnsafeCell<Arc<Ring>>,
    written: Cell<usize>,
    /// How far the consumer was when it was last looked.
    read: Cell<usize>,
}

/// The side that reads.
pub(super) struct Consumer {
    ring: Arc<Ring>,
    read: usize,
}

/// What became of a record that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It is in the ring.
    Kept,
    /// It is in the ring, and this is half full: it is time to read.
    HalfFull,
    /// It is still the caller's.
    Full,
}

/// Both sides of a new ring, which has no room until [`Producer::grow`] gives it some.
pub(super) fn ring() -> (Producer, Consumer) {
    let ring = Arc::new(Ring::new(0));
    let producer = Producer {
        ring: UnsafeCell::new(Arc::clone(&ring)),
        written: Cell::new(0),
        read: Cell::new(0),
    };
    (producer, Consumer { ring, read: 0 })
}

impl Ring {
    fn new(capacity: usize) -> Self {
        let empty = || UnsafeCell::new(MaybeUninit::uninit());
        Self {
            slots: (0..capacity).map(|_| empty()).collect(),
            written: Padded::default(),
            read: Padded::default(),
            next: OnceLock::new(),
        }
    }

    /// The slot of the record of this number. There is one: capacities are powers of two, or 0.
    #[inline]
    fn slot(&self, number: usize) -> *mut Record {
        let slot = &self.slots[number & (self.slots.len() - 1)];
        slot.get().cast()
    }
}

impl Producer {
    /// Moves a record into the ring, if there is room.
    ///
    /// # Safety
    ///
    /// `record` is a whole one. Unless the answer is [`Pushed::Full`], it must not be used again.
    #[inline]
    pub(super) unsafe fn push(&self, record: *const Record) -> Pushed {
        // SAFETY: Only `grow` writes the cell, which nothing here calls.
        let ring = unsafe { &**self.ring.get() };
        let (written, capacity) = (self.written.get(), ring.slots.len());
        if written.wrapping_sub(self.read.get()) >= capacity
            && written.wrapping_sub(self.look(ring)) >= capacity
        {
            return Pushed::Full;
        }
        // SAFETY: The consumer is done with this slot, and the caller with the record.
        unsafe { ptr::copy_nonoverlapping(record, ring.slot(written), 1) };
        let written = written.wrapping_add(1);
        self.written.set(written);
        ring.written.0.store(written, Release);
        // Only one record in many asks how far the consumer is, as the answer is in a cache line of
        // the consumer's.
        let half = capacity / 2;
        if written & (half - 1) == 0 && written.wrapping_sub(self.look(ring)) >= half {
            return Pushed::HalfFull;
        }
        Pushed::Kept
    }

    /// Looks how far the consumer is.
    #[cold]
    fn look(&self, ring: &Ring) -> usize {
        let read = ring.read.0.load(Acquire);
        self.read.set(read);
        read
    }

    /// Goes on in a larger ring, if this is not the largest and `room` allows it. The consumer reads
    /// what is in this one first.
    #[cold]
    pub(super) fn grow(&self, room: &Room) -> bool {
        // SAFETY: The reference is used before the cell is written.
        let capacity = unsafe { &*self.ring.get() }.slots.len();
        let larger = (capacity * GROWTH).clamp(FIRST, LARGEST);
        if capacity == LARGEST || !room.take(larger) {
            return false;
        }
        let larger = Arc::new(Ring::new(larger));
        // SAFETY: No reference to what is in the cell is kept, neither here nor by `push`.
        let smaller = unsafe { self.ring.get().replace(Arc::clone(&larger)) };
        self.written.set(0);
        self.read.set(0);
        let is_first = smaller.next.set(larger).is_ok();
        debug_assert!(is_first, "a producer leaves a ring once");
        true
    }
}

impl Consumer {
    /// Hands records to `take` until there are none or it has got `most`. Returns how many.
    pub(super) fn read(&mut self, most: usize, room: &Room, mut take: impl FnMut(Record)) -> usize {
        let mut taken = 0;
        while taken < most {
            // The producer is done with this ring when it names the next one: what it has written
            // is seen only by looking thereafter.
            let next = self.ring.next.get().cloned();
            let read = self.read_some((most - taken).min(RETURNED_AT_ONCE), &mut take);
            taken += read;
            if read > 0 {
                continue;
            }
            let Some(next) = next else { break };
            self.go_on(next, room);
        }
        taken
    }

    /// Whether all that was written before the call was read.
    pub(super) fn is_empty(&mut self, room: &Room) -> bool {
        loop {
            // In the order of `read`.
            let next = self.ring.next.get().cloned();
            if self.ring.written.0.load(Acquire) != self.read {
                return false;
            }
            let Some(next) = next else { return true };
            self.go_on(next, room);
        }
    }

    /// Leaves a ring that was read for the one that the producer went on in.
    fn go_on(&mut self, next: Arc<Ring>, room: &Room) {
        room.give_back(self.ring.slots.len());
        (self.ring, self.read) = (next, 0);
    }

    fn read_some(&mut self, most: usize, take: &mut impl FnMut(Record)) -> usize {
        let written = self.ring.written.0.load(Acquire);
        let count = written.wrapping_sub(self.read).min(most);
        if count == 0 {
            return 0;
        }
        let Self { ring, read } = self;
        let returned = Returned { ring, read };
        for _ in 0..count {
            // SAFETY: The producer has written the slot, and does not touch it until `read` says
            // that it was read, which happens once for each record.
            let record = unsafe { returned.ring.slot(*returned.read).read() };
            *returned.read = returned.read.wrapping_add(1);
            take(record);
        }
        count
    }

    /// Gives back the room of a ring that will not be written again and was read.
    pub(super) fn close(self, room: &Room) {
        room.give_back(self.ring.slots.len());
    }
}

/// Tells the producer how far the consumer has come, also when that panics: the ring must not free
/// a record that was moved out.
struct Returned<'a> {
    ring: &'a Ring,
    read: &'a mut usize,
}

impl Drop for Returned<'_> {
    fn drop(&mut self) {
        self.ring.read.0.store(*self.read, Release);
    }
}

/// Records that nobody has read are dropped with the last side.
impl Drop for Ring {
    fn drop(&mut self) {
        let written = *self.written.0.get_mut();
        let mut read = *self.read.0.get_mut();
        while read != written {
            // SAFETY: Both sides are gone, and these records were written and not read.
            unsafe { ptr::drop_in_place(self.slot(read)) };
            read = read.wrapping_add(1);
        }
    }
}

/// How many records the rings of a tracer may still grow by. First rings have a room of their own,
/// so that threads that fill large ones leave the others theirs.
pub(super) struct Room {
    first: AtomicUsize,
    larger: AtomicUsize,
}

impl Room {
    /// Room for the first rings of so many threads, and for so many records in larger ones.
    pub(super) const fn new(threads: usize, records: usize) -> Self {
        Self {
            first: AtomicUsize::new(threads * FIRST),
            larger: AtomicUsize::new(records),
        }
    }

    /// Where the room of a ring of so many records is counted.
    fn of(&self, records: usize) -> &AtomicUsize {
        if records <= FIRST {
            &self.first
        } else {
            &self.larger
        }
    }

    fn take(&self, records: usize) -> bool {
        let take = |left: usize| left.checked_sub(records);
        self.of(records)
            .fetch_update(Relaxed, Relaxed, take)
            .is_ok()
    }

    fn give_back(&self, records: usize) {
        self.of(records).fetch_add(records, Relaxed);
    }
}

#[cfg(test)]
mod tests;
