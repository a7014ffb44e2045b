//! Critical errors of the driver (XID): how many of each there were, and the last ones in full.
//!
//! Outlives sessions with NVML, and knows nothing of them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use super::{XidErrors, kernel_log::KernelLine};

/// As many events wait to be taken. One GPU in trouble brings a few in a second.
const MOST_EVENTS: usize = 256;
/// As many lines of the kernel's log wait for their events.
const MOST_LINES: usize = 64;
/// An event and its line in the kernel's log are written within this time.
const PAIRING: Duration = Duration::from_millis(500);

/// A critical error of the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XidEvent {
    /// NVML's index of the device at that time.
    pub device_id: u32,
    /// The device's UUID; its PCI address, if it tells none.
    pub uuid: String,
    /// The code. NVIDIA's documentation lists them.
    pub xid: u64,
    /// The GPU instance, and the compute instance if it is known, that had the error.
    pub mig: Option<(u32, Option<u32>)>,
    /// When NVML told of it.
    pub at: SystemTime,
    /// The process that caused it, where the kernel's log says.
    pub pid: Option<u32>,
    /// The name of that process, where the kernel's log says. Any text.
    pub process: Option<String>,
}

/// Events since they were last taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XidEvents {
    /// In the order in which they came.
    pub events: Vec<XidEvent>,
    /// How many more there were: for which there was no room, which are counted by code all the
    /// same, and those that NVML told of a device that it had not shown before.
    pub dropped: u64,
}

/// All that is known of critical errors.
#[derive(Debug, Default)]
pub(super) struct XidLog(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    counts: BTreeMap<String, XidErrors>,
    /// NVML's index of each device at its last error, by UUID.
    numbers: BTreeMap<String, u32>,
    waiting: VecDeque<Waiting>,
    dropped: u64,
    lines: VecDeque<(Instant, KernelLine)>,
    pairing: bool,
}

#[derive(Debug)]
struct Waiting {
    event: XidEvent,
    pci: Option<(u32, u8, u8)>,
    since: Instant,
    /// It has its line, even if that names no process.
    paired: bool,
}

impl XidLog {
    /// How many errors of each code the devices have had that had any.
    pub(super) fn all_counts(&self) -> BTreeMap<String, XidErrors> {
        self.lock().counts.clone()
    }

    /// Counts an event of the device at a PCI address.
    pub(super) fn record(&self, event: XidEvent, pci_bus_id: &str) {
        let mut state = self.lock();
        let count = state.counts.entry(event.uuid.clone()).or_default();
        *count.entry(event.xid).or_default() += 1;
        state.numbers.insert(event.uuid.clone(), event.device_id);
        if state.waiting.len() == MOST_EVENTS {
            state.waiting.pop_front();
            state.dropped += 1;
        }
        let pci = super::kernel_log::pci_address(pci_bus_id);
        state.waiting.push_back(Waiting {
            event,
            pci,
            since: Instant::now(),
            paired: false,
        });
        state.pair();
    }

    /// An event of nobody knows which device.
    pub(super) fn drop_one(&self) {
        self.lock().dropped += 1;
    }

    /// Adds lines of the kernel's log. From the first call on events wait for theirs.
    pub(super) fn add_lines(&self, lines: impl IntoIterator<Item = KernelLine>) {
        let mut state = self.lock();
        state.pairing = true;
        let now = Instant::now();
        state
            .lines
            .retain(|(since, _)| now.duration_since(*since) < PAIRING);
        for line in lines {
            if state.lines.len() == MOST_LINES {
                state.lines.pop_front();
            }
            state.lines.push_back((now, line));
        }
        state.pair();
    }

