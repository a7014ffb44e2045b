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
    progress: Progress,
}

struct Connection {
    /// Works only while a batch is sent.
    runtime: Runtime,
    client: Client,
}

/// What has become of the batch so far: it is offered again as a whole.
#[derive(Default)]
struct Progress {
    /// How many spans, from the first one on, are settled.
    settled: usize,
    /// How many of those the collector will never take.
    refused: usize,
    /// Why.
    why: String,
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
            progress: Progress::default(),
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

    /// Sends what is not settled yet, in as few requests as the collector takes.
    fn send(&mut self, connection: &Connection, batch: &[FinishedSpan]) -> Result<(), Failure> {
        let mut most = batch.len();
        while self.progress.settled < batch.len() {
            let rest = &batch[self.progress.settled..];
            let spans = &rest[..most.min(rest.len())];
            let request = self.request(spans);
            if request.encoded_len() > LARGEST_REQUEST && spans.len() > 1 {
                most = spans.len() / 2;
                continue;
            }
            let request = request.encode_to_vec().into();
            let (refused, why) = match connection.runtime.block_on(connection.client.send(request))
            {
                Ok(accepted) => (usize::try_from(accepted.rejected), accepted.said),
                Err(Failure::TooLarge(_)) if spans.len() > 1 => {
                    most = spans.len() / 2;
                    continue;
                }
                Err(Failure::TooLarge(why) | Failure::Refused(why)) => (Ok(spans.len()), why),
                Err(failure @ Failure::Unavailable { .. }) => return Err(failure),
            };
            let refused = refused.map_or(spans.len(), |refused| refused.min(spans.len()));
            self.progress.settled += spans.len();
            self.progress.refused += refused;
            if refused > 0 {
                self.progress.why = why;
            }
        }
        Ok(())
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
        if let Err(failure) = self.send(&connection, batch) {
            // The next try connects anew, with what the files for TLS say by then.
            connection.end();
            return Err(SinkError::Unavailable(failure.into()));
        }
        self.connection = Some(connection);
        let Progress { refused, why, .. } = std::mem::take(&mut self.progress);
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
