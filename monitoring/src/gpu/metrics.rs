//! What is known of a GPU at one moment: plain data, in base units.
//!
//! Whatever a device does not support, or reports as a value that means "none", is absent: an
//! empty [`Reading`], a `None`, or no entry in a list. Absent is never zero.

use std::{collections::BTreeMap, sync::Arc};

use super::Reading;

/// Bytes in the megabyte of [`GpuMetrics::memory_used_mb`].
const MEGABYTE: f64 = 1e6;

/// All that is known of one GPU at one moment.
///
/// Utilisations and shares named `…_ratio` are 0 to 1; `utilization` is in percent, as NVML and
/// `nvidia-smi` have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GpuMetrics {
    /// NVML's index of the device: its place in the order of PCI addresses. It may change when
    /// devices come or go; the UUID does not.
    pub device_id: u32,
    /// What does not change.
    pub identity: Arc<GpuIdentity>,
    /// Percent of the last sample period (1/6 s to 1 s by device) in which a kernel ran.
    pub utilization: Reading,
    /// Temperature of the GPU chip, in degrees Celsius.
    pub temperature: Reading,
    /// Share of the last sample period in which device memory was read or written.
    pub memory_utilization_ratio: Option<f64>,
    /// Share of the last sample period in which the video encoder was busy.
    pub encoder_utilization_ratio: Option<f64>,
    /// Share of the last sample period in which the video decoder was busy.
    pub decoder_utilization_ratio: Option<f64>,
    /// Device memory.
    pub memory: Option<Memory>,
    /// Temperature of the device memory, in degrees Celsius.
    pub memory_temperature_celsius: Option<f64>,
    /// Temperatures at which something happens, in degrees Celsius: `shutdown`, `slowdown`,
    /// `memory_max`, `gpu_max`, `acoustic_current`, …
    pub temperature_thresholds_celsius: Vec<Named<f64>>,
    /// Power drawn, in watts: over the last second on most devices, at this instant on some.
    pub power_watts: Option<f64>,
    /// The power limit in force, in watts.
    pub power_limit_watts: Option<f64>,
    /// Energy used since the driver was loaded.
    pub energy_joules: Option<f64>,
    /// Clock rates by clock: `graphics`, `sm`, `memory`, `video`.
    pub clocks_hertz: Vec<Named<f64>>,
    /// Highest clock rates, by the same names.
    pub clocks_max_hertz: Vec<Named<f64>>,
    /// Intended speed of each fan as a share of its highest, by number. May exceed 1.
    pub fan_speed_ratios: Vec<f64>,
    /// The PCIe link.
    pub pcie: Pcie,
    /// Reasons for clocks lower than asked for.
    pub throttle_reasons: Vec<ThrottleReason>,
    /// Memory errors that ECC found.
    pub ecc_errors: Vec<EccErrors>,
    /// Rows of memory that were remapped, by kind: `correctable`, `uncorrectable`; and whether
    /// something is still to happen, 1 or 0: `pending`, `failure`.
    pub remapped_rows: Vec<Named<u64>>,
    /// Pages of memory that were retired, by cause: `single_bit`, `double_bit`.
    pub retired_pages: Vec<Named<u64>>,
    /// All NVLinks together.
    pub nvlink: NvLink,
    /// What its parts were doing since the poll before. Hopper and later, from the second poll on.
    pub activity: Activity,
    /// Its MIG instances.
    pub mig: Vec<MigInstance>,
    /// Processes that use it, in order of their ids, each once for the device and once for each
    /// MIG instance that it uses.
    pub processes: Vec<GpuProcess>,
    /// Critical errors of the driver (XID) since the monitor was made.
    pub xid_errors: XidErrors,
    /// Readings that this device does not support or that this process may not make, by NVML's
    /// names of the calls or fields, with the argument where only some are unsupported. What the
    /// device does not support is not tried again until the library is opened anew or the MIG mode
    /// changes; what it refuses is tried again every few polls.
    pub unsupported: Arc<[&'static str]>,
}

impl GpuMetrics {
    /// Device memory in use, in megabytes of 1,000,000 bytes.
    pub fn memory_used_mb(&self) -> Reading {
        self.megabytes(|memory| memory.used_bytes)
    }

    /// Device memory in all, in megabytes of 1,000,000 bytes.
    pub fn memory_total_mb(&self) -> Reading {
        self.megabytes(|memory| memory.total_bytes)
    }

    fn megabytes(&self, bytes: fn(&Memory) -> u64) -> Reading {
        let memory = self.memory.as_ref();
        memory.map(|memory| bytes(memory) as f64 / MEGABYTE).into()
    }
}

/// What does not change of a GPU, while its driver stays loaded. Empty where not known; as the
/// device gives it, so any text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuIdentity {
    /// `GPU-` and a UUID.
    pub uuid: String,
    /// The product's name, for example `NVIDIA H200`.
    pub name: String,
    /// The board's serial number.
    pub serial: String,
    /// Version of the video BIOS.
    pub vbios: String,
    /// PCI address, for example `00000000:3B:00.0`.
    pub pci_bus_id: String,
    /// Version of the driver.
    pub driver_version: String,
    /// The newest CUDA version that the driver supports, for example `12.4`.
    pub cuda_version: String,
}

impl GpuIdentity {
    /// What the device is known by: its UUID, or its PCI address if it does not tell the UUID.
    pub(super) fn key(&self) -> Option<&str> {
        let mut keys = [self.uuid.as_str(), self.pci_bus_id.as_str()].into_iter();
        keys.find(|key| !key.is_empty())
    }
}

/// A number by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<T> {
    /// What it is of.
    pub name: &'static str,
    /// The number.
    pub value: T,
}

