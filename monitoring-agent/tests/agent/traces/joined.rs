//! A program with spans of its own that calls CUDA: what it launches and waits for is within its span,
//! which it sends to the collector by itself.

use std::{env, process::Command, time::Duration};

use monitoring::{Tracer, otlp::Protocol};

use super::{
    gpu::{Said, rules},
    traced::Traced,
    tree::{integer, is_of, is_within, says},
};
use crate::{
    cuda::{Program, libraries},
    poll::PATIENCE,
    rotel::shown::Shown,
};

/// With which arguments the executable is the stand-ins' workload in a span.
const ARGUMENTS: &str = "TRACES_JOINED";

/// Where it sends that.
const ENDPOINT: &str = "TRACES_JOINED_ENDPOINT";

/// What it calls the span, and itself.
const SPAN: &str = "train step";
const SERVICE: &str = "trainer";

/// How long each kernel has the device.
const KERNEL: Duration = Duration::from_millis(20);

const LAUNCHES: i64 = 3;

/// What it waits for its launches by, as it is printed.
const WAIT: &str = "Str(cudaStreamSynchronize)";

/// What it launches by.
const LAUNCH: &str = "cudaLaunchKernel";

/// What a grid of no blocks is.
const REFUSED: &str = "cudaErrorInvalidConfiguration";

/// What runs the workload in a span.
fn program(arguments: &str) -> Command {
    let (_, module) = module_path!().split_once("::").unwrap();
    let test = format!("{module}::launches_are_within_the_span_of_the_program");
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([&test, "--exact", "--nocapture", "--quiet"]);
    command.env(ARGUMENTS, format!("workload {arguments}"));
    command
}

/// The program.
fn work(arguments: &str) {
    let tracer = Tracer::builder(SERVICE)
        .sample_rate(1.0)
        .endpoint(env::var(ENDPOINT).unwrap())
        .protocol(Protocol::HttpProtobuf)
        .build()
        .unwrap();
    let span = tracer.start_span(SPAN);
    let arguments = arguments.split_ascii_whitespace();
    cuda_sim_workload::main_within(arguments, || span.enter()).unwrap();
    drop(span);
    assert!(tracer.shutdown(PATIENCE), "the span was not sent");
}

#[test]
fn launches_are_within_the_span_of_the_program() {
    if let Ok(arguments) = env::var(ARGUMENTS) {
        return work(&arguments);
    }
    let traced = Traced::start(Protocol::HttpProtobuf, &rules());
    let folder = libraries();
    let first = Program::forerunner(folder.path(), &traced.agent, "--api runtime");
    let endpoint = traced.ports.url(Protocol::HttpProtobuf);
    let kernel_ns = format!("*={}", KERNEL.as_nanos());
    let variables = [("CUDA_SIM_KERNEL_NS", &*kernel_ns), (ENDPOINT, &*endpoint)];
    let arguments = format!("--api runtime --streams 1 --launches {LAUNCHES} --errors 1");
    let said = Said::by(
        folder.path(),
        &traced.agent,
        program,
        &arguments,
        &variables,
    );
    drop(first);
    let spans = traced.spans_beside(1);
    spans.check_all();
    // At its end it waits for the device as well. That need not take long enough to be a span.
    let is_waited_for = |window: &&Shown| window.tags["stratoswarm.cuda.call"] == WAIT;
    let window = said.windows(&spans).into_iter().find(is_waited_for);
    let window = window.unwrap_or_else(|| panic!("{:#?}", said.windows(&spans)));
    let step = spans.parent(window);
    assert_eq!(step.get("Name"), SPAN);
    assert_eq!(step.resource["service.name"], format!("Str({SERVICE})"));
    assert_eq!(integer(window, "stratoswarm.cuda.launches"), LAUNCHES);
    is_within(window, step);
    let of_cuda = |span: &&Shown| span.scope.starts_with("stratoswarm.cuda ");
    let mut calls = spans.children(window);
    assert!(calls.iter().all(of_cuda), "{calls:#?}");
    for call in &calls {
        is_of(call, said.pid);
        is_within(call, window);
        assert_eq!(call.get("Trace ID"), step.get("Trace ID"));
    }
    let wait = calls.pop().unwrap();
    assert_eq!(wait.tags["stratoswarm.cuda.call"], WAIT);
    // What they launch is not known of each program that ends so soon.
    assert_eq!(calls.len(), usize::try_from(LAUNCHES).unwrap());
    for launch in calls {
        says(launch, &[("stratoswarm.cuda.call", LAUNCH)]);
    }
    // A launch that was refused is in no window.
    let mut refused = spans.children(step);
    refused.retain(|span| of_cuda(span) && span.tags.contains_key("error.type"));
    let [refused] = refused[..] else {
        panic!("{refused:#?}");
    };
    says(
        refused,
        &[("error.type", REFUSED), ("stratoswarm.cuda.call", LAUNCH)],
    );
}
