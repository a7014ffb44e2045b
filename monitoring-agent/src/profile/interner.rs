//! Values that are kept once and known by a number. Knows nothing of what they are.

use std::{collections::HashMap, hash::Hash};

/// Distinct values, in the order in which they came.
#[derive(Debug)]
pub(super) struct Interner<T> {
    numbers: HashMap<T, u32>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            numbers: HashMap::new(),
        }
    }
}

impl<T: Eq + Hash> Interner<T> {
    /// The number of a value; the first value's is 0.
    pub(super) fn number(&mut self, value: T) -> u32 {
        let next = u32::try_from(self.numbers.len()).expect("memory ends before numbers do");
        *self.numbers.entry(value).or_insert(next)
    }

    /// The values by number.
    pub(super) fn into_values(self) -> Vec<T> {
        let mut numbered: Vec<_> = self.numbers.into_iter().collect();
        numbered.sort_unstable_by_key(|(_, number)| *number);
        numbered.into_iter().map(|(value, _)| value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_number() {
        let mut interner = Interner::default();
        let numbers = ["a", "b", "a", "c", "b"].map(|value| interner.number(value));
        assert_eq!(numbers, [0, 1, 0, 2, 1]);
        assert_eq!(interner.into_values(), ["a", "b", "c"]);
    }
}
