//! Whether the GPUs are well and at work, and if not, what keeps them from it. Knows no JSON.

mod cuda;
mod hardware;

use super::{
    board::{Board, Mark, Row, Time, counted},
    panel::Panel,
    variables::Devices,
};

/// Reasons for lower clocks that are trouble.
const TROUBLE: &str = "hw_slowdown|sw_thermal_slowdown|hw_thermal_slowdown|hw_power_brake_slowdown";

pub(super) fn board() -> Board {
    Board {
        name: "gpu_performance",
        title: "StratoSwarm / GPU Performance",
        description: "Whether the GPUs are well and at work: load, memory, heat, power, calls into CUDA, links and \
                      errors.",
        devices: Devices::Gpus,
        agents: Some("cuda_calls_total|gpu_process_memory_bytes"),
        marks: vec![Mark::xids(), Mark::throttling(), Mark::crashes()],
        rows: vec![
            well(),
            devices(),
            load(),
            memory(),
            hardware::heat(),
            cuda::launches(),
            cuda::calls(),
            hardware::links(),
            hardware::errors(),
        ],
    }
}

fn well() -> Row {
    let panels = vec![
        Panel::stat("GPUs", "none", "GPUs that are known, those that are lost included.", "count(gpu_lost)"),
        Panel::stat(
            "Lost",
            "none",
            "GPUs that do not answer.",
            "sum(gpu_lost)",
        )
        .from(&[(1.0, "red")]),
        Panel::stat(
            "At work",
            "percentunit",
            "Share of the time in which a kernel ran, mean of all GPUs.",
            "avg(gpu_utilization_ratio)",
        )
        .ratio(),
        Panel::stat(
            "Hottest",
            "celsius",
            "Temperature of the hottest chip. The alert HighGPUTemperature is at 85 °C.",
            "max(gpu_temperature_celsius{sensor=\"gpu\"})",
        )
        .from(&[(75.0, "yellow"), (85.0, "red")]),
        Panel::stat(
            "Slowed down",
            "none",
            "GPUs whose clocks are lowered to protect them from heat or lack of power.",
            &format!(
                "count(max by (instance, device_id) (gpu_throttle_active{{reason=~\"{TROUBLE}\"}}) == 1) \
                 or vector(0)"
            ),
        )
        .from(&[(1.0, "red")]),
        Panel::stat(
            "XID errors",
            "short",
            "Critical errors that the driver reported, in the time shown.",
            &format!("sum({}) or vector(0)", counted("gpu_xid_errors_total", "xid", Time::Shown)),
        )
        .from(&[(1.0, "red")]),
    ];
    let title = "Is it well?";
    Row { title, panels }
}

fn devices() -> Row {
    let table = Panel::table(
        "GPUs",
        "percentunit",
        "How much of each GPU is used. `Kernels` is the time in which any kernel ran, however little of the GPU it used.",
    )
    .query(
        "Kernels",
        "max by (instance, device_id, uuid) (gpu_utilization_ratio)",
    )
    .query(
        "Memory",
        "max by (instance, device_id, uuid) (gpu_memory_used_bytes / gpu_memory_total_bytes)",
    )
    .query(
        "Power",
        "max by (instance, device_id, uuid) (gpu_power_watts / gpu_power_limit_watts)",
    )
    .query(
        "Memory bandwidth",
        "max by (instance, device_id, uuid) (gpu_dram_activity_ratio)",
    )
    .wide(14);
    let models = Panel::table(
        "Models",
        "none",
        "Which GPUs these are, and the driver that runs them.",
    )
    .query(
        "Present",
        "max by (instance, device_id, name, driver_version, cuda_version, pci_bus_id) (gpu_info)",
    )
    .wide(10);
    Row {
        title: "GPUs",
        panels: vec![table, models],
    }
}

