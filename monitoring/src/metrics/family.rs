//! All series of one name: one for each set of label values.

mod table;

use std::{fmt, sync::Arc};

use super::{
    MetricError,
    definition::Definition,
    instrument::{Instrument, Sample},
    refused,
};
use crate::cells::Totals;
use table::Table;

/// The value of every label of the series that stands for all beyond the limit.
const OTHER: &str = "other";

/// All series of one name, each with other label values.
///
/// A series comes into being when it is first asked for, and stays. Looking up one that is there
/// takes no lock; still, where the values are known beforehand, keep the handle. There are at most
/// as many as [`MetricBuilder::series_limit`](crate::MetricBuilder::series_limit) says; what lies
/// beyond is counted in one series whose label values are all `other`, so that sums stay right, and
/// `monitoring_series_limited_total` says how often.
///
/// # Example
///
/// ```
/// use monitoring::MetricBuilder;
///
/// let requests = MetricBuilder::new()
///     .name("family_example_requests_total")
///     .help("Requests, by path and status.")
///     .label("path")
///     .label("status")
///     .build_counter();
/// requests.with_labels(&[("path", "/"), ("status", "200")]).inc();
/// let failed = requests.with_values(&["/", "500"]);
/// failed.inc_by(2);
/// assert_eq!(requests.at(&["/", "500"]).get(), 2);
/// ```
pub struct Family<T: Instrument>(Arc<Members<T>>);

/// What all handles of a family share.
pub(crate) struct Members<T> {
    definition: Arc<Definition>,
    series: Series<T>,
}

enum Series<T> {
    /// Of a metric without labels.
    One(T),
    Many(Box<Table<T>>),
}

impl<T: Instrument> Family<T> {
    pub(crate) fn new(definition: Definition) -> Self {
        let definition = Arc::new(definition);
        let series = if definition.labels.is_empty() {
            Series::One(T::make(&definition))
        } else {
            Series::Many(Box::default())
        };
        Self(Arc::new(Members { definition, series }))
    }

    pub(crate) fn of(members: Arc<Members<T>>) -> Self {
        Self(members)
    }

    pub(crate) fn members(&self) -> &Arc<Members<T>> {
        &self.0
    }

    /// The series with these labels, names and values, in any order.
    ///
    /// # Panics
    ///
    /// If a label of the metric is missing, or one is given that it does not have.
    #[track_caller]
    pub fn with_labels(&self, labels: &[(&str, &str)]) -> T {
        self.try_with_labels(labels)
            .unwrap_or_else(|error| error.panic())
    }

    /// Like [`Family::with_labels`], for labels that are not known when the program is written.
    pub fn try_with_labels(&self, labels: &[(&str, &str)]) -> Result<T, MetricError> {
        let names = &self.0.definition.labels;
        let is_in_order = labels.len() == names.len()
            && names
                .iter()
                .zip(labels)
                .all(|(name, (given, _))| **name == **given);
        if is_in_order {
            return Ok(self.0.get(|at| labels[at].1).clone());
        }
        let value = |name: &str| {
            let pair = labels.iter().find(|(given, _)| *given == name);
            pair.map(|(_, value)| *value)
        };
        if labels.len() != names.len() || names.iter().any(|name| value(name).is_none()) {
            return Err(self.wrong_labels(labels.iter().map(|(name, _)| *name)));
        }
        Ok(self
            .0
            .get(|at| value(&names[at]).unwrap_or_default())
            .clone())
    }

    /// The series with these label values, in the order of the labels in the definition.
    ///
    /// # Panics
    ///
    /// If there are more or fewer values than labels.
    #[track_caller]
    pub fn with_values(&self, values: &[&str]) -> T {
        self.at(values).clone()
    }

