//! Metric families as data, exactly as a node told them. Knows neither their text nor their use.

/// All families of one scrape, in the order in which they came.
pub type Families = Vec<Family>;

/// What a family measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Values that only grow, until the node or the agent starts anew.
    Counter,
    /// Values that rise and fall.
    Gauge,
    /// Distributions in buckets.
    Histogram,
    /// Distributions in quantiles.
    Summary,
    /// Nobody said.
    Untyped,
}

impl Kind {
    /// As Prometheus calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
        }
    }
}

/// Metrics with one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name; of histograms and summaries without `_bucket`, `_sum`, `_count`.
    pub name: String,
    /// For people; empty if nothing was said.
    pub help: String,
    /// What it measures.
    pub kind: Kind,
    /// One for each set of labels, in the order in which they came.
    pub metrics: Vec<Metric>,
}

/// A name and a value, in the order in which they came.
pub type Label = (String, String);

/// One value with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Without `le` and `quantile` of distributions.
    pub labels: Vec<Label>,
    /// What was measured.
    pub value: Value,
    /// When, in milliseconds since 1970, if that was said.
    pub timestamp_ms: Option<i64>,
}

impl Metric {
    /// The value of a label; an absent one is empty, as in Prometheus.
    pub fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of counters, gauges and what has no type.
    Number(f64),
    /// Of histograms.
    Histogram(Histogram),
    /// Of summaries.
    Summary(Summary),
}

/// A distribution in buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Upper bounds, ascending, and how many values lie at or below each. `+Inf` is not among them.
    pub buckets: Vec<(f64, u64)>,
    /// How many values there are, which is what `+Inf` would have.
    pub count: u64,
    /// Their sum, if it was said.
    pub sum: Option<f64>,
}

/// A distribution in quantiles.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// From 0 to 1, and the value there.
    pub quantiles: Vec<(f64, f64)>,
    /// How many values there are, if it was said.
    pub count: Option<u64>,
    /// Their sum, if it was said.
    pub sum: Option<f64>,
}
