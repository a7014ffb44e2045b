//! A profile's samples: how they are added up, and how they are read.

use super::{
    Profile,
    labels::{LabelRef, LabelRow, LabelSetId},
    tables::{LocationId, StackId},
};

/// A sample: a stack and labels that occur together once in a profile.
#[derive(Clone, Copy, Debug)]
pub struct SampleRef<'a> {
    profile: &'a Profile,
    /// The stack, leaf first.
    pub stack: &'a [LocationId],
    /// A value of each of the profile's types.
    pub values: &'a [i64],
    labels: &'a [LabelRow],
}

impl<'a> SampleRef<'a> {
    /// The labels, in no order that means anything.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = LabelRef<'a>> + use<'a> {
        let profile = self.profile;
        self.labels.iter().map(|row| profile.label_at(*row))
    }

    /// The first label of this key. Our own profiles have one at most.
    pub fn label(&self, key: &str) -> Option<LabelRef<'a>> {
        self.labels().find(|label| label.key == key)
    }
}

impl Profile {
    /// All samples. No two have the same stack and the same labels.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = SampleRef<'_>> {
        let types = self.types.len();
        let all = self.samples.iter().enumerate();
        all.map(move |(row, &(stack, labels))| SampleRef {
            profile: self,
            stack: &self.stacks[stack.row()],
            values: &self.values[row * types..(row + 1) * types],
            labels: &self.label_sets[labels.row()],
        })
    }

    /// Adds values to a sample whose labels are known, and sorted.
    pub(crate) fn sample_of_rows(
        &mut self,
        stack: &[LocationId],
        values: &[i64],
        labels: &[LabelRow],
    ) {
        let types = self.types.len();
        assert_eq!(values.len(), types, "a sample has a value of each type");
        let stack = self.stack(stack);
        let labels = match self.label_sets.get_index_of(labels) {
            Some(row) => row,
            None => self.label_sets.insert_full(labels.into()).0,
        };
        let (row, new) = self.samples.insert_full((stack, LabelSetId::of(labels)));
        if new {
            self.values.extend_from_slice(values);
            return;
        }
        let sums = &mut self.values[row * types..(row + 1) * types];
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum = sum.saturating_add(*value);
        }
    }

    fn stack(&mut self, stack: &[LocationId]) -> StackId {
        if let Some(row) = self.stacks.get_index_of(stack) {
            return StackId::of(row);
        }
        for location in stack {
            let known = location.row() < self.locations.len();
            assert!(known, "{location:?} is of another profile");
        }
        StackId::of(self.stacks.insert_full(stack.into()).0)
    }
}
