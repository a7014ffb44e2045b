//! A stopped agent leaves nothing in the kernel, and stops in time.

use std::time::{Duration, Instant};

use aya::{maps::loaded_maps, programs::loaded_programs};
use monitoring_agent::{config::Config, pipeline::Agent};

use crate::node::{PATIENCE, me, poll_until};

fn config() -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        agents: vec![me()],
        ..Config::default()
    }
}

/// Names of programs and maps in the kernel that are ours.
fn ours() -> Vec<String> {
    let programs = loaded_programs().filter_map(Result::ok);
    let programs = programs.filter_map(|info| info.name_as_str().map(str::to_owned));
    let maps = loaded_maps().filter_map(Result::ok);
    let maps = maps.filter_map(|info| info.name_as_str().map(str::to_owned));
    let names = [
        "sys_enter",
        "sys_exit",
        "sched_process_e",
        "sched_process_f",
        "CALLS",
        "AGENT_OF",
    ];
    programs
        .chain(maps)
        .filter(|name| names.contains(&name.as_str()))
        .collect()
}

#[test]
fn nothing_is_left_after_a_stop() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let agent = Agent::start(config()).await.unwrap();
        let mut latest = agent.latest();
        let ready = latest.wait_for(|snapshot| snapshot.ready);
        tokio::time::timeout(PATIENCE, ready)
            .await
            .expect("a first snapshot")
            .unwrap();
        assert!(ours().len() >= 6, "running: {:?}", ours());
        let begun = Instant::now();
        agent.stop().await;
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "took {:?}",
            begun.elapsed()
        );
    });
    drop(runtime);
    // The kernel frees programs and maps a little after their last user is gone.
    poll_until("no program or map is left", || {
        ours().is_empty().then_some(())
    });
}

#[test]
fn a_reload_keeps_counting() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut agent = Agent::start(config()).await.unwrap();
        let programs = ours();
        let interval = Duration::from_millis(200);
        let address = agent.address();
        agent
            .reload(Config {
                collection_interval: interval,
                listen: address,
                ..config()
            })
            .await;
        assert_eq!(
            ours(),
            programs,
            "programs stay attached when only the interval changes"
        );
        let mut latest = agent.latest();
        let first = latest.borrow_and_update().number;
        let more = latest.wait_for(|snapshot| snapshot.number >= first + 3);
        tokio::time::timeout(PATIENCE, more)
            .await
            .expect("snapshots at the new rate")
            .unwrap();
        let mut off = Config {
            collection_interval: interval,
            listen: address,
            ..config()
        };
        off.sources.syscalls.enabled = false;
        agent.reload(off).await;
        let without = latest.wait_for(|snapshot| {
            !snapshot
                .families
                .iter()
                .any(|family| family.name() == "syscall_total")
        });
        tokio::time::timeout(PATIENCE, without)
            .await
            .expect("the source is off")
            .unwrap();
        agent.stop().await;
    });
}
