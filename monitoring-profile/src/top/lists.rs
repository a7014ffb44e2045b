//! One value of a profile, divided up by function or by label.

use std::{cmp::Reverse, collections::HashMap};

use crate::{
    Profile, ValueType,
    frames::{Names, Naming},
    profile::saturated,
};

/// One value of a profile, divided up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Top {
    /// What the numbers mean.
    pub value_type: ValueType,
    /// What the rows' names are: `function`, or a label's key.
    pub by: String,
    /// The sum over all samples.
    pub total: i64,
    /// What 100 % are: the sum over all samples without their signs, unless it is set to another
    /// profile's, with which this one is compared.
    pub whole: i64,
    /// How many rows there are, with those that were cut off.
    pub all_rows: usize,
    /// Largest first, by their own values to begin with.
    pub rows: Vec<Row>,
}

/// What one function or label takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The function's name, or the label's value.
    pub name: String,
    /// What was counted in the function itself.
    pub flat: i64,
    /// What was counted in the function and in those that it calls; once where it calls itself.
    /// For a label, the same as `flat`.
    pub cumulative: i64,
}

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// What functions take themselves.
    #[default]
    Flat,
    /// What functions take with those that they call.
    Cumulative,
}

impl Top {
    /// Sorts rows, largest first whatever their signs, and by name where they are equal.
    pub fn sort(&mut self, order: Order) {
        let rank = |row: &Row| match order {
            Order::Flat => row.flat.unsigned_abs(),
            Order::Cumulative => row.cumulative.unsigned_abs(),
        };
        self.rows.sort_by(|one, other| {
            (Reverse(rank(one)), &one.name).cmp(&(Reverse(rank(other)), &other.name))
        });
    }

    /// Cuts off all rows but the first.
    pub fn shorten(&mut self, rows: usize) {
        self.rows.truncate(rows);
    }
}

/// What each function takes, sorted by what they take themselves. Functions that take nothing are
/// left out.
///
/// Functions are told apart by their names; those without are summed up by the file that they are
/// in, as `[file]`, or as `[unknown]`.
///
/// # Panics
///
/// If there is no such value.
///
/// # Example
///
/// ```
/// use monitoring_profile::{Line, Profile, ValueType, top};
///
/// let mut profile = Profile::new(vec![ValueType::new("samples", "count")]);
/// let line = |function| Line { function, line: 0 };
/// let main = profile.function("main", "", "", 0);
/// let main = profile.location(None, 1, &[line(main)]);
/// let again = profile.function("again", "", "", 0);
/// let again = profile.location(None, 2, &[line(again)]);
/// profile.sample(&[again, again, main], &[3], &[]);
/// profile.sample(&[main], &[1], &[]);
///
/// let top = top::by_function(&profile, 0);
/// let rows: Vec<_> = top.rows.iter().map(|row| (&*row.name, row.flat, row.cumulative)).collect();
/// assert_eq!(rows, [("again", 3, 3), ("main", 1, 4)]);
/// ```
pub fn by_function(profile: &Profile, value: usize) -> Top {
    let mut names = Names::new(Naming::List);
    let frames = names.frames(profile);
    let mut sums = vec![(0_i128, 0_i128); names.len()];
    // For each name the last sample that it was seen in, so that recursion counts once.
    let mut seen = vec![usize::MAX; names.len()];
    for (number, sample) in profile.samples().enumerate() {
        let amount = i128::from(sample.values[value]);
        let stack = sample.stack.iter();
        for (depth, name) in stack.flat_map(|at| &frames[at.row()]).enumerate() {
            if depth == 0 {
                sums[*name].0 += amount;
            }
            if seen[*name] != number {
                seen[*name] = number;
                sums[*name].1 += amount;
            }
        }
    }
    let sums = names.all().map(str::to_owned).zip(sums);
    list(profile, value, "function", sums)
}

/// What samples of each value of a label take, by the first label of that key. Samples without it
/// are in no row.
///
/// # Panics
///
/// If there is no such value.
pub fn by_label(profile: &Profile, value: usize, key: &str) -> Top {
    let mut sums: HashMap<String, (i128, i128)> = HashMap::new();
    for sample in profile.samples() {
        if let Some(label) = sample.label(key) {
            let (flat, cumulative) = sums.entry(label.value.to_string()).or_default();
            *flat += i128::from(sample.values[value]);
            *cumulative = *flat;
        }
    }
    list(profile, value, key, sums)
}

fn list(
    profile: &Profile,
    value: usize,
    by: &str,
    sums: impl IntoIterator<Item = (String, (i128, i128))>,
) -> Top {
    let sums = sums.into_iter().filter(|(_, sums)| *sums != (0, 0));
    let rows = sums.map(|(name, (flat, cumulative))| Row {
        name,
        flat: saturated(flat),
        cumulative: saturated(cumulative),
    });
    let rows: Vec<Row> = rows.collect();
    let mut top = Top {
        value_type: profile.sample_types()[value].clone(),
        by: by.to_owned(),
        total: profile.total(value),
        whole: profile.whole(value),
        all_rows: rows.len(),
        rows,
    };
    top.sort(Order::Flat);
    top
}
