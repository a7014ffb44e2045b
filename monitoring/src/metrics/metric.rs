//! A metric of any kind, and a series of it.
//!
//! For programs that learn only when they run what they count; others keep a [`Family`].

use super::{
    Counter, Family, FloatCounter, Gauge, Histogram, MetricError, Number, definition::Definition,
    refused,
};

/// A metric of any kind, with all its series. Made by [`MetricBuilder`](crate::MetricBuilder).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Metric {
    /// Whole numbers that only grow.
    Counter(Family<Counter>),
    /// Numbers that only grow.
    FloatCounter(Family<FloatCounter>),
    /// Numbers that rise and fall.
    Gauge(Family<Gauge>),
    /// Distributions.
    Histogram(Family<Histogram>),
}

impl Metric {
    /// The series with these labels, names and values, in any order. None for a metric without
    /// labels.
    ///
    /// # Panics
    ///
    /// If a label of the metric is missing, or one is given that it does not have.
    #[track_caller]
    pub fn with_labels(&self, labels: &[(&str, &str)]) -> Series {
        self.try_with_labels(labels)
            .unwrap_or_else(|error| error.panic())
    }

    /// Like [`Metric::with_labels`], for labels that are not known when the program is written.
    pub fn try_with_labels(&self, labels: &[(&str, &str)]) -> Result<Series, MetricError> {
        Ok(match self {
            Self::Counter(family) => Series::Counter(family.try_with_labels(labels)?),
            Self::FloatCounter(family) => Series::FloatCounter(family.try_with_labels(labels)?),
            Self::Gauge(family) => Series::Gauge(family.try_with_labels(labels)?),
            Self::Histogram(family) => Series::Histogram(family.try_with_labels(labels)?),
        })
    }
}

/// One series of a metric of any kind.
///
/// What the kind cannot do, such as setting a counter, changes nothing, and is counted in
/// `monitoring_refused_observations_total`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Series {
    /// A whole number that only grows.
    Counter(Counter),
    /// A number that only grows.
    FloatCounter(FloatCounter),
    /// A number that rises and falls.
    Gauge(Gauge),
    /// A distribution.
    Histogram(Histogram),
}

impl Series {
    /// Adds 1 to a counter or a gauge.
    #[inline]
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// Adds a whole number to a counter or a gauge.
    #[inline]
    pub fn inc_by(&self, increment: u64) {
        match self {
            Self::Counter(counter) => counter.inc_by(increment),
            Self::FloatCounter(counter) => counter.inc_by(increment),
            Self::Gauge(gauge) => gauge.add(increment),
            Self::Histogram(_) => self.refuse(),
        }
    }

    /// Takes 1 from a gauge.
    #[inline]
    pub fn dec(&self) {
        self.sub(1);
    }

    /// Adds a number to a gauge or a counter of fractions.
    #[inline]
    pub fn add(&self, increment: impl Number) {
        match self {
            Self::FloatCounter(counter) => counter.inc_by(increment),
            Self::Gauge(gauge) => gauge.add(increment),
            Self::Counter(_) | Self::Histogram(_) => self.refuse(),
        }
    }

    /// Takes a number from a gauge.
    #[inline]
    pub fn sub(&self, decrement: impl Number) {
        match self {
            Self::Gauge(gauge) => gauge.sub(decrement),
            _ => self.refuse(),
        }
    }

    /// Sets a gauge.
    #[inline]
    pub fn set(&self, value: impl Number) {
        match self {
            Self::Gauge(gauge) => gauge.set(value),
            _ => self.refuse(),
        }
    }

    /// Counts a value in a histogram.
    #[inline]
    pub fn observe(&self, value: f64) {
        match self {
            Self::Histogram(histogram) => histogram.observe(value),
            _ => self.refuse(),
        }
    }

    #[cold]
    fn refuse(&self) {
        refused::count(self.definition());
    }

    fn definition(&self) -> &Definition {
        match self {
            Self::Counter(counter) => counter.definition(),
            Self::FloatCounter(counter) => counter.definition(),
            Self::Gauge(gauge) => gauge.definition(),
            Self::Histogram(histogram) => histogram.definition(),
        }
    }
}
