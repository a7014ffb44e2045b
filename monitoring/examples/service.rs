//! A service that tells what it does: `cargo run -p monitoring --example service`.

use std::{error::Error, time::Duration};

use monitoring::{
    Counter, Histogram, MetricsCollector, ProfileScope, Profiler, TraceFuture, Tracer,
    prometheus::{ExporterConfig, PrometheusExporter},
};

#[tokio::main(flavor = "current_thread")]
pub async fn main() -> Result<(), Box<dyn Error>> {
    let collector = MetricsCollector::new()
        .with_prefix("stratoswarm")
        .with_labels([("node", "gpu-01")]);
    let requests = Counter::new("requests_total", "Requests that were answered.");
    let latency = Histogram::new("request_latency_seconds", "How long requests took.");
    let profiler = Profiler::new();
    // Its spans go where `OTEL_EXPORTER_OTLP_ENDPOINT` says.
    let tracer = Tracer::new("stratoswarm");
    let config = ExporterConfig::default().collector(&collector);
    let exporter = PrometheusExporter::new(config).start().await?;
    println!("metrics are at http://{}/metrics", exporter.local_addr());

    for number in 1..=3_u64 {
        let _timer = latency.start_timer();
        let span = tracer
            .start_span("process_request")
            .with_tag("number", number);
        let rows = profiler.scope_future("request", query(&tracer, &profiler, number));
        println!("request {number}: {} rows", rows.in_span(span).await);
        requests.inc();
    }

    println!("{}", profiler.report());
    exporter.shutdown().await;
    Ok(())
}

/// A child of whichever span its task is in.
async fn query(tracer: &Tracer, profiler: &Profiler, number: u64) -> u64 {
    let span = tracer
        .start_span("database_query")
        .with_tag("db.type", "postgres");
    span.add_event("query_started");
    tokio::time::sleep(Duration::from_millis(number)).await;
    let _scope = ProfileScope::new(profiler, "rows");
    (1..=number).sum()
}
