//! Every reading that a GPU can have, and the sample that each becomes.

use monitoring::gpu::{EccErrors, NvLink, Pcie, ThrottleReason};

use super::*;

const MEMORY: Memory = Memory {
    used_bytes: 1 << 30,
    free_bytes: 3 << 30,
    reserved_bytes: Some(5 << 20),
    total_bytes: (4 << 30) + (5 << 20),
};

/// What `all` becomes, but for the labels `device_id` and `uuid`, which each has.
const WANT: &str = r#"gpu_arithmetic_activity_ratio{format="fp32"} 0.0625
gpu_clock_hertz{clock="sm"} 1980000000
gpu_clock_max_hertz{clock="sm"} 2100000000
gpu_decoder_utilization_ratio 0.04
gpu_dram_activity_ratio 0.375
gpu_ecc_errors_total{kind="corrected",location="l2_cache",scope="volatile"} 11
gpu_encoder_utilization_ratio 0.03
gpu_energy_joules_total 1234.567
gpu_fan_speed_ratio{fan="0"} 0.3
gpu_fan_speed_ratio{fan="1"} 1.05
gpu_graphics_activity_ratio 0.9
gpu_info{cuda_version="12.8",driver_version="570.124.06",name="NVIDIA H200",pci_bus_id="00000000:3B:00.0",serial="165",vbios="96"} 1
gpu_memory_free_bytes 3221225472
gpu_memory_reserved_bytes 5242880
gpu_memory_total_bytes 4300210176
gpu_memory_used_bytes 1073741824
gpu_memory_utilization_ratio 0.02
gpu_mig_dram_activity_ratio{compute_instance_id="1",gpu_instance_id="9"} 0.375
gpu_mig_graphics_activity_ratio{compute_instance_id="1",gpu_instance_id="9"} 0.9
gpu_mig_info{compute_instance_id="1",gpu_instance_id="9",mig_uuid="MIG-1",name="1g.18gb"} 1
gpu_mig_memory_free_bytes{compute_instance_id="1",gpu_instance_id="9"} 3221225472
gpu_mig_memory_reserved_bytes{compute_instance_id="1",gpu_instance_id="9"} 5242880
gpu_mig_memory_total_bytes{compute_instance_id="1",gpu_instance_id="9"} 4300210176
gpu_mig_memory_used_bytes{compute_instance_id="1",gpu_instance_id="9"} 1073741824
gpu_mig_multiprocessors{compute_instance_id="1",gpu_instance_id="9"} 16
gpu_mig_sm_activity_ratio{compute_instance_id="1",gpu_instance_id="9"} 0.5
gpu_mig_sm_occupancy_ratio{compute_instance_id="1",gpu_instance_id="9"} 0.25
gpu_mig_tensor_activity_ratio{compute_instance_id="1",gpu_instance_id="9"} 0.125
gpu_nvlink_bytes_per_second{direction="receive"} 4000
gpu_nvlink_bytes_per_second{direction="transmit"} 3000
gpu_nvlink_bytes_total{direction="receive"} 200
gpu_nvlink_bytes_total{direction="transmit"} 100
gpu_nvlink_errors_total{kind="replay"} 12
gpu_pcie_bytes_per_second{direction="receive"} 2000
gpu_pcie_bytes_per_second{direction="transmit"} 1000
gpu_pcie_link_generation 5
gpu_pcie_link_width 16
gpu_pcie_replays_total 13
gpu_power_limit_watts 700
gpu_power_watts 310.25
gpu_process_memory_bytes{agent="trainer"} 77
gpu_process_sm_utilization_ratio{agent="trainer"} 0.6
gpu_remapped_rows{kind="pending"} 1
gpu_retired_pages{cause="double_bit"} 2
gpu_sm_activity_ratio 0.5
gpu_sm_occupancy_ratio 0.25
gpu_temperature_celsius{sensor="gpu"} 45
gpu_temperature_celsius{sensor="memory"} 52
gpu_temperature_threshold_celsius{threshold="shutdown"} 95
gpu_tensor_activity_ratio{operation="any"} 0.125
gpu_tensor_activity_ratio{operation="hmma"} 0.0625
gpu_throttle_active{reason="sw_power_cap"} 0
gpu_throttle_seconds_total{reason="board_limit"} 0.5
gpu_throttle_seconds_total{reason="sw_power_cap"} 1.5
gpu_utilization_ratio 0.01
"#;

fn named<T>(name: &'static str, value: T) -> Vec<Named<T>> {
    vec![Named { name, value }]
}

fn activity() -> Activity {
    let mut tensor_ratios = named("any", 0.125);
    tensor_ratios.extend(named("hmma", 0.0625));
    Activity {
        graphics_ratio: Some(0.9),
        sm_ratio: Some(0.5),
        sm_occupancy_ratio: Some(0.25),
        tensor_ratios,
        arithmetic_ratios: named("fp32", 0.0625),
        dram_ratio: Some(0.375),
        // Not shown where the device's own counters tell.
        pcie_transmitted_bytes_per_second: Some(1.0),
        pcie_received_bytes_per_second: Some(2.0),
        nvlink_transmitted_bytes_per_second: Some(3000.0),
        nvlink_received_bytes_per_second: Some(4000.0),
    }
}

