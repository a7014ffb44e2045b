//! Nanoseconds added to a message, and to a TCP connection, over loopback.
//!
//! As for system calls, conditions take turns and the median counts. Only the agent's own family
//! runs: the others would be measured with it.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::Instant,
};

use crate::process::{Running, free_port, scrape};

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

/// Its name, and what has to run for it.
type Condition = (&'static str, fn() -> Option<Running>);

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
    let conditions: [Condition; 3] = [
        ("nobody watches", || None),
        ("monitoring-agent", || Some(agent(free_port(), false))),
        ("bpftrace, bytes by process, TCP times", || {
            Some(Running::bpftrace(BYTES))
        }),
    ];
    let mut samples = conditions.map(|_| LOOPS.map(|_| Vec::new()));
    for round in 0..ROUNDS {
        let mut order: Vec<_> = (0..conditions.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for condition in order {
            let running = conditions[condition].1();
            for ((_, run), samples) in LOOPS.iter().zip(&mut samples[condition]) {
                samples.push(run());
            }
            drop(running);
        }
    }
    let medians = samples.map(|loops| loops.map(median));
    println!(
        "ns, median of {ROUNDS} interleaved rounds of {PAIRS} pairs, {CONNECTIONS} connections"
    );
    for (at, (what, _)) in LOOPS.iter().enumerate() {
        let base = medians[0][at];
        println!("  {what:<46}{base:>9.0}");
        for ((name, _), loops) in conditions[1..].iter().zip(&medians[1..]) {
            println!(
                "    {name:<44}{:>9.0}  adds {:>7.0}",
                loops[at],
                loops[at] - base
            );
        }
    }
    run_times();
}

/// How long the programs run, as the kernel measures it.
fn run_times() {
    let port = free_port();
    let running = agent(port, true);
    for (_, run) in LOOPS {
        run();
    }
    // Past the end of a collection interval that began after the last loop.
    thread::sleep(std::time::Duration::from_millis(2_500));
    let text = scrape(port, "/metrics");
    let value = |name: &str, program: &str| {
        let start = format!("{name}{{program=\"{program}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.and_then(|value| value.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    println!("  ns a run by BPF statistics, which themselves add to it");
    for program in [
        "sock_send_length",
        "sock_recv_length",
        "inet_sock_set_state",
        "inet_sock_set_state_again",
    ] {
        let seconds = value("monitoring_agent_bpf_run_seconds_total", program);
        let runs = value("monitoring_agent_bpf_runs_total", program);
        println!(
            "    {program:<44}{:>9.0}  in {runs} runs",
            seconds * 1e9 / runs
        );
    }
    println!();
    drop(running);
}

/// The agent with this family alone, and with the one that labels processes.
fn agent(port: u16, statistics: bool) -> Running {
    let path =
        std::env::temp_dir().join(format!("monitoring-overhead-{}.toml", std::process::id()));
    write_configuration(&path, statistics).expect("write the configuration");
    let path = path.to_str().expect("a path of ASCII").to_owned();
    let running = Running::agent(port, &["--config", &path]);
    // It has been read.
    let _ = fs::remove_file(path);
    running
}

fn write_configuration(path: &Path, statistics: bool) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    writeln!(
        file,
        "[monitoring]\ncollection_interval = \"1s\"\nbpf_stats = {statistics}"
    )?;
    for family in ["sched", "block", "syscalls", "host"] {
        writeln!(file, "[sources.{family}]\nenabled = false")?;
    }
    Ok(())
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

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
