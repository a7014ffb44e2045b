//! How long scopes take: where a program spends its time, by the names that it gives its sections.
//!
//! Each thread counts in memory of its own ([`tree`]); a report adds all of it up ([`totals`]).
//! Knows nothing of metrics and of spans.

mod format;
mod future;
mod histogram;
mod registry;
mod report;
mod sampling;
mod scope;
mod totals;
mod tree;

use std::sync::Arc;

use self::registry::Core;
pub use self::{
    future::ScopeFuture,
    report::{PathReport, ProfileReport, ScopeReport},
    scope::ProfileScope,
};

/// Records how long scopes take, on any number of threads.
///
/// Clones are handles of the same profiler. What threads have recorded stays when they end.
///
/// # Memory
///
/// Bounded: a thread takes up to 200 bytes for each of at most 8,192 paths, and for each of at most
/// 1,001 scopes half a kilobyte and a quarter for each power of two between its shortest and its
/// longest duration, typically 2 KB in all. It is given back when the thread ends.
///
/// # Example
///
/// ```
/// use monitoring::{ProfileScope, Profiler};
///
/// # fn expensive_operation() {}
/// let profiler = Profiler::new();
/// {
///     let _scope = ProfileScope::new(&profiler, "critical_section");
///     expensive_operation();
/// } // Records the duration.
///
/// let report = profiler.report();
/// println!(
///     "Critical section: {}ms avg, {}ms p99",
///     report.avg_duration_ms("critical_section"),
///     report.p99_duration_ms("critical_section"),
/// );
/// println!("{report}");
/// ```
#[derive(Clone, Debug)]
pub struct Profiler {
    core: Arc<Core>,
}

impl Default for Profiler {
    fn default() -> Self {
        Self::new()
    }
}

impl Profiler {
    /// A profiler that records every scope.
    pub fn new() -> Self {
        Self::with_sample_rate(1.0)
    }

    /// A profiler that records a share of the outermost scopes, drawn by chance, each with all that
    /// happens within it. 0 turns it off; what lies outside of 0 to 1 is taken for the nearer end.
    ///
    /// Averages and quantiles need no correction; counts and sums are those of what was recorded.
    ///
    /// # Example
    ///
    /// ```
    /// use monitoring::{ProfileScope, Profiler};
    ///
    /// let profiler = Profiler::with_sample_rate(0.1);
    /// for _ in 0..1000 {
    ///     let _request = ProfileScope::new(&profiler, "request");
    /// }
    /// let report = profiler.report();
    /// assert_eq!(report.count("request") + report.sampled_out(), 1000);
    /// ```
    pub fn with_sample_rate(rate: f64) -> Self {
        let rate = if rate.is_nan() {
            0.0
        } else {
            rate.clamp(0.0, 1.0)
        };
        Self {
            core: Core::new(rate),
        }
    }

    /// What the scopes have taken so far. Nobody who records waits for it.
    pub fn report(&self) -> ProfileReport {
        ProfileReport::new(self.core.totals(), self.core.sample_rate)
    }

    /// Makes a future a scope: its duration, from the first poll to its end or until it is dropped,
    /// waiting included, is recorded under `name`. The time that threads spend polling it is the
    /// scope's [total](ScopeReport::total), and scopes that are entered meanwhile are within it.
    ///
    /// Whether it is recorded is decided when it is first polled: by the sample rate, or as for the
    /// scope in which that happens.
    ///
    /// # Example
    ///
    /// ```
    /// use monitoring::Profiler;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let profiler = Profiler::new();
    /// let answer = profiler.scope_future("query", async { 42 }).await;
    /// assert_eq!(answer, 42);
    /// assert_eq!(profiler.report().count("query"), 1);
    /// # });
    /// ```
    pub fn scope_future<F: Future>(&self, name: &str, future: F) -> ScopeFuture<F> {
        ScopeFuture::new(self.clone(), name, future)
    }

    #[inline]
    fn is_off(&self) -> bool {
        self.core.sample_rate <= 0.0
    }
}
