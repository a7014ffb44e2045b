//! Known traffic: a client and a server that exchange so many bytes over so many connections, and
//! verify each of them.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

/// Where the server listens, on each of its addresses.
const PORT: u16 = 7777;

/// How long one call may take before a program gives up. Longer than TCP waits for several lost
/// packets in a row.
const STALLED: Duration = Duration::from_secs(30);

/// Bytes that are read at once.
const READ_SIZE: usize = 256 << 10;

/// Messages begin at so many places of one pattern, so that two connections' differ.
const STARTS: usize = 251;

/// Bytes of the number that each message begins with.
const NUMBER_SIZE: usize = 8;

/// What is exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The server's addresses, which connections use in turn.
    pub(crate) addresses: Vec<IpAddr>,
    /// Connections, a multiple of the addresses and of the lanes.
    pub(crate) connections: usize,
    /// Connections at a time, a multiple of the addresses.
    pub(crate) lanes: usize,
    /// How often each side sends a message on each connection. The client begins.
    pub(crate) rounds: usize,
    /// Size of a message.
    pub(crate) message_size: usize,
}

/// Who sends first, and who opens the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

impl Plan {
    /// Payload bytes that each side sends, over all connections of one address.
    pub(crate) fn bytes_per_address(&self) -> usize {
        self.connections / self.addresses.len() * self.rounds * self.message_size
    }

    /// As text, for the environment of a program.
    pub(super) fn to_text(&self) -> String {
        let addresses: Vec<_> = self.addresses.iter().map(IpAddr::to_string).collect();
        let [a, b, c, d] = [self.connections, self.lanes, self.rounds, self.message_size];
        format!("{a} {b} {c} {d} {}", addresses.join(" "))
    }

    /// Reads what [`Self::to_text`] wrote, from a variable.
    pub(super) fn from_variable(name: &str) -> Option<Self> {
        let text = env::var(name).ok()?;
        let mut words = text.split(' ');
        let mut number = || words.next().unwrap().parse().unwrap();
        let [connections, lanes, rounds, message_size] = [number(), number(), number(), number()];
        Some(Self {
            connections,
            lanes,
            rounds,
            message_size,
            addresses: words.map(|address| address.parse().unwrap()).collect(),
        })
    }

    /// Takes part in the exchange. `ready` is called once a client can connect, `last` when all bytes
    /// have been exchanged. Each of the client's lanes has its last connection open until its `last`
    /// returns.
    pub(super) fn run(&self, role: Role, ready: impl FnOnce(), last: impl FnOnce()) {
        assert!(self.lanes.is_multiple_of(self.addresses.len()) && self.lanes > 0);
        assert!(self.connections.is_multiple_of(self.lanes));
        assert!(self.message_size > NUMBER_SIZE);
        let pattern: Vec<u8> = (0..self.message_size + STARTS)
            .map(|at| ((at * 31) ^ (at >> 8)).to_le_bytes()[0])
            .collect();
        let places = self.addresses.iter().map(|ip| SocketAddr::new(*ip, PORT));
        let places: Vec<_> = places.collect();
        let listen = |place| TcpListener::bind(place).expect("a free port");
        let listeners: Vec<_> = match role {
            Role::Server => places.iter().map(listen).collect(),
            Role::Client => Vec::new(),
        };
        ready();
        let lanes = Lanes {
            plan: self,
            pattern: &pattern,
            places: &places,
            listeners: &listeners,
            begun: places.iter().map(|_| AtomicUsize::new(0)).collect(),
            released: &Barrier::new(self.lanes + 1),
        };
        let (exchanged, all) = mpsc::channel();
        thread::scope(|scope| {
            for lane in 0..self.lanes {
                let (lanes, exchanged) = (&lanes, exchanged.clone());
                scope.spawn(move || match role {
                    Role::Client => lanes.connect(lane, &exchanged),
                    Role::Server => lanes.accept(lane, &exchanged),
                });
            }
            assert_eq!(all.iter().take(self.connections).count(), self.connections);
            last();
            if role == Role::Client {
                lanes.released.wait();
            }
        });
    }
}

/// What the threads of one end share.
struct Lanes<'a> {
    plan: &'a Plan,
    pattern: &'a [u8],
    places: &'a [SocketAddr],
    listeners: &'a [TcpListener],
    /// Connections that lanes have begun, by address.
    begun: Vec<AtomicUsize>,
    /// Passed when the last connections may be closed.
    released: &'a Barrier,
}

