//! What the log is told of a collector: one line when it does not take what it is sent, and one when
//! it does again, however many tries lie between. Knows nothing of what is sent.

use std::time::{Duration, Instant};

use tracing::{info, warn};

/// After a line that it goes wrong there is no other such line for so long: a collector that comes
/// and goes does not fill the log.
const QUIET: Duration = Duration::from_mins(1);

/// How a collector takes what it is sent.
#[derive(Debug)]
pub(super) struct Health {
    /// What is sent, for people.
    what: &'static str,
    /// Since when it does not work.
    since: Option<Instant>,
    /// Whether the log says so.
    is_told: bool,
    last_told: Option<Instant>,
    last_remark: Option<Instant>,
    /// What the log says is too large, and since when.
    narrowed: Option<(usize, Instant)>,
}

impl Health {
    pub(super) fn of(what: &'static str) -> Self {
        Self {
            what,
            since: None,
            is_told: false,
            last_told: None,
            last_remark: None,
            narrowed: None,
        }
    }

    /// It did not work. `then` says what becomes of what was to be sent.
    pub(super) fn failed(&mut self, url: &str, why: &str, then: &str, now: Instant) {
        self.since.get_or_insert(now);
        if self.is_told || is_recent(self.last_told, now) {
            return;
        }
        (self.is_told, self.last_told) = (true, Some(now));
        warn!("{} cannot be sent to {url}: {why}; {then}", self.what);
    }

    /// It worked.
    pub(super) fn worked(&mut self, url: &str, now: Instant) {
        let since = self.since.take().unwrap_or(now);
        if std::mem::take(&mut self.is_told) {
            let seconds = now.duration_since(since).as_secs_f64();
            info!(
                "{} are sent to {url} again, after {seconds:.1} s",
                self.what
            );
        }
    }

    /// A request of so many bytes was too large. Said again only of much smaller ones: sizes grow
    /// until one is too large once more.
    pub(super) fn narrowed(&mut self, url: &str, why: &str, bytes: usize, now: Instant) {
        let is_said = self
            .narrowed
            .is_some_and(|(said, at)| bytes > said / 2 || is_recent(Some(at), now));
        if is_said {
            return;
        }
        self.narrowed = Some((bytes, now));
        warn!(
            "a request of {bytes} bytes with {} is too large for {url}: {why}; smaller ones are \
             sent",
            self.what
        );
    }

    /// It worked, but for a part, or the collector has something to say.
    pub(super) fn remarked(&mut self, url: &str, rejected: u64, said: &str, now: Instant) {
        if is_recent(self.last_remark, now) {
            return;
        }
        self.last_remark = Some(now);
        if rejected == 0 {
            info!("the collector at {url} says of {}: {said}", self.what);
        } else {
            warn!(
                "the collector at {url} rejects some {} of a request: {said}; such are dropped",
                self.what
            );
        }
    }
}

fn is_recent(last: Option<Instant>, now: Instant) -> bool {
    last.is_some_and(|last| now.duration_since(last) < QUIET)
}
