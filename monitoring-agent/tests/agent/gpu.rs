//! GPUs as users see them: the agent with a stand-in for NVIDIA's library, which answers from a
//! script.
//!
//! Only host and process run beside the source, so that the agent starts quickly.

mod everything;
mod hang;
mod presence;
mod values;

use std::{
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
};

use tempfile::TempDir;

use crate::{
    poll::poll_until,
    process::{Agent, Running, value},
};

pub(crate) use everything::{EVERYTHING, without_errors};
pub(crate) use values::{is_complete, is_read_twice};

/// Whether the source works.
const UP: &str = "monitoring_agent_source_up{source=\"gpu\"}";

/// How old its numbers are.
const AGE: &str = "monitoring_agent_source_age_seconds{source=\"gpu\"}";

/// A node with GPUs: a stand-in of its own, in a folder of its own.
pub(crate) struct Node {
    folder: TempDir,
    library: PathBuf,
}

impl Node {
    /// A node whose GPUs follow this script.
    pub(crate) fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = nvml_sim::install(folder.path(), script);
        Self { folder, library }
    }

    /// Other words for the GPUs from now on.
    pub(crate) fn rewrite(&self, script: &str) {
        nvml_sim::rewrite(&self.library, script);
    }

    /// Configuration of a source that reads these GPUs, four times a second.
    pub(crate) fn config(&self) -> String {
        format!(
            "[monitoring]\ngpu_poll_interval = '250ms'\n[sources.gpu]\nnvml_library = '{}'\n",
            self.library.display()
        )
    }

    /// An agent that reads these GPUs, with more configuration at the end.
    fn agent(&self, more: &str) -> Agent {
        let config = self.config() + &only_host_and_process() + more;
        Agent::with_config(self.folder.path(), &config)
    }

    /// As [`agent`](Self::agent), once the GPUs have been read.
    fn working_agent(&self, more: &str) -> Agent {
        let agent = self.agent(more);
        wait_until(&agent, "the GPUs are read", |metrics| {
            value(metrics, UP) == Some(1.0)
        });
        agent
    }
}

/// How `monitoring-agent check` ends with this configuration, and what it says.
fn check(node: &Node, config: &str) -> (ExitStatus, String) {
    let file = node.folder.path().join("check.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_monitoring-agent"));
    let output = command.arg("check").arg("--config").arg(&file).output();
    let output = output.unwrap();
    (output.status, String::from_utf8(output.stdout).unwrap())
}

/// The log's lines of the source that say this.
fn of_gpu(agent: &Agent, text: &str) -> Vec<String> {
    let log = agent.process.log();
    let lines = log.lines().filter(|line| line.contains(text));
    let ours = lines.filter(|line| line.contains("source=\"gpu\""));
    ours.map(str::to_owned).collect()
}

pub(crate) fn only_host_and_process() -> String {
    ["sched", "block", "net", "syscalls", "profile"]
        .map(|source| format!("[sources.{source}]\nenabled = false\n"))
        .concat()
}

/// The first metrics of which this is true.
fn wait_until(agent: &Agent, what: &str, is_so: impl Fn(&str) -> bool) -> String {
    poll_until(what, || {
        let (_, metrics) = agent.get("/metrics");
        is_so(&metrics).then_some(metrics)
    })
}

/// A GPU of the script, with these values.
pub(crate) fn gpu(number: u32, values: &str) -> String {
    format!("[[gpus]]\nmodel = 'h200'\nuuid = 'GPU-{number}'\n[gpus.values]\n{values}\n")
}

/// The sample of a metric without labels of its own.
fn sample(metric: &str, number: u32) -> String {
    format!("{metric}{{device_id=\"{number}\",uuid=\"GPU-{number}\"}}")
}

/// Processes that run until the test ends, by a name that no other has.
fn named_processes<const N: usize>(folder: &TempDir, name: &str) -> [Running; N] {
    let program = folder.path().join(name);
    std::fs::copy("/bin/sleep", &program).unwrap();
    [(); N].map(|()| Running::start(Command::new(&program).arg("3600").stdout(Stdio::null())))
}

