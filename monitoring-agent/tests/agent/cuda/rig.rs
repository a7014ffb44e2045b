//! What the tests of source `cuda` share: an agent that counts nothing else, programs that wait
//! until they are told to go on, and comparisons with what programs say of themselves.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    io::{self, BufRead as _, BufReader, Lines, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use serde_json::Value;
use tempfile::TempDir;

use super::WORKLOAD;
use crate::{
    poll::poll_until,
    process::{Agent, sum, value},
};

/// Says with which arguments a test is the stand-ins' workload, and no test.
pub(super) const ARGUMENTS: &str = "CUDA_WORKLOAD_ARGUMENTS";

/// A folder with the stand-ins' libraries.
pub(crate) fn libraries() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    cuda_sim::install(folder.path()).unwrap();
    folder
}

/// An agent that counts nothing but CUDA, and calls the programs of this file `workload`.
pub(crate) fn agent(folder: &Path) -> Agent {
    // On a busy machine probes take their time of it; here all calls are to have durations.
    agent_with(folder, "[sources.cuda]\noverhead_budget = 1.0\n")
}

/// The same, with more in its configuration.
pub(super) fn agent_with(folder: &Path, more: &str) -> Agent {
    Agent::with_config(folder, &configuration(more))
}

/// The configuration of such an agent.
pub(super) fn configuration(more: &str) -> String {
    let mut off = String::new();
    for name in ["host", "sched", "block", "net", "syscalls", "gpu"] {
        // Writing to a string does not fail.
        let _ = write!(off, "[sources.{name}]\nenabled = false\n");
    }
    let rules = ["workload", "forerunner"].map(|name| {
        format!("[[agents]]\nname = \"{name}\"\nenvironment = \"CUDA_TEST_AGENT={name}\"\n")
    });
    format!("{}{off}{more}", rules.concat())
}

/// A program that waits until it is told to go on.
pub(crate) struct Program {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts a program of the workload that finds CUDA's libraries in a folder.
    pub(crate) fn start(folder: &Path, command: &mut Command) -> Self {
        Self::spawn(folder, command.env("CUDA_TEST_AGENT", "workload"))
    }

    /// As [`start`](Self::start), but it is none of the workload: an agent of its own.
    pub(super) fn start_forerunner(folder: &Path, command: &mut Command) -> Self {
        Self::spawn(folder, command.env("CUDA_TEST_AGENT", "forerunner"))
    }

    fn spawn(folder: &Path, command: &mut Command) -> Self {
        command
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

    /// Starts a test of this suite as a program: it finds the variables in its environment.
    pub(super) fn of_test(folder: &Path, test: &str, variables: &[(&str, &str)]) -> Self {
        Self::start(folder, &mut test_as_program(test, variables))
    }

    /// Starts the stand-ins' workload as [`workload`](Self::workload) does, and has it begin when the
    /// agent knows whose it is: until then calls would count as other programs'.
    pub(crate) fn known_workload(folder: &Path, agent: &Agent, arguments: &str) -> Self {
        let mut program = Self::workload(folder, &format!("{arguments} --wait start"));
        program.line("Start");
        known(agent);
        program.go_on();
        program
    }

    /// Starts the stand-ins' workload, with its arguments in one text.
    pub(super) fn workload(folder: &Path, arguments: &str) -> Self {
        Self::start(folder, &mut Self::command(arguments))
    }

    /// What runs the workload.
    pub(crate) fn command(arguments: &str) -> Command {
        let arguments = format!("workload {arguments}");
        test_as_program(WORKLOAD, &[(ARGUMENTS, &arguments)])
    }

    /// Starts a program that has loaded the libraries and does nothing, and waits until it is seen:
    /// whoever loads them next is seen from the first call on. It is none of the workload.
    pub(crate) fn forerunner(folder: &Path, agent: &Agent, arguments: &str) -> Self {
        let arguments = format!("workload {arguments} --wait loaded");
        let mut command = test_as_program(WORKLOAD, &[(ARGUMENTS, &arguments)]);
        let mut program = Self::start_forerunner(folder, &mut command);
        program.line("Loaded");
        seen(agent, "forerunner", "attached");
        program
    }

    /// The next line with this text in it.
    pub(crate) fn line(&mut self, text: &str) -> String {
        self.lines
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains(text))
            .unwrap_or_else(|| panic!("the program never said {text:?}"))
    }

