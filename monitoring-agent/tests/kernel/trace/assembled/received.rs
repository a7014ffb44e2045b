//! What an exporter would have received.

use std::time::Duration;

use monitoring_agent::spans::{BatchLimits, Spans};
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use tokio::{
    runtime::{self, Runtime},
    time::timeout,
};

use crate::{node::Node, poll::poll_until};

/// A span, and whose it is.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) span: Span,
    pub(super) scope: &'static str,
    resource: Vec<KeyValue>,
}

/// In the exporter's place.
pub(super) struct Receiver {
    spans: Spans,
    runtime: Runtime,
    /// Those that nobody has waited for yet.
    received: Vec<Received>,
}

impl Received {
    pub(super) fn began(&self) -> Duration {
        Duration::from_nanos(self.span.start_time_unix_nano)
    }

    pub(super) fn ended(&self) -> Duration {
        Duration::from_nanos(self.span.end_time_unix_nano)
    }

    pub(super) fn lasted(&self) -> Duration {
        self.ended().checked_sub(self.began()).unwrap()
    }

    /// An attribute, as text.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        text_of(&self.span.attributes, key)
    }

    /// An attribute of its process, as text.
    pub(super) fn of_resource(&self, key: &str) -> Option<String> {
        text_of(&self.resource, key)
    }
}

impl Receiver {
    pub(super) fn of(node: &Node) -> Self {
        Self {
            spans: node.spans.clone(),
            runtime: runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap(),
            received: Vec::new(),
        }
    }

    /// Waits for a span of a name and a thread.
    pub(super) fn wait_for(&mut self, name: &str, thread: &str) -> Received {
        self.wait_where(name, |received| {
            received.span.name == name && received.text("thread.name").as_deref() == Some(thread)
        })
    }

    /// Waits for a span.
    pub(super) fn wait_where(
        &mut self,
        what: &str,
        wanted: impl Fn(&Received) -> bool,
    ) -> Received {
        poll_until(what, || {
            let new = self.receive();
            self.received.extend(new);
            let found = self.received.iter().position(&wanted)?;
            Some(self.received.remove(found))
        })
    }

    /// Takes what waits.
    pub(super) fn receive(&self) -> Vec<Received> {
        let limits = BatchLimits {
            spans: usize::MAX,
            encoded_bytes: usize::MAX,
            patience: Duration::ZERO,
        };
        let batch = self.spans.queue.receive_batch(limits);
        let soon = Duration::from_millis(10);
        let batch = self.runtime.block_on(async { timeout(soon, batch).await });
        let Ok(Some(batch)) = batch else {
            return Vec::new();
        };
        let spans = batch.spans().iter().map(|finished| Received {
            span: finished.span.clone(),
            scope: finished.scope,
            resource: finished.resource.proto.attributes.clone(),
        });
        let spans = spans.collect();
        batch.exported(0);
        spans
    }
}

fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}
