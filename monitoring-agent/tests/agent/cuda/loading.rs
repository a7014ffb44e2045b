//! What the agent has in the kernel for CUDA: nothing, as long as no process uses it.

use std::{
    collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command,
};

use aya::maps::loaded_maps;

use super::rig::{Program, agent_with, compare, configuration, libraries, metrics, seen};
use crate::{
    poll::poll_until,
    process::{Agent, Running, sum, value},
};

const SETTINGS: &str = "[sources.cuda]\noverhead_budget = 1.0\n";

/// Maps of the source's, by their numbers, that a process has descriptors of, or that are in the kernel.
fn maps(agent: Option<&Agent>) -> BTreeMap<u32, String> {
    let all = loaded_maps().filter_map(Result::ok);
    let all = all.filter_map(|map| Some((map.id(), map.name_as_str()?.to_owned())));
    let Some(agent) = agent else {
        return all.collect();
    };
    let folder = format!("/proc/{}/fdinfo", agent.process.child.id());
    let infos = fs::read_dir(folder).unwrap().flatten();
    let ids: Vec<u32> = infos
        .filter_map(|info| {
            let text = fs::read_to_string(info.path()).ok()?;
            let id = text.lines().find_map(|line| line.strip_prefix("map_id:"))?;
            id.trim().parse().ok()
        })
        .collect();
    all.filter(|(id, name)| ids.contains(id) && ["ALLOCATIONS", "REGISTERED"].contains(&&**name))
        .collect()
}

/// Whether there is something in the kernel, as the agent says: programs, and bytes of maps.
fn said(metrics: &str) -> (bool, bool) {
    let programs = sum(
        metrics,
        "monitoring_agent_probe_attached",
        "source=\"cuda\"",
    );
    let bytes = sum(
        metrics,
        "monitoring_agent_bpf_map_bytes",
        "map=\"ALLOCATIONS\"",
    );
    (programs > 0.5, bytes > 0.5)
}

#[test]
fn the_first_process_has_it_loaded_and_a_reload_leaves_nothing_behind() {
    let folder = libraries();
    let mut agent = agent_with(folder.path(), SETTINGS);
    // Where NVIDIA's driver is, calls are expected.
    let mut traces = ["/proc/driver/nvidia", "/dev/nvidiactl"].iter();
    let expected = traces.any(|trace| Path::new(trace).exists());
    let up = "monitoring_agent_source_up{source=\"cuda\"}";
    let idle = |agent: &Agent| {
        let now = metrics(agent);
        assert!(value(&now, up).is_some_and(|up| up > 0.5));
        assert_eq!(said(&now), (expected, expected));
        assert_eq!(!maps(Some(agent)).is_empty(), expected);
    };
    idle(&agent);
    let mut before: BTreeMap<u32, String> = BTreeMap::new();
    for next in ["0.9", "0.8"] {
        let first = Program::forerunner(folder.path(), &agent, "--api runtime");
        let own = maps(Some(&agent));
        assert_eq!(own.len(), 2, "{own:?}");
        assert_eq!(said(&metrics(&agent)), (true, true));
        // None of those from before the reload.
        assert!(own.keys().all(|id| !before.contains_key(id)));
        let arguments = "--api runtime --threads 2 --launches 5000 --malloc-pairs 100 --wait end";
        let mut program = Program::known_workload(folder.path(), &agent, arguments);
        let report = program.report();
        compare(&metrics(&agent), &report, "runtime");
        program.go_on();
        program.ends_well();
        drop((first, program));
        before = own;
        // Another source from here on, of which nobody is a user.
        let file = folder.path().join("monitoring.toml");
        let settings = format!("[sources.cuda]\noverhead_budget = {next}\n");
        fs::write(file, configuration(&settings)).unwrap();
        agent.process.signal(libc::SIGHUP);
        poll_until("the source began anew", || {
            let left = maps(None);
            (!before.keys().any(|id| left.contains_key(id))).then_some(())
        });
        idle(&agent);
    }
    let _last = Program::forerunner(folder.path(), &agent, "--api driver");
    seen(&agent, "forerunner", "attached");
    let own = maps(Some(&agent));
    assert_eq!(own.len(), 2, "{own:?}");
    agent.process.signal(libc::SIGTERM);
    assert!(agent.process.wait().success());
    poll_until("none of its maps is left", || {
        let left = maps(None);
        (!own.keys().any(|id| left.contains_key(id))).then_some(())
    });
}

#[test]
fn who_may_load_nothing_is_told_so_at_the_start() {
    // As nobody, in a copy that nobody may read.
    let folder = tempfile::Builder::new()
        .prefix("agent")
        .tempdir_in("/tmp")
        .unwrap();
    let copy = folder.path().join("monitoring-agent");
    fs::copy(env!("CARGO_BIN_EXE_monitoring-agent"), &copy).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args(["--bounding-set=-all", "--inh-caps=-all"]);
    let agent = Running::start(command.arg(&copy).args(["--listen", "127.0.0.1:0"]));
    poll_until("the source is off", || {
        let log = agent.log();
        let mut lines = log.lines();
        lines
            .any(|line| line.contains("source off") && line.contains("\"cuda\""))
            .then_some(())
    });
}
