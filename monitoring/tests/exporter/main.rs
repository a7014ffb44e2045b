//! The exporter over real sockets: what is answered, how old it may be, and how it ends.

#[path = "../../../monitoring-agent/tests/poll/mod.rs"]
mod poll;
#[path = "../../../monitoring-agent/tests/running/mod.rs"]
mod running;
#[path = "../../../monitoring-agent/tests/scraper/mod.rs"]
mod scraper;

mod answers;
mod freshness;
mod prometheus;

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use monitoring::{
    MetricsCollector,
    prometheus::{ExporterConfig, ExporterHandle, PrometheusExporter},
};
use poll::PATIENCE;
use tokio::runtime::{Builder, Runtime};

/// An exporter on a runtime of its own.
struct Exporter {
    runtime: Runtime,
    handle: Option<ExporterHandle>,
    address: SocketAddr,
}

/// An answer, taken apart.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

/// The collector's metrics at any free port of this machine alone.
fn at_loopback(collector: &MetricsCollector) -> ExporterConfig {
    let config = ExporterConfig::default().collector(collector);
    config.address(Ipv4Addr::LOCALHOST).port(0)
}

impl Exporter {
    fn start(config: ExporterConfig) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let handle = runtime.block_on(PrometheusExporter::new(config).start());
        let handle = handle.unwrap();
        Self {
            address: handle.local_addr(),
            runtime,
            handle: Some(handle),
        }
    }

    /// An answer to a request with these headers, on a connection of its own.
    fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        ask(self.address, method, path, headers).unwrap()
    }

    fn metrics(&self) -> String {
        let answer = self.ask("GET", "/metrics", "");
        assert_eq!(answer.status, 200, "{}", answer.head);
        String::from_utf8(answer.body).unwrap()
    }

    fn shutdown(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.runtime.block_on(handle.shutdown());
        }
    }
}

/// What a server answers. An error where nobody listens, or what comes is not a whole answer.
fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let taken_apart = || {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
        Some(Answer {
            status: head.split(' ').nth(1)?.parse().ok()?,
            head: head.to_ascii_lowercase(),
            body: bytes[end + 4..].to_vec(),
        })
    };
    taken_apart().ok_or_else(|| {
        let bytes = String::from_utf8_lossy(&bytes);
        io::Error::other(format!("no answer: {bytes:?}"))
    })
}

/// The value of the one line that begins with this series.
fn value<'a>(text: &'a str, series: &str) -> &'a str {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(series));
    let value = lines.find_map(|rest| rest.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series} in {text}"))
}
