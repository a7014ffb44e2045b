//! Programs at the two ends of one TCP connection, which time it by their own clocks: the test's
//! executable, told by its environment which end to be.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

/// What a program says begins so, to tell it from what the test harness prints.
const SAYS: &str = "end: ";

/// What the client sends.
pub(super) const SENT_BYTES: usize = 100_000;

/// Which end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Client,
    Server,
}

impl Role {
    /// The variable that makes the executable this end, with an address of the server's.
    pub(super) fn variable(self) -> &'static str {
        match self {
            Self::Client => "TRACES_CLIENT",
            Self::Server => "TRACES_SERVER",
        }
    }
}

/// A running end. It is killed when it is dropped.
pub(super) struct End {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl End {
    /// Starts one. It does nothing until it is told something.
    pub(super) fn start(role: Role, address: &str) -> Self {
        let (_, module) = module_path!().split_once("::").unwrap();
        let mut command = Command::new(env::current_exe().unwrap());
        let test = format!("{module}::a_connection_has_two_ends");
        command.args([&test, "--exact", "--nocapture", "--test-threads=1"]);
        command.env(role.variable(), address);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            input,
            output,
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it a word.
    pub(super) fn tell(&mut self, word: &str) {
        writeln!(self.input, "{word}").expect("the program listens");
    }

    /// The numbers that it says next.
    pub(super) fn hears<const COUNT: usize>(&mut self) -> [u64; COUNT] {
        let mut line = String::new();
        loop {
            line.clear();
            let length = self.output.read_line(&mut line).unwrap();
            assert_ne!(length, 0, "the program has ended; see above");
            if let Some((_, numbers)) = line.split_once(SAYS) {
                let numbers = numbers.split_whitespace().map(|word| word.parse().unwrap());
                return numbers.collect::<Vec<_>>().try_into().unwrap();
            }
        }
    }

    /// Waits for its end.
    pub(super) fn ends_well(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(numbers: &[u128]) {
    let words: Vec<_> = numbers.iter().map(u128::to_string).collect();
    println!("\n{SAYS}{}", words.join(" "));
}

fn hear() -> String {
    let mut line = String::new();
    let length = std::io::stdin().read_line(&mut line).unwrap();
    assert_ne!(length, 0, "the test has ended");
    line.trim().to_owned()
}

/// The calling thread's number.
fn tid() -> u128 {
    // SAFETY: the call has no arguments and cannot fail.
    let tid = unsafe { libc::gettid() };
    tid.unsigned_abs().into()
}

/// Says its port, and then its thread, how long the connection lasted and how many bytes came.
fn serve(address: IpAddr) {
    hear();
    let listener = TcpListener::bind((address, 0)).unwrap();
    say(&[listener.local_addr().unwrap().port().into()]);
    let (mut stream, _) = listener.accept().unwrap();
    let begun = Instant::now();
    let bytes = stream.read_to_end(&mut Vec::new()).unwrap();
    drop(stream);
    say(&[tid(), begun.elapsed().as_nanos(), bytes as u128]);
}

/// Is told a port, says which is its own, is told to close, and says its thread, how long it took to
/// connect, and how long the connection lasted.
fn connect(address: IpAddr) {
    let address = SocketAddr::new(address, hear().parse().unwrap());
    let connecting = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    let connected = connecting.elapsed();
    let begun = Instant::now();
    stream.write_all(&vec![1; SENT_BYTES]).unwrap();
    say(&[stream.local_addr().unwrap().port().into()]);
    hear();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    // Until the other end has closed as well.
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0);
    drop(stream);
    say(&[tid(), connected.as_nanos(), begun.elapsed().as_nanos()]);
}

/// In an ordinary run, both ends as programs; in a program, the end that it is told to be.
#[test]
fn a_connection_has_two_ends() {
    for role in [Role::Client, Role::Server] {
        let Ok(address) = env::var(role.variable()) else {
            continue;
        };
        let address = address.parse().unwrap();
        return match role {
            Role::Client => connect(address),
            Role::Server => serve(address),
        };
    }
    let [mut client, mut server] =
        [Role::Client, Role::Server].map(|role| End::start(role, "127.0.0.1"));
    server.tell("begin");
    let [port] = server.hears();
    client.tell(&port.to_string());
    let [_] = client.hears();
    client.tell("close");
    let [_, _, _] = client.hears();
    let [_, _, bytes] = server.hears();
    assert_eq!(usize::try_from(bytes).unwrap(), SENT_BYTES);
    client.ends_well();
    server.ends_well();
}
