//! Series by label values: found without a lock, added under one, and never taken away.
//!
//! A table that is half full is copied into one four times its size; the old one stays, for those
//! who are reading it, and all old ones together are a third of the newest. Because nothing is ever
//! taken away, a reader may keep what it finds for as long as the table lives.
//!
//! Knows no labels' names, and nothing of what the series are.

use std::{
    array,
    hash::{BuildHasher as _, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use foldhash::fast::RandomState;

/// Places in the first table.
const FIRST_PLACES: usize = 4;

/// Tables, each four times as large as the one before. With the last one there is room for 2 million
/// series of one metric.
const TABLES: usize = 11;

/// Series by label values.
pub(super) struct Table<T> {
    /// The tables, of which each holds what the ones before it hold, and more.
    tables: [OnceLock<Places<T>>; TABLES],
    /// The number of the newest.
    newest: AtomicUsize,
    /// How many series there are; whoever adds one holds the lock.
    len: Mutex<usize>,
    hasher: RandomState,
}

/// Open addressing: an entry is at its hash's place, or at the first free one after it.
type Places<T> = Box<[OnceLock<Arc<Entry<T>>>]>;

struct Entry<T> {
    hash: u64,
    values: Box<[Box<str>]>,
    series: T,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        let table = Self {
            tables: array::from_fn(|_| OnceLock::new()),
            newest: AtomicUsize::new(0),
            len: Mutex::new(0),
            hasher: RandomState::default(),
        };
        table.tables[0].get_or_init(|| places(FIRST_PLACES));
        table
    }
}

impl<T> Table<T> {
    /// The series with the values that the function has for each of so many labels.
    #[inline]
    pub(super) fn get<'a>(&self, labels: usize, value: &impl Fn(usize) -> &'a str) -> Option<&T> {
        self.find(self.hash(labels, value), value)
    }

    /// The series with these values, made if it is not there. Nothing if there are as many series as
    /// there may be.
    pub(super) fn insert<'a>(
        &self,
        labels: usize,
        value: &impl Fn(usize) -> &'a str,
        limit: usize,
        make: impl FnOnce() -> T,
    ) -> Option<&T> {
        let hash = self.hash(labels, value);
        // A panic while the lock is held leaves at most an empty table behind, or an entry that the
        // number does not count.
        let mut len = self.len.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = self.find(hash, value) {
            return Some(series);
        }
        if *len >= limit {
            return None;
        }
        if (*len + 1) * 2 > self.newest().len() {
            self.grow();
        }
        *len += 1;
        let entry = Arc::new(Entry {
            hash,
            values: (0..labels).map(|at| value(at).into()).collect(),
            series: make(),
        });
        let places = self.newest();
        let place = free_place(places, hash);
        Some(&places[place].get_or_init(|| entry).series)
    }

    /// Label values and series, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&[Box<str>], &T)> {
        let entries = self.newest().iter().filter_map(OnceLock::get);
        entries.map(|entry| (&*entry.values, &entry.series))
    }

    fn hash<'a>(&self, labels: usize, value: &impl Fn(usize) -> &'a str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for at in 0..labels {
            value(at).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn find<'a>(&self, hash: u64, value: &impl Fn(usize) -> &'a str) -> Option<&T> {
        let places = self.newest();
        let mut place = first_place(places, hash);
        loop {
            let entry = places[place].get()?;
            let mut values = entry.values.iter().enumerate();
            if entry.hash == hash && values.all(|(at, known)| **known == *value(at)) {
                return Some(&entry.series);
            }
            place = (place + 1) & (places.len() - 1);
        }
    }

    fn newest(&self) -> &Places<T> {
        let newest = self.newest.load(Ordering::Acquire);
        let table = self.tables[newest].get();
        table.expect("its number became known after it was there")
    }

    fn grow(&self) {
        let old = self.newest();
        let new = places(old.len() * 4);
        for entry in old.iter().filter_map(OnceLock::get) {
            new[free_place(&new, entry.hash)].get_or_init(|| Arc::clone(entry));
        }
        let next = self.newest.load(Ordering::Relaxed) + 1;
        assert!(next < TABLES, "a metric has more than 2 million series");
        self.tables[next].get_or_init(|| new);
        self.newest.store(next, Ordering::Release);
    }
}

fn places<T>(len: usize) -> Places<T> {
    (0..len).map(|_| OnceLock::new()).collect()
}

/// The lengths are powers of two, so that this is a mask.
fn first_place<T>(places: &Places<T>, hash: u64) -> usize {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "only the low bits are needed"
    )]
    let hash = hash as usize;
    hash & (places.len() - 1)
}

/// At most half of the places are taken, so that there is one.
fn free_place<T>(places: &Places<T>, hash: u64) -> usize {
    let mut place = first_place(places, hash);
    while places[place].get().is_some() {
        place = (place + 1) & (places.len() - 1);
    }
    place
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn metrics_are_found_by_the_values_they_were_made_with(
            wanted in prop::collection::vec(("[ab]{0,4}", "[ab]{0,2}"), 1..300),
        ) {
            let table = Table::default();
            let mut known = HashMap::new();
            for (number, (one, other)) in wanted.iter().enumerate() {
                let values = [&**one, &**other];
                let value = |at: usize| values[at];
                prop_assert_eq!(table.get(2, &value), known.get(&values));
                let series = table.insert(2, &value, usize::MAX, || number);
                let want = *known.entry(values).or_insert(number);
                prop_assert_eq!(series, Some(&want));
            }
            prop_assert_eq!(table.entries().count(), known.len());
            for (values, series) in table.entries() {
                prop_assert_eq!(known.get(&[&*values[0], &*values[1]]), Some(series));
            }
        }
    }

    #[test]
    fn metrics_that_share_a_place_are_told_apart() {
        // Entries of the same hash follow each other, also around the end of the table.
        let places = places::<u8>(4);
        let hash = 0xff3;
        let mut taken = Vec::new();
        for series in 0..3 {
            let place = free_place(&places, hash);
            let entry = Entry {
                hash,
                values: Box::default(),
                series,
            };
            assert!(places[place].set(Arc::new(entry)).is_ok());
            taken.push(place);
        }
        assert_eq!(taken, [3, 0, 1]);
    }

    #[test]
    fn metrics_that_are_found_stay_where_they_are() {
        let table = Table::default();
        let first = table.insert(1, &|_| "first", 5000, || 0).unwrap();
        for number in 1..5000_u32 {
            let name = number.to_string();
            table
                .insert(1, &|_| name.as_str(), 5000, || number)
                .unwrap();
        }
        assert!(table.insert(1, &|_| "one more", 5000, || 0).is_none());
        assert!(std::ptr::eq(first, table.get(1, &|_| "first").unwrap()));
        assert_eq!(table.entries().count(), 5000);
    }
}
