//! What MIG instances become. Fewer metrics than of a whole GPU: there may be seven of them in each.

use monitoring::gpu::{MigInstance, Named};

use super::{catalogue::mig as metrics, sheet::Rows, text};

/// The kind of operation that stands for all of them.
const ANY_OPERATION: &str = "any";

/// Adds a device's MIG instances to its rows.
pub(super) fn put(instances: &[MigInstance], device: &mut Rows<'_>) {
    for instance in instances {
        let identity = &instance.identity;
        let rows = &mut device.with(&[
            ("gpu_instance_id", &identity.gpu_instance_id.to_string()),
            (
                "compute_instance_id",
                &identity.compute_instance_id.to_string(),
            ),
        ]);
        let names = [
            ("mig_uuid", &*text(&identity.uuid)),
            ("name", &*text(&identity.name)),
        ];
        rows.put_with(&metrics::INFO, &names, 1.0);
        if let Some(memory) = &instance.memory {
            rows.put(&metrics::MEMORY_USED, memory.used_bytes as f64);
            rows.put(&metrics::MEMORY_FREE, memory.free_bytes as f64);
            let reserved = memory.reserved_bytes.map(|bytes| bytes as f64);
            rows.put(&metrics::MEMORY_RESERVED, reserved);
            rows.put(&metrics::MEMORY_TOTAL, memory.total_bytes as f64);
        }
        let count = instance.multiprocessors.map(f64::from);
        rows.put(&metrics::MULTIPROCESSORS, count);
        let activity = &instance.activity;
        rows.put(&metrics::GRAPHICS_ACTIVITY, activity.graphics_ratio);
        rows.put(&metrics::SM_ACTIVITY, activity.sm_ratio);
        rows.put(&metrics::SM_OCCUPANCY, activity.sm_occupancy_ratio);
        let is_any = |ratio: &&Named<f64>| ratio.name == ANY_OPERATION;
        let tensor = activity.tensor_ratios.iter().find(is_any);
        rows.put(&metrics::TENSOR_ACTIVITY, tensor.map(|ratio| ratio.value));
        rows.put(&metrics::DRAM_ACTIVITY, activity.dram_ratio);
    }
}
