//! A node whose GPUs tell everything that a GPU can tell, and what must come of it.
//!
//! No product has all of it: fans and NVLink, retired pages and remapped rows.

/// The script. Numbers differ, so that one cannot be taken for another.
pub(crate) const EVERYTHING: &str = r#"
driver_version = "570.124.06"
cuda_version = 12080

[[gpus]]
model = "h200"
uuid = "GPU-0"

[gpus.values]
name = "NVIDIA H200"
serial = "1652423010000"
vbios_version = "96.00.B8.00.01"
pci_bus_id = "00000000:3B:00.0"
utilization_gpu = 37
utilization_memory = 12
encoder_utilization = 3
decoder_utilization = 4
memory_total = 150754820096
memory_used = 8589934592
memory_reserved = 638582784
temperature = 45
memory_temperature = 52
threshold_shutdown = 95
threshold_slowdown = 92
threshold_memory_max = 96
threshold_gpu_max = 87
power_usage_mw = 310250
enforced_power_limit_mw = 700000
energy_mj = 1234567
clock_graphics_mhz = 1755
clock_sm_mhz = 1756
clock_memory_mhz = 3201
clock_video_mhz = 1545
clock_max_graphics_mhz = 1980
clock_max_sm_mhz = 1981
clock_max_memory_mhz = 3202
clock_max_video_mhz = 1546
fan_speed = [30, 104]
pcie_generation = 5
pcie_width = 16
pcie_replays = 13
# sw_power_cap and hw_slowdown.
throttle_reasons = 12
throttled_power_ns = 1500000000
throttled_thermal_ns = 999
throttled_sw_thermal_ns = 2500000000
throttled_hw_thermal_ns = 3500000000
throttled_hw_power_brake_ns = 4500000000
throttled_sync_boost_ns = 5500000000
throttled_board_limit_ns = 6500000000
throttled_low_utilization_ns = 7500000000
throttled_reliability_ns = 8500000000
ecc_corrected_volatile = 101
ecc_corrected_volatile_device_memory = 102
ecc_corrected_volatile_l2_cache = 103
ecc_corrected_volatile_sram = 104
ecc_corrected_aggregate = 105
ecc_corrected_aggregate_device_memory = 106
ecc_corrected_aggregate_l2_cache = 107
ecc_corrected_aggregate_sram = 108
ecc_uncorrected_volatile = 109
ecc_uncorrected_volatile_device_memory = 110
ecc_uncorrected_volatile_l2_cache = 111
ecc_uncorrected_volatile_sram = 112
ecc_uncorrected_aggregate = 113
ecc_uncorrected_aggregate_device_memory = 114
ecc_uncorrected_aggregate_l2_cache = 115
ecc_uncorrected_aggregate_sram = 116
remapped_rows_correctable = 6
remapped_rows_uncorrectable = 7
remapped_rows_pending = 1
remapped_rows_failure = 0
retired_pages_single_bit = 8
retired_pages_double_bit = 9
nvlink_links = 2
nvlink_tx_kib = 100
nvlink_rx_kib = 200
nvlink_replay_errors = [1, 2]
nvlink_recovery_errors = [3, 4]
nvlink_crc_flit_errors = [5, 6]
nvlink_crc_data_errors = [7, 8]
gpm_graphics = 90.625
gpm_sm = 50.0
gpm_sm_occupancy = 25.0
gpm_any_tensor = 12.5
gpm_dfma_tensor = 1.5625
gpm_hmma_tensor = 6.25
gpm_imma_tensor = 3.125
gpm_dram = 37.5
gpm_fp64 = 18.75
gpm_fp32 = 21.875
gpm_fp16 = 9.375
gpm_integer = 15.625
gpm_pcie_tx_mib = 1.0
gpm_pcie_rx_mib = 2.0
gpm_nvlink_tx_mib = 3.0
gpm_nvlink_rx_mib = 4.0

[[gpus.xids]]
code = 79
[[gpus.xids]]
code = 31
[[gpus.xids]]
code = 79

