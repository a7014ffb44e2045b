//! The thread that makes all calls into NVML but one: polls, and opens the library again where
//! that is what helps.
//!
//! Knows nothing of single readings.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    GpuError, Poll,
    backoff::Backoff,
    exchange::{Exchange, Order},
    library::{self, LibraryFile},
    session::{Kept, Readings, Session},
};

/// A device that so many new sessions have not had is not looked for any more: it was taken out.
const FORGOTTEN_AFTER: u32 = 7;

/// What the builder was told.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) library: Option<PathBuf>,
    /// `None`: polls only when asked.
    pub(super) poll_interval: Option<Duration>,
    pub(super) retry_interval: Duration,
}

/// Starts the thread. It ends when the exchange says so.
pub(super) fn start(settings: Settings, exchange: Arc<Exchange>) -> io::Result<()> {
    let thread = thread::Builder::new().name("gpu-nvml".into());
    thread.spawn(move || Worker::new(settings, exchange).run())?;
    Ok(())
}

struct Worker {
    settings: Settings,
    exchange: Arc<Exchange>,
    session: Result<Session, GpuError>,
    /// The session's.
    file: Option<LibraryFile>,
    /// Since when there is no session, after an attempt to open one.
    closed: Option<Instant>,
    /// When to open another session in place of one in which something is missing. That has a
    /// price for the devices that are there, so it is done less and less often.
    renewal: Backoff,
    /// Devices that have been there, and how many new sessions have not had them since.
    known: BTreeMap<String, u32>,
    /// Whether there was a device at the last poll.
    has_devices: bool,
    kept: Kept,
    polls: u64,
    sessions: u64,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.exchange.stopped();
    }
}

impl Worker {
    fn new(settings: Settings, exchange: Arc<Exchange>) -> Self {
        Self {
            renewal: Backoff::new(settings.retry_interval),
            settings,
            exchange,
            session: Err(GpuError::Starting),
            file: None,
            closed: None,
            known: BTreeMap::new(),
            has_devices: false,
            kept: Kept::default(),
            polls: 0,
            sessions: 0,
        }
    }

    fn run(&mut self) {
        let mut due = self.settings.poll_interval.map(|_| Instant::now());
        loop {
            let order = self.exchange.next(due);
            if order == Order::Stop {
                break;
            }
            let begun = Instant::now();
            let outcome = self.poll(order == Order::Asked);
            self.exchange.publish(outcome.map(Arc::new));
            if order == Order::Due {
                // After a hang there is no run of the polls that were missed meanwhile.
                due = self.settings.poll_interval.map(|interval| begun + interval);
            }
        }
        self.close(GpuError::Starting);
    }

    /// One poll, by a session that may have to be opened for it.
    fn poll(&mut self, asked: bool) -> Result<Poll, GpuError> {
        let renew = self.is_renewal_due();
        if renew || self.is_opening_due(asked) {
            self.reopen(GpuError::Starting)?;
        }
        let (at, readings) = match self.read() {
            // The driver has gone or was replaced: so may the library have been.
            Err(error) if self.session.is_ok() => {
                self.reopen(error)?;
                self.read().inspect_err(|error| self.give_up(error))?
            }
            other => other?,
        };
        self.look_for_missing(&readings, renew);
        self.polls += 1;
        let Readings {
            devices,
            lost,
            xid_errors,
            ..
        } = readings;
        Ok(Poll {
            at,
            devices,
            lost,
            xid_errors,
            number: self.polls,
            sessions: self.sessions,
        })
    }

    /// Whether to look for the library and the driver.
    fn is_opening_due(&self, asked: bool) -> bool {
        let interval = self.settings.retry_interval;
        let is_over = |closed: Instant| closed.elapsed() >= interval;
        self.session.is_err() && (asked || self.closed.is_none_or(is_over))
    }

    /// Whether to open another session because of what is missing in this one.
    fn is_renewal_due(&mut self) -> bool {
        let now = Instant::now();
        if self.session.is_err() || !self.renewal.is_due(now) {
            return false;
        }
        // A driver cannot be replaced as long as a session has it. So a library that was replaced
        // is not that of the driver, and with it no device could be read any more.
        let is_replaced = self.file.as_ref().is_some_and(LibraryFile::is_replaced);
        if is_replaced && self.has_devices {
            return false;
        }
        self.renewal.tried(now);
        true
    }

    /// Takes note of what is missing that a new session may have.
    fn look_for_missing(&mut self, readings: &Readings, renewed: bool) {
        let devices = readings.devices.values();
        let here: BTreeSet<_> = devices.filter_map(|device| device.identity.key()).collect();
        for key in &here {
            self.known.insert((*key).to_owned(), 0);
        }
        if renewed {
            self.known.retain(|key, without| {
                *without += u32::from(!here.contains(key.as_str()));
                *without < FORGOTTEN_AFTER
            });
        }
        self.has_devices = !readings.devices.is_empty();
        // Nobody knows which of the known devices those are that are refused.
        let missing = self.known.len().saturating_sub(here.len());
        let is_lost = readings.lost.len() > readings.refused;
        // A driver without any GPU may get one, which it counts when it is initialised.
        let none = readings.devices.is_empty() && readings.lost.is_empty();
        if is_lost || none || missing > readings.refused {
            self.renewal.begin(Instant::now());
        } else {
            self.renewal.rest();
        }
    }

    /// What is read, and when that was begun.
    fn read(&mut self) -> Result<(Instant, Readings), GpuError> {
        let at = Instant::now();
        match &mut self.session {
            Ok(session) => Ok((at, session.read(&self.exchange, &mut self.kept)?)),
            Err(error) => Err(error.clone()),
        }
    }

    /// Opens a session in place of the one there is, which ends because of `why`.
    fn reopen(&mut self, why: GpuError) -> Result<(), GpuError> {
        self.close(why);
        let calls = &self.exchange.calls;
        let opened = library::open(self.settings.library.as_deref(), calls);
        self.file = opened.as_ref().ok().and_then(LibraryFile::of);
        self.session = opened.map(|nvml| Session::new(nvml, self.settings.retry_interval));
        match &self.session {
            Ok(_) => {
                self.sessions += 1;
                Ok(())
            }
            Err(error) => {
                self.closed = Some(Instant::now());
                Err(error.clone())
            }
        }
    }

    /// A session that ends as soon as it is opened is not opened all the time.
    fn give_up(&mut self, why: &GpuError) {
        self.close(why.clone());
        self.closed = Some(Instant::now());
    }

    fn close(&mut self, why: GpuError) {
        self.renewal.rest();
        if let Ok(session) = std::mem::replace(&mut self.session, Err(why)) {
            session.close(&self.exchange, &mut self.kept);
        }
    }
}
