//! A program that says nothing of where its spans go, with an environment that does.

use std::{
    env,
    process::{Command, Stdio},
};

use monitoring::Tracer;

use crate::collector::{Collector, DEADLINE, Ports};

/// Set where this program is run again as a program that is observed.
const OBSERVED: &str = "MONITORING_TEST_OBSERVED";

/// The test that is that program then.
const PROGRAM: &str = "environment::spans_go_where_the_environment_says";

/// What the program does.
fn program() {
    let tracer = Tracer::new("programs-own");
    let span = tracer.start_span("work");
    let records = if span.is_recording() {
        "records"
    } else {
        "records nothing"
    };
    drop(span);
    let sent = if tracer.flush(DEADLINE) {
        "sent"
    } else {
        "not sent"
    };
    println!("\n{records}\n{sent}");
}

/// Runs the program in an environment, and returns what it says.
fn run(variables: &[(&str, &str)]) -> (String, String) {
    let mut program = Command::new(env::current_exe().unwrap());
    program.args(["--exact", PROGRAM, "--nocapture"]);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("OTEL_") {
            program.env_remove(name);
        }
    }
    program
        .env(OBSERVED, "")
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    let output = program.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

#[test]
fn spans_go_where_the_environment_says() {
    if env::var_os(OBSERVED).is_some() {
        return program();
    }
    let ports = Ports::free();
    for (protocol, name) in crate::collector::PROTOCOLS
        .into_iter()
        .zip(["http/protobuf", "grpc"])
    {
        let collector = Collector::start(ports);
        let (said, _) = run(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &ports.url(protocol)),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", name),
            ("OTEL_TRACES_SAMPLER_ARG", "1.0"),
            ("OTEL_SERVICE_NAME", "operators"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=x,zone=a%20b"),
        ]);
        assert!(
            said.contains("\nrecords\n") && said.contains("\nsent\n"),
            "{said}"
        );
        let spans = collector.spans(1);
        let resource = &spans[0].resource;
        assert_eq!(resource["service.name"], "Str(operators)");
        assert_eq!(resource["team"], "Str(x)");
        assert_eq!(resource["zone"], "Str(a b)");
    }
}

#[test]
fn nothing_is_recorded_where_nobody_says_where_to() {
    let all = ("OTEL_TRACES_SAMPLER", "always_on");
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let none: [&[(&str, &str)]; 3] = [
        &[all],
        &[all, endpoint, ("OTEL_SDK_DISABLED", "true")],
        &[all, endpoint, ("OTEL_TRACES_EXPORTER", "none")],
    ];
    for variables in none {
        let (said, errors) = run(variables);
        assert!(
            said.contains("\nrecords nothing\n"),
            "{variables:?}: {said}"
        );
        assert!(said.contains("\nsent\n"), "{variables:?}: {said}");
        assert!(!errors.contains("monitoring:"), "{errors}");
    }
}

#[test]
fn a_wrong_variable_is_named_and_the_program_goes_on() {
    let wrong = ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318");
    let (said, errors) = run(&[("OTEL_TRACES_SAMPLER", "always_on"), wrong]);
    assert!(said.contains("\nrecords nothing\n"), "{said}");
    let want =
        "monitoring: no spans are sent: the environment variable OTEL_EXPORTER_OTLP_ENDPOINT";
    assert!(errors.contains(want), "{errors}");
}
