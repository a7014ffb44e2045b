//! Rotel, which prints what it receives. Knows nothing of what is sent.

pub(crate) mod shown;

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use monitoring::otlp::Protocol;
use tempfile::TempDir;

use self::shown::Shown;
use crate::{poll::poll_until, ports};

/// Where `cargo xtask setup` keeps it, by its version.
const PROGRAM: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../.tools/rotel/0.0.1a15/rotel-agent"
);

/// Where a collector listens, or will.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) grpc: u16,
}

impl Ports {
    /// These.
    #[allow(dead_code, reason = "not every suite chooses them")]
    pub(crate) fn new(http: u16, grpc: u16) -> Self {
        Self { http, grpc }
    }

    /// Two that nobody listens at, and that nobody else gets.
    pub(crate) fn free() -> Self {
        Self {
            http: ports::kept().port(),
            grpc: ports::kept().port(),
        }
    }

    /// The URL for a protocol.
    pub(crate) fn url(self, protocol: Protocol) -> String {
        let port = match protocol {
            Protocol::Grpc => self.grpc,
            _ => self.http,
        };
        format!("http://127.0.0.1:{port}")
    }
}

/// A collector that runs as long as this lives.
pub(crate) struct Collector {
    child: Child,
    folder: TempDir,
}

impl Collector {
    /// Starts one, and waits until it listens.
    pub(crate) fn start(ports: Ports) -> Self {
        assert!(
            Path::new(PROGRAM).is_file(),
            "the collector Rotel is not in .tools/rotel: run `cargo xtask setup`"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
        let child = Command::new(PROGRAM)
            .args(["start", "--exporter", "blackhole"])
            .args(["--debug-log", "traces", "--debug-log", "metrics"])
            .args(["--debug-log-verbosity", "detailed"])
            .args(["--otlp-http-endpoint", &address(ports.http)])
            .args(["--otlp-grpc-endpoint", &address(ports.grpc)])
            .arg("--pid-file")
            .arg(file("pid"))
            .arg("--log-file")
            .arg(file("log"))
            .stdin(Stdio::null())
            .stdout(File::create(file("output")).unwrap())
            .stderr(File::create(file("errors")).unwrap())
            .spawn()
            .unwrap();
        let mut collector = Self { child, folder };
        for port in [ports.http, ports.grpc] {
            poll_until("Rotel listens", || {
                let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
                if connected.is_err() {
                    let ended = collector.child.try_wait().unwrap();
                    let errors = collector.read("errors");
                    assert!(ended.is_none(), "Rotel has ended: {ended:?} {errors}");
                }
                connected.ok()
            });
        }
        collector
    }

    /// All that it has printed.
    #[allow(dead_code, reason = "not every suite reads all")]
    pub(crate) fn printed(&self) -> String {
        self.read("output")
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// How many spans it shows.
    pub(crate) fn count(&self) -> usize {
        shown::count(&self.read("output"))
    }

    /// The spans that it shows, once there are so many. It ends then, so that all is printed.
    pub(crate) fn spans(mut self, count: usize) -> Vec<Shown> {
        poll_until(&format!("{count} spans arrive"), || {
            (self.count() >= count).then_some(())
        });
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: The process was not waited for, so that the number is its own.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
        self.child.wait().unwrap();
        shown::spans(&self.read("output"))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
