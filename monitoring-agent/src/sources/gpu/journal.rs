//! What the log says of GPUs: what one does not support, when one is lost, when it is back.
//!
//! Each is said once. Knows no metric.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use monitoring::gpu::{GpuMetrics, Poll};
use tracing::{info, warn};

use super::{REASON_LENGTH, limit::Limit, text};
use crate::printable::printable;

/// Most devices that are remembered. More than fit into a node, so that only a node that keeps
/// changing its GPUs, or a driver gone mad, forgets one.
pub(super) const MOST_DEVICES: usize = 256;

/// Most arguments of a call that are named one by one.
const MOST_ARGUMENTS: usize = 4;

/// What has been said so far.
#[derive(Debug, Default)]
pub(super) struct Journal {
    devices: Vec<Device>,
    /// The number of the last poll that was looked at.
    poll: u64,
    lines: Limit,
}

/// A GPU that answered once, or should have.
#[derive(Debug, Default)]
struct Device {
    number: u32,
    /// As the device gave it; empty for one that has never answered.
    uuid: String,
    /// Readings that it was said not to support.
    unsupported: BTreeSet<&'static str>,
    /// Why it is lost, if it is.
    lost: Option<String>,
}

impl Journal {
    /// Says what is new in a poll. A GPU that comes and goes all the time does not flood the log.
    pub(super) fn look_at(&mut self, poll: &Poll, now: Instant) {
        if std::mem::replace(&mut self.poll, poll.number) == poll.number {
            return;
        }
        let mut lines = std::mem::take(&mut self.lines);
        let more = lines.renew(now);
        if more > 0 {
            warn!("{more} more lines on GPUs were left out");
        }
        for gpu in poll.devices.values() {
            self.device(gpu, poll).answers(gpu, &mut lines);
        }
        for number in poll.lost.keys() {
            // One that has never answered is known by its number alone.
            let known = |device: &&Device| device.number == *number && !device.answers_in(poll);
            if self.devices.iter().find(known).is_none() {
                self.remember(Device {
                    number: *number,
                    ..Device::default()
                });
            }
        }
        for device in &mut self.devices {
            if !device.answers_in(poll) {
                device.is_silent(poll, &mut lines);
            }
        }
        self.lines = lines;
    }

    /// All GPUs that are known, by number and UUID, and whether they are lost.
    pub(super) fn devices(&self) -> impl Iterator<Item = ((u32, &str), bool)> {
        let devices = self.devices.iter();
        devices.map(|device| ((device.number, &*device.uuid), device.lost.is_some()))
    }

    /// The GPUs that are lost, each with the reason.
    pub(super) fn lost(&self) -> impl Iterator<Item = String> {
        self.devices.iter().filter_map(|device| {
            let why = device.lost.as_ref()?;
            let (number, uuid) = (device.number, text(&device.uuid));
            Some(format!("GPU {number} {uuid} lost: {why}"))
        })
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.devices.len()
    }

    /// What is known of a device that answers: under its UUID and number, or else under its UUID
    /// with a number that it has no more, or as the one of this number that had no UUID yet.
    fn device(&mut self, gpu: &GpuMetrics, poll: &Poll) -> &mut Device {
        let (number, uuid) = (gpu.device_id, &gpu.identity.uuid);
        let known = |same: &dyn Fn(&Device) -> bool| self.devices.iter().position(same);
        let at = known(&|device| device.number == number && device.uuid == *uuid)
            .or_else(|| known(&|device| device.uuid == *uuid && !device.answers_in(poll)))
            .or_else(|| known(&|device| device.number == number && device.uuid.is_empty()));
        match at {
            Some(at) => &mut self.devices[at],
            None => self.remember(Device::default()),
        }
    }

    fn remember(&mut self, device: Device) -> &mut Device {
        if self.devices.len() == MOST_DEVICES {
            let lost = self.devices.iter().position(|device| device.lost.is_some());
            self.devices.remove(lost.unwrap_or(0));
        }
        self.devices.push_mut(device)
    }
}

impl Device {
    fn answers_in(&self, poll: &Poll) -> bool {
        let mut present = poll.devices.values();
        present.any(|gpu| gpu.device_id == self.number && gpu.identity.uuid == self.uuid)
    }

    fn answers(&mut self, gpu: &GpuMetrics, lines: &mut Limit) {
        self.number = gpu.device_id;
        self.uuid.clone_from(&gpu.identity.uuid);
        let (device_id, uuid) = (self.number, text(&self.uuid));
        if self.lost.take().is_some() && lines.allows() {
            info!(device_id, uuid, "the GPU is back");
        }
        let all = gpu.unsupported.iter().copied();
        let new: Vec<_> = all.filter(|name| self.unsupported.insert(name)).collect();
        if !new.is_empty() && lines.allows() {
            let names = in_short(&new);
            info!(
                device_id,
                uuid, "the GPU does not support {names}; what they tell is absent"
            );
        }
    }

    fn is_silent(&mut self, poll: &Poll, lines: &mut Limit) {
        if self.lost.is_some() {
            return;
        }
        let why = poll.lost.get(&self.number).map_or_else(
            || "NVML does not list it any more".to_owned(),
            |error| printable(error.to_string().as_bytes(), REASON_LENGTH),
        );
        if lines.allows() {
            let (device_id, uuid) = (self.number, text(&self.uuid));
            warn!(
                device_id,
                uuid, "the GPU's metrics end until it answers again: {why}"
            );
        }
        self.lost = Some(why);
    }
}

/// Names of calls on one line. Of a call that has many arguments which are not supported, their
/// number stands for them: there are 32 counters of ECC errors alone.
fn in_short(names: &[&'static str]) -> String {
    let mut by_call = BTreeMap::<&str, Vec<&str>>::new();
    for name in names {
        let call = name.split('(').next().unwrap_or(name);
        by_call.entry(call).or_default().push(name);
    }
    let calls = by_call.into_iter().map(|(call, names)| match names.len() {
        0..=MOST_ARGUMENTS => names.join(", "),
        many => format!("{call} ({many} kinds)"),
    });
    calls.collect::<Vec<_>>().join(", ")
}
