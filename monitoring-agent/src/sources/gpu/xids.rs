//! Critical errors that the driver reports (XID): their counts, and a line in the log for each.
//!
//! A GPU that falls off the bus or hangs does so with such an error, which would never be seen if it
//! ended with the GPU's other metrics, or waited for the next poll.

use std::{collections::BTreeMap, time::Instant};

use monitoring::gpu::{XidCounts, XidEvent, XidEvents};
use tracing::warn;

use super::{catalogue, limit::Limit, sheet::Sheet, text};

/// Adds the counts of all GPUs. Those that answered the last poll have the `numbers` that it gave
/// them, by UUID.
pub(super) fn put(counts: &[XidCounts], numbers: &BTreeMap<String, u32>, sheet: &mut Sheet) {
    for gpu in counts {
        let number = numbers.get(&gpu.uuid).unwrap_or(&gpu.device_id).to_string();
        let uuid = text(&gpu.uuid);
        let mut rows = sheet.rows(&[("device_id", &number), ("uuid", &uuid)]);
        for (code, count) in &gpu.errors {
            let label = [("xid", &*code.to_string())];
            rows.put_with(&catalogue::XID_ERRORS, &label, *count as f64);
        }
    }
}

/// Says each event. A GPU in trouble may report many a second: what goes beyond the limit becomes
/// one line when there is room again.
pub(super) fn say(events: &XidEvents, lines: &mut Limit, now: Instant) {
    lines.keep_back(events.dropped);
    let more = lines.renew(now);
    if more > 0 {
        warn!("{more} more critical errors (XID), which the log does not show one by one");
    }
    for event in &events.events {
        if lines.allows() {
            say_one(event);
        }
    }
}

fn say_one(event: &XidEvent) {
    let (gpu_instance_id, compute_instance_id) = match event.mig {
        Some((gpu_instance, compute_instance)) => (Some(gpu_instance), compute_instance),
        None => (None, None),
    };
    let process = event.process.as_deref().map(text);
    warn!(
        device_id = event.device_id,
        uuid = text(&event.uuid),
        xid = event.xid,
        gpu_instance_id,
        compute_instance_id,
        pid = event.pid,
        process = process.as_deref(),
        "the driver reports a critical error (XID)"
    );
}
