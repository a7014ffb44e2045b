//! The names of all values that a script can set.
//!
//! Knows nothing of which model has which.

use crate::{abi::Code, values::Value};

/// Values that are texts.
pub(crate) const TEXTS: &[&str] = &[
    "board_part_number",
    "name",
    "pci_bus_id",
    "serial",
    "uuid",
    "vbios_version",
];

/// Values that are numbers, or lists of numbers.
pub(crate) const NUMBERS: &[&str] = &[
    "architecture",
    "bar1_total",
    "bar1_used",
    "brand",
    "clock_graphics_mhz",
    "clock_max_graphics_mhz",
    "clock_max_memory_mhz",
    "clock_max_sm_mhz",
    "clock_max_video_mhz",
    "clock_memory_mhz",
    "clock_sm_mhz",
    "clock_video_mhz",
    "compute_instance_slices",
    "cuda_major",
    "cuda_minor",
    "decoder_utilization",
    "ecc_corrected_aggregate",
    "ecc_corrected_aggregate_cbu",
    "ecc_corrected_aggregate_device_memory",
    "ecc_corrected_aggregate_l1_cache",
    "ecc_corrected_aggregate_l2_cache",
    "ecc_corrected_aggregate_register_file",
    "ecc_corrected_aggregate_sram",
    "ecc_corrected_aggregate_texture_memory",
    "ecc_corrected_aggregate_texture_shm",
    "ecc_corrected_volatile",
    "ecc_corrected_volatile_cbu",
    "ecc_corrected_volatile_device_memory",
    "ecc_corrected_volatile_l1_cache",
    "ecc_corrected_volatile_l2_cache",
    "ecc_corrected_volatile_register_file",
    "ecc_corrected_volatile_sram",
    "ecc_corrected_volatile_texture_memory",
    "ecc_corrected_volatile_texture_shm",
    "ecc_mode",
    "ecc_mode_pending",
    "ecc_uncorrected_aggregate",
    "ecc_uncorrected_aggregate_cbu",
    "ecc_uncorrected_aggregate_device_memory",
    "ecc_uncorrected_aggregate_l1_cache",
    "ecc_uncorrected_aggregate_l2_cache",
    "ecc_uncorrected_aggregate_register_file",
    "ecc_uncorrected_aggregate_sram",
    "ecc_uncorrected_aggregate_texture_memory",
    "ecc_uncorrected_aggregate_texture_shm",
    "ecc_uncorrected_volatile",
    "ecc_uncorrected_volatile_cbu",
    "ecc_uncorrected_volatile_device_memory",
    "ecc_uncorrected_volatile_l1_cache",
    "ecc_uncorrected_volatile_l2_cache",
    "ecc_uncorrected_volatile_register_file",
    "ecc_uncorrected_volatile_sram",
    "ecc_uncorrected_volatile_texture_memory",
    "ecc_uncorrected_volatile_texture_shm",
    "encoder_utilization",
    "energy_mj",
    "enforced_power_limit_mw",
    "event_types",
    "fan_speed",
    "gpm_any_tensor",
    "gpm_dfma_tensor",
    "gpm_dram",
    "gpm_fp16",
    "gpm_fp32",
    "gpm_fp64",
    "gpm_graphics",
    "gpm_hmma_tensor",
    "gpm_imma_tensor",
    "gpm_integer",
    "gpm_nvlink_rx_mib",
    "gpm_nvlink_tx_mib",
    "gpm_pcie_rx_mib",
    "gpm_pcie_tx_mib",
    "gpm_sm",
    "gpm_sm_occupancy",
    "gpm_supported",
    "gpu_instance_slices",
    "memory_free",
    "memory_reserved",
    "memory_temperature",
    "memory_total",
    "memory_used",
    "mig_max",
    "mig_mode",
    "mig_mode_pending",
    "minor_number",
    "multiprocessors",
    "nvlink_active",
    "nvlink_crc_data_errors",
    "nvlink_crc_flit_errors",
    "nvlink_links",
    "nvlink_recovery_errors",
    "nvlink_replay_errors",
    "nvlink_rx_kib",
    "nvlink_speed_mbps",
    "nvlink_tx_kib",
    "nvlink_version",
    "pci_device_id",
    "pci_subsystem_id",
    "pcie_generation",
    "pcie_generation_max",
    "pcie_replays",
    "pcie_rx_bytes",
    "pcie_rx_kb_per_second",
    "pcie_tx_bytes",
    "pcie_tx_kb_per_second",
    "pcie_width",
    "pcie_width_max",
    "performance_state",
    "power_default_limit_mw",
    "power_limit_mw",
    "power_max_limit_mw",
    "power_min_limit_mw",
    "power_usage_mw",
    "remapped_rows_correctable",
    "remapped_rows_failure",
    "remapped_rows_pending",
    "remapped_rows_uncorrectable",
    "retired_pages_double_bit",
    "retired_pages_pending",
    "retired_pages_single_bit",
    "sample_period_us",
    "temperature",
    "threshold_acoustic_current",
    "threshold_acoustic_max",
    "threshold_acoustic_min",
    "threshold_gps_current",
    "threshold_gpu_max",
    "threshold_memory_max",
    "threshold_shutdown",
    "threshold_slowdown",
    "throttle_reasons",
    "throttle_reasons_supported",
    "throttled_app_clocks_ns",
    "throttled_base_clocks_ns",
    "throttled_board_limit_ns",
    "throttled_hw_power_brake_ns",
    "throttled_hw_thermal_ns",
    "throttled_low_utilization_ns",
    "throttled_power_ns",
    "throttled_reliability_ns",
    "throttled_sw_thermal_ns",
    "throttled_sync_boost_ns",
    "throttled_thermal_ns",
    "utilization_gpu",
    "utilization_memory",
];

/// A value by its name, of the kind that the name says.
pub(crate) fn parse(key: &str, value: &toml::Value) -> Result<Value, String> {
    if NUMBERS.contains(&key) {
        return number(key, value);
    }
    if !TEXTS.contains(&key) {
        return Err(format!("`{key}` is no value of a GPU"));
    }
    let value = Value::parse(value).map_err(|error| format!("`{key}`: {error}"))?;
    match &value {
        Value::Text(_) => Ok(value),
        other if other.bytes().is_some() => Ok(value),
        _ => Err(format!("`{key}` is neither a text nor a list of bytes")),
    }
}

/// A number, several of them, or an error in their place.
pub(crate) fn number(key: &str, value: &toml::Value) -> Result<Value, String> {
    let value = Value::parse(value).map_err(|error| format!("`{key}`: {error}"))?;
    let is_number = |value: &Value| match value {
        Value::Text(text) => Code::named(text).is_some() || value.number(0.0).is_ok(),
        Value::List(_) => false,
        _ => true,
    };
    let fits = match &value {
        Value::List(list) => list.iter().all(is_number),
        one => is_number(one),
    };
    if fits {
        return Ok(value);
    }
    Err(format!("`{key}` is no number and no error of NVML's"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_values_are_documented() {
        let readme = include_str!("../README.md");
        for key in TEXTS.iter().chain(NUMBERS) {
            assert!(readme.contains(&format!("\n| `{key}` |")), "{key}");
        }
    }
}