fn identity() -> GpuIdentity {
    GpuIdentity {
        uuid: "GPU-1".to_owned(),
        name: "NVIDIA H200".to_owned(),
        serial: "165".to_owned(),
        vbios: "96".to_owned(),
        pci_bus_id: "00000000:3B:00.0".to_owned(),
        driver_version: "570.124.06".to_owned(),
        cuda_version: "12.8".to_owned(),
    }
}

fn instance() -> MigInstance {
    MigInstance {
        identity: Arc::new(MigIdentity {
            uuid: "MIG-1".to_owned(),
            name: "1g.18gb".to_owned(),
            gpu_instance_id: 9,
            compute_instance_id: 1,
        }),
        memory: Some(MEMORY),
        multiprocessors: Some(16),
        activity: activity(),
    }
}

fn throttled(reason: &'static str, active: Option<bool>, seconds: f64) -> ThrottleReason {
    ThrottleReason {
        reason,
        active,
        seconds: Some(seconds),
    }
}

fn all() -> GpuMetrics {
    GpuMetrics {
        identity: Arc::new(identity()),
        utilization: 1.0.into(),
        temperature: 45.0.into(),
        memory_utilization_ratio: Some(0.02),
        encoder_utilization_ratio: Some(0.03),
        decoder_utilization_ratio: Some(0.04),
        memory: Some(MEMORY),
        memory_temperature_celsius: Some(52.0),
        temperature_thresholds_celsius: named("shutdown", 95.0),
        power_watts: Some(310.25),
        power_limit_watts: Some(700.0),
        energy_joules: Some(1234.567),
        clocks_hertz: named("sm", 1.98e9),
        clocks_max_hertz: named("sm", 2.1e9),
        fan_speed_ratios: vec![0.3, 1.05],
        pcie: Pcie {
            transmitted_bytes_per_second: Some(1000.0),
            received_bytes_per_second: Some(2000.0),
            replays: Some(13),
            link_generation: Some(5),
            link_width: Some(16),
        },
        throttle_reasons: vec![
            throttled("board_limit", None, 0.5),
            throttled("sw_power_cap", Some(false), 1.5),
        ],
        ecc_errors: vec![EccErrors {
            kind: "corrected",
            scope: "volatile",
            location: "l2_cache",
            count: 11,
        }],
        remapped_rows: named("pending", 1),
        retired_pages: named("double_bit", 2),
        nvlink: NvLink {
            transmitted_bytes: Some(100),
            received_bytes: Some(200),
            errors: named("replay", 12),
        },
        activity: activity(),
        mig: vec![instance()],
        processes: vec![GpuProcess {
            pid: 2,
            mig: None,
            memory_bytes: Some(77),
            sm_utilization_ratio: Some(0.6),
        }],
        ..GpuMetrics::default()
    }
}

/// The line without this label.
fn without(line: &str, label: &str) -> String {
    let line = line.replacen(&format!("{label},"), "", 1);
    line.replacen(&format!(",{label}"), "", 1)
        .replacen(&format!("{{{label}}}"), "", 1)
}

#[test]
fn every_reading_becomes_a_sample() {
    let text = samples(&poll([all()]), trainer);
    let mut found: Vec<_> = text
        .lines()
        .map(|line| without(&without(line, r#"device_id="0""#), r#"uuid="GPU-1""#))
        .collect();
    found.sort();
    let want: Vec<_> = WANT.lines().collect();
    assert_eq!(found, want);
    let labelled =
        |line: &&str| line.contains("device_id=\"0\"") && line.contains("uuid=\"GPU-1\"");
    assert_eq!(text.lines().filter(labelled).count(), want.len());
}

#[test]
fn several_gpus_share_a_family() {
    let mut second = all();
    second.device_id = 1;
    let poll = poll([all(), second]);
    let families = families(&poll, &Journal::default(), trainer);
    let names: Vec<_> = families.iter().map(MetricFamily::name).collect();
    assert!(names.is_sorted_by(|left, right| left < right), "{names:?}");
    let series: usize = families.iter().map(|f| f.get_metric().len()).sum();
    assert_eq!(series, 2 * WANT.lines().count());
    let text = samples(&poll, trainer);
    assert!(text.contains("gpu_power_watts{device_id=\"0\",uuid=\"GPU-1\"} 310.25\n"));
    assert!(text.contains("gpu_power_watts{device_id=\"1\",uuid=\"GPU-1\"} 310.25\n"));
}

#[test]
fn the_performance_counters_tell_of_pcie_where_nothing_else_does() {
    let mut gpu = all();
    gpu.pcie = Pcie::default();
    let text = samples(&poll([gpu]), trainer);
    let rate = |direction, value| {
        format!(
            "gpu_pcie_bytes_per_second{{device_id=\"0\",direction=\"{direction}\",uuid=\"GPU-1\"}} \
             {value}\n"
        )
    };
    assert!(text.contains(&rate("transmit", 1)) && text.contains(&rate("receive", 2)));
}
