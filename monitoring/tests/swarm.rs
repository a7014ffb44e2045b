//! The hooks, as metrics of the process and as places that others can watch. Needs root and bpftrace
//! for the latter: `cargo xtask setup` installs it.

use std::{
    env,
    process::{Command, Stdio},
    thread,
};

use monitoring::{Counter, MetricsCollector, swarm};

/// How often each thread says all, when this is the program that is watched.
const TIMES: &str = "MONITORING_TEST_TIMES";
const THREADS: u64 = 3;

const HOOKS: [&str; 9] = [
    "agent_spawned",
    "agent_stopped",
    "generation",
    "goal_completed",
    "goal_failed",
    "job_queue_depth",
    "message_received",
    "message_sent",
    "resource_allocated",
];

fn say_all(agent: &str) {
    swarm::agent_spawned(agent);
    swarm::message_sent(agent, 512);
    swarm::message_received(agent, 30);
    swarm::goal_completed(agent);
    swarm::goal_failed(agent);
    swarm::generation(agent, 7, 0.75, -0.5);
    swarm::job_queue_depth("queue of jobs", 12);
    swarm::resource_allocated("gpu", agent, 0.25);
    swarm::agent_stopped(agent);
}

#[test]
fn each_hook_changes_the_metrics_of_the_process() {
    // A name that the application has for something else stays its own.
    let own = Counter::new("swarm_agents_stopped_total", "The application's own.");
    own.inc_by(3);
    for _ in 0..2 {
        say_all("tester");
    }
    // Neither a prefix nor labels change names that dashboards know.
    let text = MetricsCollector::new()
        .with_prefix("mine")
        .with_labels([("node", "a")])
        .encode();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("\"tester\""))
        .collect();
    let mut want = vec![
        r#"agent_goals_total{agent="tester",outcome="completed"} 2"#,
        r#"agent_goals_total{agent="tester",outcome="failed"} 2"#,
        r#"cluster_resource_allocated{resource="gpu",agent="tester"} 0.25"#,
        r#"evolution_fitness{agent="tester",stat="best"} 0.75"#,
        r#"evolution_fitness{agent="tester",stat="mean"} -0.5"#,
        r#"evolution_generation{agent="tester"} 7"#,
        r#"swarm_agents_spawned_total{agent="tester"} 2"#,
        r#"swarm_message_bytes_total{agent="tester",direction="receive"} 60"#,
        r#"swarm_message_bytes_total{agent="tester",direction="transmit"} 1024"#,
        r#"swarm_messages_total{agent="tester",direction="receive"} 2"#,
        r#"swarm_messages_total{agent="tester",direction="transmit"} 2"#,
    ];
    want.sort_unstable();
    let mut lines = lines;
    lines.sort_unstable();
    assert_eq!(lines, want);
    assert!(
        text.contains(r#"cluster_job_queue_depth{queue="queue of jobs"} 12"#),
        "{text}"
    );
    assert_eq!(own.get(), 3);
}

/// The program that is watched; nothing, unless the test below has started it.
#[test]
fn a_program_that_is_watched() {
    let Ok(times) = env::var(TIMES) else { return };
    let times: u64 = times.parse().unwrap();
    let say = move |thread: u64| (0..times).for_each(|_| say_all(&format!("agent {thread}")));
    let threads = (0..THREADS).map(|thread| thread::spawn(move || say(thread)));
    let threads: Vec<_> = threads.collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn bpftrace(arguments: &[&str]) -> String {
    let output = Command::new("bpftrace")
        .args(arguments)
        .env(TIMES, "200")
        .stderr(Stdio::inherit())
        .output()
        .expect("bpftrace: `cargo xtask setup` installs it");
    assert!(
        output.status.success(),
        "bpftrace {arguments:?}: run as root"
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bpftrace_lists_the_hooks_and_sees_what_is_said() {
    let exe = env::current_exe().unwrap();
    let exe = exe.to_str().unwrap();
    let listed = bpftrace(&["-l", &format!("usdt:{exe}:stratoswarm:*")]);
    let mut listed: Vec<_> = listed
        .lines()
        .filter_map(|line| line.rsplit(':').next())
        .collect();
    listed.sort_unstable();
    listed.dedup();
    assert_eq!(listed, HOOKS);
    let script = format!(
        "usdt:{exe}:stratoswarm:message_sent {{ @sent[str(arg0, arg1)] = sum(arg2); }}
         usdt:{exe}:stratoswarm:job_queue_depth {{ @jobs[str(arg0, arg1), arg2] = count(); }}
         usdt:{exe}:stratoswarm:resource_allocated
         {{ @allocated[str(arg0, arg1), str(arg2, arg3), arg4] = count(); }}
         usdt:{exe}:stratoswarm:generation {{ @generation[arg2, arg3, arg4] = count(); }}"
    );
    let program = format!("{exe} --exact a_program_that_is_watched --test-threads=1");
    let seen = bpftrace(&["-e", &script, "-c", &program]);
    for thread in 0..THREADS {
        let sent = format!("@sent[agent {thread}]: {}", 200 * 512);
        assert!(seen.contains(&sent), "{sent} in:\n{seen}");
        let quarter = 0.25_f64.to_bits();
        let allocated = format!("@allocated[gpu, agent {thread}, {quarter}]: 200");
        assert!(seen.contains(&allocated), "{allocated} in:\n{seen}");
    }
    let all = THREADS * 200;
    let jobs = format!("@jobs[queue of jobs, 12]: {all}");
    assert!(seen.contains(&jobs), "{jobs} in:\n{seen}");
    // Numbers are shown as signed ones.
    let [best, mean] = [0.75_f64, -0.5].map(|value| value.to_bits().cast_signed());
    let generation = format!("@generation[7, {best}, {mean}]: {all}");
    assert!(seen.contains(&generation), "{generation} in:\n{seen}");
}
