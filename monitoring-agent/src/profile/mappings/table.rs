//! What one program has mapped where, now and at earlier times that are still asked for. Knows
//! neither processes nor the kernel's records.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::FileRef;

/// Most mappings of one program. The largest known have a few thousand that may be executed.
const MAX_CURRENT: usize = 16 * 1024;

/// Most that were replaced and may still be asked for: a program that loads and unloads libraries all
/// the time has some at each moment.
const MAX_OLDER: usize = 1024;

/// What is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    File(FileRef),
    Vdso,
    /// No file.
    Anonymous,
    /// A file of which nothing more is known, for want of room.
    Unknown,
}

/// A mapping, or what is left of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) end: u64,
    /// The start's place in the file.
    pub(super) offset: u64,
    /// Since when (monotonic clock).
    pub(super) from_ns: u64,
    pub(super) content: Content,
}

impl Piece {
    fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// The part of it between two addresses, of which at least one lies within.
    fn part(&self, start: u64, end: u64) -> Self {
        let start = start.max(self.start);
        Self {
            start,
            end: end.min(self.end),
            offset: self.offset.wrapping_add(start - self.start),
            ..self.clone()
        }
    }
}

/// A piece that was replaced.
#[derive(Clone, Debug)]
struct Older {
    piece: Piece,
    until_ns: u64,
}

/// Counts the pieces of all tables together.
pub(super) type Count = Arc<AtomicUsize>;

/// The mappings of a program.
#[derive(Debug)]
pub(super) struct Table {
    /// In order of addresses; none overlaps another.
    current: Vec<Piece>,
    older: Vec<Older>,
    count: Count,
}

impl Clone for Table {
    fn clone(&self) -> Self {
        self.count.fetch_add(self.len(), Ordering::Relaxed);
        Self {
            current: self.current.clone(),
            older: self.older.clone(),
            count: Arc::clone(&self.count),
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.count.fetch_sub(self.len(), Ordering::Relaxed);
    }
}

impl Table {
    /// Nothing is mapped yet.
    pub(super) fn new(count: &Count) -> Self {
        Self {
            current: Vec::new(),
            older: Vec::new(),
            count: Arc::clone(count),
        }
    }

    fn len(&self) -> usize {
        self.current.len() + self.older.len()
    }

    /// Maps a piece over what is there. How many pieces were lost for want of room: none, most often.
    pub(super) fn insert(&mut self, piece: Piece) -> u64 {
        let before = self.len();
        let first = self.current.partition_point(|old| old.end <= piece.start);
        let covered = self.current[first..].partition_point(|old| old.start < piece.end);
        let covered = &self.current[first..first + covered];
        if let [old] = covered
            && (old.start, old.end, old.offset) == (piece.start, piece.end, piece.offset)
            && old.content == piece.content
        {
            return 0;
        }
        let mut lost = 0;
        let mut left = Vec::with_capacity(3);
        if let Some(old) = covered.first()
            && old.start < piece.start
        {
            left.push(old.part(old.start, piece.start));
        }
        let (start, end, from_ns) = (piece.start, piece.end, piece.from_ns);
        left.push(piece);
        if let Some(old) = covered.last()
            && old.end > end
        {
            left.push(old.part(end, old.end));
        }
        for old in covered {
            let piece = old.part(start, end);
            self.older.push(Older {
                piece,
                until_ns: from_ns,
            });
        }
        let length = covered.len();
        self.current.splice(first..first + length, left);
        if self.older.len() > MAX_OLDER {
            let over = self.older.len() - MAX_OLDER;
            self.older.drain(..over);
            lost += over as u64;
        }
        if self.current.len() > MAX_CURRENT {
            self.current.truncate(MAX_CURRENT);
            lost += 1;
        }
        self.recount(before);
        lost
    }

