//! Traces from end to end: the agent as its users run it, programs that know nothing of it, and what a
//! collector that nobody here wrote prints of their spans. The truth are the programs' own clocks.

mod connection;
mod disk;
mod exemplars;
mod gpu;
mod joined;
mod nodes;
mod program;
mod reload;
mod sleeper;
mod traced;
mod tree;
mod waits;

use monitoring::otlp::Protocol;

use self::{program::Role, traced::Traced};
use crate::cuda::{Program, libraries};

/// All programs at once, by one agent.
fn programs_are_traced(protocol: Protocol) {
    let rules = [
        gpu::rules(),
        disk::rule(),
        connection::rule(Role::Client),
        connection::rule(Role::Server),
    ];
    let traced = Traced::start(protocol, &rules.concat());
    let folder = libraries();
    let first = Program::forerunner(folder.path(), &traced.agent, "--api runtime");
    let windows = gpu::Work::run(folder.path(), &traced.agent);
    drop(first);
    let reads = disk::Work::run(&traced.agent);
    let ends = connection::Work::run(&traced.agent, "127.0.0.1");
    let spans = traced.spans();
    spans.check_all();
    windows.check(&spans);
    reads.check(&spans);
    ends.check(&spans, connection::CONNECT_SLACK);
}

#[test]
fn unmodified_programs_over_grpc() {
    programs_are_traced(Protocol::Grpc);
}

#[test]
fn unmodified_programs_over_http() {
    programs_are_traced(Protocol::HttpProtobuf);
}
