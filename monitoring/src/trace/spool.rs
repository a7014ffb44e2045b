//! Where the finished spans of all threads wait until they are read, and how many there were.
//!
//! A thread writes into a ring of its own, and counts in cells of its own; what they come to
//! together is put together by whoever reads. Knows nothing of sinks.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread::Thread,
};

use super::{
    finished::FinishedSpan,
    record::Record,
    ring::{self, Consumer, Producer, Pushed, Room},
};
use crate::clock::Calibration;

/// How many threads may have a ring of a tracer at a time, if each of them has but its first one:
/// 32 MiB. Those that have ended count until their spans are read. A thread beyond them has its
/// spans dropped, and counted.
const THREADS: usize = 2048;

/// The most records that all larger rings of a tracer hold: another 32 MiB.
const ROOM: usize = 262_144;

/// So many threads may begin until it is looked which have ended: whether a tracer is read or not,
/// it keeps little of threads that are gone.
const UNLOOKED: usize = 64;

/// What becomes of a span when it ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// It waits in a ring.
    Kept,
    /// Its trace is not recorded.
    SampledOut,
    /// Its trace is recorded, but not in this process, as the tracer has no sink.
    Unrecorded,
    /// The ring was full, because the reader did not come soon enough.
    Full,
}

const OUTCOMES: usize = 4;

/// How many spans of one thread came to what.
///
/// Only that thread counts, so that it needs no locked instruction.
#[derive(Default)]
pub(super) struct Counts([AtomicU64; OUTCOMES]);

/// Everything that waits, of one tracer.
pub(super) struct Spool {
    /// Lanes of threads that have begun since it was last read.
    new: Mutex<Vec<Reading>>,
    reader: Mutex<Reader>,
    room: Room,
    /// The lane of threads that are ending, and have no other any more.
    late: Mutex<Lane>,
    /// Who is to be woken when a ring is half full.
    worker: OnceLock<Thread>,
}

/// A thread's part.
pub(super) struct Lane {
    producer: Producer,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    counts: Counts,
    /// The thread will not touch the lane again.
    has_ended: AtomicBool,
}

/// The other side of a lane.
struct Reading {
    consumer: Consumer,
    shared: Arc<Shared>,
    /// How many records were read, and how many had been kept when the spool was last marked.
    read: u64,
    marked: u64,
}

struct Reader {
    lanes: Vec<Reading>,
    /// Which lane comes first next time, so that a thread that never pauses does not keep others
    /// waiting.
    first: usize,
    calibration: Calibration,
    /// What threads that have ended have counted.
    ended: [u64; OUTCOMES],
}

/// How many spans came to what since the tracer was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals([u64; OUTCOMES]);

impl Totals {
    pub(super) fn get(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }
}

impl Counts {
    /// Only the thread whose counts they are may call this.
    #[inline]
    fn add(&self, outcome: Outcome) {
        let cell = &self.0[outcome as usize];
        cell.store(cell.load(Relaxed).wrapping_add(1), Relaxed);
    }

    fn get(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize].load(Relaxed)
    }

    fn add_to(&self, totals: &mut [u64; OUTCOMES]) {
        for (total, cell) in totals.iter_mut().zip(&self.0) {
            *total = total.wrapping_add(cell.load(Relaxed));
        }
    }
}

impl Spool {
    pub(super) fn new() -> Self {
        let (late, reading) = Lane::new();
        Self {
            new: Mutex::new(vec![reading]),
            reader: Mutex::new(Reader {
                lanes: Vec::new(),
                first: 0,
                calibration: Calibration::start(),
                ended: [0; OUTCOMES],
            }),
            room: Room::new(THREADS, ROOM),
            late: Mutex::new(late),
            worker: OnceLock::new(),
        }
    }

    /// A lane for a thread that has none yet.
    pub(super) fn open(&self) -> Lane {
        let (lane, reading) = Lane::new();
        let mut new = locked(&self.new);
        new.push(reading);
        let are_many = new.len() >= UNLOOKED;
        drop(new);
        if are_many {
            self.try_forget_ended();
        }
        lane
    }

    /// Forgets threads that have ended and of which nothing waits, but for what they have counted.
    pub(crate) fn forget_ended(&self) {
        self.forget_ended_of(&mut locked(&self.reader));
    }

