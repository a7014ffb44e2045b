//! What serves metrics in the documentation, run as it is written: each on a network of its own, where
//! port 9090 is free. Needs root for that.

mod network;

#[path = "../../examples/service.rs"]
#[expect(
    unreachable_pub,
    reason = "it is a whole program, whose `main` is called from here"
)]
mod service;

use std::{
    error::Error,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use monitoring::{Counter, MetricsCollector};

/// The specification's words, up to the end of the function.
async fn metric_export() -> Result<(), Box<dyn Error>> {
    use monitoring::prometheus::{ExporterConfig, PrometheusExporter};

    // Configure exporter
    let config = ExporterConfig::default()
        .port(9090)
        .path("/metrics")
        .refresh_interval(Duration::from_secs(10));

    // Start exporter
    let exporter = PrometheusExporter::new(config);
    exporter.start().await?;
    Ok(())
}

/// What a server on this machine answers.
fn get(path: &str) -> String {
    let mut stream = TcpStream::connect("127.0.0.1:9090").unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_exporter_serves_what_the_process_counts() {
    let requests = Counter::new("exported_requests_total", "Requests.");
    requests.inc_by(3);
    network::of_its_own(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(metric_export()).unwrap();
        // It is served by the runtime's thread, which must not wait for the answer itself.
        let answer = thread::spawn(|| get("/metrics"));
        runtime.block_on(async {
            while !answer.is_finished() {
                tokio::time::sleep(POLL).await;
            }
        });
        let answer = answer.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        // The other test may have set a prefix and a label by now.
        let is_it = |line: &str| line.contains("exported_requests_total") && line.ends_with(" 3");
        assert!(answer.lines().any(is_it), "{answer}");
    });
}

/// Between two looks at whether the answer is there.
const POLL: Duration = Duration::from_millis(5);

#[test]
fn the_complete_program_counts_its_requests() {
    network::of_its_own(|| service::main().unwrap());
    let text = MetricsCollector::new().encode();
    for line in [
        r#"stratoswarm_requests_total{node="gpu-01"} 3"#,
        r#"stratoswarm_request_latency_seconds_count{node="gpu-01"} 3"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}
