//! The metrics of a process, and what they are called when they are read.
//!
//! | File | What it owns |
//! |---|---|
//! | `registry.rs` | which metric has which name |
//! | `naming.rs` | the prefix and the labels that all metrics get |
//! | `samples.rs` | numbers become what the crate `prometheus` exchanges |
//! | `merge.rs` | families of several origins become one list |
//! | `bridge.rs` | this crate's metrics as collectors of the crate `prometheus` |
//!
//! Knows nothing of how numbers travel.

mod bridge;
mod merge;
mod naming;
mod registry;
mod samples;

use std::{
    fmt,
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, RwLock},
};

use ::prometheus::{Registry, TextEncoder, core::Desc, proto::MetricFamily};

use crate::{
    metrics::{
        Counter, Family, FloatCounter, Gauge, Histogram, Instrument, MetricBuilder, MetricError,
        definition::{Definition, check_label, check_prefix},
        refused::Refused,
    },
    process, trace,
};
use naming::Naming;
use registry::Families;

/// Owns metrics, gives them their full names, and reads them.
///
/// [`MetricsCollector::new`] is the process's own, the same each time: it has all metrics that were
/// not given to another one, and those of the process itself. A clone is the same collector.
///
/// # Example
///
/// ```
/// use monitoring::{Counter, MetricsCollector};
///
/// let collector = MetricsCollector::new()
///     .with_prefix("stratoswarm")
///     .with_labels(vec![("node", "gpu-01")]);
/// let requests = Counter::new("collector_example_total", "Requests processed.");
/// requests.inc();
/// let text = collector.encode();
/// assert!(text.contains("stratoswarm_collector_example_total{node=\"gpu-01\"} 1\n"));
/// assert!(text.contains("process_resident_memory_bytes "));
/// ```
#[derive(Clone)]
pub struct MetricsCollector(Arc<Collector>);

struct Collector {
    naming: RwLock<Naming>,
    families: Families,
    /// Registries whose metrics are shown beside these.
    included: Mutex<Vec<Registry>>,
    /// Whether it has the process's metrics.
    is_process: bool,
    /// What a registry of the crate `prometheus` knows it by.
    description: OnceLock<Desc>,
}

/// The process's own collector, and what it counts about metrics of all collectors.
static PROCESS: LazyLock<(MetricsCollector, Refused)> = LazyLock::new(|| {
    let collector = MetricsCollector::empty(true);
    let refused = Refused::new(&collector);
    (collector, refused)
});

/// What is counted about metrics of all collectors.
pub(crate) fn refused() -> &'static Refused {
    &PROCESS.1
}

impl Default for MetricsCollector {
    /// The process's own.
    fn default() -> Self {
        Self::new()
    }
}

impl MetricsCollector {
    /// The process's own collector, the same each time.
    pub fn new() -> Self {
        PROCESS.0.clone()
    }

    /// A collector that has nothing, and shares nothing with the process's own.
    pub fn isolated() -> Self {
        Self::empty(false)
    }

    fn empty(is_process: bool) -> Self {
        Self(Arc::new(Collector {
            naming: RwLock::default(),
            families: Families::default(),
            included: Mutex::default(),
            is_process,
            description: OnceLock::new(),
        }))
    }

    /// Puts `prefix_` before the names of all metrics of this collector, whenever they were made,
    /// in place of an earlier prefix. Metrics with an exact name keep theirs: those of the process,
    /// of [`swarm`](crate::swarm), of this crate about itself, and those that were built so.
    ///
    /// # Panics
    ///
    /// If the prefix breaks the rules of Prometheus.
    #[track_caller]
    #[must_use = "it is the collector that goes on"]
    pub fn with_prefix(self, prefix: &str) -> Self {
        self.try_with_prefix(prefix)
            .unwrap_or_else(|error| error.panic())
    }

    /// Like [`MetricsCollector::with_prefix`], for a prefix that is not known when the program is
    /// written.
    pub fn try_with_prefix(self, prefix: &str) -> Result<Self, MetricError> {
        check_prefix(prefix)?;
        self.write_naming(|naming| naming.set_prefix(prefix));
        Ok(self)
    }

    /// Adds labels to all metrics of this collector, whenever they were made; one of the same name
    /// as before takes its place. A metric that has such a label itself keeps its own, and metrics
    /// with an exact name get none.
    ///
    /// # Panics
    ///
    /// If a label's name breaks the rules of Prometheus.
    #[track_caller]
    #[must_use = "it is the collector that goes on"]
    pub fn with_labels<N, V>(self, labels: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        self.try_with_labels(labels)
            .unwrap_or_else(|error| error.panic())
    }

