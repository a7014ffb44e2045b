//! What may go wrong with the boards themselves: heat, power, links, errors. Knows no JSON.

use crate::dashboards::{
    board::{Row, Time, counted},
    panel::Panel,
};

pub(in crate::dashboards) fn heat() -> Row {
    let panels = vec![
        Panel::series(
            "Temperature",
            "celsius",
            "Temperatures of chip and memory. The alert HighGPUTemperature is at 85 °C.",
        )
        .query("{{sensor}}, {{device_id}}, {{instance}}", "gpu_temperature_celsius")
        .from(&[(85.0, "red")]),
        Panel::series(
            "Left until it slows down",
            "celsius",
            "How much warmer each chip may become before it lowers its clocks.",
        )
        .query(
            "{{device_id}}, {{instance}}",
            "min by (instance, device_id) (gpu_temperature_threshold_celsius{threshold=\"slowdown\"}) \
             - max by (instance, device_id) (gpu_temperature_celsius{sensor=\"gpu\"})",
        ),
        Panel::series("Power", "watt", "Power drawn, and the limit in force.")
            .query("{{device_id}}, {{instance}}", "gpu_power_watts")
            .query("limit of {{device_id}}, {{instance}}", "gpu_power_limit_watts"),
        Panel::series("Clocks", "hertz", "Clock rates. They are lower when there is nothing to do.")
            .query("{{clock}}, {{device_id}}, {{instance}}", "gpu_clock_hertz"),
        Panel::states(
            "Why clocks are lower",
            "Reasons that hold now. `gpu_idle` and settings are no trouble, and left out.",
            "{{reason}}, {{device_id}}, {{instance}}",
            "gpu_throttle_active{reason!~\"gpu_idle|applications_clocks_setting|display_clock_setting\"}",
        )
        .means(&[(0.0, "no", "green"), (1.0, "yes", "red")]),
        Panel::series(
            "Time with lower clocks",
            "percentunit",
            "Share of the time in which each reason held. Reasons overlap.",
        )
        .query(
            "{{reason}}, {{device_id}}, {{instance}}",
            "max by (reason, device_id, instance) (rate(gpu_throttle_seconds_total[$__rate_interval]))",
        ),
        Panel::series(
            "Energy",
            "watt",
            "Mean power by the driver's account of energy, in which no peak is missing.",
        )
        .query(
            "{{device_id}}, {{instance}}",
            "rate(gpu_energy_joules_total[$__rate_interval])",
        ),
        Panel::series("Fans", "percentunit", "Speed that fans are meant to have, of their highest.")
            .query("{{fan}}, {{device_id}}, {{instance}}", "gpu_fan_speed_ratio"),
    ];
    let title = "Heat, power, clocks";
    Row { title, panels }
}

pub(in crate::dashboards) fn links() -> Row {
    let panels = vec![
        Panel::series("PCIe", "Bps", "Data over PCIe.").query(
            "{{direction}}, {{device_id}}, {{instance}}",
            "gpu_pcie_bytes_per_second",
        ),
        Panel::series(
            "PCIe packets sent again",
            "pps",
            "What is not near 0 is a bad contact or a bad board.",
        )
        .query(
            "{{device_id}}, {{instance}}",
            "rate(gpu_pcie_replays_total[$__rate_interval])",
        ),
        Panel::series("NVLink", "Bps", "Data over all NVLinks of the GPU.").query(
            "{{direction}}, {{device_id}}, {{instance}}",
            "gpu_nvlink_bytes_per_second",
        ),
        Panel::series(
            "Errors of NVLink",
            "ops",
            "Errors of all NVLinks of the GPU.",
        )
        .query(
            "{{kind}}, {{device_id}}, {{instance}}",
            "sum by (kind, device_id, instance) (rate(gpu_nvlink_errors_total[$__rate_interval]))",
        ),
    ];
    let title = "Links";
    Row { title, panels }
}

pub(in crate::dashboards) fn errors() -> Row {
    let panels = vec![
        Panel::table(
            "XID errors",
            "short",
            "Critical errors in the time shown. 48, 64, 74, 79, 95 and 119 are the hardware's.",
        )
        .query(
            "Errors",
            &counted("gpu_xid_errors_total", "instance, device_id, xid", Time::Shown),
        )
        .wide(12),
        Panel::table(
            "Rows and pages taken out of use",
            "short",
            "Rows remapped after errors of memory, and pages retired. `pending` asks for a reset, `failure` for another board.",
        )
        .query(
            "Rows",
            "max by (instance, device_id, kind) (gpu_remapped_rows)",
        )
        .query(
            "Pages",
            "max by (instance, device_id, cause) (gpu_retired_pages)",
        )
        .wide(12),
        Panel::series(
            "Errors of memory that were corrected",
            "ops",
            "What grows steadily comes before errors that cannot be corrected.",
        )
        .query(
            "{{location}}, {{device_id}}, {{instance}}",
            "sum by (location, device_id, instance) \
             (rate(gpu_ecc_errors_total{kind=\"corrected\",scope=\"volatile\"}[$__rate_interval]))",
        ),
        Panel::series(
            "Errors of memory that were not corrected",
            "ops",
            "Each ends the process that it hits.",
        )
        .query(
            "{{location}}, {{device_id}}, {{instance}}",
            "sum by (location, device_id, instance) \
             (rate(gpu_ecc_errors_total{kind=\"uncorrected\",scope=\"volatile\"}[$__rate_interval]))",
        )
        .from(&[(0.000_001, "red")]),
    ];
    let title = "Errors";
    Row { title, panels }
}
