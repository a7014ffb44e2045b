//! Rates of counters that grow steadily, whatever happens between two readings.

use std::time::Duration;

use monitoring::gpu::GpuError;

use super::rig::{Sim, poll_until};

const GPU: &str = "[[gpus]]\nmodel = \"a100\"\n[gpus.values]\n\
    pcie_tx_bytes = { start = 9000000000, per_second = 1000000000.0 }\n\
    pcie_rx_bytes = { start = 0, per_second = 250000000.0 }\n\
    pcie_tx_kb_per_second = 7\npcie_rx_kb_per_second = 7\n";
/// No rate is further off: the time between two readings is known to a twentieth of itself.
const TOLERANCE: f64 = 0.051;

fn check(rates: [Option<f64>; 2]) {
    for (rate, want) in rates.into_iter().zip([1e9, 2.5e8]) {
        let right = rate.is_none_or(|rate| (rate - want).abs() <= want * TOLERANCE);
        assert!(right, "{rate:?} instead of {want}");
    }
}

/// A call hangs for a while, and rates are right or absent before, meanwhile and after.
fn hang(call: &str) {
    let sim = Sim::new(GPU);
    let monitor = sim
        .builder()
        .call_deadline(Duration::from_secs(1))
        .poll()
        .unwrap();
    let rates = |monitor: &monitoring::gpu::GpuMonitor| {
        let pcie = monitor.latest().ok()?.devices.get(&0)?.pcie;
        let rates = [
            pcie.transmitted_bytes_per_second,
            pcie.received_bytes_per_second,
        ];
        check(rates);
        rates[0].zip(rates[1])
    };
    poll_until("rates", || rates(&monitor));
    sim.rewrite(&format!(
        "{GPU}[[hangs]]\ncall = \"{call}\"\nseconds = 300\n"
    ));
    poll_until("the hang", || {
        rates(&monitor);
        matches!(monitor.latest(), Err(GpuError::Hanging { .. })).then_some(())
    });
    sim.rewrite(GPU);
    let first = poll_until("a poll", || monitor.latest().ok()).number;
    poll_until("many polls with rates", || {
        let known = rates(&monitor).is_some();
        let number = monitor.latest().map_or(0, |poll| poll.number);
        (known && number > first + 50).then_some(())
    });
}

#[test]
fn the_counters_call_hangs() {
    hang("nvmlDeviceGetFieldValues");
}

#[test]
fn a_later_call_hangs() {
    hang("nvmlDeviceGetUtilizationRates");
}

#[test]
fn an_earlier_call_hangs() {
    hang("nvmlDeviceGetMigMode");
}

#[test]
fn faster_than_the_link_is_no_rate() {
    let counter = |start: u64, per_second: &str| {
        format!(
            "[[gpus]]\nmodel = \"a100\"\n[gpus.values]\npcie_tx_bytes = \
             {{ start = {start}, per_second = {per_second} }}\npcie_rx_bytes = 0\n"
        )
    };
    let sim = Sim::new(&counter(0, "1000000.0"));
    let monitor = sim.builder().poll().unwrap();
    let rate = || {
        let pcie = monitor.latest().ok()?.devices.get(&0)?.pcie;
        Some((
            pcie.transmitted_bytes_per_second,
            pcie.received_bytes_per_second,
        ))
    };
    poll_until("a rate", || rate()?.0);
    // As if it had been reset and then grown: more than 16 lanes carry in an hour.
    sim.rewrite(&counter(1_000_000_000_000_000, "1000000.0"));
    poll_until("the jump", || {
        let (sent, received) = rate()?;
        assert!(sent.is_none_or(|rate| rate < 1.1e6), "{sent:?}");
        (sent.is_none() && received == Some(0.0)).then_some(())
    });
    poll_until("a rate again", || rate()?.0);
    assert!(rate().unwrap().0.is_none_or(|rate| rate < 1.1e6));
}
