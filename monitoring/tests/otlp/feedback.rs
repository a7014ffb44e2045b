//! A program whose spans of `tracing` are sent: what the libraries that send them have to say by
//! `tracing` is not sent as well, and so on.

use std::{
    env,
    process::{Command, Stdio},
};

use tracing_subscriber::layer::SubscriberExt as _;

use crate::collector::{Collector, DEADLINE, PROTOCOLS, Ports};

/// Set where this program is run again, as one whose subscriber is that of all its threads. Says
/// where spans go.
const PORT: &str = "MONITORING_TEST_FEEDBACK";

/// The test that is that program then.
const PROGRAM: &str = "feedback::sending_spans_makes_no_spans";

const SPANS: usize = 5;

fn program(number: usize, ports: Ports) {
    let tracer = ports.tracer(PROTOCOLS[number]).build().unwrap();
    let subscriber = tracing_subscriber::registry().with(monitoring::layer(&tracer));
    tracing::subscriber::set_global_default(subscriber).unwrap();
    for number in 0..SPANS {
        tracing::info_span!("work", number).in_scope(|| tracing::info!("worked"));
        assert!(tracer.flush(DEADLINE));
    }
    let stats = tracer.stats();
    assert_eq!((stats.recorded, stats.exported), (5, 5), "{stats:?}");
}

#[test]
fn sending_spans_makes_no_spans() {
    if let Some(said) = env::var_os(PORT) {
        let said = said.into_string().unwrap();
        let numbers: Vec<u16> = said.split(',').map(|part| part.parse().unwrap()).collect();
        let ports = Ports::new(numbers[1], numbers[2]);
        return program(numbers[0].into(), ports);
    }
    for number in 0..PROTOCOLS.len() {
        let ports = Ports::free();
        let collector = Collector::start(ports);
        let mut program = Command::new(env::current_exe().unwrap());
        program.args(["--exact", PROGRAM]).stdin(Stdio::null());
        program.env(PORT, format!("{number},{},{}", ports.http, ports.grpc));
        let output = program.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let spans = collector.spans(SPANS);
        assert!(spans.iter().all(|span| span.get("Name") == "work"));
        assert_eq!(spans.len(), SPANS);
    }
}
