//! Why a metric cannot be made, found or registered.

use thiserror::Error;

/// Why a metric cannot be made, found or registered. The texts say what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MetricError {
    /// The definition breaks a rule of Prometheus, or lacks something.
    #[error("metric `{metric}`: {reason}")]
    Invalid {
        /// The metric's name, as it was given.
        metric: String,
        /// Which rule, and what to write instead.
        reason: String,
    },
    /// Another metric of that name has another definition.
    #[error(
        "metric `{metric}` is there already, with another {difference}: give both the same \
         definition, or this one another name"
    )]
    Conflict {
        /// The metric's name.
        metric: String,
        /// In what the two differ.
        difference: &'static str,
    },
    /// A series was asked for with other labels than the metric has.
    #[error("metric `{metric}` has the labels {expected}, but was asked for {given}")]
    Labels {
        /// The metric's name.
        metric: String,
        /// The labels of its definition.
        expected: String,
        /// Those that were given.
        given: String,
    },
    /// A prefix or a label of a collector breaks a rule of Prometheus.
    #[error("a collector cannot add this to its metrics: {reason}")]
    Naming {
        /// Which rule, and what to write instead.
        reason: String,
    },
    /// A registry of the crate `prometheus` has refused what was to be registered.
    #[error("registering in a registry of the crate `prometheus`: {0}")]
    Registry(#[from] ::prometheus::Error),
}

impl MetricError {
    pub(crate) fn invalid(metric: &str, reason: impl Into<String>) -> Self {
        Self::Invalid {
            metric: metric.to_owned(),
            reason: reason.into(),
        }
    }

    /// Ends the program's use of a wrong definition, with a text that says what is wrong.
    #[track_caller]
    pub(crate) fn panic(self) -> ! {
        panic!("{self}")
    }
}
