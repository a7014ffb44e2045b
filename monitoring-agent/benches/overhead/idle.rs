//! CPU time and memory on an otherwise idle node, scraped every 10 s, beside `node_exporter`.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::process::{Running, free_port, scrape};

const INTERVAL: Duration = Duration::from_secs(10);
const INTERVALS: u32 = 6;

pub(crate) fn measure() {
    let ports = [free_port(), free_port()];
    let programs = [
        (
            "monitoring-agent",
            Running::agent(ports[0], &["--collection-interval", "10s"]),
        ),
        ("prometheus-node-exporter", Running::node_exporter(ports[1])),
    ];
    // The first interval has the first scrape and the end of starting in it.
    thread::sleep(INTERVAL);
    for port in ports {
        scrape(port, "/metrics");
    }
    let before = programs.each_ref().map(|(_, running)| running.cpu_ns());
    let begun = Instant::now();
    for _ in 0..INTERVALS {
        thread::sleep(INTERVAL);
        for port in ports {
            assert!(scrape(port, "/metrics").starts_with("HTTP/1.1 200"));
        }
    }
    let elapsed_ns = begun.elapsed().as_secs_f64() * 1e9;
    println!("idle node, scraped every {INTERVAL:?}, over {INTERVALS} intervals");
    println!(
        "  {:<28}{:>12}{:>14}{:>12}{:>12}",
        "", "CPU share", "resident", "anonymous", "peak"
    );
    for ((name, running), before) in programs.iter().zip(before) {
        let share = (running.cpu_ns() - before) as f64 / elapsed_ns * 100.0;
        let [resident, anonymous, peak] = ["VmRSS", "RssAnon", "VmHWM"]
            .map(|key| format!("{:.1} MB", running.memory_kib(key) as f64 * 1024.0 / 1e6));
        println!("  {name:<28}{share:>10.4} %{resident:>14}{anonymous:>12}{peak:>12}");
    }
}
