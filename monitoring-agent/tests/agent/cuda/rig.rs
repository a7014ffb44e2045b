//! What tests of calls into CUDA have in common: an agent, and programs that wait for one another.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{ARGUMENTS, PROGRAM};
use crate::{
    poll::poll_until,
    process::{Agent, value},
};

/// A folder with the stand-ins' libraries.
pub(super) fn libraries() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    cuda_sim::install(folder.path()).unwrap();
    folder
}

/// An agent that counts nothing but CUDA.
pub(super) fn agent(folder: &TempDir) -> Agent {
    agent_with(folder, "")
}

/// The same, with more in its configuration.
pub(super) fn agent_with(folder: &TempDir, more: &str) -> Agent {
    Agent::with_config(folder.path(), &configuration(more))
}

/// The configuration of such an agent.
pub(super) fn configuration(more: &str) -> String {
    let others = ["host", "sched", "block", "net", "syscalls", "gpu"];
    let off: String = others
        .iter()
        .map(|name| format!("[sources.{name}]\nenabled = false\n"))
        .collect();
    let rule = "[[agents]]\nname = \"workload\"\nenvironment = \"CUDA_TEST_AGENT=1\"\n";
    format!("{rule}{off}{more}")
}

/// A program that waits until it is told to go on.
pub(super) struct Program {
    pub(super) child: Child,
    input: ChildStdin,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Program {
    /// A test of this program's that is a program itself.
    pub(super) fn start(folder: &TempDir, test: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--quiet"]);
        command.envs(variables.iter().copied());
        Self::run(folder.path(), &mut command)
    }

    /// The workload, in its own words.
    pub(super) fn workload(folder: &Path, arguments: &str) -> Self {
        Self::run(folder, &mut Self::command(arguments))
    }

    /// What runs the workload.
    pub(super) fn command(arguments: &str) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", PROGRAM, "--nocapture", "--quiet"]);
        command.env(ARGUMENTS, format!("workload {arguments}"));
        command
    }

    /// A program that finds its libraries in a folder.
    pub(super) fn run(folder: &Path, command: &mut Command) -> Self {
        command
            .env("CUDA_TEST_AGENT", "1")
            .env("LD_LIBRARY_PATH", folder)
            .env("CUDA_SIM_COUNTS", folder.join("counts"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            input,
            lines,
        }
    }

    /// The next line with this text in it.
    pub(super) fn line(&mut self, text: &str) -> String {
        self.lines
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains(text))
            .unwrap_or_else(|| panic!("the program never said {text:?}"))
    }

    pub(super) fn go_on(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until so many processes of the workload are probed.
pub(super) fn watched(agent: &Agent, state: &str) {
    let sample = format!("cuda_probe_coverage{{agent=\"workload\",state=\"{state}\"}}");
    poll_until("the program is seen", || {
        (value(&agent.fresh_metrics(), &sample)? > 0.5).then_some(())
    });
}

/// An agent that knows the libraries in a folder, so that every program is seen from its first call
/// on; and the program that has them mapped, whose own calls were before the agent's time.
pub(super) fn agent_that_knows(folder: &TempDir, api: &str) -> (Agent, Program) {
    let arguments = format!("--api {api} --launches 1 --wait end");
    let mut first = Program::workload(folder.path(), &arguments);
    first.line("End");
    let agent = agent(folder);
    watched(&agent, "attached");
    (agent, first)
}

/// What the source says that it has lost.
pub(super) fn lost(metrics: &str, reason: &str) -> f64 {
    let sample = format!("monitoring_agent_lost_total{{reason=\"{reason}\",source=\"cuda\"}}");
    value(metrics, &sample).unwrap()
}

/// Checks that the source says it has lost nothing, for any reason.
pub(super) fn nothing_lost(metrics: &str) {
    let lines = metrics.lines();
    let lost: Vec<&str> = lines
        .filter(|line| line.starts_with("monitoring_agent_lost_total{"))
        .filter(|line| line.contains("source=\"cuda\"") && !line.ends_with(" 0"))
        .collect();
    assert!(lost.is_empty(), "{lost:#?}");
}

pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

pub(super) fn same(what: &str, ours: f64, theirs: f64) {
    assert!(
        (ours - theirs).abs() < 0.5,
        "{what}: {ours}, truth {theirs}"
    );
}
