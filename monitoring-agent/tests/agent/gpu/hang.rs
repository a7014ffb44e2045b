//! A call into NVML that does not come back: what else goes on, what grows old, and that the agent
//! can still be ended.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::process::sum;

/// How long NVML hangs.
const HANG: Duration = Duration::from_secs(30);

/// What the agent's end may take on a busy machine, beside a hang of ten minutes.
const END: Duration = Duration::from_secs(5);

/// What a scrape may take beside a hang.
const SCRAPE: Duration = Duration::from_millis(50);

fn hanging(call: &str, seconds: u32) -> String {
    gpu(0, "temperature = 45") + &format!("[[hangs]]\ncall = '{call}'\nseconds = {seconds}\n")
}

/// What many scrapes in a row saw.
#[derive(Default)]
struct Scrapes {
    slowest: Duration,
    /// Those that took longer than they may.
    slow: u32,
    count: u32,
    /// How often the host's numbers had changed.
    moved: u32,
    last: String,
}

impl Scrapes {
    /// Scrapes every few milliseconds until this holds of the metrics.
    fn poll(agent: &Agent, patience: Duration, is_over: impl Fn(&str) -> bool) -> Self {
        let begun = Instant::now();
        let mut scrapes = Self::default();
        let mut host = 0.0;
        while !is_over(&scrapes.last) {
            assert!(begun.elapsed() < patience, "{}", scrapes.last);
            let asked = Instant::now();
            let (status, metrics) = agent.get("/metrics");
            let took = asked.elapsed();
            scrapes.slowest = scrapes.slowest.max(took);
            scrapes.slow += u32::from(took >= SCRAPE);
            assert_eq!(status, 200);
            scrapes.count += 1;
            let now = sum(&metrics, "node_cpu_seconds_total", "");
            scrapes.moved += u32::from(now.to_bits() != f64::to_bits(host));
            host = now;
            scrapes.last = metrics;
            thread::sleep(Duration::from_millis(10));
        }
        scrapes
    }
}

#[test]
fn half_a_minute_without_an_answer() {
    let node = Node::new(&gpu(0, "temperature = 45"));
    let agent = node.working_agent("");
    let power = hanging("nvmlDeviceGetPowerUsage", 600);
    node.rewrite(&power);
    let begun = Instant::now();
    let during = Scrapes::poll(&agent, 2 * HANG, |_| begun.elapsed() > HANG);
    println!(
        "slowest scrape: {:?} of {} during the hang",
        during.slowest, during.count
    );
    assert!(during.slow * 100 <= during.count, "{} slow", during.slow);
    // Five collections a second; a busy machine may miss many.
    assert!(during.moved > 50, "host stood still: {}", during.moved);
    assert_eq!(
        value(&during.last, UP),
        Some(0.0),
        "{}",
        agent.process.log()
    );
    let age = value(&during.last, AGE).unwrap();
    assert!((25.0..35.0).contains(&age), "{age}");
    let host = value(
        &during.last,
        "monitoring_agent_source_age_seconds{source=\"host\"}",
    );
    assert!(host.unwrap() < 5.0, "{host:?}");
    let temperature = "gpu_temperature_celsius{device_id=\"0\",sensor=\"gpu\",uuid=\"GPU-0\"}";
    assert_eq!(
        value(&during.last, temperature),
        Some(45.0),
        "its last numbers stay"
    );
    let failed = || {
        let lines = of_gpu(&agent, "the source does not deliver");
        let ours = |line: &String| line.contains("reason=\"collect_failed\"");
        lines.into_iter().filter(ours).collect::<Vec<_>>()
    };
    assert!(
        failed()[0].contains("nvmlDeviceGetPowerUsage"),
        "{:?}",
        failed()
    );
    // An error that is reported now is seen now.
    let xid = "gpu_xid_errors_total{device_id=\"0\",uuid=\"GPU-0\",xid=\"119\"}";
    assert_eq!(value(&during.last, xid), None);
    let hangs = power.find("[[hangs]]").unwrap();
    let (device, hang) = power.split_at(hangs);
    node.rewrite(&format!("{device}[[gpus.xids]]\ncode = 119\n{hang}"));
    let told = wait_until(&agent, "the error is counted", |metrics| {
        value(metrics, xid) == Some(1.0)
    });
    assert_eq!(value(&told, UP), Some(0.0), "{told}");
    assert_eq!(value(&told, temperature), Some(45.0), "{told}");
    assert!(value(&told, AGE).unwrap() > age, "{told}");
    agent.process.wait_for("critical error (XID)");

    node.rewrite(&gpu(0, "temperature = 46"));
    let recovered = Scrapes::poll(&agent, HANG, |metrics| {
        value(metrics, temperature) == Some(46.0) && value(metrics, UP) == Some(1.0)
    });
    assert!(value(&recovered.last, AGE).unwrap() < 5.0);
    poll_until("it says so", || {
        (!of_gpu(&agent, "the source delivers again").is_empty()).then_some(())
    });
    // A busy machine may have been late besides, which is another reason, and said apart.
    assert_eq!(failed().len(), 1, "{:#?}", failed());
    assert_eq!(value(&recovered.last, xid), Some(1.0), "{}", recovered.last);
}

#[test]
fn check_ends_though_nvml_does_not_answer() {
    let node = Node::new(&hanging("nvmlInit_v2", 600));
    let begun = Instant::now();
    let (status, report) = check(&node, &(node.config() + &only_host_and_process()));
    let took = begun.elapsed();
    println!("check took {took:?}");
    // It waits for the first numbers, and not for ever.
    assert!((HANG..2 * HANG).contains(&took), "{took:?}");
    assert!(status.success(), "the others work: {status}: {report}");
    let line = report.lines().find(|line| line.starts_with("gpu"));
    let line = line.unwrap_or_default();
    assert!(
        line.contains("BROKEN") && line.contains("nvmlInit_v2"),
        "{report}"
    );
    assert!(
        report
            .lines()
            .any(|line| line.starts_with("host") && line.contains(" ok "))
    );
}

#[test]
fn the_agent_ends_though_nvml_does_not_answer() {
    for call in ["nvmlInit_v2", "nvmlDeviceGetTemperature", "nvmlShutdown"] {
        let node = Node::new(&hanging(call, 600));
        let mut agent = node.agent("");
        if call != "nvmlInit_v2" {
            node.rewrite(&gpu(0, ""));
            wait_until(&agent, "the GPUs are read", |metrics| {
                value(metrics, UP) == Some(1.0)
            });
            node.rewrite(&hanging(call, 600));
        }
        if call != "nvmlShutdown" {
            let begun = format!("has not come back from {call}");
            agent.process.wait_for(&begun);
        }
        let begun = Instant::now();
        agent.process.signal(libc::SIGTERM);
        let status = agent.process.wait();
        let took = begun.elapsed();
        println!("{call}: {took:?}");
        assert!(status.success(), "{call}: {status}");
        assert!(took < END, "{call}: took {took:?}");
        // So it did hang until then, which without a hang takes some milliseconds.
        agent
            .process
            .wait_for("a source hangs and ends with the process");
    }
}
