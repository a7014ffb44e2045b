//! Names, kinds and help texts of the GPU metrics. Names and labels are a contract with whoever
//! queries them; what a number bounds is said in its help text.

use super::sheet::Metric;

pub(super) const INFO: Metric = Metric::gauge(
    "gpu_info",
    "The GPU as NVML names it, its driver, and the newest CUDA version that the driver supports. \
     Always 1.",
);

pub(super) const LOST: Metric = Metric::gauge(
    "gpu_lost",
    "Whether the GPU has answered before, or is known to the driver, and does not answer now: 1 or \
     0. While it is 1, the GPU has no metrics but this and gpu_xid_errors_total.",
);

pub(super) const UTILIZATION: Metric = Metric::gauge(
    "gpu_utilization_ratio",
    "Share of the driver's last sample period (1/6 s to 1 s, by product) in which at least one \
     kernel ran. Says nothing of how much of the GPU it used: see gpu_sm_activity_ratio.",
);
pub(super) const MEMORY_UTILIZATION: Metric = Metric::gauge(
    "gpu_memory_utilization_ratio",
    "Share of the driver's last sample period (1/6 s to 1 s, by product) in which device memory \
     was read or written. Not how full it is.",
);
pub(super) const ENCODER_UTILIZATION: Metric = Metric::gauge(
    "gpu_encoder_utilization_ratio",
    "Share of the driver's last sample period in which the video encoder was busy.",
);
pub(super) const DECODER_UTILIZATION: Metric = Metric::gauge(
    "gpu_decoder_utilization_ratio",
    "Share of the driver's last sample period in which the video decoder was busy.",
);

pub(super) const MEMORY_USED: Metric = Metric::gauge(
    "gpu_memory_used_bytes",
    "Device memory in use by programs. Includes what the driver keeps for itself where \
     gpu_memory_reserved_bytes is absent.",
);
pub(super) const MEMORY_FREE: Metric =
    Metric::gauge("gpu_memory_free_bytes", "Device memory that is not in use.");
pub(super) const MEMORY_RESERVED: Metric = Metric::gauge(
    "gpu_memory_reserved_bytes",
    "Device memory that the driver and the firmware keep for themselves.",
);
pub(super) const MEMORY_TOTAL: Metric =
    Metric::gauge("gpu_memory_total_bytes", "Device memory in all.");

pub(super) const TEMPERATURE: Metric = Metric::gauge(
    "gpu_temperature_celsius",
    "Temperature at this moment: of the GPU chip (gpu), of the device memory (memory).",
);
pub(super) const TEMPERATURE_THRESHOLD: Metric = Metric::gauge(
    "gpu_temperature_threshold_celsius",
    "Temperature at which something happens: the GPU slows down (slowdown), switches itself off \
     (shutdown), and so on.",
);
pub(super) const FAN_SPEED: Metric = Metric::gauge(
    "gpu_fan_speed_ratio",
    "Speed that the fan is meant to have, as a share of its highest; may exceed 1. A blocked fan \
     does not have it.",
);
pub(super) const POWER: Metric = Metric::gauge(
    "gpu_power_watts",
    "Power drawn by the board: the mean of the last second on most products, this moment's on \
     some. What is drawn in between is in gpu_energy_joules_total.",
);
pub(super) const POWER_LIMIT: Metric = Metric::gauge(
    "gpu_power_limit_watts",
    "Power limit that is in force, whoever set it.",
);
pub(super) const ENERGY: Metric = Metric::counter(
    "gpu_energy_joules_total",
    "Energy used by the board since the driver was loaded.",
);