fn load() -> Row {
    let by_gpu = "{{device_id}}, {{instance}}";
    let mut panels = vec![
        Panel::series(
            "Kernels",
            "percentunit",
            "Share of the time in which a kernel ran, however little of the GPU it used.",
        )
        .query(by_gpu, "gpu_utilization_ratio")
        .ratio(),
        Panel::series(
            "Multiprocessors",
            "percentunit",
            "Share of the time in which a multiprocessor had a warp, mean of all. Hopper and later.",
        )
        .query(by_gpu, "gpu_sm_activity_ratio")
        .ratio(),
        Panel::series(
            "Occupancy",
            "percentunit",
            "Warps on the multiprocessors, of the most there can be. Hopper and later.",
        )
        .query(by_gpu, "gpu_sm_occupancy_ratio")
        .ratio(),
        Panel::series(
            "Tensor cores and arithmetic units",
            "percentunit",
            "Share of the time in which they worked, mean of all GPUs. Hopper and later.",
        )
        .query(
            "tensor, {{operation}}",
            "avg by (operation) (gpu_tensor_activity_ratio)",
        )
        .query("{{format}}", "avg by (format) (gpu_arithmetic_activity_ratio)")
        .ratio(),
    ];
    panels.extend(parts());
    let title = "Load";
    Row { title, panels }
}

/// Load of what GPUs are divided into, and of their parts.
fn parts() -> Vec<Panel> {
    vec![
        Panel::series(
            "Multiprocessors by agent",
            "percentunit",
            "Share of the multiprocessors' time that each agent had. Not on GPUs with MIG.",
        )
        .query(
            "{{agent}}, {{device_id}}, {{instance}}",
            "sum by (agent, device_id, instance) (gpu_process_sm_utilization_ratio)",
        )
        .stacked(),
        Panel::series(
            "MIG instances",
            "percentunit",
            "Share of the time in which a multiprocessor of the instance had a warp.",
        )
        .query(
            "{{device_id}}: {{gpu_instance_id}}, {{instance}}",
            "max by (instance, device_id, gpu_instance_id) (gpu_mig_sm_activity_ratio)",
        )
        .ratio(),
        Panel::series(
            "Video",
            "percentunit",
            "Share of the time in which encoder and decoder were busy.",
        )
        .query("encoder, {{device_id}}, {{instance}}", "max by (instance, device_id) (gpu_encoder_utilization_ratio)")
        .query("decoder, {{device_id}}, {{instance}}", "max by (instance, device_id) (gpu_decoder_utilization_ratio)")
        .ratio(),
        Panel::series(
            "Memory bandwidth",
            "percentunit",
            "Share of the memory's bandwidth that was used (Hopper and later), and of the time in which memory was used at all.",
        )
        .query("bandwidth, {{device_id}}, {{instance}}", "max by (instance, device_id) (gpu_dram_activity_ratio)")
        .query("time, {{device_id}}, {{instance}}", "max by (instance, device_id) (gpu_memory_utilization_ratio)")
        .ratio(),
    ]
}

fn memory() -> Row {
    let panels = vec![
        Panel::series(
            "Memory in use",
            "bytes",
            "Device memory that is used, and the whole of it.",
        )
        .query("{{device_id}}, {{instance}}", "gpu_memory_used_bytes")
        .query("all of {{device_id}}, {{instance}}", "gpu_memory_total_bytes"),
        Panel::series(
            "Memory by agent",
            "bytes",
            "Device memory that the driver says each agent's processes hold.",
        )
        .query(
            "{{agent}}",
            "sum by (agent) (gpu_process_memory_bytes)",
        )
        .stacked(),
        Panel::series(
            "Allocated and not freed",
            "bytes",
            "Device memory that processes have asked for, as seen by their calls. What only grows is a leak.",
        )
        .query("{{agent}}", "sum by (agent) (cuda_allocated_bytes)"),
        Panel::series(
            "Beyond allocations",
            "bytes",
            "What the driver gives processes and they have not asked for: contexts, code, libraries' own memory. Of all \
             devices, whatever is chosen.",
        )
        .query(
            "{{agent}}, {{instance}}",
            "sum by (job, instance, agent) (gpu_process_memory_bytes) \
             - sum by (job, instance, agent) (cuda_allocated_bytes)",
        ),
        Panel::series(
            "Allocations and frees",
            "Bps",
            "Bytes allocated and freed. Pools make these rare.",
        )
        .query(
            "allocated, {{agent}}",
            "sum by (agent) (rate(cuda_alloc_bytes_total[$__rate_interval]))",
        )
        .query(
            "freed, {{agent}}",
            "sum by (agent) (rate(cuda_free_bytes_total[$__rate_interval]))",
        ),
        Panel::series(
            "Oldest allocation",
            "s",
            "Age of the oldest device memory that is not freed.",
        )
        .query(
            "{{agent}}",
            "max by (agent) (cuda_oldest_allocation_age_seconds)",
        ),
    ];
    let title = "Memory";
    Row { title, panels }
}
