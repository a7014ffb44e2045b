//! A small HTTP server that stands in for a node: it answers what a test says, goes away, and comes
//! back at the same address.

#![allow(dead_code, reason = "each test target uses a part of it")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What an agent told of a node with three GPUs under load, and what it told two seconds later.
pub(crate) const FIRST: &str = include_str!("../node/first.txt");
pub(crate) const SECOND: &str = include_str!("../node/second.txt");
/// A profile that it took.
pub(crate) const FOLDED: &str = include_str!("../node/folded.txt");

/// An answer: its status, its content type, its body.
pub(crate) type Answer = (u16, &'static str, String);

/// Prometheus' text format.
pub(crate) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Longest time for what is waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(15);

type Pages = Arc<dyn Fn(&str, usize) -> Answer + Send + Sync>;

/// A node, until it is dropped.
pub(crate) struct StandIn {
    pub(crate) address: SocketAddr,
    pages: Pages,
    serving: Option<Serving>,
}

struct Serving {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl StandIn {
    /// One that answers so: by the path, and by how many requests there were for metrics before.
    pub(crate) fn new(pages: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let mut node = Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            pages: Arc::new(pages),
            serving: None,
        };
        node.come();
        node
    }

    /// One that answers what the agent told, with a text in the place of another one.
    pub(crate) fn agent(replaced: &'static str, by: &'static str) -> Self {
        Self::new(move |path, before| agent(path, before, replaced, by))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    /// Listens again where it did.
    pub(crate) fn come(&mut self) {
        let listener = TcpListener::bind(self.address).expect("the address is free");
        self.address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (pages, stopped) = (Arc::clone(&self.pages), Arc::clone(&stop));
        let thread = thread::spawn(move || serve(&listener, &pages, &stopped));
        self.serving = Some(Serving { stop, thread });
    }

    /// Ends, with all connections.
    pub(crate) fn go(&mut self) {
        let Some(Serving { stop, thread }) = self.serving.take() else {
            return;
        };
        stop.store(true, Ordering::SeqCst);
        // Wakes the thread, which accepts.
        let _ = TcpStream::connect(self.address);
        thread.join().expect("the server does not panic");
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.go();
    }
}

fn agent(path: &str, before: usize, replaced: &str, by: &str) -> Answer {
    let replace = |text: &str| {
        // Each scrape tells its own age, and this one is made now.
        let (text, _) = text.rsplit_once(' ').expect("the age is the last value");
        let text = format!("{text} 0.500\n");
        if replaced.is_empty() {
            text
        } else {
            text.replace(replaced, by)
        }
    };
    match path.split('?').next() {
        Some("/metrics") => (200, TEXT, replace(if before == 0 { FIRST } else { SECOND })),
        Some("/folded") => (200, "text/plain; charset=utf-8", FOLDED.to_owned()),
        _ => (404, "text/plain", "404: there is no such path\n".to_owned()),
    }
}

fn serve(listener: &TcpListener, pages: &Pages, stop: &AtomicBool) {
    let scrapes = AtomicUsize::new(0);
    thread::scope(|scope| {
        while let Ok((stream, _)) = listener.accept() {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            let scrapes = &scrapes;
            scope.spawn(move || answer(stream, pages, scrapes));
        }
    });
}

/// One answer, after which the connection is closed. A client that goes away is none of our worry.
fn answer(mut stream: TcpStream, pages: &Pages, scrapes: &AtomicUsize) -> Option<()> {
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let request = lines.next()?.ok()?;
    while !lines.next()?.ok()?.is_empty() {}
    let path = request.split(' ').nth(1)?;
    let before = if path.starts_with("/metrics") {
        scrapes.fetch_add(1, Ordering::SeqCst)
    } else {
        0
    };
    let (status, kind, body) = pages(path, before);
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()
}

/// Asks again and again until there is something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not come in time");
        thread::sleep(Duration::from_millis(20));
    }
}
