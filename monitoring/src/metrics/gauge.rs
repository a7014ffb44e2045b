//! Numbers that rise and fall.

use std::{fmt, sync::Arc};

use super::{
    MetricError, MetricType, Number,
    definition::Definition,
    instrument::{Instrument, Make, Sample, Shared},
    refused,
};
use crate::{
    MetricsCollector,
    cells::{self, Level, Totals},
};

/// A number that rises and falls: bytes in use, requests in flight, temperatures.
///
/// While it is only added to and taken from, threads do not meet: each adds for itself, as with a
/// [`Counter`](crate::Counter). Once it is set, all threads share one number; setting is then one
/// store, and adding an atomic addition. A setting replaces all that was added before it, exactly. A
/// clone is the same gauge.
///
/// # Example
///
/// ```
/// use monitoring::Gauge;
///
/// let in_flight = Gauge::new("gauge_example_requests_in_flight", "Requests in flight.");
/// in_flight.inc();
/// in_flight.dec();
/// assert_eq!(in_flight.get(), 0.0);
///
/// let memory = Gauge::new("gauge_example_memory_bytes", "Memory in use.");
/// memory.set(1_073_741_824);
/// ```
#[derive(Clone)]
pub struct Gauge {
    slot: u32,
    shared: Arc<GaugeShared>,
}

struct GaugeShared {
    level: Level,
    shared: Shared,
}

impl Gauge {
    /// The gauge of that name in the process's own collector; made if there is none yet.
    ///
    /// # Panics
    ///
    /// If the name breaks the rules of Prometheus, or another metric has it.
    #[track_caller]
    pub fn new(name: &str, help: &str) -> Self {
        MetricsCollector::new().gauge(name, help)
    }

    /// Like [`Gauge::new`], for names that are not known when the program is written.
    pub fn try_new(name: &str, help: &str) -> Result<Self, MetricError> {
        MetricsCollector::new().try_gauge(name, help)
    }

    /// Replaces the value, with a number of any of Rust's types. All values are possible, also the
    /// infinite ones and NaN.
    #[inline]
    pub fn set(&self, value: impl Number) {
        self.shared.level.set(value.to_f64());
    }

    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        self.change(1.0);
    }

    /// Takes 1 away.
    #[inline]
    pub fn dec(&self) {
        self.change(-1.0);
    }

    /// Adds a number, which may be negative. One that is infinite or no number is refused, and
    /// counted in `monitoring_refused_observations_total`.
    #[inline]
    pub fn add(&self, increment: impl Number) {
        let increment = increment.to_f64();
        if increment.is_finite() {
            self.change(increment);
        } else {
            refused::count(&self.shared.shared.definition);
        }
    }

    /// Takes a number away; otherwise like [`Gauge::add`].
    #[inline]
    pub fn sub(&self, decrement: impl Number) {
        self.add(-decrement.to_f64());
    }

    /// The value at this moment. May take a lock and look at each thread's number: for showing, not
    /// for hot paths.
    pub fn get(&self) -> f64 {
        self.value(&cells::totals())
    }

    #[inline]
    fn change(&self, increment: f64) {
        if !self.shared.level.add(increment) {
            cells::add_sum(self.slot, increment);
        }
    }

    fn value(&self, totals: &Totals) -> f64 {
        let level = self.shared.level.get();
        level.unwrap_or_else(|| totals.sum(self.slot))
    }

    pub(crate) fn definition(&self) -> &Definition {
        &self.shared.shared.definition
    }
}

impl Make for Gauge {
    const KIND: MetricType = MetricType::Gauge;

    fn make(definition: &Arc<Definition>) -> Self {
        let shared = Shared::new(definition, 1, true);
        Self {
            slot: shared.cells.first(),
            shared: Arc::new(GaugeShared {
                level: Level::new(),
                shared,
            }),
        }
    }

    fn read(&self, totals: &Totals) -> Sample {
        Sample::Value(self.value(totals))
    }
}

impl Instrument for Gauge {}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gauge({})", self.definition().name)
    }
}