pub(super) const CLOCK: Metric = Metric::gauge("gpu_clock_hertz", "Clock rate at this moment.");
pub(super) const CLOCK_MAX: Metric = Metric::gauge(
    "gpu_clock_max_hertz",
    "Highest clock rate that the product allows.",
);
pub(super) const THROTTLE_ACTIVE: Metric = Metric::gauge(
    "gpu_throttle_active",
    "Whether clocks are lower than asked for by this reason at this moment: 1 or 0. gpu_idle, \
     applications_clocks_setting and display_clock_setting are no trouble.",
);
pub(super) const THROTTLE_SECONDS: Metric = Metric::counter(
    "gpu_throttle_seconds_total",
    "Time for which clocks were lower than asked for by this reason, since the driver was loaded. \
     Reasons overlap.",
);

pub(super) const ECC_ERRORS: Metric = Metric::counter(
    "gpu_ecc_errors_total",
    "Memory errors that ECC found, corrected or uncorrected: since the driver was loaded \
     (volatile), in the life of the GPU (aggregate). Location sram is all memory \
     on the chip; its parts are there only where it is not, and all only where there is no other.",
);
pub(super) const REMAPPED_ROWS: Metric = Metric::gauge(
    "gpu_remapped_rows",
    "Rows of device memory that were remapped after correctable or uncorrectable errors; and 1 or \
     0: whether a remapping waits for a reset (pending), whether one has failed (failure). Not to \
     be summed over kind.",
);
pub(super) const RETIRED_PAGES: Metric = Metric::gauge(
    "gpu_retired_pages",
    "Pages of device memory that were retired, by the errors that were the cause.",
);
pub(super) const XID_ERRORS: Metric = Metric::counter(
    "gpu_xid_errors_total",
    "Critical errors that the driver reported, by XID code, repeats included, since the source \
     started. Also of GPUs that are lost. A code appears with its first error.",
);

pub(super) const PCIE: Metric = Metric::gauge(
    "gpu_pcie_bytes_per_second",
    "Data over PCIe, seen from the GPU: the mean since the poll before, or of 20 ms where the \
     product has no counters.",
);
pub(super) const PCIE_REPLAYS: Metric = Metric::counter(
    "gpu_pcie_replays_total",
    "PCIe packets that were sent again, since the driver was loaded.",
);
pub(super) const PCIE_LINK_GENERATION: Metric = Metric::gauge(
    "gpu_pcie_link_generation",
    "PCIe generation of the link as it runs now. Idle GPUs lower it to save power.",
);
pub(super) const PCIE_LINK_WIDTH: Metric =
    Metric::gauge("gpu_pcie_link_width", "PCIe lanes as the link runs now.");
pub(super) const NVLINK: Metric = Metric::counter(
    "gpu_nvlink_bytes_total",
    "Data over all NVLinks of the GPU, seen from it, without the protocol's own.",
);
pub(super) const NVLINK_ERRORS: Metric = Metric::counter(
    "gpu_nvlink_errors_total",
    "Errors of all NVLinks of the GPU, by kind: replay, recovery, crc_flit, crc_data. Links correct \
     most by themselves.",
);
pub(super) const NVLINK_RATE: Metric = Metric::gauge(
    "gpu_nvlink_bytes_per_second",
    "Data over all NVLinks of the GPU, seen from it: the mean since the poll before, by the GPU's \
     own performance counters.",
);

pub(super) const GRAPHICS_ACTIVITY: Metric = Metric::gauge(
    "gpu_graphics_activity_ratio",
    "Share of the time since the poll before in which any compute or graphics engine was busy.",
);
pub(super) const SM_ACTIVITY: Metric = Metric::gauge(
    "gpu_sm_activity_ratio",
    "Share of the time since the poll before in which a multiprocessor had at least one warp, as \
     the mean over all of them. A warp that waits counts.",
);
pub(super) const SM_OCCUPANCY: Metric = Metric::gauge(
    "gpu_sm_occupancy_ratio",
    "Warps on the multiprocessors as a share of the most there can be, as the mean since the poll \
     before.",
);
pub(super) const TENSOR_ACTIVITY: Metric = Metric::gauge(
    "gpu_tensor_activity_ratio",
    "Share of the time since the poll before in which the tensor cores worked, by operation. any \
     is not the sum of the others.",
);
pub(super) const ARITHMETIC_ACTIVITY: Metric = Metric::gauge(
    "gpu_arithmetic_activity_ratio",
    "Share of the time since the poll before in which the arithmetic units of this number format \
     worked.",
);
pub(super) const DRAM_ACTIVITY: Metric = Metric::gauge(
    "gpu_dram_activity_ratio",
    "Share of the bandwidth of device memory that was used since the poll before.",
);

