//! Numbers that only grow.

use std::{fmt, sync::Arc};

use super::{
    MetricError, MetricType, Number,
    definition::Definition,
    instrument::{Instrument, Make, Sample, Shared},
    refused,
};
use crate::{
    MetricsCollector,
    cells::{self, Totals},
};

/// A whole number that only grows: requests, bytes, errors.
///
/// Adding costs about as much as adding to a variable, on any number of threads at once: each
/// counts for itself, and the numbers are added up when they are read. What a thread has counted
/// stays when it ends. A clone is the same counter. Beyond 2⁶⁴ it begins again at 0; Prometheus sees
/// it exactly up to 2⁵³. A process that forks without executing another program goes on in its child
/// with a copy of what it has counted.
///
/// By the conventions of Prometheus its name ends in `_total`, after the unit if there is one.
///
/// # Example
///
/// ```
/// use monitoring::Counter;
///
/// let requests = Counter::new("counter_example_requests_total", "Requests processed.");
/// requests.inc();
/// requests.inc_by(2);
/// assert_eq!(requests.get(), 3);
/// ```
#[derive(Clone)]
pub struct Counter {
    slot: u32,
    shared: Arc<Shared>,
}

impl Counter {
    /// The counter of that name in the process's own collector; made if there is none yet.
    ///
    /// # Panics
    ///
    /// If the name breaks the rules of Prometheus, or another metric has it.
    #[track_caller]
    pub fn new(name: &str, help: &str) -> Self {
        MetricsCollector::new().counter(name, help)
    }

    /// Like [`Counter::new`], for names that are not known when the program is written.
    pub fn try_new(name: &str, help: &str) -> Result<Self, MetricError> {
        MetricsCollector::new().try_counter(name, help)
    }

    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        cells::add_count(self.slot, 1);
    }

    /// Adds a number.
    #[inline]
    pub fn inc_by(&self, increment: u64) {
        cells::add_count(self.slot, increment);
    }

    /// The sum of what all threads have counted. Takes a lock and looks at each thread's number:
    /// for showing, not for hot paths.
    pub fn get(&self) -> u64 {
        cells::totals().count(self.slot)
    }
    pub(crate) fn definition(&self) -> &Definition {
        &self.shared.definition
    }
}

impl Make for Counter {
    const KIND: MetricType = MetricType::Counter;

    fn make(definition: &Arc<Definition>) -> Self {
        let shared = Shared::new(definition, 1, false);
        Self {
            slot: shared.cells.first(),
            shared: Arc::new(shared),
        }
    }

    fn read(&self, totals: &Totals) -> Sample {
        Sample::Count(totals.count(self.slot))
    }
}

impl Instrument for Counter {}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counter({})", self.shared.definition.name)
    }
}

/// A number that only grows and need not be whole: seconds spent, joules used.
///
/// Like [`Counter`] in everything else. What would make it fall, or makes no sense to add, is
/// refused, and counted in `monitoring_refused_observations_total`.
///
/// # Example
///
/// ```
/// use monitoring::FloatCounter;
///
/// let busy = FloatCounter::new("float_example_busy_seconds_total", "Time spent working.");
/// busy.inc_by(0.25);
/// busy.inc_by(1);
/// assert_eq!(busy.get(), 1.25);
/// ```
#[derive(Clone)]
pub struct FloatCounter {
    slot: u32,
    shared: Arc<Shared>,
}

impl FloatCounter {
    /// The counter of that name in the process's own collector; made if there is none yet.
    ///
    /// # Panics
    ///
    /// If the name breaks the rules of Prometheus, or another metric has it.
    #[track_caller]
    pub fn new(name: &str, help: &str) -> Self {
        MetricsCollector::new().float_counter(name, help)
    }

    /// Like [`FloatCounter::new`], for names that are not known when the program is written.
    pub fn try_new(name: &str, help: &str) -> Result<Self, MetricError> {
        MetricsCollector::new().try_float_counter(name, help)
    }

    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        cells::add_sum(self.slot, 1.0);
    }

    /// Adds a number. One that is negative, infinite or no number is refused and counted.
    #[inline]
    pub fn inc_by(&self, increment: impl Number) {
        let increment = increment.to_f64();
        if (0.0..f64::INFINITY).contains(&increment) {
            cells::add_sum(self.slot, increment);
        } else {
            refused::count(&self.shared.definition);
        }
    }

    /// The sum of what all threads have counted. Takes a lock and looks at each thread's number:
    /// for showing, not for hot paths.
    pub fn get(&self) -> f64 {
        cells::totals().sum(self.slot)
    }

    pub(crate) fn definition(&self) -> &Definition {
        &self.shared.definition
    }
}

impl Make for FloatCounter {
    const KIND: MetricType = MetricType::FloatCounter;

    fn make(definition: &Arc<Definition>) -> Self {
        let shared = Shared::new(definition, 1, true);
        Self {
            slot: shared.cells.first(),
            shared: Arc::new(shared),
        }
    }

    fn read(&self, totals: &Totals) -> Sample {
        Sample::Value(totals.sum(self.slot))
    }
}

impl Instrument for FloatCounter {}

impl fmt::Debug for FloatCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FloatCounter({})", self.shared.definition.name)
    }
}