    /// What a workload says that it did.
    pub(crate) fn report(&mut self) -> Value {
        serde_json::from_str(&self.line("\"calls\"")).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the program's end.
    pub(crate) fn ends_well(&mut self) {
        assert!(self.child.wait().unwrap().success());
    }

    pub(crate) fn go_on(&mut self) {
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

/// A test of this suite as a program that finds the variables in its environment.
fn test_as_program(test: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--quiet"]);
    command.envs(variables.iter().copied());
    command
}

/// Copies one of the runtimes that `cargo xtask setup` keeps into a folder of the test's own.
pub(super) fn install_runtime(library: &str, folder: &Path) -> PathBuf {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/cuda");
    let versions = fs::read_dir(kept).into_iter().flatten();
    let mut files = versions.map(|version| version.unwrap().path().join(library));
    let file = files.find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("this test calls NVIDIA's {library}, which `cargo xtask setup` puts into {kept}")
    });
    let own = folder.join(library);
    fs::copy(file, &own).unwrap();
    own
}

/// Metrics with numbers of CUDA's that were read after this call began: on a busy machine a source
/// may be late, and a snapshot have its last numbers.
pub(super) fn metrics(agent: &Agent) -> String {
    let begun = Instant::now();
    poll_until("the source's numbers are new", || {
        let metrics = agent.fresh_metrics();
        let since_asked = value(&metrics, "monitoring_agent_snapshot_age_seconds")?;
        let before = value(
            &metrics,
            "monitoring_agent_source_age_seconds{source=\"cuda\"}",
        )?;
        // The snapshot was published after the sources were asked.
        (since_asked + before < begun.elapsed().as_secs_f64()).then_some(metrics)
    })
}

/// Waits until the agent knows a process of the workload as such, which on a busy machine takes longer
/// than a program to begin.
pub(super) fn known(agent: &Agent) {
    known_as(agent, "workload");
}

/// Waits until the agent knows a process as one of this agent's.
pub(crate) fn known_as(agent: &Agent, name: &str) {
    let active = format!("agent_active{{agent=\"{name}\"}}");
    poll_until("the program is known", || {
        let active = value(&agent.fresh_metrics(), &active);
        (active? > 0.5).then_some(())
    });
}

/// Waits until a process of the workload is seen in this state.
pub(super) fn watched(agent: &Agent, state: &str) {
    seen(agent, "workload", state);
}

/// Waits until a process of an agent's is seen in this state.
pub(super) fn seen(agent: &Agent, name: &str, state: &str) {
    let sample = format!("cuda_probe_coverage{{agent=\"{name}\",state=\"{state}\"}}");
    poll_until("the program is seen", || {
        (value(&agent.fresh_metrics(), &sample)? > 0.5).then_some(())
    });
}

/// An agent that knows the libraries in a folder from its start, so that every program is seen from its
/// first call on; and the program that has them mapped, whose own calls were before the agent's time.
pub(super) fn agent_that_knows(folder: &Path, api: &str) -> (Agent, Program) {
    let arguments = format!("--api {api} --launches 1 --wait end");
    let mut first = Program::workload(folder, &arguments);
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

pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

pub(super) fn same(what: &str, ours: f64, theirs: f64) {
    assert!(
        (ours - theirs).abs() < 0.5,
        "{what}: {ours}, truth {theirs}"
    );
}

/// Losses that are no call of a workload: a collection that is late on a busy machine, whose counts
/// stay in the kernel; forerunners, which are probed after they have begun; and mappings of which the
/// kernel could not tell, for which all processes are looked at again.
const NO_CALLS: [&str; 3] = ["\"overdue\"", "\"probed_late\"", "\"mappings_lost\""];

/// Fails if anything was lost that a workload did, with what and how much.
pub(super) fn nothing_lost(metrics: &str) {
    let lost: Vec<&str> = metrics
        .lines()
        .filter(|line| {
            line.starts_with("monitoring_agent_lost_total{") && line.contains("source=\"cuda\"")
        })
        .collect();
    assert!(!lost.is_empty(), "losses are not exported");
    let mut lost_events = lost
        .iter()
        .filter(|line| !NO_CALLS.iter().any(|reason| line.contains(reason)));
    assert!(
        lost_events.all(|line| line.ends_with(" 0")),
        "lost: {lost:#?}"
    );
}

/// Functions that the source leaves alone on purpose: they only look something up.
const NOT_COUNTED: [&str; 2] = ["__cudaGetKernel", "cuKernelGetFunction"];

/// Compares all that the agent has with what a workload said of itself, but for names.
pub(super) fn compare(metrics: &str, said: &Value, api: &str) {
    for (call, counts) in said["calls"].as_object().unwrap() {
        compare_call(metrics, call, counts, api);
    }
    let launches = said["launches"].as_object().unwrap();
    let theirs = launches.values().map(number).sum();
    let ours = sum(metrics, "gpu_kernel_launches_total", "workload");
    same("launches", ours, theirs);
    for (direction, bytes) in said["copied_bytes"].as_object().unwrap() {
        let label = format!("agent=\"workload\",direction=\"{direction}\"");
        let ours = sum(metrics, "cuda_memcpy_bytes_total", &label);
        same(&label, ours, number(bytes));
    }
    for (metric, bytes) in [
        ("cuda_alloc_bytes_total", "allocated_bytes"),
        ("cuda_free_bytes_total", "freed_bytes"),
    ] {
        same(
            bytes,
            sum(metrics, metric, "workload"),
            number(&said[bytes]),
        );
    }
    nothing_lost(metrics);
}

fn compare_call(metrics: &str, call: &str, counts: &Value, api: &str) {
    let name = call.trim_end_matches("_v2");
    let label = format!("agent=\"workload\",api=\"{api}\",call=\"{name}\"");
    let ours = sum(metrics, "cuda_call_duration_seconds_count", &label);
    if NOT_COUNTED.contains(&name) {
        return same(name, ours, 0.0);
    }
    same(call, ours, number(&counts["count"]));
    let label = format!("agent=\"workload\",call=\"{name}\"");
    let errors = counts["errors"].as_object().unwrap();
    let ours = sum(metrics, "cuda_errors_total", &label);
    same(call, ours, errors.values().map(number).sum());
    for (code, count) in errors {
        let label = format!("{label},code=\"{code}\"");
        let ours = sum(metrics, "cuda_errors_total", &label);
        same(&label, ours, number(count));
    }
}

/// The workload's launches by the names that the agent has for kernels.
pub(super) fn launches_by_name(metrics: &str) -> BTreeMap<String, f64> {
    let mut launches = BTreeMap::new();
    for line in metrics.lines() {
        if let Some((_, name)) = line
            .strip_prefix("gpu_kernel_launches_total{agent=\"workload\"")
            .and_then(|line| line.split_once("kernel_type=\""))
        {
            let (name, rest) = name.split_once('"').unwrap();
            let (_, count) = rest.rsplit_once(' ').unwrap();
            *launches.entry(name.to_owned()).or_default() += count.parse::<f64>().unwrap();
        }
    }
    launches
}

/// Compares launches by name: each kernel that a workload launched has the name that `label_of`
/// gives for its symbol, and there are no others.
pub(super) fn compare_names(metrics: &str, said: &Value, label_of: impl Fn(&str) -> String) {
    let launches = said["launches"].as_object().unwrap().iter();
    let theirs: BTreeMap<String, f64> = launches
        .map(|(symbol, count)| (label_of(symbol), number(count)))
        .collect();
    assert_eq!(launches_by_name(metrics), theirs);
}

/// The names of the stand-ins' kernels, as people write them.
pub(super) fn name_of(symbol: &str) -> String {
    let name = match symbol {
        "_Z9vectorAddPKfS0_Pfi" => "vectorAdd",
        "_Z6matmulPKfS0_Pfiii" => "matmul",
        "_Z6reducePKfPfi" => "reduce",
        "_Z7softmaxILi128EEvPKfPfi" => "softmax",
        "_ZN6layers4convEPKfS1_Pfii" => "layers::conv",
        "_ZN6layers9attentionILb1EEEvPKfS2_S2_Pff" => "layers::attention",
        "_Z9transposePKfPfii" => "transpose",
        other => other,
    };
    name.to_owned()
}

/// Says that a program is about to start, and waits for a line.
pub(super) fn wait_for_line() {
    println!("Start");
    io::stdin().read_line(&mut String::new()).unwrap();
}

/// Compares with what the program of `cudarc` does with so many launches in all, and says nothing of.
pub(super) fn compare_cudarc(metrics: &str, launches: u32) {
    // One more between events, and one that is captured.
    let kernels = [("scale", f64::from(launches) + 1.0), ("add", 1.0)];
    let kernels = kernels.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(launches_by_name(metrics), BTreeMap::from(kernels));
    // A thousand numbers, there once, back four times, and once on the device.
    for (direction, bytes) in [("h2d", 4_000.0), ("d2h", 16_000.0), ("d2d", 4_000.0)] {
        let label = format!("agent=\"workload\",direction=\"{direction}\"");
        let ours = sum(metrics, "cuda_memcpy_bytes_total", &label);
        same(&label, ours, bytes);
    }
    for (call, count) in [("cuModuleLoadData", 1.0), ("cuGraphLaunch", 3.0)] {
        let label = format!("agent=\"workload\",api=\"driver\",call=\"{call}\"");
        let ours = sum(metrics, "cuda_call_duration_seconds_count", &label);
        same(call, ours, count);
    }
    nothing_lost(metrics);
}
