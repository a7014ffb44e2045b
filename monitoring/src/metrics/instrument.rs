//! What all kinds of metrics have in common: how one is made, and how it is read.
//!
//! Knows no registry, and no way to write numbers down.

use std::{fmt, sync::Arc};

use super::{MetricType, definition::Definition};
use crate::cells::{Range, Totals};

/// A kind of metric that a [`Family`](crate::Family) can have: [`Counter`](crate::Counter),
/// [`FloatCounter`](crate::FloatCounter), [`Gauge`](crate::Gauge) and
/// [`Histogram`](crate::Histogram).
pub trait Instrument: Clone + fmt::Debug + Send + Sync + sealed::Sealed + 'static {}

mod sealed {
    /// What only this crate's metrics are.
    #[allow(
        private_bounds,
        reason = "only this crate is to know what its metrics can do"
    )]
    pub trait Sealed: super::Make {}
}

/// What every kind of metric can do for this crate.
pub(crate) trait Make: Sized {
    /// The kind, as it is exported.
    const KIND: MetricType;

    /// A series of its own, all zero.
    fn make(definition: &Arc<Definition>) -> Self;

    /// What it comes to.
    fn read(&self, totals: &Totals) -> Sample;
}

impl<T: Make> sealed::Sealed for T {}

/// What a series comes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sample {
    Count(u64),
    Value(f64),
    Distribution(Distribution),
}

/// How values are distributed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Distribution {
    /// By bucket; the last one is above all bounds.
    pub(crate) counts: Vec<u64>,
    pub(crate) sum: f64,
}

/// What all handles of one series share.
pub(crate) struct Shared {
    pub(crate) cells: Range,
    pub(crate) definition: Arc<Definition>,
}

impl Shared {
    /// So many cells, the last of which may hold a sum.
    pub(crate) fn new(definition: &Arc<Definition>, cells: usize, has_sum: bool) -> Self {
        let cells = u8::try_from(cells).expect("a metric fits into a page of 128 cells");
        Self {
            cells: crate::cells::allocate(cells, has_sum),
            definition: Arc::clone(definition),
        }
    }
}
