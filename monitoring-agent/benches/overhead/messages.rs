//! Nanoseconds added to a message, and to a TCP connection, over loopback.
//!
//! As for system calls, conditions take turns and the median counts. Only the agent's own family
//! runs: the others would be measured with it.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    time::Instant,
};

use crate::{
    agent::{agent, print_run_times},
    process::{Running, free_port},
    turns::{Condition, NOBODY, medians, print_added},
};

const ROUNDS: usize = 7;
const PAIRS: u32 = 100_000;
const CONNECTIONS: u32 = 4_000;

/// Bytes and messages by process and direction, and nothing else: no protocol, no loopback.
const BYTES: &str = "
    tracepoint:sock:sock_send_length /args->ret > 0/ { @sent[pid] = sum(args->ret); @sends[pid] = count(); }
    tracepoint:sock:sock_recv_length /args->ret > 0/ { @got[pid] = sum(args->ret); @gets[pid] = count(); }
    tracepoint:sock:inet_sock_set_state {
        if (args->newstate == 2) { @start[args->skaddr] = nsecs; }
        if (args->newstate == 1) { @began[args->skaddr] = nsecs; @connect = hist(nsecs - @start[args->skaddr]); delete(@start[args->skaddr]); }
        if (args->newstate == 7) { @lifetime = hist(nsecs - @began[args->skaddr]); delete(@began[args->skaddr]); }
    }";

/// The family that counts messages, and the one that labels processes.
const FAMILIES: [&str; 2] = ["process", "net"];

/// What is done, and how long one of it takes.
type Loop = (&'static str, fn() -> f64);

/// What is measured, in nanoseconds of wall time for each: nobody else has anything to do.
const LOOPS: [Loop; 4] = [
    ("a send and receive, Unix stream", unix),
    ("a send and receive, UDP", udp),
    ("a send and receive, TCP", tcp),
    ("a TCP connection, both ends", connections),
];

pub(crate) fn measure() {
    let conditions: [Condition<'_>; 3] = [
        NOBODY,
        ("monitoring-agent", &|| {
            vec![agent(free_port(), &FAMILIES, false)]
        }),
        ("bpftrace, bytes by process, TCP times", &|| {
            vec![Running::bpftrace(BYTES)]
        }),
    ];
    let loops = || LOOPS.map(|(_, run)| run());
    let medians = medians(ROUNDS, &conditions, loops);
    println!(
        "ns, median of {ROUNDS} interleaved rounds of {PAIRS} pairs, {CONNECTIONS} connections"
    );
    for (at, (what, _)) in LOOPS.iter().enumerate() {
        println!(" {what}");
        print_added(&conditions, medians.map(|loops| loops[at]));
    }
    print_run_times(&FAMILIES, || {
        loops();
    });
}

fn unix() -> f64 {
    let (mut left, mut right) = UnixStream::pair().expect("two sockets");
    pairs(|buffer| {
        left.write_all(buffer)?;
        right.read_exact(buffer)
    })
}

fn udp() -> f64 {
    let left = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let right = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    left.connect(right.local_addr().expect("an address"))
        .expect("connect");
    pairs(|buffer| {
        left.send(buffer)?;
        right.recv(buffer).map(drop)
    })
}

fn tcp() -> f64 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let mut left = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
    let (mut right, _) = listener.accept().expect("a connection");
    left.set_nodelay(true).expect("an option");
    pairs(|buffer| {
        left.write_all(buffer)?;
        right.read_exact(buffer)
    })
}

fn pairs(mut pair: impl FnMut(&mut [u8]) -> std::io::Result<()>) -> f64 {
    let mut buffer = [0; 64];
    let begun = Instant::now();
    for _ in 0..PAIRS {
        pair(&mut buffer).expect("the other end is there");
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(PAIRS)
}

fn connections() -> f64 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let begun = Instant::now();
    for _ in 0..CONNECTIONS {
        let client = TcpStream::connect(address).expect("connect");
        let (server, _) = listener.accept().expect("a connection");
        // The server's end first: the client's ports are the ones to be used again.
        drop(server);
        drop(client);
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(CONNECTIONS)
}