impl Lanes<'_> {
    /// Makes this lane's share of the connections, one after another.
    fn connect(&self, lane: usize, exchanged: &Sender<()>) {
        // A lane that ended early would leave the others waiting for ever.
        let _abort = AbortOnPanic;
        let of_lane = self.plan.connections / self.plan.lanes;
        let place = self.places[lane % self.places.len()];
        for at in 0..of_lane {
            let stream = TcpStream::connect(place).expect("the server is there");
            let mut end = End::new(stream, self.plan, self.pattern);
            end.exchange(Some(lane * of_lane + at));
            exchanged.send(()).unwrap();
            if at + 1 == of_lane {
                self.released.wait();
            }
            // The client closes first, which leaves TIME_WAIT, and so the ports in use, with it.
        }
    }

    /// Serves connections as long as more are to come. Which lane serves how many depends on which
    /// of them the client holds open.
    fn accept(&self, lane: usize, exchanged: &Sender<()>) {
        let _abort = AbortOnPanic;
        let place = lane % self.places.len();
        let of_place = self.plan.connections / self.places.len();
        while self.begun[place].fetch_add(1, Ordering::Relaxed) < of_place {
            let (stream, _) = self.listeners[place].accept().expect("a connection");
            let mut end = End::new(stream, self.plan, self.pattern);
            end.exchange(None);
            exchanged.send(()).unwrap();
            end.wait_for_close();
        }
    }
}

/// Ends the process, rather than one thread of it, when dropped in a panic.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

/// One end of a connection.
struct End<'a> {
    stream: TcpStream,
    plan: &'a Plan,
    pattern: &'a [u8],
    message: Vec<u8>,
    buffer: Vec<u8>,
}

impl<'a> End<'a> {
    fn new(stream: TcpStream, plan: &'a Plan, pattern: &'a [u8]) -> Self {
        stream.set_read_timeout(Some(STALLED)).unwrap();
        stream.set_write_timeout(Some(STALLED)).unwrap();
        Self {
            stream,
            plan,
            pattern,
            message: Vec::with_capacity(plan.message_size),
            buffer: vec![0; READ_SIZE],
        }
    }

    /// All rounds. The client knows the connection's number; the server learns it from the first
    /// message.
    fn exchange(&mut self, number: Option<usize>) {
        let mut known = number;
        for _ in 0..self.plan.rounds {
            if let Some(number) = number {
                self.send(number);
                self.receive(Some(!number));
            } else {
                let number = self.receive(known);
                known = Some(number);
                self.send(!number);
            }
        }
    }

    fn send(&mut self, number: usize) {
        self.message.clear();
        self.message.extend_from_slice(&number.to_le_bytes());
        self.message
            .extend_from_slice(body(self.pattern, self.plan, number));
        self.stream.write_all(&self.message).expect("all is sent");
    }

    /// Receives a message and verifies it. Returns its number.
    fn receive(&mut self, want: Option<usize>) -> usize {
        let mut number = [0; NUMBER_SIZE];
        self.stream.read_exact(&mut number).expect("a message");
        let number = usize::from_le_bytes(number);
        assert_eq!(
            number,
            want.unwrap_or(number),
            "the message of another connection"
        );
        let mut expected = body(self.pattern, self.plan, number);
        while !expected.is_empty() {
            let most = self.buffer.len().min(expected.len());
            let length = self.stream.read(&mut self.buffer[..most]).expect("more");
            assert_ne!(length, 0, "{} bytes are missing", expected.len());
            assert!(
                self.buffer[..length] == expected[..length],
                "other bytes than were sent"
            );
            expected = &expected[length..];
        }
        number
    }

    fn wait_for_close(mut self) {
        // A test may look at open connections for longer than a call takes otherwise.
        self.stream.set_read_timeout(None).unwrap();
        let more = self.stream.read(&mut self.buffer).expect("an orderly end");
        assert_eq!(more, 0, "bytes after the last message");
    }
}

/// What follows the number in the message with this number.
fn body<'a>(pattern: &'a [u8], plan: &Plan, number: usize) -> &'a [u8] {
    &pattern[number % STARTS..][..plan.message_size - NUMBER_SIZE]
}
