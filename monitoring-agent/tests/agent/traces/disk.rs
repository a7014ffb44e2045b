//! fio reads from a disk of its own, past the page cache, and times each read by its own clock.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use super::tree::{Tree, agrees, integer, is_within, lasted, says};
use crate::{block::Disk, cuda::known_as, process::Agent, rotel::shown::Shown};

/// The agent's name for it.
pub(super) const SERVICE: &str = "reader";

/// What tells fio from others.
const VARIABLE: &str = "TRACES_READER";

const READS: usize = 8;
const READ_BYTES: i64 = 8 << 20;

/// Waits until it is told to go on, so that the agent knows it, and becomes the program in its arguments.
const WAIT: &str = "echo ready; read line; exec \"$@\"";

pub(super) fn rule() -> String {
    format!("[[agents]]\nname = '{SERVICE}'\nenvironment = '{VARIABLE}=*'\n")
}

/// What fio measured, read by read.
pub(super) struct Work {
    disk: String,
    measured: Vec<Duration>,
}

impl Work {
    pub(super) fn run(agent: &Agent) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::over(&folder.path().join("disk"));
        let log = folder.path().join("log");
        let mut fio = Command::new("sh");
        fio.args(["-c", WAIT, "sh", "fio", "--name=read", "--rw=read"]);
        fio.args(["--ioengine=psync", "--direct=1", "--thread=0"]);
        fio.args([
            format!("--filename={}", disk.path),
            format!("--bs={READ_BYTES}"),
            format!("--number_ios={READS}"),
            format!("--write_lat_log={}", log.display()),
        ]);
        fio.current_dir(folder.path()).env(VARIABLE, "1");
        let mut fio = fio
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(fio.stdout.take().unwrap());
        said.read_line(&mut String::new()).unwrap();
        known_as(agent, SERVICE);
        fio.stdin.take().unwrap().write_all(b"\n").unwrap();
        let output = std::io::read_to_string(said).unwrap();
        assert!(fio.wait().unwrap().success(), "{output}");
        // Time, latency in nanoseconds, direction, size, place, one line for each.
        let latencies = fs::read_to_string(format!("{}_clat.1.log", log.display())).unwrap();
        let latency = |line: &str| {
            let nanoseconds = line.split(',').nth(1).unwrap().trim().parse();
            Duration::from_nanos(nanoseconds.unwrap())
        };
        let measured: Vec<_> = latencies.lines().map(latency).collect();
        assert_eq!(measured.len(), READS, "{latencies}");
        Self {
            disk: disk.name().to_owned(),
            measured,
        }
    }

    /// The disk that it read from.
    pub(super) fn disk(&self) -> &str {
        &self.disk
    }

    pub(super) fn check(&self, spans: &Tree) {
        let mut reads: Vec<&Shown> = spans.of(SERVICE, "syscalls").collect();
        reads.retain(|call| integer(call, "stratoswarm.syscall.result") == READ_BYTES);
        reads.sort_by_key(|call| call.times());
        assert_eq!(reads.len(), READS, "{:#?}", spans.of_service(SERVICE));
        let mut roots = HashSet::new();
        for read in &reads {
            assert_eq!(read.get("Name"), "pread64");
            says(read, &[("stratoswarm.syscall.name", "pread64")]);
            // fio has one thread in each of its processes.
            let thread = format!("Int({})", integer(read, "thread.id"));
            assert_eq!(read.resource["process.pid"], thread);
            let root = spans.parent(read);
            roots.insert(root.get("Trace ID"));
            assert!(root.scope.starts_with("stratoswarm.trace "), "{root:?}");
            assert_eq!(root.resource, read.resource);
            assert_eq!(root.resource["process.executable.name"], "Str(fio)");
            is_within(read, root);
            self.check_requests(spans, read);
        }
        // It may read at the turn of a minute.
        assert!(roots.len() <= 2, "{roots:?}");
        self.check_times(&reads);
    }

    fn check_requests(&self, spans: &Tree, read: &Shown) {
        let mut requests = spans.children(read);
        requests.retain(|span| span.scope.starts_with("stratoswarm.block "));
        let mut bytes = 0;
        for request in &requests {
            assert_eq!(request.get("Name"), "disk read");
            says(
                request,
                &[("system.device", &self.disk), ("disk.io.direction", "read")],
            );
            assert_eq!(integer(request, "thread.id"), integer(read, "thread.id"));
            is_within(request, read);
            bytes += integer(request, "stratoswarm.disk.bytes");
        }
        assert_eq!(bytes, READ_BYTES, "{requests:?}");
    }

    /// fio reads its clock before and after each call. Somebody else may run in between, though not
    /// each time.
    fn check_times(&self, reads: &[&Shown]) {
        let pairs = reads.iter().map(|read| lasted(read)).zip(&self.measured);
        let pairs: Vec<_> = pairs.collect();
        for (lasted, measured) in &pairs {
            let shorter = *lasted <= **measured + Duration::from_micros(1);
            assert!(shorter, "a call lasted longer than fio waited: {pairs:?}");
        }
        let agree = pairs
            .iter()
            .filter(|(lasted, measured)| agrees(*lasted, **measured));
        assert!(agree.count() > READS / 2, "{pairs:?}");
    }
}
