//! Spans by OTLP to a collector: in its types, and in requests that it takes. Knows nothing of how
//! spans are recorded or queued, nor of what is on the wire.

use opentelemetry_proto::{
    tonic::collector::trace::v1::ExportTraceServiceRequest,
    transform::{
        common::tonic::ResourceAttributesWithSchema,
        trace::tonic::group_spans_by_resource_and_scope,
    },
};
use prost::Message as _;
use tokio::runtime::Runtime;

use super::{
    finished::FinishedSpan,
    sdk::{self, convert},
    sink::{Resource, SinkError, SpanSink},
};
use crate::otlp::{Client, Failure, LARGEST_REQUEST, Target};

/// Sends spans to a collector.
pub(super) struct OtlpSink {
    target: Target,
    resource: ResourceAttributesWithSchema,
    /// Made by the thread that sends.
    connection: Option<Connection>,
    /// How many spans the collector takes at once, as far as this batch has shown.
    most: usize,
}

struct Connection {
    /// Works only while a batch is sent.
    runtime: Runtime,
    client: Client,
}

impl Connection {
    /// Does not wait for a name that is still being looked up.
    fn end(self) {
        self.runtime.shutdown_background();
    }
}

impl OtlpSink {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            resource: ResourceAttributesWithSchema::default(),
            connection: None,
            most: usize::MAX,
        }
    }

    fn connect(&self) -> Result<Connection, SinkError> {
        let runtime = sdk::runtime()?;
        // A file that is not there yet, or is written right now, is there soon.
        let client = Client::new(&self.target);
        let client = client.map_err(|error| SinkError::Unavailable(error.into()))?;
        Ok(Connection { runtime, client })
    }

    fn request(&self, spans: &[FinishedSpan]) -> ExportTraceServiceRequest {
        let spans = convert::spans(spans);
        ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(spans, &self.resource),
        }
    }

    /// Sends as many of the first spans as the collector takes in one request, and says how many that
    /// were, what of them it refuses, and why.
    fn send(
        &mut self,
        connection: &Connection,
        batch: &[FinishedSpan],
    ) -> Result<(usize, usize, String), Failure> {
        loop {
            let spans = &batch[..self.most.min(batch.len())];
            let request = self.request(spans);
            if request.encoded_len() > LARGEST_REQUEST && spans.len() > 1 {
                self.most = spans.len() / 2;
                continue;
            }
            let request = request.encode_to_vec().into();
            let (refused, why) = match connection.runtime.block_on(connection.client.send(request))
            {
                Ok(accepted) => (usize::try_from(accepted.rejected), accepted.said),
                Err(Failure::TooLarge(_)) if spans.len() > 1 => {
                    self.most = spans.len() / 2;
                    continue;
                }
                Err(Failure::TooLarge(why) | Failure::Refused(why)) => (Ok(spans.len()), why),
                Err(failure @ Failure::Unavailable { .. }) => return Err(failure),
            };
            let refused = refused.map_or(spans.len(), |refused| refused.min(spans.len()));
            return Ok((spans.len(), refused, why));
        }
    }
}

impl SpanSink for OtlpSink {
    fn start(&mut self, resource: &Resource) {
        self.resource = (&convert::resource(resource)).into();
    }

    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let (settled, refused, why) = match self.send(&connection, batch) {
            Ok(sent) => sent,
            Err(failure) => {
                // The next try connects anew, with what the files for TLS say by then.
                connection.end();
                let after = match failure {
                    Failure::Unavailable { after, .. } => after,
                    _ => None,
                };
                return Err(SinkError::Postponed {
                    settled: 0,
                    refused: 0,
                    after,
                    source: failure.into(),
                });
            }
        };
        self.connection = Some(connection);
        if settled < batch.len() {
            // Between two requests it is looked whether all has to end.
            return Err(SinkError::Postponed {
                settled,
                refused,
                after: None,
                source: "the other spans are another request".into(),
            });
        }
        // The next batch may have smaller spans.
        self.most = usize::MAX;
        match refused {
            0 => Ok(()),
            all if all == batch.len() => Err(SinkError::Refused(why.into())),
            spans => Err(SinkError::RefusedInPart {
                spans,
                source: why.into(),
            }),
        }
    }

    fn shutdown(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.end();
        }
    }
}
