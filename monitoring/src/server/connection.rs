//! One connection: what it is doing, since when, and how long it may.
//!
//! The socket is wrapped so that reads and writes themselves tell the phase; hyper's own timers
//! are not used, because it has one for request heads and idle connections together. Knows nothing
//! of paths and metrics.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use super::{Limits, Site};

/// The largest head of a request. hyper also refuses more than 100 header lines. Both are
/// answered 431.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has not sent a byte yet.
    Fresh,
    /// A part of a request has come.
    Reading,
    /// An answer is being made, which takes time.
    Making,
    /// An answer is under way.
    Writing,
    /// It may send another request.
    Idle,
}

/// What a connection is doing, shared between its task and those that make room.
#[derive(Debug)]
pub struct Activity {
    state: Mutex<State>,
    task: OnceLock<AbortHandle>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// When the client itself gives up on the answer.
    answer_by: Option<Instant>,
    /// How long making the answer may take, where that takes time.
    making: Option<Duration>,
    /// How many times longer than usual the client may take to read the answer.
    patience: u32,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By either side, in order; or broken by the client.
    Closed,
    /// By us, because what came was no HTTP.
    Malformed,
    /// By us, because the client was too slow.
    TimedOut,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::Fresh,
                since: Instant::now(),
                answer_by: None,
                making: None,
                patience: 1,
            }),
            task: OnceLock::new(),
        }
    }

    /// Says which task serves the connection.
    pub(super) fn belongs_to(&self, task: AbortHandle) {
        self.task.get_or_init(|| task);
    }

    /// Ends the connection.
    pub(super) fn cut_off(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Only plain assignments happen under the lock: whatever a panic left behind is valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase, from: impl FnOnce(Phase) -> bool) {
        let mut state = self.state();
        if from(state.phase) {
            state.phase = phase;
            state.since = Instant::now();
            if phase == Phase::Idle {
                state.answer_by = None;
                state.making = None;
                state.patience = 1;
            }
        }
    }

    fn phase(&self) -> Phase {
        self.state().phase
    }

    /// Whether an answer is under way, and since when the connection does what it does.
    pub(super) fn standing(&self) -> (bool, Instant) {
        let state = self.state();
        let answers = matches!(state.phase, Phase::Making | Phase::Writing);
        (answers, state.since)
    }

    /// When the request at hand began to come in; now, where it came together with the one
    /// before it.
    pub fn request_began(&self) -> Instant {
        let state = self.state();
        if state.phase == Phase::Reading {
            state.since
        } else {
            Instant::now()
        }
    }

    /// Says when the client gives up on the answer to the request at hand.
    pub fn answer_by(&self, deadline: Instant) {
        self.state().answer_by = Some(deadline);
    }

    /// Says that the answer to the request at hand is being made, how long that may take, and how
    /// many times longer than usual the client may then take to read it: it may be large.
    pub fn make_until(&self, longest: Duration, patience: u32) {
        let mut state = self.state();
        state.making = Some(longest);
        state.patience = patience;
        drop(state);
        self.enter(Phase::Making, |phase| phase != Phase::Writing);
    }

    fn deadline(&self, limits: &Limits) -> Instant {
        let state = self.state();
        let allowed = match state.phase {
            Phase::Fresh | Phase::Reading => limits.header_timeout,
            Phase::Making => state.making.unwrap_or_default(),
            Phase::Writing => limits.write_timeout * state.patience,
            Phase::Idle => limits.idle_timeout,
        };
        let deadline = state.since + allowed;
        match state.answer_by {
            Some(answer_by) if state.phase == Phase::Writing => deadline.min(answer_by),
            _ => deadline,
        }
    }
}

/// Serves one connection until either side closes it, it is too slow, or `closing` ends.
pub(super) async fn drive<S: Site>(
    stream: TcpStream,
    activity: Arc<Activity>,
    site: Arc<S>,
    mut closing: watch::Receiver<()>,
) -> End {
    // Answers are written whole; waiting for more to fill a packet would only delay them.
    // Where it fails the connection is broken, and the first read says so.
    _ = stream.set_nodelay(true);
    let mut first_byte = [0];
    tokio::select! {
        // Not `readable`, which takes every accepted connection for readable at first.
        peeked = stream.peek(&mut first_byte) => if peeked.is_err() {
            return End::Closed;
        },
        () = sleep_until(activity.deadline(site.limits())) => return End::TimedOut,
        _ = closing.changed() => return End::Closed,
    }
    // This and hyper's buffers are the most that a connection costs: only those that say
    // something do.
    Box::pin(serve_requests(stream, activity, site, closing)).await
}

async fn serve_requests<S: Site>(
    stream: TcpStream,
    activity: Arc<Activity>,
    site: Arc<S>,
    mut closing: watch::Receiver<()>,
) -> End {
    let peer = S::peer(&stream);
    let (site, activity) = (&site, &activity);
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, std::convert::Infallible>(site.answer(&request, activity, peer).await)
    });
    let io = TokioIo::new(Watched {
        stream,
        activity: Arc::clone(activity),
    });
    let connection = http1::Builder::new()
        // A client that shuts its writing side down after the request still gets its answer.
        .half_close(true)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let mut timer = pin!(sleep_until(activity.deadline(site.limits())));
    let mut closing = pin!(closing.changed());
    let mut is_closing = false;
    std::future::poll_fn(|context| {
        if !is_closing && closing.as_mut().poll(context).is_ready() {
            is_closing = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(result) = connection.as_mut().poll(context) {
            return Poll::Ready(match result {
                Err(error) if error.is_parse() => End::Malformed,
                _ => End::Closed,
            });
        }
        let deadline = activity.deadline(site.limits());
        if deadline != timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(context));
        let idle = activity.phase() == Phase::Idle;
        Poll::Ready(if idle { End::Closed } else { End::TimedOut })
    })
    .await
}

/// A socket that keeps its connection's [`Activity`] current.
struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.activity.phase() == Phase::Writing {
            // The client does not read. Without this the kernel would keep the rest of the answer
            // for minutes. Where it fails, it does.
            _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            let waited = |phase| matches!(phase, Phase::Fresh | Phase::Idle);
            self.activity.enter(Phase::Reading, waited);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.activity
            .enter(Phase::Writing, |phase| phase != Phase::Writing);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity
            .enter(Phase::Writing, |phase| phase != Phase::Writing);
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes after each write, and only once the kernel has taken all of it.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.activity
            .enter(Phase::Idle, |phase| phase == Phase::Writing);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
