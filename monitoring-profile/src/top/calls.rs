//! Who calls a function, and whom it calls.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use super::lists::{Row, by_function};
use crate::{
    Profile, ValueType,
    frames::{Names, Naming},
    profile::saturated,
};

/// The calls of one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// What the numbers mean.
    pub value_type: ValueType,
    /// The sum over all samples without their signs: what 100 % of the function's are.
    pub whole: i64,
    /// The function.
    pub function: Row,
    /// Functions that call it, the largest first.
    pub callers: Vec<Call>,
    /// Functions that it calls, the largest first.
    pub callees: Vec<Call>,
}

/// All calls of one function by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The other function's name.
    pub name: String,
    /// What was counted during such calls; once where several are under way.
    pub value: i64,
}

/// The calls of the function of this name, if some sample has it. Calls of itself are left out.
///
/// # Panics
///
/// If there is no such value.
pub fn calls(profile: &Profile, value: usize, function: &str) -> Option<Calls> {
    let top = by_function(profile, value);
    let row = top.rows.into_iter().find(|row| row.name == function)?;
    let mut names = Names::new(Naming::List);
    let frames = names.frames(profile);
    let wanted = names.find(function)?;
    let (mut above, mut below) = (HashMap::new(), HashMap::new());
    let mut seen = HashSet::new();
    for sample in profile.samples() {
        let amount = i128::from(sample.values[value]);
        seen.clear();
        let mut inner = None;
        for outer in sample.stack.iter().flat_map(|at| &frames[at.row()]) {
            let Some(called) = inner.replace(*outer) else {
                continue;
            };
            if called == *outer || !seen.insert((*outer, called)) {
                continue;
            }
            if called == wanted {
                *above.entry(*outer).or_default() += amount;
            } else if *outer == wanted {
                *below.entry(called).or_default() += amount;
            }
        }
    }
    Some(Calls {
        value_type: top.value_type,
        whole: top.whole,
        function: row,
        callers: sorted(&names, above),
        callees: sorted(&names, below),
    })
}

fn sorted(names: &Names, sums: HashMap<usize, i128>) -> Vec<Call> {
    let sums = sums.into_iter().filter(|(_, sum)| *sum != 0);
    let mut calls: Vec<Call> = sums
        .map(|(name, sum)| Call {
            name: names.name(name).to_owned(),
            value: saturated(sum),
        })
        .collect();
    calls.sort_by(|one, other| {
        let rank = |call: &Call| Reverse(call.value.unsigned_abs());
        (rank(one), &one.name).cmp(&(rank(other), &other.name))
    });
    calls
}
