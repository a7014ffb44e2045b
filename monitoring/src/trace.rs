//! Spans: what took how long, as a part of what, on which node.
//!
//! A [`Tracer`] starts [`Span`]s. A span belongs to a trace, which begins with a root, and goes on
//! over threads, awaits and nodes: whoever has a span's [`SpanContext`] can start children of it.
//! Spans that have ended go to a sink, by a background thread.
//!
//! Whether a trace is recorded is decided when it begins, by its id, for a share of all traces; its
//! other spans go with it. One that is not recorded costs a few nanoseconds.
//!
//! What waits to be sent is bounded. What is lost is counted, by reason: see [`TraceStats`].
//!
//! # Example
//!
//! ```
//! use monitoring::{SpanContext, Tracer, trace::SpanKind};
//!
//! let tracer = Tracer::builder("stratoswarm").sample_rate(0.1).build()?;
//!
//! // A request comes in, maybe as a part of another node's trace.
//! # let headers = std::collections::HashMap::<&str, &str>::new();
//! let mut request = tracer.start_span("process_request");
//! if let Some(caller) = SpanContext::extract(|name| headers.get(name).copied()) {
//!     request = request.with_parent(&caller);
//! }
//! let request = request.with_kind(SpanKind::Server).with_tag("http.route", "/goals");
//! let _current = request.enter();
//!
//! // What is started now is a child of it, which may go on elsewhere.
//! let call = tracer.start_span("schedule").with_kind(SpanKind::Client);
//! call.context().inject(|name, value| println!("{name}: {value}"));
//! # Ok::<(), monitoring::trace::TraceError>(())
//! ```

mod builder;
mod context;
mod current;
#[cfg(feature = "transport")]
mod delivery;
pub mod endpoint;
mod error;
mod finished;
mod fork;
mod future;
mod ids;
mod kernel_context;
#[cfg(feature = "layer")]
mod layer;
mod open;
#[cfg(feature = "otlp")]
mod otlp;
mod outcomes;
mod propagation;
mod random;
mod record;
mod ring;
mod sampling;
#[cfg(feature = "otlp")]
mod sdk;
mod settings;
mod sink;
mod span;
mod spool;
mod tag;
mod text;
mod thread;
mod tracer;
mod tracestate;
mod worker;

pub use builder::TracerBuilder;
pub use context::{Parent, SpanContext, TraceFlags};
pub use current::{Attached, Entered};
#[cfg(feature = "transport")]
pub use delivery::{Compression, Protocol};
pub use error::TraceError;
pub use finished::{Event, FinishedSpan, Link, SpanKind, Status};
pub use future::{InContext, InSpan, TraceFuture};
pub use ids::{SpanId, TraceId};
#[cfg(feature = "layer")]
pub use layer::{TraceLayer, layer};
pub(crate) use outcomes::families;
pub use propagation::InvalidTraceparent;
#[cfg(feature = "otlp")]
pub use sdk::{SdkExporter, SdkProcessor};
pub use sink::{Resource, SinkError, SpanSink};
pub use span::Span;
pub use tag::{Tag, TagValue};
pub use tracer::{TraceStats, Tracer};
pub use tracestate::TraceState;
