//! Metric families as text: the text format of Prometheus, and OpenMetrics.
//!
//! Knows nothing of who asks, and of numbers only what families hold; whoever knows more says so as
//! [`Knowledge`].

mod lines;
mod naming;
mod numbers;
mod values;

use std::collections::HashSet;

use ::prometheus::proto::{Histogram, LabelPair, MetricFamily};

use self::lines::Lines;
pub use self::naming::unit;

/// What an answer in OpenMetrics ends with.
pub const END: &str = "# EOF\n";

/// How the same numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// Versions 0.0.4 and 1.0.0 of the text format, which are the same bytes for the same names.
    Classic,
    /// OpenMetrics 1.0.0, but for [`END`], which belongs behind the last family.
    OpenMetrics,
}

/// One event that a trace tells more of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// What was observed, in seconds: a duration for histograms.
    pub seconds: f64,
    /// The trace; its hexadecimal form has 32 digits.
    pub trace_id: u128,
    /// The span within the trace; its hexadecimal form has 16 digits.
    pub span_id: u64,
    /// When it was observed, in nanoseconds since 1970.
    pub unix_ns: u64,
}

impl Exemplar {
    /// The newest of these with a value in `(lower, upper]`.
    pub fn newest_within(exemplars: &[Self], lower: f64, upper: f64) -> Option<Self> {
        let within = |exemplar: &&Self| lower < exemplar.seconds && exemplar.seconds <= upper;
        let newest = exemplars.iter().filter(within);
        newest.max_by_key(|exemplar| exemplar.unix_ns).copied()
    }
}

/// What a program knows of its metrics beyond what families hold. By default nothing.
pub trait Knowledge {
    /// Which of a histogram's buckets are written: the first's index, and how many further the next
    /// one is, at least 1.
    fn buckets(&self, _histogram: &Histogram) -> (usize, usize) {
        (0, 1)
    }

    /// The exemplars of a series, in any order.
    fn exemplars(&self, _family: &str, _labels: &[LabelPair]) -> Vec<Exemplar> {
        Vec::new()
    }
}

/// No more than what families hold.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Knowledge for Nothing {}

/// Writes these families behind what there is. Each has a name and samples; what is neither counter,
/// gauge, histogram nor summary is left out.
///
/// In OpenMetrics a family may have another name than its samples: `x_total` is the counter `x`,
/// and `x_info` the info `x`, unless another of these families is called so. A counter of another
/// name is of unknown type, because its samples are called as they are. Times of creation are not
/// known, and not written.
pub fn write<'a>(
    families: impl Iterator<Item = &'a MetricFamily> + Clone,
    syntax: Syntax,
    knowledge: &impl Knowledge,
    text: &mut String,
) {
    let names = match syntax {
        Syntax::Classic => HashSet::new(),
        Syntax::OpenMetrics => families.clone().map(MetricFamily::name).collect(),
    };
    let mut lines = Lines::new(syntax, knowledge, text);
    for family in families {
        if let Some(title) = naming::title(family, syntax, &names) {
            lines.family(family, title);
        }
    }
}

#[cfg(test)]
mod tests;
