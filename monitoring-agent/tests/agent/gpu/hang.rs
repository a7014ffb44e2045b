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

/// What a scrape may take beside a hang.
const SCRAPE: Duration = Duration::from_millis(50);

/// The slowest of all may take so many times what the slowest took before the hang, when there were
/// fewer: the machine does other things as well.
const NOISE: u32 = 4;

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
    let begun = Instant::now();
    let before = Scrapes::poll(&agent, HANG, |_| begun.elapsed() > Duration::from_secs(5));

    node.rewrite(&hanging("nvmlDeviceGetPowerUsage", 600));
    let begun = Instant::now();
    let during = Scrapes::poll(&agent, 2 * HANG, |_| begun.elapsed() > HANG);
    println!(
        "slowest scrape: {:?} of {} before, {:?} of {} during the hang",
        before.slowest, before.count, during.slowest, during.count
    );
    let limit = SCRAPE.max(NOISE * before.slowest);
    assert!(during.slowest < limit, "{:?} >= {limit:?}", during.slowest);
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
    let line = agent.process.wait_for("the source does not deliver");
    assert!(line.contains("nvmlDeviceGetPowerUsage"), "{line}");

    node.rewrite(&gpu(0, "temperature = 46"));
    let recovered = Scrapes::poll(&agent, HANG, |metrics| {
        value(metrics, temperature) == Some(46.0) && value(metrics, UP) == Some(1.0)
    });
    assert!(value(&recovered.last, AGE).unwrap() < 5.0);
    agent.process.wait_for("the source delivers again");
    let log = agent.process.log();
    assert_eq!(
        log.matches("the source does not deliver").count(),
        1,
        "{log}"
    );
}

#[test]
fn check_ends_though_nvml_does_not_answer() {
    let node = Node::new(&hanging("nvmlInit_v2", 600));
    let begun = Instant::now();
    let report = check(&node, &(node.config() + &only_host_and_process()));
    println!("check took {:?}", begun.elapsed());
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
        if call == "nvmlDeviceGetTemperature" {
            wait_until(&agent, "the hang has begun", |metrics| {
                value(metrics, AGE).is_some_and(|age| age > 1.0)
            });
        }
        let begun = Instant::now();
        agent.process.signal(libc::SIGTERM);
        let status = agent.process.wait();
        let took = begun.elapsed();
        println!("{call}: {took:?}");
        assert!(status.success(), "{call}: {status}");
        assert!(took < Duration::from_millis(1500), "{call}: took {took:?}");
    }
}
