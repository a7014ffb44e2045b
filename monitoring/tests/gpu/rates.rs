//! What is measured from one poll to the next.

use std::time::Instant;

use super::rig::{Sim, assert_close, poll_until};

fn throughput(model: &str, values: &str) -> (Option<f64>, Option<f64>) {
    let sim = Sim::new(&format!(
        "[[gpus]]\nmodel = \"{model}\"\n[gpus.values]\n{values}"
    ));
    let monitor = sim.open();
    poll_until("a rate", || {
        let pcie = monitor.device(0).unwrap().pcie;
        let rates = (
            pcie.transmitted_bytes_per_second,
            pcie.received_bytes_per_second,
        );
        rates.0.is_some().then_some(rates)
    })
}

#[test]
fn samples_come_first() {
    let values = "gpm_pcie_tx_mib = 100.0\ngpm_pcie_rx_mib = 2.5\npcie_tx_kb_per_second = 7\n\
                  pcie_rx_kb_per_second = 7\n";
    let (transmitted, received) = throughput("h200", values);
    assert_close("transmitted", transmitted, Some(100.0 * 1_048_576.0));
    assert_close("received", received, Some(2.5 * 1_048_576.0));
}

#[test]
fn counters_come_before_calls_that_block() {
    const RATES: [f64; 2] = [1e9, 2.5e8];
    let [sent, received] = RATES;
    let sim = Sim::new(&format!(
        "[[gpus]]\nmodel = \"a100\"\n[gpus.values]\n\
         pcie_tx_bytes = {{ start = 9000000000, per_second = {sent:?} }}\n\
         pcie_rx_bytes = {{ start = 0, per_second = {received:?} }}\n\
         pcie_tx_kb_per_second = 7\npcie_rx_kb_per_second = 7\n"
    ));
    let begun = Instant::now();
    let monitor = sim.open();
    // The call that the monitor read the counters in, and what it made of them. It makes rates of
    // readings that are far enough apart; after the others it has the last rates still.
    let mut before = (begun, Instant::now());
    let mut last = None;
    poll_until("readings quick enough to judge a rate by", || {
        let begun = Instant::now();
        let pcie = monitor.device(0).unwrap().pcie;
        let now = (begun, Instant::now());
        let sent = pcie.transmitted_bytes_per_second;
        let rates = sent.zip(pcie.received_bytes_per_second);
        if rates == last {
            return None;
        }
        last = rates;
        let (then, now) = (std::mem::replace(&mut before, now), now);
        // The counters were read at some moment of each call, however long that took.
        let shortest = (now.0 - then.1).as_secs_f64();
        let longest = (now.1 - then.0).as_secs_f64();
        let rates = rates.expect("once there is a rate, there always is");
        for (got, rate) in [rates.0, rates.1].into_iter().zip(RATES) {
            let range = rate * shortest / longest..=rate * longest / shortest;
            assert!(range.contains(&got), "{got} is not in {range:?}");
        }
        (shortest / longest > 0.9).then_some(())
    });
}

#[test]
fn calls_that_block_come_last() {
    let values = "pcie_tx_kb_per_second = 1234\npcie_rx_kb_per_second = 5678\n";
    assert_eq!(
        throughput("a100", values),
        (Some(1_234_000.0), Some(5_678_000.0))
    );
}

#[test]
fn activity_is_there_from_the_second_poll_on() {
    let sim = Sim::new("[[gpus]]\nmodel = \"h200\"\n[gpus.values]\ngpm_sm = 30.0\n");
    let monitor = sim.open();
    let first = monitor.latest().unwrap();
    assert_eq!(first.number, 1);
    assert_eq!(first.devices[&0].activity.sm_ratio, None);
    let ratio = poll_until("a sample", || monitor.device(0).unwrap().activity.sm_ratio);
    assert_close("ratio", Some(ratio), Some(0.3));
}

#[test]
fn garbage_of_samples_is_absent() {
    let values = "gpm_sm = nan\ngpm_dram = -1.0\ngpm_fp64 = 1000.0\ngpm_graphics = 100.5\n\
                  gpm_pcie_tx_mib = inf\ngpm_sm_occupancy = 10.0\n";
    let sim = Sim::new(&format!(
        "[[gpus]]\nmodel = \"h200\"\n[gpus.values]\n{values}"
    ));
    let monitor = sim.open();
    let activity = poll_until("a sample", || {
        let activity = monitor.device(0).unwrap().activity;
        activity.sm_occupancy_ratio.is_some().then_some(activity)
    });
    assert_eq!(activity.sm_ratio, None);
    assert_eq!(activity.dram_ratio, None);
    assert_eq!(
        activity.graphics_ratio,
        Some(1.0),
        "slightly more than all is all"
    );
    assert_eq!(activity.pcie_transmitted_bytes_per_second, None);
    assert!(
        activity
            .arithmetic_ratios
            .iter()
            .all(|it| it.name != "fp64")
    );
}