#[test]
fn processes_count_for_their_agents() {
    let node = Node::new(&gpu(0, ""));
    let trainers = named_processes::<2>(&node.folder, "gpu-trainer");
    let [first, second] = trainers.each_ref().map(|trainer| trainer.child.id());
    let process = |pid, bytes: u64, percent: u32| {
        format!("[[gpus.processes]]\npid = {pid}\nmemory_bytes = {bytes}\nsm_percent = {percent}\n")
    };
    // The test itself is nobody's; the second trainer both computes and draws.
    let script = gpu(0, "")
        + &process(first, 1 << 30, 25)
        + &process(second, 1 << 20, 12)
        + &format!("[[gpus.processes]]\npid = {second}\nmemory_bytes = 1048576\ngraphics = true\n")
        + &process(std::process::id(), 77, 3)
        + &gpu(1, "")
        + &process(first, 1 << 10, 50);
    node.rewrite(&script);
    let agent = node.working_agent("[[agents]]\nname = 'trainer'\nexe = 'gpu-trainer'\n");
    let sum = |metric: &str, agent: &str, gpu: u32| {
        format!("gpu_process_{metric}{{agent=\"{agent}\",device_id=\"{gpu}\",uuid=\"GPU-{gpu}\"}}")
    };
    let memory = "memory_bytes";
    let metrics = wait_until(&agent, "the process is known as the trainer's", |metrics| {
        value(metrics, &sum("sm_utilization_ratio", "trainer", 1)).is_some()
    });
    let check = |metric: &str, agent: &str, gpu: u32, want: Option<f64>| {
        let found = value(&metrics, &sum(metric, agent, gpu));
        assert_eq!(found, want, "{metric} {agent} {gpu}: {metrics}");
    };
    let both = f64::from((1 << 30) + (1 << 20));
    check(memory, "trainer", 0, Some(both));
    check(memory, "other", 0, Some(77.0));
    check(memory, "trainer", 1, Some(1024.0));
    check(memory, "other", 1, None);
    let ratio = "sm_utilization_ratio";
    check(ratio, "trainer", 0, Some(0.37));
    check(ratio, "other", 0, Some(0.03));
    check(ratio, "trainer", 1, Some(0.5));
    drop(trainers);
    node.rewrite(&(gpu(0, "") + &gpu(1, "")));
    wait_until(&agent, "the processes are gone", |metrics| {
        !metrics.contains("gpu_process_")
    });
}

#[test]
fn a_process_in_two_instances_counts_once() {
    let node = Node::new(&gpu(0, ""));
    let [trainer] = named_processes::<1>(&node.folder, "mig-trainer");
    let instance = |number: u32| {
        format!(
            "[[gpus.mig]]\nprofile = '1g.18gb'\ngpu_instance_id = {number}\n\
             compute_instance_id = 0\n"
        )
    };
    let process = |pid: u32, number: u32, bytes: u32| {
        format!(
            "[[gpus.processes]]\npid = {pid}\nmemory_bytes = {bytes}\n\
             gpu_instance_id = {number}\ncompute_instance_id = 0\n"
        )
    };
    let pid = trainer.child.id();
    let script = gpu(0, "")
        + &instance(7)
        + &instance(8)
        + &process(pid, 7, 1 << 20)
        + &process(pid, 8, 1 << 10)
        + &process(std::process::id(), 8, 77);
    node.rewrite(&script);
    let agent = node.working_agent("[[agents]]\nname = 'trainer'\nexe = 'mig-trainer'\n");
    let memory = |agent: &str| {
        format!("gpu_process_memory_bytes{{agent=\"{agent}\",device_id=\"0\",uuid=\"GPU-0\"}}")
    };
    let metrics = wait_until(&agent, "the process is known as the trainer's", |metrics| {
        value(metrics, &memory("trainer")).is_some()
    });
    let both = f64::from((1 << 20) + (1 << 10));
    assert_eq!(value(&metrics, &memory("trainer")), Some(both), "{metrics}");
    assert_eq!(value(&metrics, &memory("other")), Some(77.0), "{metrics}");
    assert!(!metrics.contains("gpu_process_sm"), "{metrics}");
}

