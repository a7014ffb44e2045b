//! Counters, gauges and histograms: what a program holds to count with.
//!
//! | File | What it owns |
//! |---|---|
//! | `counter.rs`, `gauge.rs`, `histogram.rs` | the kinds of metrics |
//! | `family.rs` | all series of one name |
//! | `builder.rs`, `metric.rs` | metrics whose labels or kind are told by the program |
//! | `definition.rs`, `bounds.rs`, `error.rs` | the rules of Prometheus |
//! | `instrument.rs` | what all kinds have in common |
//! | `refused.rs` | what could not be counted |
//!
//! Knows no format, and no way by which numbers leave the process.

mod bounds;
mod builder;
mod counter;
pub(crate) mod definition;
mod error;
pub(crate) mod family;
mod gauge;
mod histogram;
pub(crate) mod instrument;
mod metric;
mod number;
pub(crate) mod refused;

pub(crate) use bounds::Bounds;
pub use builder::MetricBuilder;
pub use counter::{Counter, FloatCounter};
pub use definition::MetricType;
pub use error::MetricError;
pub use family::Family;
pub use gauge::Gauge;
pub use histogram::{Histogram, HistogramSnapshot, HistogramTimer};
pub use instrument::Instrument;
pub use metric::{Metric, Series};
pub use number::Number;
