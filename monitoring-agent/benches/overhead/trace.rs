//! What tracing costs at 50,000 events a second: to those that are watched, in kernel programs, and in
//! the agent, beside the same agent that does not trace.
//!
//! An event is a system call; every twentieth of a millisecond has one, and each millisecond a TCP
//! connection, which is some of the calls. Under one condition each of them is a candidate, of which one
//! in a hundred becomes a span and is sent to a collector; under another one thresholds are the usual
//! ones, so that nearly nothing is a candidate. Conditions take turns; the figures are medians.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::{
    agent::agent_with,
    calls::{in_thread, pin_to_last_cpu, thread_cpu_ns},
    process::{Running, Statistics, free_port},
};

const ROUNDS: usize = 5;

/// How long each round lasts, and how many events a second it has.
const TIME: Duration = Duration::from_secs(4);
const EVENTS_PER_SECOND: u32 = 50_000;

/// The load rests until the next of these begins.
const TICK: Duration = Duration::from_millis(1);
const EVENTS_PER_TICK: u32 = EVENTS_PER_SECOND / 1_000;

/// System calls of one TCP connection, both of its ends, as `connection` makes them.
const CALLS_PER_CONNECTION: u32 = 7;

/// Longer than the agent's interval, after which its start is over.
const WARM_UP: Duration = Duration::from_millis(1_500);

/// What the agent runs, traced or not.
const FAMILIES: [&str; 5] = ["process", "sched", "block", "net", "syscalls"];

const CONDITIONS: [(&str, Option<&str>); 3] = [
    ("tracing off", None),
    ("1 % of what is slow", Some("")),
    ("1 % of all events", Some(EVERYTHING)),
];

/// Each event is a candidate, and none is held back.
const EVERYTHING: &str = "slow_system_call = \"0s\"\nslow_connect = \"0s\"\n\
                          exclude_system_calls = []\nspans_per_second = 100000\n";

/// What a round shows.
#[derive(Clone, Copy, Default)]
struct Figures {
    /// Nanoseconds of CPU time that the load takes for an event.
    event_ns: f64,
    /// Share of all CPUs in kernel programs, by BPF statistics.
    programs: f64,
    /// Share of all CPUs in the agent itself.
    agent: f64,
    /// Events a second that the load came to.
    rate: f64,
}

pub(crate) fn measure() {
    let collector = Collector::start();
    let statistics = Statistics::on();
    let mut rounds = CONDITIONS.map(|_| Vec::new());
    for round in 0..ROUNDS {
        // Forwards and backwards in turn: a drift of the machine falls on all alike.
        let mut order: Vec<_> = (0..CONDITIONS.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for condition in order {
            let (_, tracing) = CONDITIONS[condition];
            rounds[condition].push(figures(&agent(tracing, collector.address)));
        }
    }
    drop(statistics);
    print(&rounds.map(|rounds| medians(&rounds)));
}

fn agent(tracing: Option<&str>, collector: SocketAddr) -> Running {
    let endpoint = tracing.map_or(String::new(), |_| {
        format!("otlp_endpoint = \"http://{collector}\"\ntrace_sample_rate = 0.01\n")
    });
    let trace = format!(
        "[sources.trace]\nenabled = {}\nagents = \"all\"\n{}",
        tracing.is_some(),
        tracing.unwrap_or_default()
    );
    let settings = format!("collection_interval = \"1s\"\n{endpoint}{trace}");
    agent_with(free_port(), &FAMILIES, &settings, "")
}

/// One round under one condition.
fn figures(agent: &Running) -> Figures {
    thread::sleep(WARM_UP);
    let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    let before = [agent.program_ns(), agent.cpu_ns()];
    let (elapsed, events, event_ns) = in_thread(load);
    let after = [agent.program_ns(), agent.cpu_ns()];
    let share = |at: usize| (after[at] - before[at]) as f64 / (elapsed.as_secs_f64() * 1e9 * cpus);
    Figures {
        event_ns,
        programs: share(0),
        agent: share(1),
        rate: f64::from(events) / elapsed.as_secs_f64(),
    }
}

/// The load: for how long, how many events, and the CPU time of one.
fn load() -> (Duration, u32, f64) {
    pin_to_last_cpu();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let (begun, begun_cpu_ns) = (Instant::now(), thread_cpu_ns());
    let mut events = 0;
    let mut ticks = 0;
    while begun.elapsed() < TIME {
        connection(&listener, address);
        for _ in CALLS_PER_CONNECTION..EVENTS_PER_TICK {
            // SAFETY: the call has no arguments and cannot fail.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }
        events += EVENTS_PER_TICK;
        ticks += 1;
        // Late ticks follow each other without a rest, so that the rate is kept.
        let rest = (TICK * ticks).saturating_sub(begun.elapsed());
        if !rest.is_zero() {
            thread::sleep(rest);
        }
    }
    let each_ns = (thread_cpu_ns() - begun_cpu_ns) / f64::from(events);
    (begun.elapsed(), events, each_ns)
}

/// A connection from its beginning to its end.
fn connection(listener: &TcpListener, address: SocketAddr) {
    let client = TcpStream::connect(address).expect("the listener listens");
    let (server, _) = listener.accept().expect("a connection");
    drop((server, client));
}

fn medians(rounds: &[Figures]) -> Figures {
    let median = |figure: fn(&Figures) -> f64| {
        let mut figures: Vec<_> = rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    Figures {
        event_ns: median(|figures| figures.event_ns),
        programs: median(|figures| figures.programs),
        agent: median(|figures| figures.agent),
        rate: median(|figures| figures.rate),
    }
}

fn print(medians: &[Figures; CONDITIONS.len()]) {
    println!("{EVENTS_PER_SECOND} events/s, median of {ROUNDS} interleaved rounds of {TIME:?}");
    println!(
        "  {:<24}{:>12}{:>14}{:>8}{:>20}{:>14}",
        "", "events/s", "ns an event", "ratio", "kernel programs", "the agent"
    );
    let off = medians[0];
    for ((name, _), figures) in CONDITIONS.iter().zip(medians) {
        let ratio = figures.event_ns / off.event_ns;
        let shares = [figures.programs, figures.agent].map(|share| share * 100.0);
        println!(
            "  {name:<24}{:>12.0}{:>14.1}{ratio:>8.3}{:>18.3} %{:>12.3} %",
            figures.rate, figures.event_ns, shares[0], shares[1]
        );
    }
    for ((name, _), figures) in CONDITIONS.iter().zip(medians).skip(1) {
        let added = [figures.programs - off.programs, figures.agent - off.agent];
        let added = added.map(|share| share * 100.0);
        println!(
            "  {name} adds {:.3} % of all CPUs in kernel programs, and {:.3} % in the agent",
            added[0], added[1]
        );
    }
    println!();
}

/// Whoever takes spans, and has nothing to say about them. It ends with the benchmark.
struct Collector {
    address: SocketAddr,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || answer_all(&connection));
            }
        });
        Self { address }
    }
}

/// Answers each request of a connection, until it ends or says something else.
fn answer_all(connection: &TcpStream) -> Option<()> {
    let mut requests = BufReader::new(connection);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if requests.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        requests.read_exact(&mut vec![0; length]).ok()?;
        let mut answers = connection;
        let answer =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        answers.write_all(answer).ok()?;
    }
}
