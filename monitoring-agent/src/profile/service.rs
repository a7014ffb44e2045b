//! Captures on demand: how many at one time, and how each begins and ends.
//!
//! A capture blocks, so each has a thread of its own. How one is made is the engine's; who asks for
//! one, and what becomes of the profile, is not known here.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use monitoring_profile::Profile;
use tokio::sync::oneshot;

use super::Type;

/// Samples a second and CPU where nobody says how many: as those profilers have it that are started
/// by hand, and no divisor of the kernel's ticks.
pub const DEFAULT_HERTZ: u32 = 99;

/// What to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Of what.
    pub kind: Type,
    /// Samples a second and CPU, for [`Type::Cpu`] only. [`DEFAULT_HERTZ`] if `None`.
    pub hertz: Option<u32>,
    /// Only this process, with all its threads. All if `None`.
    pub pid: Option<u32>,
    /// Only the processes of this agent. All if `None`.
    pub agent: Option<String>,
    /// For how long.
    pub duration: Duration,
}

/// How far a capture is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Since it began to sample.
    pub elapsed: Duration,
    /// Samples so far, or events where there are no samples.
    pub samples: u64,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// As many are captured as may be at one time.
    #[error("as many profiles are being captured as may be at one time ({limit})")]
    Busy {
        /// How many that is.
        limit: usize,
        /// When the first of them will be over; at least a second.
        retry_after: Duration,
    },
    /// This kernel, machine or user cannot.
    #[error("{0}")]
    Unsupported(String),
    /// The process is not there.
    #[error("there is no process {0}")]
    NoSuchProcess(u32),
    /// No agent is named so.
    #[error("there is no agent {0:?} in the configuration")]
    NoSuchAgent(String),
    /// Something went wrong.
    #[error("the capture failed: {0:#}")]
    Failed(anyhow::Error),
}

/// Captures a profile on the thread that calls it. It looks at [`Watch`] at least ten times a second.
pub type Engine = dyn Fn(&Request, &mut Watch) -> Result<Profile, CaptureError> + Send + Sync;

/// What a capture is told, and tells, while it runs.
pub struct Watch {
    orders: Arc<Orders>,
    progress: Box<dyn FnMut(Progress) + Send>,
}

#[derive(Default)]
struct Orders {
    finish: AtomicBool,
    abandon: AtomicBool,
}

impl Watch {
    /// Whether to end now, before the time is over, with a profile of what there is.
    pub fn is_over(&self) -> bool {
        self.orders.finish.load(Relaxed) || self.is_abandoned()
    }

    /// Whether nobody wants the profile any more: whatever is returned is dropped.
    pub fn is_abandoned(&self) -> bool {
        self.orders.abandon.load(Relaxed)
    }

    /// Says how far it is.
    pub fn report(&mut self, progress: Progress) {
        (self.progress)(progress);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("is_over", &self.is_over())
            .finish_non_exhaustive()
    }
}

/// Captures, and no more than a number of them at one time. Cheap to clone; all clones count
/// together.
#[derive(Clone)]
pub struct Service {
    engine: Arc<Engine>,
    running: Arc<Running>,
}

/// The captures that run.
struct Running {
    limit: AtomicUsize,
    /// When each will be over, by a number that is its own.
    ends: Mutex<(u64, Vec<(u64, Instant)>)>,
}

/// A capture's place. Free when it is dropped.
struct Place {
    running: Arc<Running>,
    number: u64,
}

impl Service {
    /// A service of this engine, for so many captures at one time; at least one.
    pub fn new(
        engine: impl Fn(&Request, &mut Watch) -> Result<Profile, CaptureError> + Send + Sync + 'static,
        limit: usize,
    ) -> Self {
        Self {
            engine: Arc::new(engine),
            running: Arc::new(Running {
                limit: AtomicUsize::new(limit.max(1)),
                ends: Mutex::default(),
            }),
        }
    }

    /// From now on so many captures at one time; at least one. Those that run go on, and count.
    pub fn set_limit(&self, limit: usize) {
        self.running.limit.store(limit.max(1), Relaxed);
    }

    /// Captures a profile. If the future is dropped, the capture ends soon and is lost.
    ///
    /// # Errors
    ///
    /// At once if too many run, soon if it cannot begin, and at its end if it fails.
    pub async fn capture(
        &self,
        request: Request,
        progress: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Profile, CaptureError> {
        self.capture_until(request, std::future::pending(), progress)
            .await
    }

    /// As [`Service::capture`], but as soon as `finish` is ready the capture ends, and the profile
    /// is of what there is by then.
    ///
    /// # Errors
    ///
    /// As for [`Service::capture`].
    pub async fn capture_until(
        &self,
        request: Request,
        finish: impl Future<Output = ()>,
        progress: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Profile, CaptureError> {
        let place = self.running.take(request.duration)?;
        let orders = Arc::new(Orders::default());
        let _abandon = AbandonOnDrop(Arc::clone(&orders));
        let mut watch = Watch {
            orders: Arc::clone(&orders),
            progress: Box::new(progress),
        };
        let (send, mut result) = oneshot::channel();
        let engine = Arc::clone(&self.engine);
        let run = move || {
            let result = engine(&request, &mut watch);
            // It is over when it has ended, not when it is no longer wanted.
            drop(place);
            // Nobody listens to one that was abandoned.
            let _ = send.send(result);
        };
        let thread = thread::Builder::new().name("capture".to_owned()).spawn(run);
        thread.map_err(|error| {
            CaptureError::Failed(anyhow!(error).context("start a thread for it"))
        })?;
        let mut finish = pin!(finish);
        let result = tokio::select! {
            result = &mut result => result,
            () = &mut finish => {
                orders.finish.store(true, Relaxed);
                result.await
            }
        };
        result.unwrap_or_else(|_| Err(CaptureError::Failed(anyhow!("its thread panicked"))))
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("limit", &self.running.limit.load(Relaxed))
            .finish_non_exhaustive()
    }
}

impl Running {
    fn take(self: &Arc<Self>, duration: Duration) -> Result<Place, CaptureError> {
        let now = Instant::now();
        // Only whole pushes and removals happen under the lock.
        let mut guard = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, ends) = &mut *guard;
        let limit = self.limit.load(Relaxed);
        if ends.len() >= limit {
            let first = ends.iter().map(|(_, end)| *end).min();
            let wait = first.map_or(Duration::ZERO, |end| end.saturating_duration_since(now));
            return Err(CaptureError::Busy {
                limit,
                retry_after: wait.max(Duration::from_secs(1)),
            });
        }
        *last += 1;
        ends.push((*last, now + duration));
        Ok(Place {
            running: Arc::clone(self),
            number: *last,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ends = &self.running.ends;
        let mut ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.1.retain(|(number, _)| *number != self.number);
    }
}

struct AbandonOnDrop(Arc<Orders>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.abandon.store(true, Relaxed);
    }
}
