//! How values are distributed.

mod snapshot;
mod timer;

use std::{fmt, sync::Arc, time::Duration};

use super::{
    MetricError, MetricType,
    bounds::Bounds,
    definition::Definition,
    instrument::{Distribution, Instrument, Make, Sample, Shared},
    refused,
};
use crate::{
    MetricsCollector,
    cells::{self, Totals},
};

pub use snapshot::HistogramSnapshot;
pub use timer::HistogramTimer;

/// How values are distributed: durations in seconds, sizes in bytes.
///
/// Each observation is counted in one bucket, the one with the lowest upper bound that is not below
/// it; the bound itself belongs to the bucket. Threads do not meet: each counts for itself, and the
/// numbers are added up when they are read. A clone is the same histogram.
///
/// # Example
///
/// ```
/// use monitoring::Histogram;
///
/// let latency = Histogram::new("histogram_example_latency_seconds", "Request latency.");
/// latency.observe(0.045);
/// {
///     let _timer = latency.start_timer();
///     // What is timed.
/// }
/// assert_eq!(latency.snapshot().count(), 2);
/// ```
#[derive(Clone)]
pub struct Histogram {
    /// The slot of the first bucket.
    slot: u32,
    /// The slot of the sum.
    sum: u32,
    shared: Arc<HistogramShared>,
}

struct HistogramShared {
    bounds: Arc<Bounds>,
    shared: Shared,
}

impl Histogram {
    /// The upper bounds of histograms that are given none; made for seconds of requests to servers.
    pub const DEFAULT_BUCKETS: [f64; 11] = *::prometheus::DEFAULT_BUCKETS;

    /// The histogram of that name in the process's own collector, with
    /// [`Histogram::DEFAULT_BUCKETS`]; made if there is none yet.
    ///
    /// # Panics
    ///
    /// If the name breaks the rules of Prometheus, or another metric has it.
    #[track_caller]
    pub fn new(name: &str, help: &str) -> Self {
        MetricsCollector::new().histogram(name, help)
    }

    /// Like [`Histogram::new`], with upper bounds, in the unit of what is observed: at least one, at
    /// most 126, each above the one before. A last bucket for all that is above them comes by itself.
    ///
    /// # Panics
    ///
    /// If the bounds do not rise, and as in [`Histogram::new`].
    ///
    /// # Example
    ///
    /// ```
    /// use monitoring::Histogram;
    ///
    /// let sizes = Histogram::with_buckets("bounds_example_bytes", "Sizes.", &[1e3, 1e6]);
    /// for size in [1e3, 1e4, 1e9] {
    ///     sizes.observe(size);
    /// }
    /// let buckets: Vec<(f64, u64)> = sizes.snapshot().buckets().collect();
    /// assert_eq!(buckets, [(1e3, 1), (1e6, 2), (f64::INFINITY, 3)]);
    /// ```
    #[track_caller]
    pub fn with_buckets(name: &str, help: &str, upper_bounds: &[f64]) -> Self {
        Self::try_with_buckets(name, help, upper_bounds).unwrap_or_else(|error| error.panic())
    }

    /// Like [`Histogram::new`], for names that are not known when the program is written.
    pub fn try_new(name: &str, help: &str) -> Result<Self, MetricError> {
        MetricsCollector::new().try_histogram(name, help)
    }

    /// Like [`Histogram::with_buckets`], for what is not known when the program is written.
    pub fn try_with_buckets(
        name: &str,
        help: &str,
        upper_bounds: &[f64],
    ) -> Result<Self, MetricError> {
        MetricsCollector::new().try_histogram_with_buckets(name, help, upper_bounds)
    }

    /// Counts a value. NaN is refused, and counted in `monitoring_refused_observations_total`.
    #[inline]
    pub fn observe(&self, value: f64) {
        if value.is_nan() {
            return refused::count(self.definition());
        }
        let bucket = self.shared.bounds.bucket(value);
        cells::observe(self.slot, bucket, self.sum, value);
    }

    /// Counts a duration, in seconds.
    #[inline]
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// Begins to measure a duration, which is counted in seconds when the timer is dropped.
    pub fn start_timer(&self) -> HistogramTimer {
        HistogramTimer::new(self.clone())
    }

    /// What all threads together have counted. Takes a lock and looks at each thread's numbers: for
    /// showing, not for hot paths.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let distribution = self.distribution(&cells::totals());
        HistogramSnapshot::new(self.shared.bounds.finite(), &distribution)
    }

    fn distribution(&self, totals: &Totals) -> Distribution {
        Distribution {
            counts: (self.slot..self.sum)
                .map(|slot| totals.count(slot))
                .collect(),
            sum: totals.sum(self.sum),
        }
    }

    pub(crate) fn definition(&self) -> &Definition {
        &self.shared.shared.definition
    }
}

impl Make for Histogram {
    const KIND: MetricType = MetricType::Histogram;

    fn make(definition: &Arc<Definition>) -> Self {
        let bounds = definition.bounds.clone();
        let bounds = bounds.expect("the builder gives a histogram its bounds");
        // A bucket above all bounds, and the sum.
        let cells = bounds.finite().len() + 2;
        let shared = Shared::new(definition, cells, true);
        let slot = shared.cells.first();
        Self {
            slot,
            sum: slot + u32::try_from(cells - 1).expect("a metric fits into a page"),
            shared: Arc::new(HistogramShared { bounds, shared }),
        }
    }

    fn read(&self, totals: &Totals) -> Sample {
        Sample::Distribution(self.distribution(totals))
    }
}

impl Instrument for Histogram {}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Histogram({})", self.definition().name)
    }
}