/// Memory of a device or a MIG instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// In use by programs.
    pub used_bytes: u64,
    /// Not in use.
    pub free_bytes: u64,
    /// Kept for the driver and the firmware, where the driver tells it apart.
    pub reserved_bytes: Option<u64>,
    /// All of it.
    pub total_bytes: u64,
}

/// The PCIe link of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pcie {
    /// From the device to the host: since the poll before, or, on devices that do not count the
    /// bytes, over 20 ms of the poll.
    pub transmitted_bytes_per_second: Option<f64>,
    /// From the host to the device.
    pub received_bytes_per_second: Option<f64>,
    /// Packets sent again.
    pub replays: Option<u64>,
    /// Generation of the link as it runs now.
    pub link_generation: Option<u32>,
    /// Lanes of the link as it runs now.
    pub link_width: Option<u32>,
}

/// A reason for clocks lower than asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThrottleReason {
    /// `sw_power_cap`, `hw_slowdown`, `sw_thermal_slowdown`, `hw_thermal_slowdown`,
    /// `hw_power_brake_slowdown`, `sync_boost`, `applications_clocks_setting`, `gpu_idle`,
    /// `display_clock_setting`; `board_limit`, `low_utilization`, `reliability`.
    pub reason: &'static str,
    /// Whether it holds now, where the device tells.
    pub active: Option<bool>,
    /// For how long it has held since the driver was loaded, where the device tells.
    pub seconds: Option<f64>,
}

/// Memory errors of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EccErrors {
    /// `corrected` or `uncorrected`.
    pub kind: &'static str,
    /// `volatile`: since the driver was loaded; `aggregate`: in the device's life.
    pub scope: &'static str,
    /// `device_memory`; `sram`, which is all memory on the chip, or where the device does not tell
    /// that sum, its parts: `l1_cache`, `l2_cache`, `register_file`, `texture_memory`, …; `all`
    /// where the device tells no location. No error counts in two of a device's locations, so
    /// their sum is the device's.
    pub location: &'static str,
    /// How many.
    pub count: u64,
}

/// All NVLinks of a device together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NvLink {
    /// Data sent, without the protocol's own.
    pub transmitted_bytes: Option<u64>,
    /// Data received, without the protocol's own.
    pub received_bytes: Option<u64>,
    /// Errors by kind: `crc_flit`, `crc_data`, `replay`, `recovery`.
    pub errors: Vec<Named<u64>>,
}

/// What the parts of a device or of a MIG instance were doing between two polls, as shares of that
/// time and of all such parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Activity {
    /// Any graphics or compute engine was busy.
    pub graphics_ratio: Option<f64>,
    /// Multiprocessors with at least one warp.
    pub sm_ratio: Option<f64>,
    /// Warps on the multiprocessors, of the most there can be.
    pub sm_occupancy_ratio: Option<f64>,
    /// Tensor cores, by kind of operation: `any`, `dfma`, `hmma`, `imma`.
    pub tensor_ratios: Vec<Named<f64>>,
    /// Arithmetic units, by number format: `fp64`, `fp32`, `fp16`, `integer`.
    pub arithmetic_ratios: Vec<Named<f64>>,
    /// Bandwidth of device memory.
    pub dram_ratio: Option<f64>,
    /// Data to the host by PCIe.
    pub pcie_transmitted_bytes_per_second: Option<f64>,
    /// Data from the host by PCIe.
    pub pcie_received_bytes_per_second: Option<f64>,
    /// Data sent by NVLink.
    pub nvlink_transmitted_bytes_per_second: Option<f64>,
    /// Data received by NVLink.
    pub nvlink_received_bytes_per_second: Option<f64>,
}

/// A MIG instance: a part of a GPU that stands for a GPU of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MigInstance {
    /// What does not change.
    pub identity: Arc<MigIdentity>,
    /// Its memory.
    pub memory: Option<Memory>,
    /// Number of its multiprocessors.
    pub multiprocessors: Option<u32>,
    /// What it was doing since the poll before, where the device tells.
    pub activity: Activity,
}

/// What does not change of a MIG instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigIdentity {
    /// `MIG-` and a UUID.
    pub uuid: String,
    /// Product and profile, for example `NVIDIA H200 MIG 1g.18gb`.
    pub name: String,
    /// Number of the GPU instance within the device.
    pub gpu_instance_id: u32,
    /// Number of the compute instance within the GPU instance.
    pub compute_instance_id: u32,
}

/// What a process has of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GpuProcess {
    /// Its id, as NVML's own process sees it: in this process's pid namespace.
    pub pid: u32,
    /// The MIG instance, if it uses one: ids of the GPU instance and, where the process is in one,
    /// of the compute instance.
    pub mig: Option<(u32, Option<u32>)>,
    /// Device memory that it holds. Of a process that both computes and draws, NVML has the sum
    /// in both its lists; it counts once.
    pub memory_bytes: Option<u64>,
    /// Mean share of the multiprocessors' time that it had in the device's newest samples: 0 if it
    /// was in none for a second. Absent until that is known, and for processes in MIG instances.
    pub sm_utilization_ratio: Option<f64>,
}

/// Critical errors of the driver, by XID code.
pub type XidErrors = BTreeMap<u64, u64>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_by_what_it_tells() {
        let identity = |uuid: &str, pci_bus_id: &str| GpuIdentity {
            uuid: uuid.into(),
            pci_bus_id: pci_bus_id.into(),
            ..GpuIdentity::default()
        };
        let bus = "00000000:3B:00.0";
        assert_eq!(identity("GPU-1", bus).key(), Some("GPU-1"));
        assert_eq!(identity("", bus).key(), Some(bus));
        assert_eq!(identity("", "").key(), None);
    }
}
