//! The box of a span that is being recorded, and the spare ones of a thread.
//!
//! Knows nothing of how a record is filled.

use std::{
    alloc::{Layout, dealloc},
    cell::Cell,
    mem::MaybeUninit,
    ptr::{self, NonNull},
    sync::{Mutex, PoisonError},
};

use super::record::Record;

/// The most boxes that a thread keeps: about as many spans as it has open at a time, and not more
/// than 12 KiB.
const MOST: u32 = 64;

/// A span that is being recorded.
///
/// The lock is for those who have it by reference. Who owns the span needs none.
pub(super) struct Open(Mutex<Record>);

/// The boxes that a thread has to spare, as a list through their first words.
pub(super) struct Spares {
    first: Cell<*mut Spare>,
    /// How many more are kept.
    room: Cell<u32>,
}

union Spare {
    next: *mut Spare,
    _open: std::mem::ManuallyDrop<MaybeUninit<Open>>,
}

const _: () = assert!(align_of::<Spare>() == align_of::<Open>());
const _: () = assert!(size_of::<Spare>() == size_of::<Open>());

impl Open {
    #[inline]
    pub(super) fn new(record: Record) -> Self {
        Self(Mutex::new(record))
    }

    #[inline]
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(super) fn get_mut(&mut self) -> &mut Record {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spares {
    /// No boxes, and no room: a thread that gives none up when it ends keeps none.
    pub(super) const fn none() -> Self {
        Self {
            first: Cell::new(ptr::null_mut()),
            room: Cell::new(0),
        }
    }

    /// A box, for what [`Open::new`] gives to be written into.
    #[inline]
    pub(super) fn take(&self) -> NonNull<Open> {
        let Some(spare) = NonNull::new(self.first.get()) else {
            return allocate();
        };
        // SAFETY: The list has boxes that nobody uses, whose first word is the next one.
        self.first.set(unsafe { spare.as_ref().next });
        self.room.set(self.room.get() + 1);
        spare.cast()
    }

    /// Takes a box back.
    ///
    /// # Safety
    ///
    /// It is one of [`Self::take`] of any thread, whose record was moved out, and nobody uses it.
    #[inline]
    pub(super) unsafe fn put(&self, open: NonNull<Open>) {
        let spare: *mut Spare = open.as_ptr().cast();
        if self.room.get() == 0 {
            // SAFETY: As the caller says.
            return unsafe { free(spare) };
        }
        self.room.set(self.room.get() - 1);
        // SAFETY: As the caller says.
        unsafe { (*spare).next = self.first.get() };
        self.first.set(spare);
    }

    /// The thread will give the boxes up when it ends.
    pub(super) fn keep(&self) {
        if self.first.get().is_null() {
            self.room.set(MOST);
        }
    }

    /// The thread ends.
    pub(super) fn give_up(&self) {
        self.room.set(0);
        let mut spare = self.first.replace(ptr::null_mut());
        while !spare.is_null() {
            // SAFETY: The list has boxes that nobody uses, whose first word is the next one.
            spare = unsafe {
                let next = (*spare).next;
                free(spare);
                next
            };
        }
    }
}

#[cold]
#[inline(never)]
fn allocate() -> NonNull<Open> {
    let spare = Box::leak(Box::<Open>::new_uninit());
    NonNull::from(spare).cast()
}

/// # Safety
///
/// It is a box of [`allocate`], whose record was moved out, and nobody uses it.
#[cold]
unsafe fn free(spare: *mut Spare) {
    // The lock has nothing to free: it is a word.
    const _: () = assert!(!std::mem::needs_drop::<Mutex<()>>());
    // SAFETY: As the caller says. Boxes are allocated with their type's layout.
    unsafe { dealloc(spare.cast(), Layout::new::<Open>()) };
}
