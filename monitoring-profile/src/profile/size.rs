//! How much memory a profile takes.

use std::mem::size_of;

use indexmap::IndexSet;

use super::Profile;

/// What a table takes for each row beside the row: the hash, and the row's number in the index,
/// which is between half and fully used.
const INDEX_BYTES: usize = size_of::<u64>() + 2 * size_of::<usize>();

impl Profile {
    /// The memory that the profile takes, in bytes, within some per cent: what it has asked for,
    /// without what the allocator adds.
    pub fn memory_bytes(&self) -> usize {
        let texts: usize = self.strings.iter().map(|text| text.len()).sum();
        let boxes = boxed(self.locations.iter().map(|location| &*location.lines))
            + boxed(self.stacks.iter().map(|stack| &**stack))
            + boxed(self.label_sets.iter().map(|labels| &**labels));
        let tables = table(&self.strings)
            + table(&self.mappings)
            + table(&self.functions)
            + table(&self.locations)
            + table(&self.stacks)
            + table(&self.label_sets)
            + table(&self.samples);
        let values = self.values.capacity() * size_of::<i64>();
        size_of::<Self>() + texts + boxes + tables + values
    }
}

fn table<T>(rows: &IndexSet<T>) -> usize {
    rows.capacity() * (size_of::<T>() + INDEX_BYTES)
}

fn boxed<'a, T: 'a>(all: impl Iterator<Item = &'a [T]>) -> usize {
    all.map(size_of_val).sum()
}
