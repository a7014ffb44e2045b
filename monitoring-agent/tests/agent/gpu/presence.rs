//! GPUs, drivers and libraries that are not there, go, and come back.

use super::*;

#[test]
fn a_lost_gpu_has_no_metrics_until_it_is_back() {
    // With the error that is what "fell off the bus" looks like to the driver.
    let lost = gpu(1, "").replace("[gpus.values]", "lost = true\n[gpus.values]")
        + "[[gpus.xids]]\ncode = 79\n";
    let (both, one) = (gpu(0, "") + &gpu(1, ""), gpu(0, "") + &lost);
    let node = Node::new(&both);
    let agent = node.working_agent("");
    let power = [0, 1].map(|number| sample("gpu_power_watts", number));
    let has = |metrics: &str, want: [bool; 2]| {
        let found = power.each_ref().map(|name| value(metrics, name).is_some());
        found == want && value(metrics, UP) == Some(1.0)
    };
    wait_until(&agent, "both answer", |metrics| has(metrics, [true, true]));
    node.rewrite(&one);
    wait_until(&agent, "one is gone", |metrics| has(metrics, [true, false]));
    let xid = "gpu_xid_errors_total{device_id=\"1\",uuid=\"GPU-1\",xid=\"79\"} 1";
    let of_it = |metrics: &str| {
        let lines = metrics
            .lines()
            .filter(|line| line.contains("uuid=\"GPU-1\""));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let lost = |value: u32| format!("gpu_lost{{device_id=\"1\",uuid=\"GPU-1\"}} {value}");
    wait_until(&agent, "the error is all that is left of it", |metrics| {
        of_it(metrics) == [&*lost(1), xid]
    });
    agent.process.wait_for("critical error (XID)");
    let line = agent.process.wait_for("metrics end until it answers again");
    assert!(line.contains("GPU-1") && line.contains("WARN"), "{line}");
    node.rewrite(&both);
    wait_until(&agent, "it is back", |metrics| has(metrics, [true, true]));
    let found = of_it(&agent.fresh_metrics());
    assert!(found.contains(&lost(0)), "{found:?}");
    assert!(found.iter().any(|line| line == xid), "{found:?}");
    agent.process.wait_for("the GPU is back");
    let log = agent.process.log();
    for once in ["metrics end until", "the GPU is back"] {
        assert_eq!(log.matches(once).count(), 1, "{log}");
    }
    assert!(!log.contains("source off"), "{log}");
}

#[test]
fn without_a_library_the_rest_goes_on() {
    let node = Node::new(&gpu(0, ""));
    let mut config = node.config() + &only_host_and_process();
    let missing = config.replace("libnvidia-ml.so.1", "absent.so");
    let agent = Agent::with_config(node.folder.path(), &missing);
    let line = agent.process.wait_for("source off");
    assert!(line.contains("absent.so"), "{line}");
    assert!(
        line.contains("sources.gpu.nvml_library names this file"),
        "{line}"
    );
    let collected = |metrics: &str| value(metrics, "process_cpu_seconds_total").is_some();
    for _ in 0..5 {
        let metrics = agent.fresh_metrics();
        assert!(
            collected(&metrics) && metrics.contains("node_load1 "),
            "{metrics}"
        );
        assert_eq!(value(&metrics, UP), Some(0.0));
        assert_eq!(
            value(&metrics, AGE),
            None,
            "numbers that never were have no age"
        );
        assert!(!metrics.contains("gpu_info"), "{metrics}");
        let lost = "monitoring_agent_lost_total{reason=\"collect_failed\",source=\"gpu\"}";
        assert_eq!(value(&metrics, lost), None);
    }
    let off = of_gpu(&agent, "source off");
    assert_eq!(off.len(), 1, "{off:#?}");

    // A reload with the right file starts the source anew.
    let file = node.folder.path().join("monitoring.toml");
    std::fs::write(&file, &config).unwrap();
    agent.process.signal(libc::SIGHUP);
    wait_until(&agent, "the GPU is found", |metrics| {
        value(metrics, UP) == Some(1.0) && value(metrics, &sample("gpu_power_watts", 0)).is_some()
    });
    // The source that was off is another: this one has nothing to come back from.
    assert_eq!(of_gpu(&agent, "source off"), off);

    // Either switch turns it off without a trace.
    config = config.replacen(
        "[monitoring]",
        "[monitoring]\ngpu_monitoring_enabled = false",
        1,
    );
    std::fs::write(&file, &config).unwrap();
    agent.process.signal(libc::SIGHUP);
    wait_until(&agent, "it is switched off", |metrics| {
        value(metrics, UP).is_none() && !metrics.contains("gpu_")
    });
}

#[test]
fn without_a_driver_or_a_gpu_the_source_is_off() {
    for (script, why) in [
        ("driver_loaded = false", "driver does not answer"),
        ("", "knows no GPU"),
    ] {
        let node = Node::new(script);
        let agent = node.agent("");
        let line = agent.process.wait_for("source off");
        assert!(line.contains(why), "{line}");
        let metrics = agent.fresh_metrics();
        assert_eq!(value(&metrics, UP), Some(0.0));
        assert!(!metrics.contains("gpu_info"), "{metrics}");
    }
}

#[test]
fn when_the_driver_goes_the_metrics_end_and_nothing_is_lost() {
    let node = Node::new(&gpu(0, ""));
    let agent = node.working_agent("");
    let before = agent.fresh_metrics();
    assert!(value(&before, AGE).is_some(), "{before}");
    let lost =
        |reason: &str| format!("monitoring_agent_lost_total{{reason=\"{reason}\",source=\"gpu\"}}");
    // A scrape may have come between: what is lost by then is another matter.
    let missed = ["collect_failed", "overdue"].map(lost);
    let missed = |metrics: &str| missed.each_ref().map(|name| value(metrics, name));
    node.rewrite("driver_loaded = false");
    let after = wait_until(&agent, "its metrics end", |metrics| {
        !metrics.contains("\ngpu_") && value(metrics, UP) == Some(0.0)
    });
    assert_eq!(value(&after, AGE), None, "{after}");
    assert_eq!(missed(&after)[0], missed(&before)[0], "{after}");
    assert_eq!(value(&after, &lost("xid_event")), Some(0.0), "{after}");
    let off = of_gpu(&agent, "source off");
    assert_eq!(off.len(), 1, "{off:#?}");
    assert!(off[0].contains("driver does not answer"), "{off:#?}");
}

#[test]
fn a_reload_of_the_poll_interval_begins_the_errors_anew() {
    let node = Node::new(&gpu(0, ""));
    let agent = node.working_agent("");
    wait_until(&agent, "the GPU is read twice", is_read_twice);
    node.rewrite(&(gpu(0, "") + "[[gpus.xids]]\ncode = 31\n"));
    let xid = "gpu_xid_errors_total{device_id=\"0\",uuid=\"GPU-0\",xid=\"31\"}";
    wait_until(&agent, "the error is counted", |metrics| {
        value(metrics, xid) == Some(1.0)
    });
    let config = (node.config() + &only_host_and_process()).replace("'250ms'", "'300ms'");
    std::fs::write(node.folder.path().join("monitoring.toml"), config).unwrap();
    agent.process.signal(libc::SIGHUP);
    agent.process.wait_for("the new configuration is in force");
    // The library stays loaded, and has told this error already.
    wait_until(&agent, "the source has started anew", |metrics| {
        value(metrics, UP) == Some(1.0) && value(metrics, xid).is_none()
    });
}

#[test]
fn what_a_gpu_does_not_support_is_said_once() {
    let unsupported = gpu(0, "fan_speed = 'NOT_SUPPORTED'")
        + "[gpus.errors]\n\
                       nvmlDeviceGetPowerUsage = 'NOT_SUPPORTED'\n";
    let node = Node::new(&unsupported);
    let agent = node.working_agent("");
    let line = agent.process.wait_for("does not support");
    assert!(line.contains("nvmlDeviceGetPowerUsage"), "{line}");
    let metrics = agent.fresh_metrics();
    assert_eq!(value(&metrics, &sample("gpu_power_watts", 0)), None);
    assert!(
        value(&metrics, &sample("gpu_power_limit_watts", 0)).is_some(),
        "{metrics}"
    );
    agent.fresh_metrics();
    let log = agent.process.log();
    assert_eq!(log.matches("nvmlDeviceGetPowerUsage").count(), 1, "{log}");
}

#[test]
fn check_lists_the_gpus() {
    let node = Node::new(&(gpu(0, "name = 'NVIDIA Test'") + &gpu(1, "")));
    let config = node.config() + &only_host_and_process();
    let (status, report) = check(&node, &config);
    assert!(status.success(), "{status}: {report}");
    let line = |text: &str| {
        report
            .lines()
            .find(|line| line.contains(text))
            .unwrap_or_default()
    };
    assert!(line("gpu ").contains(" ok "), "{report}");
    assert!(line("GPU-0").contains("0  NVIDIA Test"), "{report}");
    assert!(line("GPU-1").contains("1  NVIDIA H200"), "{report}");
    let lost = gpu(1, "").replace("[gpus.values]", "lost = true\n[gpus.values]");
    node.rewrite(&(gpu(0, "") + &lost));
    let (_, report) = check(&node, &config);
    let has = |parts: [&str; 2]| {
        let mut lines = report.lines();
        lines.any(|line| parts.iter().all(|part| line.contains(part)))
    };
    assert!(has(["gpu ", " partly "]), "{report}");
    assert!(has(["GPU 1 ", " lost: "]), "{report}");
    assert!(
        !has(["GPU 0 ", " lost: "]) && has(["  0  ", "GPU-0"]),
        "{report}"
    );
    let absent = config.replace("libnvidia-ml.so.1", "absent.so");
    let (status, report) = check(&node, &absent);
    assert!(status.success(), "the others work: {status}: {report}");
    let line = report.lines().find(|line| line.starts_with("gpu"));
    let line = line.unwrap_or_default();
    assert!(
        line.contains(" no ") && line.contains("absent.so"),
        "{report}"
    );
}
