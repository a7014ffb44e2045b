//! Stacks of names, added up over samples: what folded files and flame graphs are made of.

use std::{collections::HashMap, fmt};

use crate::{
    Profile,
    frames::{Frames, Names, Naming, UNKNOWN},
    profile::saturated,
};

/// Sums of one value by stack, for each of several profiles.
pub(crate) struct Stacks<const PROFILES: usize> {
    names: Names,
    /// By the numbers of the frames' names, root first.
    sums: HashMap<Box<[usize]>, [i128; PROFILES]>,
}

/// A stack, displayed as one line: `root;next;leaf`.
pub(crate) struct Stack<'a> {
    names: &'a Names,
    frames: &'a [usize],
}

impl<const PROFILES: usize> Stacks<PROFILES> {
    /// Adds up a value of all samples, below frames for these labels.
    pub(crate) fn of(profiles: [&Profile; PROFILES], value: usize, roots: &[String]) -> Self {
        let mut stacks = Self {
            names: Names::new(Naming::Graph),
            sums: HashMap::new(),
        };
        for (column, profile) in profiles.into_iter().enumerate() {
            stacks.add(profile, column, value, roots);
        }
        stacks
    }

    fn add(&mut self, profile: &Profile, column: usize, value: usize, roots: &[String]) {
        let frames: Frames = self.names.frames(profile);
        let mut stack = Vec::new();
        for sample in profile.samples() {
            stack.clear();
            for key in roots {
                if let Some(label) = sample.label(key) {
                    stack.push(self.names.number(label.value.to_string()));
                }
            }
            for location in sample.stack.iter().rev() {
                stack.extend(frames[location.row()].iter().rev());
            }
            if stack.is_empty() {
                stack.push(self.names.number(UNKNOWN.to_owned()));
            }
            if !self.sums.contains_key(stack.as_slice()) {
                self.sums.insert(stack.as_slice().into(), [0; PROFILES]);
            }
            if let Some(sums) = self.sums.get_mut(stack.as_slice()) {
                sums[column] += i128::from(sample.values[value]);
            }
        }
    }

    /// The stacks whose sums are not all 0, sorted by their frames: those with a common beginning
    /// follow each other.
    pub(crate) fn sorted(&self) -> Vec<(Stack<'_>, [i64; PROFILES])> {
        let mut numbers: Vec<usize> = (0..self.names.len()).collect();
        numbers.sort_unstable_by_key(|number| self.names.name(*number));
        let mut rank = vec![0; numbers.len()];
        for (place, number) in numbers.into_iter().enumerate() {
            rank[number] = place;
        }
        let sums = self
            .sums
            .iter()
            .filter(|(_, sums)| sums.iter().any(|sum| *sum != 0));
        let mut sums: Vec<(&[usize], _)> = sums.map(|(frames, sums)| (&**frames, sums)).collect();
        sums.sort_unstable_by(|(one, _), (other, _)| {
            let one = one.iter().map(|frame| rank[*frame]);
            one.cmp(other.iter().map(|frame| rank[*frame]))
        });
        let stack = |frames| Stack {
            names: &self.names,
            frames,
        };
        sums.into_iter()
            .map(|(frames, sums)| (stack(frames), sums.map(saturated)))
            .collect()
    }
}

impl fmt::Display for Stack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, frame) in self.frames.iter().enumerate() {
            let separator = if depth == 0 { "" } else { ";" };
            write!(f, "{separator}{}", self.names.name(*frame))?;
        }
        Ok(())
    }
}