    /// Like [`MetricsCollector::with_labels`], for labels that are not known when the program is
    /// written.
    pub fn try_with_labels<N, V>(
        self,
        labels: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, MetricError>
    where
        N: Into<String>,
        V: Into<String>,
    {
        let labels = labels
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        let labels: Vec<(String, String)> = labels.collect();
        for (name, _) in &labels {
            // Any of the metrics may be a histogram.
            let checked = check_label(name, true);
            checked.map_err(|reason| MetricError::Naming { reason })?;
        }
        self.write_naming(|naming| naming.add_labels(labels));
        Ok(self)
    }

    fn write_naming(&self, change: impl FnOnce(&mut Naming)) {
        // A change that panics has not begun.
        change(
            &mut self
                .0
                .naming
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Takes a metric out, by the name that it was given when it was made. Says whether there was
    /// one. Handles go on counting for nobody; the name is free for a new metric, which begins at 0.
    #[allow(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn unregister(&self, name: &str) -> bool {
        self.0.families.remove(name)
    }

    /// Shows the metrics of a registry of the crate `prometheus` beside these, under their own
    /// names. Where both have the same series, this collector's is shown, and
    /// `monitoring_conflicting_series_total` counts the other one.
    ///
    /// A registry and a collector that show each other's metrics live as long as the process.
    pub fn include(&self, registry: Registry) {
        let mut included = self
            .0
            .included
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        included.push(registry);
    }

    /// Has a registry of the crate `prometheus` show this collector's metrics, but not those of
    /// registries that the collector includes.
    pub fn register_in(&self, registry: &Registry) -> Result<(), MetricError> {
        Ok(registry.register(Box::new(self.clone()))?)
    }

    /// All metrics at this moment, sorted by name, in the form that the crate `prometheus`
    /// exchanges. Metrics without series are not among them.
    pub fn gather(&self) -> Vec<MetricFamily> {
        // Collectors of others run without the lock: one of them may call `include` or `gather`.
        let included = self
            .0
            .included
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let foreign = included.iter().flat_map(Registry::gather);
        merge::sorted(self.own().into_iter().chain(foreign))
    }

    /// What is in this collector itself.
    fn own(&self) -> Vec<MetricFamily> {
        let naming = self
            .0
            .naming
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut families = samples::of(&self.0.families.all(), &naming);
        if self.0.is_process {
            families.extend(process::families());
            families.extend(trace::families());
        }
        families
    }

    /// All metrics at this moment, in version 0.0.4 of the text format of Prometheus.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        TextEncoder::new()
            .encode_utf8(&self.gather(), &mut text)
            .expect("families have names and samples, and a String takes every write");
        text
    }

    pub(crate) fn family<T: Instrument>(
        &self,
        definition: Definition,
    ) -> Result<Family<T>, MetricError> {
        self.0.families.get_or_insert(definition)
    }

    fn builder(&self, name: &str, help: &str) -> MetricBuilder {
        MetricBuilder::new().name(name).help(help).collector(self)
    }
}

impl fmt::Debug for MetricsCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let naming = self.0.naming.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("MetricsCollector")
            .field("naming", &*naming)
            .field("metrics", &self.0.families.len())
            .finish_non_exhaustive()
    }
}

/// Metrics without labels. The same name, help and type again are the same metric.
impl MetricsCollector {
    /// A counter of this collector.
    ///
    /// # Panics
    ///
    /// If the name breaks the rules of Prometheus, or another metric has it.
    #[track_caller]
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.try_counter(name, help)
            .unwrap_or_else(|error| error.panic())
    }

    /// Like [`MetricsCollector::counter`], for names that are not known when the program is written.
    pub fn try_counter(&self, name: &str, help: &str) -> Result<Counter, MetricError> {
        Ok(self
            .builder(name, help)
            .try_build_counter()?
            .with_values(&[]))
    }

    /// A counter of fractions of this collector.
    ///
    /// # Panics
    ///
    /// If the name breaks the rules of Prometheus, or another metric has it.
    #[track_caller]
    pub fn float_counter(&self, name: &str, help: &str) -> FloatCounter {
        self.try_float_counter(name, help)
            .unwrap_or_else(|error| error.panic())
    }

    /// Like [`MetricsCollector::float_counter`], for names that are not known when the program is
    /// written.
    pub fn try_float_counter(&self, name: &str, help: &str) -> Result<FloatCounter, MetricError> {
        Ok(self
            .builder(name, help)
            .try_build_float_counter()?
            .with_values(&[]))
    }

    /// A gauge of this collector.
    ///
    /// # Panics
    ///
    /// If the name breaks the rules of Prometheus, or another metric has it.
    #[track_caller]
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.try_gauge(name, help)
            .unwrap_or_else(|error| error.panic())
    }

    /// Like [`MetricsCollector::gauge`], for names that are not known when the program is written.
    pub fn try_gauge(&self, name: &str, help: &str) -> Result<Gauge, MetricError> {
        Ok(self.builder(name, help).try_build_gauge()?.with_values(&[]))
    }

    /// A histogram of this collector, with [`Histogram::DEFAULT_BUCKETS`].
    ///
    /// # Panics
    ///
    /// If the name breaks the rules of Prometheus, or another metric has it.
    #[track_caller]
    pub fn histogram(&self, name: &str, help: &str) -> Histogram {
        self.try_histogram(name, help)
            .unwrap_or_else(|error| error.panic())
    }

    /// Like [`MetricsCollector::histogram`], for names that are not known when the program is
    /// written.
    pub fn try_histogram(&self, name: &str, help: &str) -> Result<Histogram, MetricError> {
        self.try_histogram_with_buckets(name, help, &Histogram::DEFAULT_BUCKETS)
    }

    /// Like [`MetricsCollector::try_histogram`], with upper bounds; see [`Histogram::with_buckets`].
    pub fn try_histogram_with_buckets(
        &self,
        name: &str,
        help: &str,
        upper_bounds: &[f64],
    ) -> Result<Histogram, MetricError> {
        let builder = self.builder(name, help).buckets(upper_bounds);
        Ok(builder.try_build_histogram()?.with_values(&[]))
    }
}
