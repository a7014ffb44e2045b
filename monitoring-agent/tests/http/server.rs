//! The server under test, on a runtime of one thread as in the agent, and a client that sends
//! exactly the bytes it is told to.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use monitoring_agent::{
    export::http::{HttpOptions, HttpStats, bind, serve},
    families::Family,
    snapshot::Snapshot,
};
use tokio::sync::{oneshot, watch};

/// Longer than anything here may take, and shorter than anybody's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) stats: Arc<HttpStats>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(options: HttpOptions) -> Self {
        Self::serving(options, small_snapshot())
    }

    pub(crate) fn serving(options: HttpOptions, snapshot: Snapshot) -> Self {
        Self::serving_at("127.0.0.1:0".parse().unwrap(), options, snapshot)
    }

    pub(crate) fn serving_at(listen: SocketAddr, options: HttpOptions, snapshot: Snapshot) -> Self {
        let (shutdown, stop) = oneshot::channel::<()>();
        let (send_addr, addr) = mpsc::channel();
        let stats = Arc::new(HttpStats::default());
        let thread_stats = Arc::clone(&stats);
        let (snapshots, latest) = watch::channel(Arc::new(snapshot));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let listener = bind(listen).await.unwrap();
                send_addr.send(listener.local_addr().unwrap()).unwrap();
                serve(listener, options, latest, thread_stats, async {
                    _ = stop.await;
                })
                .await;
            });
        });
        let addr = addr
            .recv()
            .expect("the server's thread says where it listens");
        Self {
            addr,
            stats,
            snapshots,
            shutdown: Some(shutdown),
            thread: Some(thread),
        }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addr)
    }

    /// Puts another snapshot in the place of the newest.
    pub(crate) fn publish(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    /// One request on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Reply {
        let mut client = self.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"));
        client.reply()
    }

    /// Asks the server to stop, without waiting for it.
    pub(crate) fn ask_to_stop(&mut self) {
        self.shutdown.take().map(|shutdown| shutdown.send(()));
    }

    /// Stops the server and says how long it took.
    pub(crate) fn stop(mut self) -> Duration {
        let asked = Instant::now();
        self.ask_to_stop();
        self.thread
            .take()
            .map(thread::JoinHandle::join)
            .unwrap()
            .expect("the server panicked");
        asked.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

pub(crate) fn small_snapshot() -> Snapshot {
    let families = vec![
        Family::counter("hostile_total", "Help with a \\ and\na line.")
            .with(&[("comm", "a\"b\\c\nd\u{fffd}")], 1.0)
            .build(),
        Family::gauge("node_load1", "Load.").with(&[], 0.5).build(),
    ];
    Snapshot {
        number: 1,
        families,
        ready: true,
        ..Snapshot::empty()
    }
}

/// A snapshot whose text is larger than what the sockets between server and client can hold.
pub(crate) fn large_snapshot() -> Snapshot {
    snapshot_of(16_000)
}

/// A snapshot with so many samples of a thousand bytes. Of 2 000 the sockets hold only a part while
/// the client reads nothing of them.
pub(crate) fn snapshot_of(samples: u32) -> Snapshot {
    let mut family = Family::gauge("large", "");
    let value = "v".repeat(1000);
    for number in 0..samples {
        family.push(&[("number", &number.to_string()), ("value", &value)], 1.0);
    }
    Snapshot {
        families: vec![family.build()],
        ..small_snapshot()
    }
}

/// Options under which nothing ends by itself for as long as a test may take.
pub(crate) fn patient() -> HttpOptions {
    HttpOptions {
        header_timeout: 3 * PATIENCE,
        write_timeout: 3 * PATIENCE,
        ..HttpOptions::default()
    }
}

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "still not so: {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The answer to a request other than HEAD.
    pub(crate) fn reply(&mut self) -> Reply {
        let mut reply = self.head();
        let length: usize = reply.header("content-length").unwrap().parse().unwrap();
        while self.unread.len() < length {
            assert!(self.read_some().unwrap() > 0, "the body ends early");
        }
        reply.body = self.unread.drain(..length).collect();
        reply
    }

    /// The head of an answer, which is all there is to HEAD.
    pub(crate) fn head(&mut self) -> Reply {
        let end = loop {
            if let Some(at) = self
                .unread
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n")
            {
                break at + 4;
            }
            assert!(
                self.read_some().unwrap() > 0,
                "the head ends early: {:?}",
                self.unread
            );
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).unwrap();
        let status = head.strip_prefix("HTTP/1.1 ").expect("a status line")[..3]
            .parse()
            .unwrap();
        Reply {
            status,
            head,
            body: Vec::new(),
        }
    }

    /// What comes until the server closes the connection; fails if it does not.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        loop {
            match self.read_some() {
                Ok(0) => return self.unread,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return self.unread,
                Err(error) => panic!("the connection stays open: {error}"),
            }
        }
    }

    /// Whether at least so many bytes come until the server closes the connection.
    pub(crate) fn rest_until(self, bytes: usize) -> bool {
        self.rest().len() >= bytes
    }

    /// Sends what can be sent, says that this is all, and reads what comes until the end.
    pub(crate) fn exchange(mut self, bytes: &[u8]) -> Vec<u8> {
        // A server that has seen enough may close before it was told everything.
        _ = self.stream.write_all(bytes);
        _ = self.stream.shutdown(Shutdown::Write);
        self.rest()
    }

    fn read_some(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16_384];
        let length = self.stream.read(&mut chunk)?;
        self.unread.extend(&chunk[..length]);
        Ok(length)
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}
