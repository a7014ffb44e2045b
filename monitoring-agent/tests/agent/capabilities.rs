//! What the agent can do with exactly the capabilities that `deploy` gives it, and with each taken
//! away: the named sources are off and say what to do, the rest lives.

use std::{collections::BTreeSet, fs, process::Command};

use monitoring_agent::privileges::{PRIVILEGES, Privilege};

use crate::{
    deployment::named,
    poll::poll_until,
    process::{Agent, PROGRAM},
};

/// The agent as root with these capabilities and no others, and no way to get more.
fn with(capabilities: &[String]) -> Agent {
    let only: Vec<_> = capabilities
        .iter()
        .map(|name| name.replace("CAP_", "+").to_lowercase())
        .collect();
    let mut command = Command::new("setpriv");
    command.arg(format!("--bounding-set=-all,{}", only.join(",")));
    command.args(["--inh-caps=-all", "--no-new-privs", PROGRAM]);
    let agent = Agent::start_by(command, &[]);
    let status = fs::read_to_string(format!("/proc/{}/status", agent.process.child.id()));
    let status = status.unwrap();
    let bits = |set: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(set));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    };
    // All are in effect, and their number says that there are no others.
    assert_eq!(bits("CapEff:"), bits("CapBnd:"), "{status}");
    assert_eq!(bits("CapEff:").count_ones() as usize, capabilities.len());
    agent
}

/// The sources that deliver.
fn up(agent: &Agent) -> BTreeSet<String> {
    let metrics = agent.fresh_metrics();
    let sources = metrics.lines().filter_map(|line| {
        let of = line.strip_prefix("monitoring_agent_source_up{source=\"")?;
        Some(of.strip_suffix("\"} 1")?.to_owned())
    });
    sources.collect()
}

/// The sources that deliver with every capability that root has on this machine.
fn up_as_root() -> BTreeSet<String> {
    let up = up(&Agent::start(&[]));
    for source in PRIVILEGES.iter().flat_map(|privilege| privilege.sources) {
        assert!(up.contains(*source), "{source} is off even as root: {up:?}");
    }
    up
}

/// The agent lives without it; what is off, and what is said, is as documented.
fn check_without(privilege: &Privilege, as_root: &BTreeSet<String>) {
    let mut rest = named();
    rest.retain(|name| name != privilege.name);
    let agent = with(&rest);
    agent
        .process
        .wait_for(&format!("without {},", privilege.name));
    let mut want = as_root.clone();
    want.retain(|source| !privilege.sources.contains(&source.as_str()));
    poll_until(
        &format!("without {} there are {want:?}", privilege.name),
        || (up(&agent) == want).then_some(()),
    );
    let log = agent.process.log();
    let off: BTreeSet<_> = log
        .lines()
        .filter(|line| line.contains("source off: ") && !line.contains("source=\"gpu\""))
        .map(|line| {
            assert!(line.contains(&privilege.cure()), "{line}");
            line.rsplit('"').nth(1).unwrap()
        })
        .collect();
    assert_eq!(off, privilege.sources.iter().copied().collect(), "{log}");
    assert!(!log.contains("ERROR"), "{log}");
    assert_eq!(
        log.matches("WARN monitoring_agent: without ").count(),
        1,
        "{log}"
    );
    assert_eq!(agent.get("/healthz").0, 200);
}

#[test]
fn the_named_capabilities_are_enough_and_each_is_needed() {
    let as_root = up_as_root();
    let agent = with(&named());
    poll_until(
        &format!("with the named capabilities there are {as_root:?}"),
        || (up(&agent) == as_root).then_some(()),
    );
    let log = agent.process.log();
    assert!(!log.contains("without CAP_"), "{log}");
    drop(agent);
    for privilege in &PRIVILEGES {
        check_without(privilege, &as_root);
    }
}
