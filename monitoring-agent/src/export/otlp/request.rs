//! Spans as one request of OTLP, grouped by resource and scope, written from where they are: no span
//! is copied before it is bytes. Knows nothing of who takes it.

use bytes::Bytes;
use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, trace::v1::Span};
use prost::{Message as _, encode_length_delimiter, length_delimiter_len};

use crate::spans::Finished;

/// `resource_spans` of a request, `resource` of that, and `scope` of `scope_spans`: field 1 of each, a
/// message.
const FIRST: u8 = 1 << 3 | 2;

/// `scope_spans` of `resource_spans`, and `spans` of that: field 2 of each, a message.
const SECOND: u8 = 2 << 3 | 2;

/// Spans of one resource.
struct OfResource<'a> {
    of: &'a Finished,
    scopes: Vec<OfScope<'a>>,
}

/// Spans of one scope of one resource.
struct OfScope<'a> {
    name: &'static str,
    scope: InstrumentationScope,
    spans: Vec<&'a Span>,
    /// Of all spans, with what stands before each.
    spans_bytes: usize,
}

/// The request: resources, their scopes and their spans in the order in which they come first.
pub(super) fn encoded(spans: &[Finished]) -> Bytes {
    let groups = grouped(spans);
    let whole = groups.iter().map(|group| field(group.bytes())).sum();
    let mut into = Vec::with_capacity(whole);
    for group in &groups {
        group.write(&mut into);
    }
    debug_assert_eq!(into.len(), whole);
    into.into()
}

fn grouped(spans: &[Finished]) -> Vec<OfResource<'_>> {
    let mut groups: Vec<OfResource<'_>> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for span in spans {
        let address = std::sync::Arc::as_ptr(&span.resource).addr();
        let place = *places.entry(address).or_insert_with(|| {
            let scopes = Vec::new();
            groups.push(OfResource { of: span, scopes });
            groups.len() - 1
        });
        let scopes = &mut groups[place].scopes;
        let found = scopes.iter().position(|other| other.name == span.scope);
        let found = found.unwrap_or_else(|| {
            scopes.push(OfScope::new(span.scope));
            scopes.len() - 1
        });
        scopes[found].push(span);
    }
    groups
}

impl<'a> OfScope<'a> {
    fn new(name: &'static str) -> Self {
        let scope = InstrumentationScope {
            name: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let (spans, spans_bytes) = (Vec::new(), 0);
        Self {
            name,
            scope,
            spans,
            spans_bytes,
        }
    }

    fn push(&mut self, span: &'a Finished) {
        self.spans.push(&span.span);
        self.spans_bytes += field(span.encoded_bytes());
    }

    fn bytes(&self) -> usize {
        field(self.scope.encoded_len()) + self.spans_bytes
    }
}

impl OfResource<'_> {
    fn bytes(&self) -> usize {
        let scopes = self.scopes.iter().map(|scope| field(scope.bytes()));
        field(self.of.resource.encoded_bytes) + scopes.sum::<usize>()
    }

    fn write(&self, into: &mut Vec<u8>) {
        begin(FIRST, self.bytes(), into);
        message(FIRST, &self.of.resource.proto, into);
        for scope in &self.scopes {
            begin(SECOND, scope.bytes(), into);
            message(FIRST, &scope.scope, into);
            for span in &scope.spans {
                message(SECOND, *span, into);
            }
        }
    }
}

/// Bytes of a field with a message of so many bytes.
fn field(bytes: usize) -> usize {
    1 + length_delimiter_len(bytes) + bytes
}

fn begin(key: u8, bytes: usize, into: &mut Vec<u8>) {
    into.push(key);
    encode_length_delimiter(bytes, into).expect("a vector grows");
}

fn message(key: u8, message: &impl prost::Message, into: &mut Vec<u8>) {
    into.push(key);
    message
        .encode_length_delimited(into)
        .expect("a vector grows");
}

#[cfg(test)]
mod tests;