#[test]
fn processes_have_their_agents_without_any_kernel_program() {
    let node = Node::new(&gpu(0, ""));
    let [trainer] = named_processes::<1>(&node.folder, "lone-trainer");
    let process =
        |pid, bytes: u32| format!("[[gpus.processes]]\npid = {pid}\nmemory_bytes = {bytes}\n");
    let pid = trainer.child.id();
    node.rewrite(&(gpu(0, "") + &process(pid, 1000) + &process(std::process::id(), 77)));
    let agent = node.working_agent(
        "[sources.process]\nenabled = false\n\
         [[agents]]\nname = 'trainer'\nexe = 'lone-trainer'\n",
    );
    let metrics = agent.fresh_metrics();
    let memory = |agent: &str| {
        format!("gpu_process_memory_bytes{{agent=\"{agent}\",device_id=\"0\",uuid=\"GPU-0\"}}")
    };
    assert_eq!(
        value(&metrics, &memory("trainer")),
        Some(1000.0),
        "{metrics}"
    );
    assert_eq!(value(&metrics, &memory("other")), Some(77.0), "{metrics}");
}

#[test]
fn eight_divided_gpus_have_few_series() {
    let instance = "[[gpus.mig]]\nprofile = '1g.18gb'\n".repeat(7);
    let script = (0..8).map(|number| gpu(number, "") + &instance);
    let node = Node::new(&script.collect::<String>());
    let agent = node.working_agent("");
    // The last that comes: what is measured between two polls.
    let metrics = wait_until(&agent, "activity of all instances", |metrics| {
        metrics.matches("\ngpu_mig_dram_activity_ratio{").count() == 8 * 7
    });
    for number in 0..8 {
        let label = format!("device_id=\"{number}\"");
        let series = metrics.lines().filter(|line| line.contains(&label));
        let (instances, whole): (Vec<_>, Vec<_>) =
            series.partition(|line| line.contains("gpu_instance_id="));
        println!(
            "GPU {number}: {} series, and {}",
            whole.len(),
            instances.len()
        );
        let named = instances
            .iter()
            .filter(|line| line.starts_with("gpu_mig_info"));
        assert_eq!(named.count(), 7, "{instances:#?}");
        assert!(instances.len() >= 7 * 11, "{instances:#?}");
        assert!(
            whole.len() + instances.len() < 200,
            "{whole:#?} {instances:#?}"
        );
    }
}

#[test]
fn hostile_names_are_harmless() {
    let name = r#"name = "H\"200\n\u001b[31m\u007f} 1""#;
    let node = Node::new(&gpu(0, &format!("{name}\nserial = [65, 255, 66]")));
    let agent = node.working_agent("");
    let metrics = agent.fresh_metrics();
    let info: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("gpu_info{"))
        .collect();
    assert_eq!(info.len(), 1, "{info:?}");
    let want = r#"name="H\"200\\n\\u{1b}[31m\\u{7f}} 1""#;
    assert!(info[0].contains(want), "{}", info[0]);
    assert!(
        info[0].contains("serial=\"A") && info[0].contains("B\""),
        "{}",
        info[0]
    );
    let hostile = |character: char| character.is_control() && character != '\n';
    assert!(!metrics.contains(hostile));
}

#[test]
fn a_hostile_uuid_is_harmless_in_the_log() {
    let script = gpu(0, "fan_speed = 'NOT_SUPPORTED'");
    let node = Node::new(&script.replace("'GPU-0'", r#""GPU\n\u001b[31m\u007f""#));
    let agent = node.working_agent("");
    let line = agent.process.wait_for("does not support");
    assert!(
        line.contains(r#"uuid="GPU\\n\\u{1b}[31m\\u{7f}""#),
        "{line}"
    );
    let log = agent.process.log();
    let hostile = |character: char| character.is_control() && character != '\n';
    assert!(!log.contains(hostile), "{log}");
}
