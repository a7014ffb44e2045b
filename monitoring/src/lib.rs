//! Observability for the applications that run on a `StratoSwarm` node.
//!
//! The node's own numbers need no library: `monitoring-agent` takes them from the kernel. This
//! crate is for applications that want to say more than the kernel can see.
//!
//! | What | Where | What it costs |
//! |---|---|---|
//! | Metrics | [`Counter`], [`Gauge`], [`Histogram`], and [`MetricBuilder`] for those with labels; [`MetricsCollector`] names and reads them | about a nanosecond an increment, whatever the other threads do |
//! | Durations of code | [`Profiler`], [`ProfileScope`] | two readings of the clock and a few nanoseconds |
//! | What belongs together, across threads and nodes | [`Tracer`], [`Span`], [`SpanContext`]; more in [`trace`] | tens of nanoseconds a span; a few where the trace is not sampled |
//! | What agents of a swarm do | [`swarm`] | that of a counter |
//! | GPUs | [`gpu`](gpu/index.html) | nothing in the application's threads |
//! | An HTTP server for Prometheus | [`prometheus`](prometheus/index.html) | nothing until somebody asks |
//! | The specification's `[monitoring]` table | [`config`] | |
//!
//! `cargo bench overhead` measures it, beside other libraries.
//!
//! # A complete program
//!
//! ```no_run
#![doc = include_str!("../examples/service.rs")]
//! ```
//!
//! # Metrics
//!
//! ```
//! use monitoring::{MetricsCollector, Counter, Gauge, Histogram};
//!
//! // Initialize metrics collector
//! let collector = MetricsCollector::new()
//!     .with_prefix("stratoswarm")
//!     .with_labels(vec![("node", "gpu-01")]);
//!
//! // Counter for events
//! let requests = Counter::new("requests_total", "Total requests processed");
//! requests.inc();
//!
//! // Gauge for current values
//! let memory_usage = Gauge::new("memory_bytes", "Current memory usage");
//! memory_usage.set(1073741824); // 1GB
//!
//! // Histogram for distributions
//! let latency = Histogram::new("request_latency_seconds", "Request latency");
//! latency.observe(0.045); // 45ms
//! # let text = collector.encode();
//! # for line in [
//! #     "# HELP stratoswarm_requests_total Total requests processed",
//! #     "# TYPE stratoswarm_requests_total counter",
//! #     r#"stratoswarm_requests_total{node="gpu-01"} 1"#,
//! #     r#"stratoswarm_memory_bytes{node="gpu-01"} 1073741824"#,
//! #     r#"stratoswarm_request_latency_seconds_sum{node="gpu-01"} 0.045"#,
//! #     r#"stratoswarm_request_latency_seconds_bucket{node="gpu-01",le="0.025"} 0"#,
//! #     r#"stratoswarm_request_latency_seconds_bucket{node="gpu-01",le="0.05"} 1"#,
//! # ] {
//! #     assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
//! # }
//! ```
//!
//! With labels:
//!
//! ```
//! use monitoring::{MetricBuilder, MetricType};
//!
//! // Define custom metric
//! let gpu_kernel_launches = MetricBuilder::new()
//!     .name("gpu_kernel_launches_total")
//!     .metric_type(MetricType::Counter)
//!     .help("Number of GPU kernel launches")
//!     .label("kernel_type")
//!     .label("device_id")
//!     .build();
//!
//! // Use custom metric
//! gpu_kernel_launches
//!     .with_labels(&[("kernel_type", "matrix_mul"), ("device_id", "0")])
//!     .inc();
//! # let text = monitoring::MetricsCollector::new().encode();
//! # let line = r#"gpu_kernel_launches_total{device_id="0",kernel_type="matrix_mul"} 1"#;
//! # let other = r#"gpu_kernel_launches_total{kernel_type="matrix_mul",device_id="0"} 1"#;
//! # assert!(text.lines().any(|found| found == line || found == other), "{text}");
//! ```
//!
//! # Durations of code
//!
//! ```
//! use monitoring::{Profiler, ProfileScope};
//! # fn expensive_operation() {
//! #     let begun = std::time::Instant::now();
//! #     while begun.elapsed() < std::time::Duration::from_millis(2) {}
//! # }
//!
//! // Create profiler
//! let profiler = Profiler::new();
//!
//! // Profile a code section
//! {
//!     let _scope = ProfileScope::new(&profiler, "critical_section");
//!     // Your code here
//!     expensive_operation();
//! } // Automatically records duration
//!
//! // Get profile results
//! let report = profiler.report();
//! println!("Critical section: {}ms avg, {}ms p99",
//!     report.avg_duration_ms("critical_section"),
//!     report.p99_duration_ms("critical_section")
//! );
//! # assert_eq!(report.count("critical_section"), 1);
//! # let exact = report.avg_duration_ms("critical_section");
//! # let nearly = report.p99_duration_ms("critical_section");
//! # assert!(exact >= 2.0, "{exact}");
//! # assert!((nearly / exact - 1.0).abs() < 1.0 / 32.0, "{nearly} is not {exact}");
//! ```
//!
//! # Traces
//!
//! ```
//! use monitoring::{Tracer, Span, SpanContext};
//!
//! # async fn query_database() -> Result<u64, std::io::Error> { Ok(42) }
//! # async fn process() -> Result<(), Box<dyn std::error::Error>> {
//! // Initialize tracer
//! let tracer = Tracer::new("stratoswarm");
//!
//! // Start root span
//! let root_span = tracer.start_span("process_request");
//!
//! // Create child span
//! let child_span = tracer.start_span("database_query")
//!     .with_parent(&root_span)
//!     .with_tag("db.type", "postgres");
//!
//! // Add events to span
//! child_span.add_event("query_started");
//! let result = query_database().await?;
//! child_span.add_event("query_completed");
//!
//! // Spans automatically close when dropped
//! # assert_eq!(result, 42);
//! # assert_eq!(child_span.context().trace_id(), root_span.context().trace_id());
//! # assert_ne!(child_span.context().span_id(), root_span.context().span_id());
//! # Ok(())
//! # }
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(process()).unwrap();
//! ```
//!
//! A request to another node takes the context along:
//!
//! ```
//! use monitoring::{SpanContext, Tracer};
//!
//! let tracer = Tracer::new("client");
//! let span = tracer.start_span("fetch");
//! let header = span.context().to_traceparent();
//!
//! // On the other node:
//! let parent: SpanContext = header.parse()?;
//! let served = tracer.start_span("serve").with_parent(&parent);
//! assert_eq!(served.context().trace_id(), span.context().trace_id());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # For Prometheus
//!
//! ```no_run
//! # use std::time::Duration;
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! use monitoring::prometheus::{PrometheusExporter, ExporterConfig};
//!
//! // Configure exporter
//! let config = ExporterConfig::default()
//!     .port(9090)
//!     .path("/metrics")
//!     .refresh_interval(Duration::from_secs(10));
//!
//! // Start exporter
//! let exporter = PrometheusExporter::new(config);
//! exporter.start().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! All are on by default. Without them the crate is metrics, scopes, hooks, and spans for sinks of the
//! program's own.
//!
//! | Feature | Brings |
//! |---|---|
//! | `exporter` | [`prometheus`](prometheus/index.html), by hyper and tokio |
//! | `gpu` | [`gpu`](gpu/index.html), by NVML, which is loaded at run time |
//! | `layer` | spans of the crate `tracing`, by a layer of `tracing-subscriber` |
//! | `otlp` | spans to a collector by OTLP, and to what an OpenTelemetry SDK has |

#![deny(missing_docs)]

// For the agent it is a part of `otlp`.
#[cfg_attr(not(feature = "transport"), allow(unreachable_pub))]
mod backoff;
mod cells;
pub mod clock;
mod collector;
pub mod config;
mod metrics;
#[cfg(feature = "transport")]
#[doc(hidden)] // The node's agent has it, too; no part of what this crate promises to others.
pub mod otlp;
mod process;
mod profiler;
pub mod swarm;
pub mod trace;

#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(feature = "exporter")]
pub mod prometheus;
#[cfg(feature = "exporter")]
#[doc(hidden)] // The node's agent has it, too; no part of what this crate promises to others.
pub mod server;

pub use collector::MetricsCollector;
pub use metrics::{
    Counter, Family, FloatCounter, Gauge, Histogram, HistogramSnapshot, HistogramTimer, Instrument,
    Metric, MetricBuilder, MetricError, MetricType, Number, Series,
};
pub use profiler::{PathReport, ProfileReport, ProfileScope, Profiler, ScopeFuture, ScopeReport};
#[cfg(feature = "layer")]
pub use trace::layer;
pub use trace::{Span, SpanContext, TraceFuture, Tracer};
