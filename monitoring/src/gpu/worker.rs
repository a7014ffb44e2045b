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
    device::History,
    exchange::{Exchange, Order},
    library,
    session::{Readings, Session},
};

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
    /// When to open the library again, if something is missing.
    retry_at: Option<Instant>,
    /// Devices that have been there, by UUID.
    known: BTreeSet<String>,
    /// What is measured from one poll to the next, while no session is open.
    histories: BTreeMap<String, History>,
    polls: u64,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.exchange.stopped();
    }
}

impl Worker {
    fn new(settings: Settings, exchange: Arc<Exchange>) -> Self {
        Self {
            settings,
            exchange,
            session: Err(GpuError::Starting),
            retry_at: Some(Instant::now()),
            known: BTreeSet::new(),
            histories: BTreeMap::new(),
            polls: 0,
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
        let retry = self.retry_at.is_some_and(|at| Instant::now() >= at);
        // A session in which something is missing is renewed to find it again.
        if retry || (asked && self.session.is_err()) {
            self.reopen(GpuError::Starting)?;
        }
        let readings = match self.read() {
            // The driver has gone or was replaced: so may the library have been.
            Err(error) if self.session.is_ok() => {
                self.reopen(error)?;
                self.read().inspect_err(|error| self.give_up(error))?
            }
            other => other?,
        };
        self.known.extend(
            readings
                .devices
                .values()
                .map(|device| device.identity.uuid.clone()),
        );
        let here = readings
            .devices
            .values()
            .map(|device| device.identity.uuid.as_str());
        let missing = self.known.len() > here.collect::<BTreeSet<_>>().len();
        // A driver without any GPU may get one, which it counts when it is initialised.
        if missing || !readings.lost.is_empty() || readings.devices.is_empty() {
            self.retry_at
                .get_or_insert(Instant::now() + self.settings.retry_interval);
        } else {
            self.retry_at = None;
        }
        self.polls += 1;
        let Readings { devices, lost } = readings;
        Ok(Poll {
            at: Instant::now(),
            devices,
            lost,
            number: self.polls,
        })
    }

    fn read(&mut self) -> Result<Readings, GpuError> {
        match &mut self.session {
            Ok(session) => session.read(&self.exchange, &mut self.histories),
            Err(error) => Err(error.clone()),
        }
    }

    /// Opens a session in place of the one there is, which ends because of `why`.
    fn reopen(&mut self, why: GpuError) -> Result<(), GpuError> {
        self.close(why);
        self.retry_at = None;
        let opened = library::open(self.settings.library.as_deref(), &self.exchange.calls);
        self.session = opened.map(|nvml| Session::new(nvml, &self.exchange.calls));
        match &self.session {
            Ok(_) => Ok(()),
            Err(error) => {
                self.retry_at = Some(Instant::now() + self.settings.retry_interval);
                Err(error.clone())
            }
        }
    }

    /// A session that ends as soon as it is opened is not opened all the time.
    fn give_up(&mut self, why: &GpuError) {
        self.close(why.clone());
        self.retry_at = Some(Instant::now() + self.settings.retry_interval);
    }

    fn close(&mut self, why: GpuError) {
        if let Ok(session) = std::mem::replace(&mut self.session, Err(why)) {
            session.close(&self.exchange.calls, &mut self.histories);
        }
    }
}
