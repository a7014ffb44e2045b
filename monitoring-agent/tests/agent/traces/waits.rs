//! How programs of the stand-ins for CUDA find out that a GPU is done: by waits for graphs, by waits that
//! fail, by asking until the answer is yes.

use std::{path::Path, time::Duration};

use monitoring::otlp::Protocol;

use super::{
    gpu::{Said, rules},
    traced::Traced,
    tree::{Tree, assert_lasted, integer, is_within, lasted, says},
};
use crate::{
    cuda::{Program, libraries},
    process::Agent,
    rotel::shown::Shown,
};

/// How long each kernel has the device, longer than any call here takes by itself.
const KERNEL: Duration = Duration::from_millis(40);

/// `cudaErrorLaunchFailure`, by number and name.
const FAILURE: (u32, &str) = (719, "cudaErrorLaunchFailure");

const GRAPHS: usize = 3;

fn run(libraries: &Path, agent: &Agent, arguments: &str, errors: &str) -> Said {
    let kernel_ns = format!("*={}", KERNEL.as_nanos());
    let variables = [
        ("CUDA_SIM_KERNEL_NS", &*kernel_ns),
        ("CUDA_SIM_ERRORS", errors),
    ];
    Said::by(libraries, agent, Program::command, arguments, &variables)
}

/// The calls within a window, which are these, in their order.
fn calls<'a>(spans: &'a Tree, window: &Shown, want: &[&str]) -> Vec<&'a Shown> {
    let calls = spans.children(window);
    let names = calls
        .iter()
        .map(|call| &*call.tags["stratoswarm.cuda.call"]);
    let want = want.iter().map(|name| format!("Str({name})"));
    assert!(names.eq(want), "{calls:#?}");
    for call in &calls {
        is_within(call, window);
    }
    calls
}

fn is_said(span: &Shown, name: &str, want: bool) {
    let value = &span.tags[&format!("stratoswarm.cuda.{name}")];
    assert_eq!(*value, format!("Bool({want})"), "{name} of {span:?}");
}

/// Asserts that a span failed as it was told to, or that it did not.
fn has_failed(span: &Shown, failed: bool) {
    let error = span.tags.get("error.type");
    assert_eq!(error.is_some(), failed, "{span:?}");
    if failed {
        assert_eq!(span.get("Status code"), "STATUS_CODE_ERROR", "{span:?}");
        says(span, &[("error.type", FAILURE.1)]);
    }
}

/// Whoever asks whether its launches are done has waited for them from the first one on.
fn check_asked(said: &Said, spans: &Tree, query: &str) {
    let window = said.window(spans);
    says(window, &[("stratoswarm.cuda.call", query)]);
    assert_eq!(integer(window, "stratoswarm.cuda.launches"), 2);
    is_said(window, "launches_complete", true);
    assert!(!window.tags.contains_key("stratoswarm.cuda.wait.duration"));
    assert_lasted(window, said.clock("since_launch_ns"));
    // The answers that were no are no failures.
    assert!(said.said["calls"][query]["errors"]["600"].as_u64() > Some(0));
    has_failed(window, false);
    let launch = if query.starts_with("cuda") {
        "cudaLaunchKernel"
    } else {
        "cuLaunchKernel"
    };
    calls(spans, window, &[launch; 2]);
}

/// A graph is launched as a whole, and has no shape. The launch that it was made of is one by itself,
/// which began the window.
fn check_graph(said: &Said, spans: &Tree) {
    let window = said.window(spans);
    assert!(lasted(window) >= KERNEL * u32::try_from(GRAPHS).unwrap());
    let launches = integer(window, "stratoswarm.cuda.launches");
    assert_eq!(usize::try_from(launches).unwrap(), GRAPHS + 1);
    let graph = "cudaGraphLaunch";
    let want = [
        "cudaLaunchKernel",
        graph,
        graph,
        graph,
        "cudaStreamSynchronize",
    ];
    let calls = calls(spans, window, &want);
    let executable = &calls[1].tags["stratoswarm.cuda.graph"];
    for launch in &calls[1..=GRAPHS] {
        assert_eq!(launch.get("Name"), graph);
        assert_eq!(&launch.tags["stratoswarm.cuda.graph"], executable);
        let mut names = launch.tags.keys();
        assert!(!names.any(|name| name.contains("grid") || name.contains("function")));
        says(launch, &[("stratoswarm.cuda.time", "enqueue")]);
    }
    assert_eq!(integer(calls[0], "stratoswarm.cuda.grid.x"), 64);
    // But for what had passed of the first one.
    let waited = lasted(calls[GRAPHS + 1]);
    assert!(
        waited >= KERNEL * u32::try_from(GRAPHS - 1).unwrap(),
        "{waited:?}"
    );
}

/// A wait that fails has its window told of, and what was launched in it. The next wait, for the whole
/// device, is of another window, whose launches were told of.
fn check_failure(said: &Said, spans: &Tree) {
    let [failed, waited] = said.windows(spans)[..] else {
        panic!("two windows: {:#?}", said.windows(spans));
    };
    let (wait, launch) = ("cudaStreamSynchronize", "cudaLaunchKernel");
    has_failed(failed, true);
    says(failed, &[("stratoswarm.cuda.call", wait)]);
    assert_eq!(integer(failed, "stratoswarm.cuda.launches"), 2);
    let within = calls(spans, failed, &[launch, launch, wait]);
    for (call, has) in within.iter().zip([false, false, true]) {
        has_failed(call, has);
    }
    // It failed at once.
    assert!(lasted(failed) < KERNEL, "{failed:?}");
    has_failed(waited, false);
    is_said(waited, "device_wide", true);
    is_said(waited, "launches_complete", false);
    assert!(lasted(waited) >= 2 * KERNEL, "{waited:?}");
    let within = calls(spans, waited, &["cudaDeviceSynchronize"]);
    has_failed(within[0], false);
}

#[test]
fn gpus_are_waited_for_in_many_ways() {
    let traced = Traced::start(Protocol::Grpc, &rules());
    let folder = libraries();
    let (libraries, agent) = (folder.path(), &traced.agent);
    let first = Program::forerunner(libraries, agent, "--api runtime");
    let streams = "--streams 1 --launches 2";
    let asked = [
        ("runtime", "stream", "cudaStreamQuery"),
        ("runtime", "event", "cudaEventQuery"),
        ("driver", "stream", "cuStreamQuery"),
        ("driver", "event", "cuEventQuery"),
    ];
    let asked = asked.map(|(api, what, query)| {
        let arguments = format!("--api {api} {streams} --query {what}");
        (run(libraries, agent, &arguments, ""), query)
    });
    let graph = run(
        libraries,
        agent,
        &format!("--api runtime --graph {GRAPHS}"),
        "",
    );
    let error = format!("cudaStreamSynchronize={}", FAILURE.0);
    let failure = run(
        libraries,
        agent,
        &format!("--api runtime {streams}"),
        &error,
    );
    drop(first);
    let spans = traced.spans();
    spans.check_all();
    for (said, query) in &asked {
        check_asked(said, &spans, query);
    }
    check_graph(&graph, &spans);
    check_failure(&failure, &spans);
}
