//! Values of the script come out exactly, and change as it says.

use std::time::Instant;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{
    Clock, EccCounter, MemoryError, MemoryLocation, PcieUtilCounter, PerformancePolicy,
    RetirementCause, TemperatureSensor,
};
use nvml_wrapper::enum_wrappers::nv_link::ErrorCounter;

use crate::{Rig, one, refused, until};

#[test]
fn what_is_set_is_answered() {
    let rig = Rig::new(&one(
        "v100",
        r"
        utilization_gpu = 87
        utilization_memory = 43
        encoder_utilization = 11
        memory_total = 1000
        memory_used = 300
        memory_reserved = 50
        power_usage_mw = 310001
        enforced_power_limit_mw = 299999
        energy_mj = 123456789012
        clock_memory_mhz = 877
        pcie_replays = 7
        pcie_generation = 2
        pcie_width = 8
        throttle_reasons = 0x24
        throttled_power_ns = 5000000001
        ecc_corrected_volatile = 12
        ecc_uncorrected_aggregate_l2_cache = 3
        retired_pages_single_bit = 2
        retired_pages_double_bit = [0x1000]
        nvlink_replay_errors = [1, 2, 3, 4, 5, 6]
        ",
    ));
    let gpu = rig.gpu();
    let utilization = gpu.utilization_rates().unwrap();
    assert_eq!((utilization.gpu, utilization.memory), (87, 43));
    assert_eq!(gpu.encoder_utilization().unwrap().utilization, 11);
    let memory = gpu.memory_info().unwrap();
    assert_eq!((memory.used, memory.reserved, memory.free), (300, 50, 650));
    assert_eq!(gpu.power_usage().unwrap(), 310_001);
    assert_eq!(gpu.enforced_power_limit().unwrap(), 299_999);
    assert_eq!(gpu.total_energy_consumption().unwrap(), 123_456_789_012);
    assert_eq!(gpu.clock_info(Clock::Memory).unwrap(), 877);
    assert_eq!(gpu.pcie_replay_counter().unwrap(), 7);
    assert_eq!(gpu.current_pcie_link_gen().unwrap(), 2);
    assert_eq!(gpu.current_pcie_link_width().unwrap(), 8);
    let reasons = ThrottleReasons::SW_POWER_CAP | ThrottleReasons::SW_THERMAL_SLOWDOWN;
    assert_eq!(gpu.current_throttle_reasons().unwrap(), reasons);
    let power = gpu.violation_status(PerformancePolicy::Power).unwrap();
    assert_eq!(power.violation_time, 5_000_000_001);
    let corrected = gpu.total_ecc_errors(MemoryError::Corrected, EccCounter::Volatile);
    assert_eq!(corrected.unwrap(), 12);
    let l2 = gpu.memory_error_counter(
        MemoryError::Uncorrected,
        EccCounter::Aggregate,
        MemoryLocation::L2Cache,
    );
    assert_eq!(l2.unwrap(), 3);
    let single = gpu.retired_pages(RetirementCause::MultipleSingleBitEccErrors);
    assert_eq!(single.unwrap().len(), 2);
    let double = gpu
        .retired_pages(RetirementCause::DoubleBitEccError)
        .unwrap();
    assert_eq!(double[0].address, 0x1000);
    let link = gpu.link_wrapper_for(4);
    assert_eq!(link.error_counter(ErrorCounter::DlReplay).unwrap(), 5);
    let beyond = gpu.link_wrapper_for(6);
    refused!(beyond.error_counter(ErrorCounter::DlReplay), InvalidArg);
}

#[test]
fn pcie_throughput_takes_its_time() {
    let rig = Rig::new(&one("l4", "pcie_tx_kb_per_second = 1234"));
    let since = Instant::now();
    let rate = rig.gpu().pcie_throughput(PcieUtilCounter::Send).unwrap();
    assert_eq!(rate, 1234);
    assert!(since.elapsed().as_millis() >= 20);
}

#[test]
fn an_error_may_stand_for_a_value() {
    let rig = Rig::new(&one(
        "h200",
        "temperature = \"NO_DATA\"\nserial = \"NOT_SUPPORTED\"",
    ));
    refused!(rig.gpu().temperature(TemperatureSensor::Gpu), NoData);
    refused!(rig.gpu().serial(), NotSupported);
}

#[test]
fn values_go_up_and_down() {
    let wave = "temperature = { from = 40, to = 60, period_seconds = 0.2 }";
    let rig = Rig::new(&one("h200", wave));
    let read = || rig.gpu().temperature(TemperatureSensor::Gpu).unwrap();
    until("it is high", || (58..=60).contains(&read()));
    until("it is low", || (40..=42).contains(&read()));
    until("it is high again", || (58..=60).contains(&read()));
}

#[test]
fn values_grow_and_a_rewrite_changes_nothing() {
    let script = one("h200", "energy_mj = { start = 5000, per_second = 100000 }");
    let rig = Rig::new(&script);
    let read = || rig.gpu().total_energy_consumption().unwrap();
    let first = read();
    assert!(first >= 5000);
    until("it grows", || read() > first + 1000);
    let (since, before) = (Instant::now(), read());
    rig.rewrite(&format!("{script}\n# the same\n"));
    let after = read();
    assert!(after >= before, "{after} after {before}");
    let grown = since.elapsed().as_secs_f64() * 100_000.0;
    assert!(
        (after - before) as f64 <= grown + 1.0,
        "{after} after {before}"
    );
}