    /// Takes the events that are complete, or do not become it.
    pub(super) fn take(&self) -> XidEvents {
        let mut state = self.lock();
        let now = Instant::now();
        let pairing = state.pairing;
        let complete = |waiting: &Waiting| {
            !pairing || waiting.paired || now.duration_since(waiting.since) >= PAIRING
        };
        let count = state
            .waiting
            .iter()
            .take_while(|waiting| complete(waiting))
            .count();
        let events = state
            .waiting
            .drain(..count)
            .map(|waiting| waiting.event)
            .collect();
        XidEvents {
            events,
            dropped: std::mem::take(&mut state.dropped),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives each line to the first event that it may be of; rather to one of the very instance
    /// that it names.
    fn pair(&mut self) {
        let waiting = &mut self.waiting;
        self.lines.retain(|(_, line)| {
            let exact = waiting
                .iter()
                .position(|it| it.fits(line, |mig| mig == line.mig));
            let found = exact.or_else(|| {
                let may_be = |mig| may_be_same(mig, line.mig);
                waiting.iter().position(|it| it.fits(line, may_be))
            });
            let Some(found) = found.and_then(|found| waiting.get_mut(found)) else {
                return true;
            };
            found.paired = true;
            found.event.pid = line.pid;
            found.event.process.clone_from(&line.process);
            false
        });
    }
}

impl Waiting {
    fn fits(&self, line: &KernelLine, mig: impl Fn(Option<(u32, Option<u32>)>) -> bool) -> bool {
        let same = self.pci == Some(line.pci) && self.event.xid == line.xid;
        !self.paired && same && mig(self.event.mig)
    }
}

/// Whether two may be the same instance: either may know less of it than the other.
fn may_be_same(a: Option<(u32, Option<u32>)>, b: Option<(u32, Option<u32>)>) -> bool {
    let (Some((a, a_part)), Some((b, b_part))) = (a, b) else {
        return true;
    };
    a == b && a_part.zip(b_part).is_none_or(|(a, b)| a == b)
}

/// The critical errors of one device since the monitor was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XidCounts {
    /// The device's UUID.
    pub uuid: String,
    /// NVML's index of the device at its last error.
    pub device_id: u32,
    /// How many of each code, repeats included.
    pub errors: XidErrors,
}

impl XidLog {
    /// The errors of all devices that have had any, by UUID.
    pub(super) fn by_device(&self) -> Vec<XidCounts> {
        let state = self.lock();
        let of_device = |(uuid, errors): (&String, &XidErrors)| XidCounts {
            uuid: uuid.clone(),
            device_id: state.numbers.get(uuid).copied().unwrap_or_default(),
            errors: errors.clone(),
        };
        state.counts.iter().map(of_device).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(xid: u64) -> XidEvent {
        XidEvent {
            device_id: 0,
            uuid: "GPU-1".into(),
            xid,
            mig: None,
            at: SystemTime::UNIX_EPOCH,
            pid: None,
            process: None,
        }
    }

    fn line(xid: u64, pid: u32) -> KernelLine {
        KernelLine {
            pci: (0, 0x3b, 0),
            mig: None,
            xid,
            pid: Some(pid),
            process: Some("python3".into()),
        }
    }

    const BUS: &str = "00000000:3B:00.0";

    #[test]
    fn repeats_count() {
        let log = XidLog::default();
        for xid in [79, 31, 79] {
            log.record(event(xid), BUS);
        }
        let counts = BTreeMap::from([("GPU-1".to_owned(), XidErrors::from([(31, 1), (79, 2)]))]);
        assert_eq!(log.all_counts(), counts);
        let all = XidCounts {
            uuid: "GPU-1".into(),
            device_id: 0,
            errors: counts["GPU-1"].clone(),
        };
        assert_eq!(log.by_device(), [all]);
        let codes: Vec<_> = log.take().events.iter().map(|event| event.xid).collect();
        assert_eq!(codes, [79, 31, 79]);
        assert_eq!(log.take(), XidEvents::default());
        assert_eq!(log.all_counts(), counts);
    }

    #[test]
    fn events_without_room_are_counted() {
        let log = XidLog::default();
        for xid in 0..MOST_EVENTS as u64 + 3 {
            log.record(event(xid), BUS);
        }
        let taken = log.take();
        assert_eq!(
            (taken.events.len(), taken.dropped, taken.events[0].xid),
            (MOST_EVENTS, 3, 3)
        );
        assert_eq!(log.all_counts()["GPU-1"].len(), MOST_EVENTS + 3);
    }

    #[test]
    fn a_line_finds_its_event_before_or_after() {
        let log = XidLog::default();
        log.add_lines([line(31, 7)]);
        log.record(event(31), BUS);
        log.record(event(13), BUS);
        // The second waits for its line.
        let events = log.take().events;
        assert_eq!(events.len(), 1);
        assert_eq!(
            (events[0].pid, events[0].process.as_deref()),
            (Some(7), Some("python3"))
        );
        log.add_lines([line(31, 8), line(13, 9)]);
        let events = log.take().events;
        assert_eq!(
            (events.len(), events[0].xid, events[0].pid),
            (1, 13, Some(9))
        );
    }

    #[test]
    fn a_line_without_a_process_is_its_event_s_own() {
        let log = XidLog::default();
        let nobody = KernelLine {
            pid: None,
            process: None,
            ..line(31, 0)
        };
        log.record(event(31), BUS);
        log.record(event(31), BUS);
        log.add_lines([nobody, line(31, 8)]);
        let pids: Vec<_> = log.take().events.iter().map(|event| event.pid).collect();
        assert_eq!(pids, [None, Some(8)]);
    }

    #[test]
    fn lines_go_to_the_instances_that_they_name() {
        let check = |events: &[Option<(u32, Option<u32>)>], lines: &[_], want: &[Option<u32>]| {
            let log = XidLog::default();
            // So that events wait for their lines.
            log.add_lines([]);
            for mig in events {
                let event = XidEvent {
                    mig: *mig,
                    ..event(31)
                };
                log.record(event, BUS);
            }
            log.add_lines((1..).zip(lines).map(|(pid, mig)| KernelLine {
                mig: *mig,
                ..line(31, pid)
            }));
            let state = log.lock();
            let pids: Vec<_> = state.waiting.iter().map(|it| it.event.pid).collect();
            assert_eq!(pids, want, "{events:?} {lines:?}");
        };
        let (whole, third) = (None, Some((3, None)));
        let part = |id, part| Some((id, Some(part)));
        let swapped = [part(4, 0), part(3, 1), part(3, 0)];
        check(
            &[part(3, 0), part(3, 1), part(4, 0)],
            &swapped,
            &[Some(3), Some(2), Some(1)],
        );
        // The very instance comes before the first event that might be it.
        check(&[whole, part(3, 0)], &[part(3, 0)], &[None, Some(1)]);
        check(&[third, part(3, 0)], &[part(3, 0)], &[None, Some(1)]);
        // Either side may know less.
        check(&[whole], &[part(3, 0)], &[Some(1)]);
        check(&[part(3, 0)], &[whole], &[Some(1)]);
        check(&[part(3, 0)], &[third], &[Some(1)]);
        check(&[third], &[part(3, 0)], &[Some(1)]);
        check(&[part(3, 0)], &[part(4, 0), part(3, 1)], &[None]);
        check(&[third], &[part(4, 0)], &[None]);
    }
}