    fn recount(&self, before: usize) {
        let (now, count) = (self.len(), &self.count);
        if now > before {
            count.fetch_add(now - before, Ordering::Relaxed);
        } else {
            count.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// What was at an address at a time.
    pub(super) fn find(&self, address: u64, time_ns: u64) -> Option<&Piece> {
        let at = self.current.partition_point(|piece| piece.end <= address);
        let current = self.current.get(at);
        let current = current.filter(|piece| piece.contains(address) && piece.from_ns <= time_ns);
        current.or_else(|| {
            let was = |old: &&Older| {
                old.piece.contains(address) && (old.piece.from_ns..old.until_ns).contains(&time_ns)
            };
            self.older.iter().rev().find(was).map(|old| &old.piece)
        })
    }

    /// Whether there is anything that only earlier times know of.
    pub(super) fn has_before(&self, time_ns: u64) -> bool {
        self.older.iter().any(|old| old.until_ns <= time_ns)
    }

    /// Forgets what only earlier times know of.
    pub(super) fn forget_before(&mut self, time_ns: u64) {
        let before = self.len();
        self.older.retain(|old| old.until_ns > time_ns);
        self.older.shrink_to_fit();
        self.recount(before);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(start: u64, end: u64, offset: u64, from_ns: u64) -> Piece {
        Piece {
            start,
            end,
            offset,
            from_ns,
            content: Content::Anonymous,
        }
    }

    #[test]
    fn a_mapping_over_others_leaves_their_ends() {
        let count = Count::default();
        let mut table = Table::new(&count);
        table.insert(piece(10, 20, 0, 1));
        table.insert(piece(20, 30, 100, 1));
        table.insert(piece(15, 25, 1000, 5));
        let check = |table: &Table, address, time, want: Option<u64>| {
            let found = table.find(address, time);
            let found = found.map(|piece| piece.offset + address - piece.start);
            assert_eq!(found, want, "{address} at {time}");
        };
        check(&table, 14, 9, Some(4));
        check(&table, 15, 9, Some(1000));
        check(&table, 24, 9, Some(1009));
        check(&table, 25, 9, Some(105));
        check(&table, 30, 9, None);
        check(&table, 9, 9, None);
        check(&table, 15, 4, Some(5));
        check(&table, 24, 4, Some(104));
        check(&table, 29, 4, Some(109));
        check(&table, 15, 0, None);
        assert_eq!(count.load(Ordering::Relaxed), 5);
        table.insert(piece(15, 25, 1000, 7));
        assert_eq!(count.load(Ordering::Relaxed), 5, "nothing is new");
        assert!(table.has_before(5) && !table.has_before(4));
        table.forget_before(5);
        check(&table, 15, 4, None);
        check(&table, 15, 5, Some(1000));
        let copy = table.clone();
        assert_eq!(count.load(Ordering::Relaxed), 6);
        drop((table, copy));
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_too_much_is_lost_and_counted() {
        let count = Count::default();
        let mut table = Table::new(&count);
        let mut lost = 0;
        for time in 0..=MAX_OLDER as u64 + 2 {
            lost += table.insert(piece(10, 20, time, time));
        }
        assert_eq!(lost, 2);
        for place in 0..MAX_CURRENT as u64 {
            lost += table.insert(piece(100 + place, 101 + place, 0, 1));
        }
        assert_eq!(lost, 3);
        assert_eq!(count.load(Ordering::Relaxed), MAX_CURRENT + MAX_OLDER);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list_of_everything(
            told in prop::collection::vec((0_u64..40, 1_u64..20), 0..40),
            address in 0_u64..64,
            time in 0_u64..42,
        ) {
            let count = Count::default();
            let mut table = Table::new(&count);
            for (at, (start, length)) in told.iter().enumerate() {
                let at = at as u64 + 1;
                table.insert(piece(*start, start + length, at * 1000, at));
            }
            let newest = told.iter().enumerate().rev().find(|(at, (start, length))| {
                (*at as u64) < time && (*start..start + length).contains(&address)
            });
            let want = newest.map(|(at, (start, _))| (at as u64 + 1) * 1000 + address - start);
            let found = table.find(address, time);
            let found = found.map(|piece| piece.offset + address - piece.start);
            prop_assert_eq!(found, want);
            prop_assert_eq!(count.load(Ordering::Relaxed), table.len());
        }
    }
}
