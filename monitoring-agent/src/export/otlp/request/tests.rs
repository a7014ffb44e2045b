//! Requests, read by the types of OTLP.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;

use super::*;
use crate::spans::{Resource, attributes::text};

fn span(number: u8, attributes: usize) -> Span {
    let value = |at| text(&format!("key{at}"), "v".repeat(at * 7));
    Span {
        trace_id: vec![1; 16],
        span_id: vec![number; 8],
        name: format!("span {number}"),
        start_time_unix_nano: u64::from(number) << 40,
        attributes: (0..attributes).map(value).collect(),
        ..Span::default()
    }
}

proptest! {
    /// Of a few resources and scopes, in any order.
    #[test]
    fn what_is_written_is_read(kinds in prop::collection::vec((0..3_usize, 0..2_usize, 0..40_usize), 0..60)) {
        let resource = |name: String| Arc::new(Resource::new(vec![text("service.name", name)]));
        let resources: Vec<_> = (0..3).map(|number| resource("s".repeat(number * 100))).collect();
        let scopes = ["stratoswarm.block", "stratoswarm.net"];
        let spans: Vec<_> = (0_u8..).zip(&kinds).map(|(number, (resource, scope, attributes))| {
            let resource = Arc::clone(&resources[*resource]);
            Finished::new(resource, scopes[*scope], span(number, *attributes))
        }).collect();

        let read = ExportTraceServiceRequest::decode(encoded(&spans)).unwrap();
        let mut left: Vec<&Finished> = spans.iter().collect();
        let mut seen = Vec::new();
        for of_resource in &read.resource_spans {
            let resource = of_resource.resource.as_ref().unwrap();
            prop_assert!(!seen.contains(&resource), "a resource is there twice");
            seen.push(resource);
            let mut scopes = Vec::new();
            for of_scope in &of_resource.scope_spans {
                let scope = of_scope.scope.as_ref().unwrap();
                prop_assert_eq!(&scope.version, env!("CARGO_PKG_VERSION"));
                prop_assert!(!scopes.contains(&&scope.name), "a scope is there twice");
                scopes.push(&scope.name);
                for span in &of_scope.spans {
                    // The first that is left of this resource and this scope.
                    let at = left.iter().position(|other| {
                        other.resource.proto == *resource && other.scope == scope.name
                    });
                    let want = left.remove(at.unwrap());
                    prop_assert_eq!(span, &want.span);
                }
            }
        }
        prop_assert!(left.is_empty());
    }
}