    /// The same, unless somebody is reading, who does it then.
    #[cold]
    fn try_forget_ended(&self) {
        match self.reader.try_lock() {
            Ok(mut reader) => self.forget_ended_of(&mut reader),
            Err(TryLockError::Poisoned(error)) => self.forget_ended_of(&mut error.into_inner()),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    fn forget_ended_of(&self, reader: &mut Reader) {
        reader.lanes.append(&mut locked(&self.new));
        reader.forget_ended(&self.room);
    }

    /// The lane of threads that are ending.
    pub(super) fn late(&self) -> MutexGuard<'_, Lane> {
        locked(&self.late)
    }

    /// Sets who is to be woken when a ring is half full. Only the first call counts.
    pub(crate) fn set_worker(&self, worker: Thread) {
        let _ = self.worker.set(worker);
    }

    /// Wakes the worker.
    #[cold]
    pub(crate) fn wake(&self) {
        if let Some(worker) = self.worker.get() {
            worker.unpark();
        }
    }

    /// Moves finished spans to the end of `into`, up to `max` of them, and returns how many. If they
    /// are fewer than `max`, no more had ended before the call.
    pub(crate) fn drain(&self, into: &mut Vec<FinishedSpan>, max: usize) -> usize {
        let mut reader = locked(&self.reader);
        reader.lanes.append(&mut locked(&self.new));
        reader.calibration.refresh();
        let taken = reader.read(into, max, &self.room);
        reader.forget_ended(&self.room);
        taken
    }

    /// Remembers what has ended by now.
    pub(crate) fn mark(&self) {
        let mut reader = locked(&self.reader);
        reader.lanes.append(&mut locked(&self.new));
        for lane in &mut reader.lanes {
            lane.marked = lane.shared.counts.get(Outcome::Kept);
        }
    }

    /// Whether all that had ended when the spool was last marked was drained.
    pub(crate) fn is_past_mark(&self) -> bool {
        let reader = locked(&self.reader);
        reader.lanes.iter().all(|lane| lane.read >= lane.marked)
    }

    /// How many spans came to what.
    pub(super) fn totals(&self) -> Totals {
        let mut reader = locked(&self.reader);
        self.forget_ended_of(&mut reader);
        let mut totals = reader.ended;
        for lane in &reader.lanes {
            lane.shared.counts.add_to(&mut totals);
        }
        Totals(totals)
    }

    /// How many threads have a lane that was not given up, with that of ending threads.
    #[cfg(test)]
    pub(super) fn lanes(&self) -> usize {
        let reader = locked(&self.reader);
        reader.lanes.len() + locked(&self.new).len()
    }
}

impl Reader {
    fn read(&mut self, into: &mut Vec<FinishedSpan>, max: usize, room: &Room) -> usize {
        let mut taken = 0;
        let count = self.lanes.len();
        for step in 0..count {
            let at = (self.first + step) % count;
            let calibration = &self.calibration;
            let take = |record| into.push(FinishedSpan::new(record, calibration));
            let lane = &mut self.lanes[at];
            let of_lane = lane.consumer.read(max - taken, room, take);
            lane.read += of_lane as u64;
            taken += of_lane;
            if taken == max {
                // It has had its turn, even if there is more of it.
                self.first = at + 1;
                break;
            }
        }
        taken
    }

    fn forget_ended(&mut self, room: &Room) {
        let mut at = 0;
        while let Some(lane) = self.lanes.get_mut(at) {
            if lane.is_over(room) {
                let lane = self.lanes.swap_remove(at);
                lane.shared.counts.add_to(&mut self.ended);
                lane.consumer.close(room);
            } else {
                at += 1;
            }
        }
    }
}

impl Reading {
    /// Whether nothing more will come.
    fn is_over(&mut self, room: &Room) -> bool {
        // What the thread has written before it said so is seen only by looking thereafter.
        self.shared.has_ended.load(Acquire) && self.consumer.is_empty(room)
    }
}

impl Lane {
    fn new() -> (Self, Reading) {
        let (producer, consumer) = ring::ring();
        let shared = Arc::<Shared>::default();
        let reading = Reading {
            consumer,
            shared: Arc::clone(&shared),
            read: 0,
            marked: 0,
        };
        (Self { producer, shared }, reading)
    }

    #[inline]
    pub(super) fn count(&self, outcome: Outcome) {
        self.shared.counts.add(outcome);
    }

    /// Moves a record into the ring, or drops it if there is no room.
    ///
    /// # Safety
    ///
    /// `record` is a whole one, and must not be used again.
    #[inline]
    pub(super) unsafe fn push(&self, record: *mut Record, spool: &Spool) {
        // SAFETY: As the caller says.
        match unsafe { self.producer.push(record) } {
            Pushed::Kept => self.count(Outcome::Kept),
            Pushed::HalfFull => {
                self.count(Outcome::Kept);
                spool.wake();
            }
            // SAFETY: As the caller says; the ring has not taken it.
            Pushed::Full => unsafe { self.push_elsewhere(record, spool) },
        }
    }

    /// # Safety
    ///
    /// As of [`Self::push`].
    #[cold]
    unsafe fn push_elsewhere(&self, record: *mut Record, spool: &Spool) {
        if self.producer.grow(&spool.room) {
            // SAFETY: As the caller says.
            return unsafe { self.push(record, spool) };
        }
        self.count(Outcome::Full);
        // SAFETY: As the caller says.
        unsafe { record.drop_in_place() };
    }

    /// The thread will not touch the lane again.
    pub(super) fn end(self) {
        self.shared.has_ended.store(true, Release);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