/// What is summed over processes.
pub(super) mod processes {
    use super::Metric;

    pub(in super::super) const MEMORY: Metric = Metric::gauge(
        "gpu_process_memory_bytes",
        "Device memory that the agent's processes hold, contexts included; other is the rest of \
         the node. Processes whose memory the driver does not tell are missing from the sum.",
    );
    pub(in super::super) const SM_UTILIZATION: Metric = Metric::gauge(
        "gpu_process_sm_utilization_ratio",
        "Share of the multiprocessors' time that the agent's processes had since the poll before, \
         by the driver's samples, 0 if they were idle; other is the rest of the node. Absent on \
         GPUs with MIG.",
    );
}

/// What MIG instances have.
pub(super) mod mig {
    use super::Metric;

    pub(in super::super) const INFO: Metric = Metric::gauge(
        "gpu_mig_info",
        "A MIG instance: a part of a GPU that stands for a GPU of its own. Always 1.",
    );
    pub(in super::super) const MEMORY_USED: Metric = Metric::gauge(
        "gpu_mig_memory_used_bytes",
        "Memory of the GPU instance that this MIG instance is part of in use by programs. Compute \
         instances of one GPU instance share it.",
    );
    pub(in super::super) const MEMORY_FREE: Metric = Metric::gauge(
        "gpu_mig_memory_free_bytes",
        "Memory of the GPU instance that this MIG instance is part of that is not in use.",
    );
    pub(in super::super) const MEMORY_RESERVED: Metric = Metric::gauge(
        "gpu_mig_memory_reserved_bytes",
        "Memory of the GPU instance that this MIG instance is part of that the driver keeps for \
         itself.",
    );
    pub(in super::super) const MEMORY_TOTAL: Metric = Metric::gauge(
        "gpu_mig_memory_total_bytes",
        "Memory of the GPU instance that this MIG instance is part of in all.",
    );
    pub(in super::super) const MULTIPROCESSORS: Metric = Metric::gauge(
        "gpu_mig_multiprocessors",
        "Multiprocessors of the MIG instance.",
    );
    pub(in super::super) const GRAPHICS_ACTIVITY: Metric = Metric::gauge(
        "gpu_mig_graphics_activity_ratio",
        "Share of the time since the poll before in which any engine of the GPU instance that this \
         MIG instance is part of was busy.",
    );
    pub(in super::super) const SM_ACTIVITY: Metric = Metric::gauge(
        "gpu_mig_sm_activity_ratio",
        "Share of the time since the poll before in which a multiprocessor of the GPU instance that \
         this MIG instance is part of had at least one warp, as the mean over all of them.",
    );
    pub(in super::super) const SM_OCCUPANCY: Metric = Metric::gauge(
        "gpu_mig_sm_occupancy_ratio",
        "Warps on the multiprocessors of the GPU instance that this MIG instance is part of as a \
         share of the most there can be, as the mean since the poll before.",
    );
    pub(in super::super) const TENSOR_ACTIVITY: Metric = Metric::gauge(
        "gpu_mig_tensor_activity_ratio",
        "Share of the time since the poll before in which the tensor cores of the GPU instance that \
         this MIG instance is part of worked.",
    );
    pub(in super::super) const DRAM_ACTIVITY: Metric = Metric::gauge(
        "gpu_mig_dram_activity_ratio",
        "Share of the memory bandwidth of the GPU instance that this MIG instance is part of that \
         was used since the poll before.",
    );
}
