//! Makes the profile that was asked for, and the bytes of its answer. Away from the thread that
//! serves: reading, merging and drawing take time.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use monitoring_profile::{Profile, folded, pprof, svg};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    Form, Permits, Profiles,
    query::{Ask, Of},
};
use crate::profile::{
    history::{Found, History, Query, QueryError, Span},
    service::{CaptureError, DEFAULT_HERTZ, Request},
};

/// Most spans that one header tells.
const TOLD_SPANS: usize = 16;

/// How much less important than others' work this is, from 0 to 19.
const NICE: libc::c_int = 10;

/// An answer's body, and what its headers say.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) bytes: Vec<u8>,
    /// What it really covers; for what comes from the history.
    pub(super) covered: Option<String>,
    /// Windows that were torn and left out.
    pub(super) torn: usize,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum NotMade {
    /// There is no such thing here, for this reason.
    Absent(String),
    Capture(CaptureError),
    History(QueryError),
    /// What was asked for does not go together.
    Mismatch(String),
    /// Something went wrong.
    Failed(String),
}

/// A profile, and what is to be said of it.
struct Part {
    profile: Profile,
    about: String,
    covered: Option<Vec<Span>>,
    torn: usize,
}

/// Makes it; its bytes hold the permit. Dropping the future ends what is under way.
pub(super) async fn make(
    profiles: &Profiles,
    ask: Ask,
    mut permits: Permits,
) -> Result<(Made, Arc<OwnedSemaphorePermit>), NotMade> {
    // The base is read first: that it is not there should not be said after a long capture.
    let base = match &ask.base {
        Some(query) => Some(from_history(profiles, query, &permits).await?),
        None => None,
    };
    let part = match &ask.of {
        Of::Capture(request) => {
            // Others may read the history during a capture, which may take an hour.
            permits.query = None;
            captured(profiles, request).await?
        }
        Of::History(query) => from_history(profiles, query, &permits).await?,
    };
    let covered = part.covered.as_deref().map(told);
    let torn = part.torn + base.as_ref().map_or(0, |base| base.torn);
    let answer = Arc::clone(&permits.answer);
    let bytes = quietly(permits, move |_| render(&ask, part, base.as_ref())).await??;
    let made = Made {
        bytes,
        covered,
        torn,
    };
    Ok((made, answer))
}

async fn captured(profiles: &Profiles, request: &Request) -> Result<Part, NotMade> {
    let service = profiles.captures.as_ref();
    let service = service.map_err(|why| NotMade::Absent(format!("no profile on demand: {why}")))?;
    let profile = service.capture(request.clone(), |_| {}).await;
    let profile = profile.map_err(NotMade::Capture)?;
    let mut about = format!("{} s", request.duration.as_secs());
    if request.kind == crate::profile::Type::Cpu {
        // Writing to a string does not fail.
        let _ = write!(about, " at {} Hz", request.hertz.unwrap_or(DEFAULT_HERTZ));
    }
    if let Some(pid) = request.pid {
        let _ = write!(about, ", process {pid}");
    }
    if let Some(agent) = &request.agent {
        let _ = write!(about, ", agent {agent}");
    }
    Ok(Part {
        profile,
        about,
        covered: None,
        torn: 0,
    })
}

async fn from_history(
    profiles: &Profiles,
    query: &Query,
    permits: &Permits,
) -> Result<Part, NotMade> {
    let history = profiles.history.as_ref();
    let history = history.map_err(|why| NotMade::Absent(format!("no history: {why}")))?;
    let (history, query): (History, Query) = (history.clone(), query.clone());
    let read = move |is_abandoned: &dyn Fn() -> bool| history.query(&query, is_abandoned);
    let found = quietly(permits.clone(), read).await?;
    let Found {
        profile,
        covered,
        windows,
        torn,
    } = found.map_err(NotMade::History)?;
    let mut about = format!("{windows} windows: {}", told(&covered));
    if torn > 0 {
        // Writing to a string does not fail.
        let _ = write!(about, "; {torn} more were torn and left out");
    }
    Ok(Part {
        profile,
        about,
        covered: Some(covered),
        torn,
    })
}

/// The spans in words, of which there may be very many.
fn told(spans: &[Span]) -> String {
    let mut text: Vec<_> = spans.iter().take(TOLD_SPANS).map(Span::to_string).collect();
    if let more @ 1.. = spans.len().saturating_sub(TOLD_SPANS) {
        text.push(format!("and {more} more"));
    }
    text.join(", ")
}

