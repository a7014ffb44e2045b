//! Metrics with labels, buckets and limits of their own.

use std::sync::{Arc, OnceLock};

use super::{
    Bounds, Counter, Family, FloatCounter, Gauge, Histogram, Instrument, Metric, MetricError,
    MetricType, definition::Definition,
};
use crate::MetricsCollector;

/// Series that a metric may have unless it is told otherwise. What has more is better counted by
/// another label: each series costs memory here, and much more of it in Prometheus.
const SERIES_LIMIT: usize = 1000;

/// Series that a metric may have at all. Half of what its table of series has room for.
pub(crate) const MOST_SERIES: usize = 1_000_000;

/// Defines a metric, step by step.
///
/// The same definition a second time is the same metric.
///
/// # Example
///
/// ```
/// use monitoring::{MetricBuilder, MetricType};
///
/// let gpu_kernel_launches = MetricBuilder::new()
///     .name("gpu_kernel_launches_total")
///     .metric_type(MetricType::Counter)
///     .help("Number of GPU kernel launches")
///     .label("kernel_type")
///     .label("device_id")
///     .build();
/// gpu_kernel_launches
///     .with_labels(&[("kernel_type", "matrix_mul"), ("device_id", "0")])
///     .inc();
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder makes nothing until one of its `build` functions is called"]
pub struct MetricBuilder {
    name: String,
    help: String,
    kind: Option<MetricType>,
    labels: Vec<Box<str>>,
    bounds: Option<Vec<f64>>,
    series_limit: Option<usize>,
    collector: Option<MetricsCollector>,
    is_exact: bool,
}

impl MetricBuilder {
    /// A metric that lacks a name.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name, with its unit at the end: letters, digits, `_` and `:`.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// What is counted or measured, for people.
    pub fn help(mut self, help: &str) -> Self {
        help.clone_into(&mut self.help);
        self
    }

    /// The kind of metric. Not needed for those `build` functions that say it by their name.
    pub fn metric_type(mut self, kind: MetricType) -> Self {
        self.kind = Some(kind);
        self
    }

    /// One more label: a name of letters, digits and `_`.
    pub fn label(mut self, name: &str) -> Self {
        self.labels.push(name.into());
        self
    }

    /// The upper bounds of a histogram's buckets, in the unit of what is observed; see
    /// [`Histogram::with_buckets`]. Default [`Histogram::DEFAULT_BUCKETS`].
    pub fn buckets(mut self, upper_bounds: &[f64]) -> Self {
        self.bounds = Some(upper_bounds.to_vec());
        self
    }

    /// How many series there may be, 1 to 1,000,000; what lies beyond is counted in one more, whose
    /// label values are all `other`. Default 1000.
    pub fn series_limit(mut self, series: usize) -> Self {
        self.series_limit = Some(series);
        self
    }

    /// Whose metric it is. Default the process's own collector.
    pub fn collector(mut self, collector: &MetricsCollector) -> Self {
        self.collector = Some(collector.clone());
        self
    }

    /// The metric is exported under this name as it is, with no labels but its own, whatever the
    /// collector puts before names and adds to labels. For names that others have agreed on.
    pub fn exact_name(mut self) -> Self {
        self.is_exact = true;
        self
    }

    /// The metric, of the kind that [`MetricBuilder::metric_type`] was given.
    ///
    /// # Panics
    ///
    /// If the definition breaks a rule of Prometheus or lacks something, or another metric has the
    /// name.
    #[track_caller]
    pub fn build(self) -> Metric {
        self.try_build().unwrap_or_else(|error| error.panic())
    }

    /// Like [`MetricBuilder::build`], for what is not known when the program is written.
    pub fn try_build(self) -> Result<Metric, MetricError> {
        Ok(match self.kind {
            Some(MetricType::Counter) => Metric::Counter(self.family()?),
            Some(MetricType::FloatCounter) => Metric::FloatCounter(self.family()?),
            Some(MetricType::Gauge) => Metric::Gauge(self.family()?),
            Some(MetricType::Histogram) => Metric::Histogram(self.family()?),
            None => {
                let reason = "it has no type: call `metric_type`, or a `build` function of a type";
                return Err(MetricError::invalid(&self.name, reason));
            }
        })
    }

    /// A counter for each set of label values.
    ///
    /// # Panics
    ///
    /// As [`MetricBuilder::build`], and if `metric_type` was given another kind.
    #[track_caller]
    pub fn build_counter(self) -> Family<Counter> {
        self.family().unwrap_or_else(|error| error.panic())
    }

    /// Like [`MetricBuilder::build_counter`], for what is not known when the program is written.
    pub fn try_build_counter(self) -> Result<Family<Counter>, MetricError> {
        self.family()
    }

    /// A counter of fractions for each set of label values.
    ///
    /// # Panics
    ///
    /// As [`MetricBuilder::build`], and if `metric_type` was given another kind.
    #[track_caller]
    pub fn build_float_counter(self) -> Family<FloatCounter> {
        self.family().unwrap_or_else(|error| error.panic())
    }

    /// Like [`MetricBuilder::build_float_counter`], for what is not known when the program is
    /// written.
    pub fn try_build_float_counter(self) -> Result<Family<FloatCounter>, MetricError> {
        self.family()
    }

    /// A gauge for each set of label values.
    ///
    /// # Panics
    ///
    /// As [`MetricBuilder::build`], and if `metric_type` was given another kind.
    #[track_caller]
    pub fn build_gauge(self) -> Family<Gauge> {
        self.family().unwrap_or_else(|error| error.panic())
    }

    /// Like [`MetricBuilder::build_gauge`], for what is not known when the program is written.
    pub fn try_build_gauge(self) -> Result<Family<Gauge>, MetricError> {
        self.family()
    }

    /// A histogram for each set of label values.
    ///
    /// # Panics
    ///
    /// As [`MetricBuilder::build`], and if `metric_type` was given another kind.
    #[track_caller]
    pub fn build_histogram(self) -> Family<Histogram> {
        self.family().unwrap_or_else(|error| error.panic())
    }

    /// Like [`MetricBuilder::build_histogram`], for what is not known when the program is written.
    pub fn try_build_histogram(self) -> Result<Family<Histogram>, MetricError> {
        self.family()
    }

    fn family<T: Instrument>(self) -> Result<Family<T>, MetricError> {
        let invalid = |reason: &str| Err(MetricError::invalid(&self.name, reason));
        if self.kind.is_some_and(|kind| kind != T::KIND) {
            return invalid("its type is another one than that of the `build` function");
        }
        let is_histogram = T::KIND == MetricType::Histogram;
        if self.bounds.is_some() && !is_histogram {
            return invalid("it has buckets, which only a histogram can have");
        }
        let series_limit = self.series_limit.unwrap_or(SERIES_LIMIT);
        if !(1..=MOST_SERIES).contains(&series_limit) {
            return invalid("its limit of series is not between 1 and 1,000,000");
        }
        let bounds = self.bounds.as_deref();
        let bounds = is_histogram.then(|| {
            let bounds = bounds.unwrap_or(&Histogram::DEFAULT_BUCKETS);
            Bounds::new(&self.name, bounds).map(Arc::new)
        });
        let definition = Definition {
            bounds: bounds.transpose()?,
            name: self.name.into(),
            help: self.help.into(),
            kind: T::KIND,
            labels: self.labels.into(),
            is_exact: self.is_exact,
            series_limit,
            description: OnceLock::new(),
        };
        self.collector.unwrap_or_default().family(definition)
    }
}
