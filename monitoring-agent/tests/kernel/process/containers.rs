//! Rules on containers, pods and cgroups, end to end: for processes that live and for those that
//! are gone before anybody looks.

use monitoring_agent::config::{AgentRule, Config};

use super::{Program, Running, cgroups::Cgroup, counted};
use crate::{
    node::{ME, Node, losses, me},
    poll::poll_until,
};

const CONTAINER: &str = "3f4c1a0be2d95867a1b2c3d4e5f60718293a4b5c6d7e8f900112233445566778";
/// Another one, which is in the pod.
const IN_POD: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const POD: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

/// Programs of each cgroup that end at once, and how often each is executed.
const PROGRAMS: usize = 4;
const EACH: usize = 10;

fn watch(config: &mut Config) {
    let rule = |name: &str, change: fn(&mut AgentRule, Vec<glob::Pattern>), text: &str| {
        let mut rule = AgentRule {
            name: name.to_owned(),
            ..AgentRule::default()
        };
        change(&mut rule, vec![glob::Pattern::new(text).unwrap()]);
        rule
    };
    let by_container = format!("{}*", &CONTAINER[..12]);
    config.agents = vec![
        rule(
            "by-container",
            |rule, globs| rule.container = globs,
            &by_container,
        ),
        rule("by-pod", |rule, globs| rule.pod = globs, POD),
        rule(
            "by-cgroup",
            |rule, globs| rule.cgroup = globs,
            "*/plain.service",
        ),
        me(),
    ];
}

/// Runs programs in a cgroup, and checks that each counts under its agent, whenever it ends.
fn check(node: &mut Node, cgroup: &Cgroup, agent: &str) {
    let lives = Running::sleeper_with("contained-sleeper", |command| cgroup.hold(command));
    poll_until("the label of a process that lives", || {
        (node.labels.agent_of(lives.child.id())? == agent).then_some(())
    });
    let mine = counted(&node.collect("process"), ME).events("exit");
    let programs: Vec<_> = (0..PROGRAMS)
        .map(|number| Program::named(format!("contained-{number}")))
        .collect();
    for _ in 0..EACH {
        // Several at once: the agent is busy with one while others end.
        let started: Vec<_> = programs
            .iter()
            .map(|program| {
                let mut command = program.command("exit 3");
                cgroup.hold(&mut command);
                command.spawn().unwrap()
            })
            .collect();
        for mut child in started {
            assert_eq!(child.wait().unwrap().code(), Some(3));
        }
    }
    let batch = node.collect("process");
    let short = (PROGRAMS * EACH) as u64;
    let theirs = counted(&batch, agent);
    assert_eq!(theirs.events("exec"), short + 1, "{agent}");
    assert_eq!(theirs.events("start"), short + 1, "{agent}");
    assert_eq!(theirs.exits("failure"), short, "{agent}");
    assert_eq!(counted(&batch, ME).events("exit"), mine, "{agent}");
    assert_eq!(losses(&batch), []);
    // One that is looked at once more, with the others' answers known to the kernel.
    assert_eq!(
        node.labels.agent_of(lives.child.id()).as_deref(),
        Some(agent)
    );
}

#[test]
fn containers_pods_and_cgroups() {
    let mut node = Node::with(&["process"], watch);
    let suite = format!("monitoring-suite-{}.slice", std::process::id());
    let container = Cgroup::inside(&suite, &format!("docker-{CONTAINER}.scope"));
    check(&mut node, &container, "by-container");
    drop(container);
    let pod = format!("kubepods-pod{}.slice", POD.replace('-', "_"));
    let pod = Cgroup::inside(&pod, &format!("cri-containerd-{IN_POD}.scope"));
    check(&mut node, &pod, "by-pod");
    drop(pod);
    let plain = Cgroup::inside(&suite, "plain.service");
    check(&mut node, &plain, "by-cgroup");
}

#[test]
fn the_same_program_in_and_outside_of_a_container() {
    let mut node = Node::with(&["process"], watch);
    let suite = format!("monitoring-suite-{}-both.slice", std::process::id());
    let cgroup = Cgroup::inside(&suite, &format!("docker-{CONTAINER}.scope"));
    let program = Program::named("anywhere");
    let lives = Running::sleeper_with("contained-sleeper", |command| cgroup.hold(command));
    poll_until("the label of a process that lives", || {
        (node.labels.agent_of(lives.child.id())? == "by-container").then_some(())
    });
    for _ in 0..EACH {
        program.run("exit 3");
        let mut command = program.command("exit 3");
        cgroup.hold(&mut command);
        command.status().unwrap();
    }
    let batch = node.collect("process");
    let theirs = counted(&batch, "by-container");
    assert_eq!(theirs.exits("failure"), EACH as u64);
    assert_eq!(theirs.events("exec"), EACH as u64 + 1);
    assert!(counted(&batch, "other").exits("failure") >= EACH as u64);
    assert_eq!(losses(&batch), []);
}