/// The bytes of an answer.
fn render(ask: &Ask, part: Part, base: Option<&Part>) -> Result<Vec<u8>, NotMade> {
    let value = value(&part.profile, ask.value.as_deref())?;
    if let Some(base) = base
        && base.profile.sample_types() != part.profile.sample_types()
    {
        let why = "the two profiles measure different things, so they cannot be compared";
        return Err(NotMade::Mismatch(why.to_owned()));
    }
    let kind = ask.kind();
    let options = svg::Options {
        title: match base {
            None => format!("{kind} profile"),
            Some(_) => format!("{kind} profile, compared with one before"),
        },
        subtitle: Some(match base {
            None => part.about,
            Some(base) => format!("{} (before: {})", part.about, base.about),
        }),
        ..svg::Options::default()
    };
    let (after, before) = (&part.profile, base.map(|base| &base.profile));
    let mut bytes = Vec::new();
    let failed = |error: &dyn std::fmt::Display| NotMade::Failed(error.to_string());
    let folded_options = folded::Options::default();
    match (ask.form, before) {
        (Form::Pprof, None) => bytes = pprof::write(after),
        (Form::Pprof, Some(before)) => {
            let difference = Profile::difference(before, after);
            bytes = pprof::write(&difference.map_err(|error| failed(&error))?);
        }
        (Form::Folded, None) => folded::write(after, value, &folded_options, &mut bytes)
            .map_err(|error| failed(&error))?,
        (Form::Folded, Some(before)) => {
            folded::write_difference(before, after, value, &folded_options, &mut bytes)
                .map_err(|error| failed(&error))?;
        }
        (Form::FlameGraph, None) => {
            svg::write(after, value, &options, &mut bytes).map_err(|error| failed(&error))?;
        }
        (Form::FlameGraph, Some(before)) => {
            svg::write_difference(before, after, value, &options, &mut bytes)
                .map_err(|error| failed(&error))?;
        }
    }
    Ok(bytes)
}

/// Which value of each sample is shown.
fn value(profile: &Profile, wanted: Option<&str>) -> Result<usize, NotMade> {
    let Some(wanted) = wanted else {
        return Ok(profile.default_type());
    };
    profile.type_named(wanted).ok_or_else(|| {
        let types = profile.sample_types().iter();
        let known: Vec<_> = types.map(|value| value.kind.as_str()).collect();
        let known = known.join(", value=");
        NotMade::Mismatch(format!("there is no such value; use value={known}"))
    })
}

/// Runs on a thread of its own, which yields to others' work. What runs may ask whether anybody
/// still waits. What is held is dropped when the work has ended, also if nobody waits any more.
async fn quietly<T: Send + 'static>(
    held: impl Send + 'static,
    work: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
) -> Result<T, NotMade> {
    struct AbandonOnDrop(Arc<AtomicBool>);
    impl Drop for AbandonOnDrop {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    let abandoned = Arc::new(AtomicBool::new(false));
    let _abandon = AbandonOnDrop(Arc::clone(&abandoned));
    let (send, receive) = oneshot::channel();
    let run = move || {
        // SAFETY: sets the priority of this thread alone, 0 being the one that calls; where that
        // fails, the thread works as eagerly as others.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
        let result = work(&|| abandoned.load(Relaxed));
        // Before the result is known: who has it may ask for the next one at once.
        drop(held);
        // Nobody may wait any more.
        let _ = send.send(result);
    };
    let thread = thread::Builder::new().name("profile-answer".to_owned());
    let spawned = thread.spawn(run);
    spawned.map_err(|error| NotMade::Failed(format!("start a thread: {error}")))?;
    let result = receive.await;
    result.map_err(|_| NotMade::Failed("its thread panicked; see the agent's log".to_owned()))
}

/// How long making it may take: what is captured, and some time to name, merge and draw.
pub(super) fn longest(ask: &Ask) -> Duration {
    // Weeks of windows take minutes to put together.
    const SLACK: Duration = Duration::from_mins(10);
    match &ask.of {
        Of::Capture(request) => request.duration + SLACK,
        Of::History(_) => SLACK,
    }
}

/// The spans that the history has of each type, in words.
pub(super) async fn kept(history: &History) -> Option<String> {
    let history = history.clone();
    let windows = quietly((), move |_| history.windows()).await.ok()?.ok()?;
    let (first, last) = (windows.first()?, windows.last()?);
    let all = Span {
        start_ms: first.start_ms,
        end_ms: last.end_ms.max(first.end_ms),
    };
    Some(format!("{} windows, {all}", windows.len()))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc,
        time::{Duration, Instant},
    };

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn who_leaves_does_not_free_what_still_works() {
        let places = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&places).try_acquire_owned().unwrap();
        let (begun, begins) = oneshot::channel();
        let (go_on, waits) = mpsc::channel::<()>();
        let work = quietly(permit, move |is_abandoned| {
            begun.send(()).unwrap();
            waits.recv().unwrap();
            assert!(is_abandoned());
        });
        tokio::select! {
            _ = work => panic!("it ended"),
            begun = begins => begun.unwrap(),
        }
        assert_eq!(places.available_permits(), 0, "its thread works");
        go_on.send(()).unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        while places.available_permits() == 0 {
            assert!(Instant::now() < deadline, "its place is never free");
            thread::yield_now();
        }
    }
}
