//! The real Prometheus: scrapes one target, and says what it has of it.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    poll::{PATIENCE, poll_until},
    running::Running,
};

/// Keeps exemplars. They come by any format but the text format.
#[allow(dead_code, reason = "not every suite has exemplars")]
pub(crate) const EXEMPLARS: &str = "--enable-feature=exemplar-storage";

/// Scrapes protobuf, and keeps native histograms.
#[allow(dead_code, reason = "not every suite has them")]
pub(crate) const NATIVE: &str = "--enable-feature=exemplar-storage,native-histograms";

/// How often it scrapes, in seconds, and how long it waits for an answer: longer than a scrape takes
/// on a machine that has other work, too. The first scrape comes within this time.
const INTERVAL: u32 = 5;

/// A Prometheus that scrapes. Its port is the system's choice, and its numbers are in memory and in a
/// folder that goes with it.
pub(crate) struct Scraper {
    process: Running,
    address: String,
    _folder: tempfile::TempDir,
}

impl Scraper {
    /// Starts it with further flags. The target is an address; what is scraped is its `/metrics`.
    pub(crate) fn start(target: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: {INTERVAL}s, scrape_timeout: {INTERVAL}s}}\n\
             scrape_configs: [{{job_name: test, static_configs: [{{targets: ['{target}']}}]}}]\n",
        );
        std::fs::write(&config, text).unwrap();
        let data = folder.path().join("data");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .args(flags)
            .stdout(Stdio::null());
        let process = Running::start(&mut command);
        let line = process.wait_for("msg=\"Listening on\" address=");
        let (_, address) = line.split_once(" address=").unwrap();
        Self {
            process,
            address: address.trim().to_owned(),
            _folder: folder,
        }
    }

    /// The data of an answer of its programming interface; nothing as long as there is none, which
    /// is so while it starts.
    pub(crate) fn ask(&self, path: &str) -> Option<Value> {
        let (status, body) = self.get(path).ok()?;
        let answer: Value = serde_json::from_str(&body).ok()?;
        // A query that it does not understand will never be answered.
        assert_ne!(status, 400, "{path}: {body}");
        Some(answer["data"].clone())
    }

    /// The first series that a query finds.
    pub(crate) fn first(&self, query: &str) -> Option<Value> {
        let data = self.ask(&format!("/api/v1/query?query={}", encoded(query)))?;
        data["result"].get(0).cloned()
    }

    /// The value of the first series that a query finds.
    pub(crate) fn value(&self, query: &str) -> Option<String> {
        let first = self.first(query)?;
        first["value"][1].as_str().map(str::to_owned)
    }

    /// Waits until a query has this value.
    pub(crate) fn wait_for(&self, query: &str, want: &str) {
        let mut last = None;
        poll_until(&format!("{query} is {want}"), || {
            let found = self.value(query);
            if found != last {
                println!("{query}: {found:?}");
                last.clone_from(&found);
            }
            (found? == want).then_some(())
        });
    }

    /// Exemplars of what a query is about, from the last ten minutes.
    #[allow(dead_code, reason = "not every suite has exemplars")]
    pub(crate) fn exemplars(&self, query: &str, now: u64) -> Option<Value> {
        let (query, start, end) = (encoded(query), now - 600, now + 600);
        self.ask(&format!(
            "/api/v1/query_exemplars?query={query}&start={start}&end={end}"
        ))
    }

    /// What it has written to its log.
    #[allow(dead_code, reason = "not every suite looks at it")]
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// In a version of HTTP that knows no chunks: the body is all that comes.
    fn get(&self, path: &str) -> io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let end = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(end)?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Ok((status.ok_or_else(end)?, body.to_owned()))
    }
}

/// As a part of an URL.
fn encoded(query: &str) -> String {
    let bytes = query.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    bytes.collect()
}
