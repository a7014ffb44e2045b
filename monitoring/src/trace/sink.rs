//! Where finished spans go: what a sink has to do, and how it says that it could not. Knows no
//! protocol, and nothing of how spans are recorded.

use std::{borrow::Cow, error::Error, time::Duration};

use super::finished::FinishedSpan;

/// What the spans of a tracer have in common: the service's name, and what else identifies it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    attributes: Vec<(Cow<'static, str>, Cow<'static, str>)>,
}

impl Resource {
    /// The attributes, each name once, in the order in which they were set first.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.attributes.iter();
        pairs.map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes()
            .find_map(|(other, value)| (other == name).then_some(value))
    }

    /// Sets an attribute, in place of one of the same name.
    pub(super) fn set(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) {
        let (name, value) = (name.into(), value.into());
        match self.attributes.iter_mut().find(|pair| pair.0 == name) {
            Some(pair) => pair.1 = value,
            None => self.attributes.push((name, value)),
        }
    }
}

/// Takes finished spans somewhere: to a collector, a file, a test.
///
/// All of its methods run on one thread of the tracer's own, so they may block; while they do,
/// finished spans wait in the tracer's queue, and are dropped and counted once it is full. A panic
/// loses the batch, which is counted as refused, and nothing else. A sink must not wait for its own
/// tracer: flushing it or shutting it down from there says at once that it has not worked.
///
/// # Example
///
/// ```
/// use monitoring::trace::{FinishedSpan, SinkError, SpanSink, Tracer};
///
/// struct Names(std::sync::mpsc::Sender<String>);
///
/// impl SpanSink for Names {
///     fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
///         for span in batch {
///             let sent = self.0.send(span.name().to_owned());
///             sent.map_err(|error| SinkError::Refused(error.into()))?;
///         }
///         Ok(())
///     }
/// }
///
/// let (names, received) = std::sync::mpsc::channel();
/// let tracer = Tracer::builder("example").sample_rate(1.0).sink(Names(names)).build()?;
/// tracer.start_span("work").end();
/// drop(tracer);
/// assert_eq!(received.recv().as_deref(), Ok("work"));
/// # Ok::<(), monitoring::trace::TraceError>(())
/// ```
pub trait SpanSink: Send {
    /// Says what all spans have in common, once, before the first batch.
    fn start(&mut self, _resource: &Resource) {}

    /// Takes a batch, of 512 spans at most, in the order in which they were collected.
    ///
    /// After an error that says so, the same batch is handed over again later. A sink that took a
    /// part of it must expect that part again, unless it says how much that was, with
    /// [`SinkError::Postponed`].
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError>;

    /// Sees to it that what was taken has arrived. Called when the tracer is flushed, which says
    /// whether it worked.
    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Ends the work. Nothing is called afterwards.
    fn shutdown(&mut self) {}
}

/// Why a sink has not taken spans.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The other side cannot take them now. They are offered again later, until the tracer is shut
    /// down.
    #[error("spans cannot be sent now: {0}")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The other side has taken the first spans of the batch, if any, but not the others now: these
    /// are offered again later. At once after a part that was taken, unless a time is named.
    #[error("spans are postponed: {source}")]
    Postponed {
        /// How many spans, from the first one on, it has taken or will never take.
        settled: usize,
        /// How many of those it will never take. They are dropped, and counted.
        refused: usize,
        /// It has asked not to be tried again before that much time is over. At most five minutes of
        /// it are heeded.
        after: Option<Duration>,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The other side will never take them. They are dropped, and counted.
    #[error("spans are refused: {0}")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// The other side has taken the batch, but for some spans that it will never take. These are
    /// dropped, and counted.
    #[error("{spans} spans of a batch are refused: {source}")]
    RefusedInPart {
        /// How many.
        spans: usize,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_of_the_resource_is_set_once() {
        let mut resource = Resource::default();
        resource.set("service.name", "a");
        resource.set("host.name", "h");
        resource.set(String::from("service.name"), "b");
        let attributes: Vec<_> = resource.attributes().collect();
        assert_eq!(attributes, [("service.name", "b"), ("host.name", "h")]);
        assert_eq!(resource.get("service.name"), Some("b"));
        assert_eq!(resource.get("none"), None);
    }
}
