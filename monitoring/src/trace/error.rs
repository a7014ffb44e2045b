//! What can go wrong when a tracer is built.

/// Why there is no tracer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The share of traces to record is no share.
    #[error("the sample rate is {0}: it must be from 0 (no trace) to 1 (every trace)")]
    SampleRate(f64),
    /// The thread that sends spans cannot be started.
    #[error("the thread that sends spans cannot be started: {0}")]
    Worker(#[source] std::io::Error),
    /// An environment variable of OpenTelemetry's says what cannot be.
    #[error("the environment variable {name} is \"{value}\": it must be {allowed}")]
    Environment {
        /// The variable.
        name: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        allowed: String,
    },
    /// Spans cannot be sent to where they are to be sent.
    #[error("spans cannot be sent to \"{url}\": {reason}")]
    Endpoint {
        /// Where they are to be sent.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A header for the collector cannot be sent. What it says is left out here, because it may be a
    /// secret.
    #[error("the header \"{0}\" has a name or a value that cannot be sent")]
    Header(String),
}

impl TraceError {
    pub(super) fn environment(
        name: &'static str,
        value: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Self::Environment {
            name,
            value: value.into(),
            allowed: allowed.into(),
        }
    }
}
