//! Critical errors that the driver reports (XID): a line in the log for each, and the counts of
//! GPUs that do not answer any more.
//!
//! A GPU that falls off the bus does so with such an error. All its other metrics end; this one
//! must not, or the error would never be seen.

use std::collections::BTreeMap;

use monitoring::gpu::{Poll, XidErrors, XidEvent, XidEvents};
use tracing::warn;

use super::{catalogue, journal::MOST_DEVICES, sheet::Sheet, text};

/// Most lines at one collection. A GPU in trouble may report many errors a second, and the log
/// is others' as well.
pub(super) const MOST_LINES: usize = 32;

/// The errors of all GPUs since the source started, by UUID.
#[derive(Debug, Default)]
pub(super) struct Xids(BTreeMap<String, Device>);

/// Two counts of the same, each of which may lag behind, and neither of which is ever too high.
#[derive(Debug, Default)]
struct Device {
    number: u32,
    /// By the events that came.
    told: XidErrors,
    /// By the last poll in which the GPU answered.
    polled: XidErrors,
}

impl Xids {
    /// Counts events and says each.
    pub(super) fn take(&mut self, events: &XidEvents) {
        for event in &events.events {
            if let Some(device) = self.device(&event.uuid, event.device_id) {
                *device.told.entry(event.xid).or_default() += 1;
            }
        }
        for event in events.events.iter().take(MOST_LINES) {
            say(event);
        }
        let more = events.events.len().saturating_sub(MOST_LINES) as u64;
        let more = more.saturating_add(events.dropped);
        if more > 0 {
            warn!("{more} more critical errors (XID), which are counted and not shown");
        }
    }

    /// Notes what GPUs tell that answer.
    pub(super) fn look_at(&mut self, poll: &Poll) {
        for gpu in poll
            .devices
            .values()
            .filter(|gpu| !gpu.xid_errors.is_empty())
        {
            if let Some(device) = self.device(&gpu.identity.uuid, gpu.device_id) {
                device.polled.clone_from(&gpu.xid_errors);
            }
        }
    }

    /// Adds the counts of GPUs that do not answer in this poll.
    pub(super) fn put_of_silent(&self, poll: &Poll, sheet: &mut Sheet) {
        for (uuid, device) in &self.0 {
            let mut present = poll.devices.values();
            if present.any(|gpu| gpu.identity.uuid == *uuid) {
                continue;
            }
            let (number, uuid) = (device.number.to_string(), text(uuid));
            let mut rows = sheet.rows(&[("device_id", &number), ("uuid", &uuid)]);
            let mut counts = device.told.clone();
            for (code, count) in &device.polled {
                let known = counts.entry(*code).or_default();
                *known = (*known).max(*count);
            }
            for (code, count) in counts {
                let label = [("xid", &*code.to_string())];
                rows.put_with(&catalogue::XID_ERRORS, &label, count as f64);
            }
        }
    }

    fn device(&mut self, uuid: &str, number: u32) -> Option<&mut Device> {
        if !self.0.contains_key(uuid) && self.0.len() == MOST_DEVICES {
            return None;
        }
        let device = self.0.entry(uuid.to_owned()).or_default();
        device.number = number;
        Some(device)
    }
}

fn say(event: &XidEvent) {
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
