//! What can be said of a tracer before it is built.
//!
//! Knows nothing of how spans are recorded and sent.

use super::{
    error::TraceError,
    finished::FinishedSpan,
    sampling::Sampling,
    settings::{self, Environment, Export},
    spool::Spool,
    tracer::{Core, Tracer},
    worker::{Orders, Source, Worker},
};

/// The share of traces that is recorded when nothing else is said: the `trace_sample_rate` of the
/// configuration.
const SAMPLE_RATE: f64 = 0.01;

/// Builds a [`Tracer`].
#[must_use = "a tracer is built by `build`"]
pub struct TracerBuilder {
    service: String,
    sample_rate: Option<f64>,
    resource: Vec<(String, String)>,
    /// Where spans go.
    pub(super) export: Export,
}

impl TracerBuilder {
    pub(super) fn new(service: String) -> Self {
        Self {
            service,
            sample_rate: None,
            resource: Vec::new(),
            export: Export::default(),
        }
    }

    /// The share of traces to record, from 0 to 1. If it is not set, the environment variables
    /// `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` say it, or it is 0.01.
    ///
    /// It is decided by the id of the trace when its root starts, so that all processes agree, and
    /// children go with their parents whatever the rate. Only the samplers `always_on`, `always_off`
    /// and `traceidratio` of the environment, without `parentbased_`, decide for each span, whatever
    /// was decided for its parent.
    pub fn sample_rate(mut self, rate: f64) -> Self {
        self.sample_rate = Some(rate);
        self
    }

    /// Something to be said of the service, such as `service.version`. It wins over what the
    /// environment variable `OTEL_RESOURCE_ATTRIBUTES` says.
    pub fn resource(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.resource.push((key.into(), value.into()));
        self
    }

    /// The tracer.
    ///
    /// # Errors
    ///
    /// When something of what was said, here or by the environment, cannot be; or when the system
    /// gives no thread to send spans.
    pub fn build(self) -> Result<Tracer, TraceError> {
        let environment = Environment::of_this_process()?;
        let resource = settings::resource(&self.service, &self.resource, &environment)?;
        let rate = self.sample_rate.unwrap_or(SAMPLE_RATE);
        let mut sampling = Sampling::new(rate).ok_or(TraceError::SampleRate(rate))?;
        if self.sample_rate.is_none() {
            sampling = environment.sampling(sampling)?;
        }
        let (queue, interval) = (self.export.queue, self.export.interval);
        let sink = self.export.sink(&environment)?;
        let core = Core::leaked(sampling, sink.is_some());
        if let Some(sink) = sink {
            let worker = Worker::start(Orders {
                source: Box::new(&core.spool),
                sink,
                resource,
                queue,
                interval,
            });
            let worker = worker.map_err(TraceError::Worker)?;
            core.spool.set_worker(worker.collector().clone());
            let is_first = core.worker.set(worker).is_ok();
            debug_assert!(is_first, "a tracer is built once");
        }
        Ok(Tracer::from_core(core))
    }

    /// A tracer whose spans have contexts, and are not recorded.
    pub(super) fn without_export() -> Tracer {
        let sampling = Sampling::new(SAMPLE_RATE).expect("the default is a share");
        Tracer::from_core(Core::leaked(sampling, false))
    }
}

impl Source for &'static Spool {
    fn drain(&mut self, into: &mut Vec<FinishedSpan>, most: usize) -> usize {
        Spool::drain(self, into, most)
    }

    fn mark(&mut self) {
        Spool::mark(self);
    }

    fn is_past_mark(&self) -> bool {
        Spool::is_past_mark(self)
    }

    fn forget_ended(&mut self) {
        Spool::forget_ended(self);
    }
}