    /// Like [`Family::with_values`], but lent: for a series that is looked up for each use, from
    /// several threads at once. Cloning a handle would have them all write to one counter of handles.
    ///
    /// # Panics
    ///
    /// If there are more or fewer values than labels.
    #[track_caller]
    pub fn at(&self, values: &[&str]) -> &T {
        if values.len() != self.0.definition.labels.len() {
            self.wrong_labels(values.iter().copied()).panic();
        }
        self.0.get(|at| values[at])
    }

    /// The series with these label values, if it is there.
    #[inline]
    pub(crate) fn find(&self, values: &[&str]) -> Option<&T> {
        match &self.0.series {
            Series::One(series) => Some(series),
            Series::Many(table) => table.get(values.len(), &|at| values[at]),
        }
    }

    /// The series with these label values; beyond the limit none, which is counted.
    #[inline]
    pub(crate) fn within_limit(&self, values: &[&str]) -> Option<&T> {
        self.find(values).or_else(|| self.0.add(&|at| values[at]))
    }

    /// Counts that a series is not there because there are too many.
    #[cold]
    pub(crate) fn count_limited(&self) {
        refused::count_limited(&self.0.definition);
    }

    fn wrong_labels<'a>(&self, given: impl Iterator<Item = &'a str>) -> MetricError {
        let list = |names: Vec<&str>| format!("[{}]", names.join(", "));
        MetricError::Labels {
            metric: self.0.definition.name.to_string(),
            expected: list(
                self.0
                    .definition
                    .labels
                    .iter()
                    .map(|label| &**label)
                    .collect(),
            ),
            given: list(given.collect()),
        }
    }
}

impl<T: Instrument> Members<T> {
    /// The series with the values that the function has for each label.
    fn get<'a>(&self, value: impl Fn(usize) -> &'a str) -> &T {
        let table = match &self.series {
            Series::One(series) => return series,
            Series::Many(table) => table,
        };
        let labels = self.definition.labels.len();
        if let Some(series) = table.get(labels, &value).or_else(|| self.add(&value)) {
            return series;
        }
        let other = |_| OTHER;
        let found = table.get(labels, &other);
        found.unwrap_or_else(|| {
            let make = || T::make(&self.definition);
            let inserted = table.insert(labels, &other, usize::MAX, make);
            inserted.expect("the limit is above what a table can have")
        })
    }

    /// A new series with the values that the function has for each label. Nothing, which is counted,
    /// if there are as many as there may be.
    fn add<'a>(&self, value: &impl Fn(usize) -> &'a str) -> Option<&T> {
        let definition = &self.definition;
        let table = match &self.series {
            Series::One(series) => return Some(series),
            Series::Many(table) => table,
        };
        let make = || T::make(definition);
        let (labels, limit) = (definition.labels.len(), definition.series_limit);
        let added = table.insert(labels, value, limit, make);
        if added.is_none() {
            refused::count_limited(definition);
        }
        added
    }
}

/// A family of any kind, as a collector has it.
pub(crate) trait AnyFamily: Send + Sync {
    /// What it is called, and what it measures.
    fn definition(&self) -> &Arc<Definition>;

    /// Label values and numbers of each series, in no order.
    fn read<'a>(&'a self, totals: &Totals) -> Vec<(&'a [Box<str>], Sample)>;

    /// For finding out which kind it is.
    fn into_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync>;
}

impl<T: Instrument> AnyFamily for Members<T> {
    fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    fn read<'a>(&'a self, totals: &Totals) -> Vec<(&'a [Box<str>], Sample)> {
        match &self.series {
            Series::One(series) => vec![(&[][..], series.read(totals))],
            Series::Many(table) => {
                let entries = table.entries();
                entries
                    .map(|(values, series)| (values, series.read(totals)))
                    .collect()
            }
        }
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}

impl<T: Instrument> Clone for Family<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Instrument> fmt::Debug for Family<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Definition { name, labels, .. } = &*self.0.definition;
        write!(f, "Family({name}{{{}}})", labels.join(","))
    }
}
