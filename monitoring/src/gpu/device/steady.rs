//! What of a device seldom or never changes: read until the device has told it, and then only now
//! and then, because some of it can be set.
//!
//! Knows nothing of what is read at each poll.

use std::sync::Arc;

use super::{
    super::{GpuIdentity, Named, session::Versions},
    Reader, activity, clocks, identity, nvlink, pcie, power, temperature, throttle,
};

/// Polls from one reading to the next, once all is known.
const POLLS: u32 = 64;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Steady {
    pub(super) identity: Arc<GpuIdentity>,
    pub(super) clocks_max_hertz: Vec<Named<f64>>,
    pub(super) temperature_thresholds: Vec<Named<f64>>,
    pub(super) supported_reasons: Option<u64>,
    pub(super) fans: u32,
    pub(super) links: nvlink::Links,
    pub(super) link_rate: Option<f64>,
    /// Whether the device can be sampled.
    pub(super) sampled: bool,
    /// Polls until it is read again, and how many there were to be before.
    left: u32,
    wait: u32,
}

impl Steady {
    pub(super) fn new(reader: &mut Reader<'_>, versions: &Versions) -> Self {
        let mut steady = Self {
            identity: Arc::new(GpuIdentity {
                driver_version: versions.driver.clone(),
                cuda_version: versions.cuda.clone(),
                ..GpuIdentity::default()
            }),
            ..Self::default()
        };
        steady.read(reader);
        steady
    }

    /// Reads it again if it is time. To be called at each poll.
    pub(super) fn refresh(&mut self, reader: &mut Reader<'_>) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.read(reader);
        }
    }

    /// What the device supports has changed: it is read again at the next poll.
    pub(super) fn expire(&mut self) {
        (self.left, self.wait) = (0, 0);
    }

    /// Reads it. What could not be read this time stays as it was.
    fn read(&mut self, reader: &mut Reader<'_>) {
        let open = reader.open();
        let identity = identity::read(reader, &self.identity);
        if identity != *self.identity {
            self.identity = Arc::new(identity);
        }
        let clocks_max = clocks::read_max(reader);
        let thresholds = temperature::read_thresholds(reader);
        let reasons = throttle::read_supported(reader);
        let fans = power::count_fans(reader);
        self.links.find(reader);
        self.link_rate = pcie::read_link_rate(reader).or(self.link_rate);
        self.sampled |= activity::is_supported(reader);
        let complete = reader.open() == open;
        replace(&mut self.clocks_max_hertz, clocks_max, complete);
        replace(&mut self.temperature_thresholds, thresholds, complete);
        self.supported_reasons = reasons.or(self.supported_reasons);
        self.fans = fans.unwrap_or(self.fans);
        // What fails again and again is tried less and less often.
        self.wait = if complete {
            POLLS
        } else {
            (self.wait % POLLS * 2).clamp(1, POLLS)
        };
        self.left = self.wait;
    }
}

/// A list that lacks something because a call failed does not take a longer one's place.
fn replace(list: &mut Vec<Named<f64>>, new: Vec<Named<f64>>, complete: bool) {
    if complete || new.len() >= list.len() {
        *list = new;
    }
}