[[gpus.processes]]
pid = 4194304
memory_bytes = 1073741824
sm_percent = 25

[[gpus]]
model = "h200"
uuid = "GPU-1"
[gpus.values]
gpm_graphics = 90.625
gpm_sm = 50.0
gpm_sm_occupancy = 25.0
gpm_any_tensor = 12.5
gpm_dram = 37.5
[[gpus.mig]]
profile = "1g.18gb"
uuid = "MIG-1"
gpu_instance_id = 9
compute_instance_id = 1
[gpus.mig.values]
name = "NVIDIA H200 MIG 1g.18gb"
memory_total = 18790481920
memory_used = 1073741824
memory_reserved = 67108864
multiprocessors = 16
"#;

/// The same before its critical errors: those from before somebody listens come to nobody.
pub(crate) fn without_errors() -> String {
    let (before, errors) = EVERYTHING.split_once("[[gpus.xids]]").unwrap();
    let (_, after) = errors.split_once("[[gpus.processes]]").unwrap();
    format!("{before}[[gpus.processes]]{after}")
}

/// All samples of the first GPU, without the labels that each has.
pub(super) const WHOLE: &str = r#"
gpu_info{cuda_version="12.8",driver_version="570.124.06",name="NVIDIA H200",pci_bus_id="00000000:3B:00.0",serial="1652423010000",vbios="96.00.B8.00.01"} 1
gpu_lost 0
gpu_utilization_ratio 0.37
gpu_memory_utilization_ratio 0.12
gpu_encoder_utilization_ratio 0.03
gpu_decoder_utilization_ratio 0.04
gpu_memory_total_bytes 150754820096
gpu_memory_used_bytes 8589934592
gpu_memory_reserved_bytes 638582784
gpu_memory_free_bytes 141526302720
gpu_temperature_celsius{sensor="gpu"} 45
gpu_temperature_celsius{sensor="memory"} 52
gpu_temperature_threshold_celsius{threshold="shutdown"} 95
gpu_temperature_threshold_celsius{threshold="slowdown"} 92
gpu_temperature_threshold_celsius{threshold="memory_max"} 96
gpu_temperature_threshold_celsius{threshold="gpu_max"} 87
gpu_power_watts 310.25
gpu_power_limit_watts 700
gpu_energy_joules_total 1234.567
gpu_clock_hertz{clock="graphics"} 1755000000
gpu_clock_hertz{clock="sm"} 1756000000
gpu_clock_hertz{clock="memory"} 3201000000
gpu_clock_hertz{clock="video"} 1545000000
gpu_clock_max_hertz{clock="graphics"} 1980000000
gpu_clock_max_hertz{clock="sm"} 1981000000
gpu_clock_max_hertz{clock="memory"} 3202000000
gpu_clock_max_hertz{clock="video"} 1546000000
gpu_fan_speed_ratio{fan="0"} 0.3
gpu_fan_speed_ratio{fan="1"} 1.04
gpu_pcie_link_generation 5
gpu_pcie_link_width 16
gpu_pcie_replays_total 13
gpu_pcie_bytes_per_second{direction="transmit"} 1048576
gpu_pcie_bytes_per_second{direction="receive"} 2097152
gpu_throttle_active{reason="sw_power_cap"} 1
gpu_throttle_active{reason="hw_slowdown"} 1
gpu_throttle_active{reason="sw_thermal_slowdown"} 0
gpu_throttle_active{reason="hw_thermal_slowdown"} 0
gpu_throttle_active{reason="hw_power_brake_slowdown"} 0
gpu_throttle_active{reason="sync_boost"} 0
gpu_throttle_active{reason="applications_clocks_setting"} 0
gpu_throttle_active{reason="gpu_idle"} 0
gpu_throttle_active{reason="display_clock_setting"} 0
gpu_throttle_seconds_total{reason="sw_power_cap"} 1.5
gpu_throttle_seconds_total{reason="sw_thermal_slowdown"} 2.5
gpu_throttle_seconds_total{reason="hw_thermal_slowdown"} 3.5
gpu_throttle_seconds_total{reason="hw_power_brake_slowdown"} 4.5
gpu_throttle_seconds_total{reason="sync_boost"} 5.5
gpu_throttle_seconds_total{reason="board_limit"} 6.5
gpu_throttle_seconds_total{reason="low_utilization"} 7.5
gpu_throttle_seconds_total{reason="reliability"} 8.5
gpu_ecc_errors_total{kind="corrected",location="device_memory",scope="volatile"} 102
gpu_ecc_errors_total{kind="corrected",location="sram",scope="volatile"} 104
gpu_ecc_errors_total{kind="corrected",location="device_memory",scope="aggregate"} 106
gpu_ecc_errors_total{kind="corrected",location="sram",scope="aggregate"} 108
gpu_ecc_errors_total{kind="uncorrected",location="device_memory",scope="volatile"} 110
gpu_ecc_errors_total{kind="uncorrected",location="sram",scope="volatile"} 112
gpu_ecc_errors_total{kind="uncorrected",location="device_memory",scope="aggregate"} 114
gpu_ecc_errors_total{kind="uncorrected",location="sram",scope="aggregate"} 116
gpu_remapped_rows{kind="correctable"} 6
gpu_remapped_rows{kind="uncorrectable"} 7
gpu_remapped_rows{kind="pending"} 1
gpu_remapped_rows{kind="failure"} 0
gpu_retired_pages{cause="single_bit"} 8
gpu_retired_pages{cause="double_bit"} 9
gpu_xid_errors_total{xid="31"} 1
gpu_xid_errors_total{xid="79"} 2
gpu_nvlink_bytes_total{direction="transmit"} 102400
gpu_nvlink_bytes_total{direction="receive"} 204800
gpu_nvlink_errors_total{kind="replay"} 3
gpu_nvlink_errors_total{kind="recovery"} 7
gpu_nvlink_errors_total{kind="crc_flit"} 11
gpu_nvlink_errors_total{kind="crc_data"} 15
gpu_nvlink_bytes_per_second{direction="transmit"} 3145728
gpu_nvlink_bytes_per_second{direction="receive"} 4194304
gpu_graphics_activity_ratio 0.90625
gpu_sm_activity_ratio 0.5
gpu_sm_occupancy_ratio 0.25
gpu_tensor_activity_ratio{operation="any"} 0.125
gpu_tensor_activity_ratio{operation="dfma"} 0.015625
gpu_tensor_activity_ratio{operation="hmma"} 0.0625
gpu_tensor_activity_ratio{operation="imma"} 0.03125
gpu_arithmetic_activity_ratio{format="fp64"} 0.1875
gpu_arithmetic_activity_ratio{format="fp32"} 0.21875
gpu_arithmetic_activity_ratio{format="fp16"} 0.09375
gpu_arithmetic_activity_ratio{format="integer"} 0.15625
gpu_dram_activity_ratio 0.375
gpu_process_memory_bytes{agent="other"} 1073741824
gpu_process_sm_utilization_ratio{agent="other"} 0.25
"#;

/// All samples of the second GPU's MIG instance, without the labels that each has.
pub(super) const INSTANCE: &str = r#"
gpu_mig_info{mig_uuid="MIG-1",name="NVIDIA H200 MIG 1g.18gb"} 1
gpu_mig_memory_total_bytes 18790481920
gpu_mig_memory_used_bytes 1073741824
gpu_mig_memory_reserved_bytes 67108864
gpu_mig_memory_free_bytes 17649631232
gpu_mig_multiprocessors 16
gpu_mig_graphics_activity_ratio 0.90625
gpu_mig_sm_activity_ratio 0.5
gpu_mig_sm_occupancy_ratio 0.25
gpu_mig_tensor_activity_ratio 0.125
gpu_mig_dram_activity_ratio 0.375
"#;
