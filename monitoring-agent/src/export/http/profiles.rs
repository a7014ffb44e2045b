//! The endpoints of profiles: who may ask, what is asked for, and the answer.
//!
//! Knows captures and the history by what they can be asked, and not how they work.

mod access;
mod index;
mod making;
mod peer;
mod query;
mod time;

use std::{
    fmt::Display,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Response, StatusCode, Uri,
    header::{self, HeaderName, HeaderValue},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use self::making::{Made, NotMade};
pub(super) use self::peer::Peer;
use super::{
    answer::{HTML, PLAIN, Pieces, page, text},
    connection::Activity,
};
use crate::{
    config::ProfileAccess,
    profile::{
        history::{History, QueryError},
        service::{CaptureError, Service},
    },
};

/// Answers that may be made or read by clients at one time. Each may be megabytes large.
const ANSWERS: usize = 16;

/// Spans of the history that may be put together at one time. Each may take all the memory that it
/// is allowed.
const QUERIES: usize = 1;

/// When to ask again where all of these are taken.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How many times longer a client may take to read an answer that took time to make: it is large.
const LARGE: u32 = 6;

/// A client that went away. Nobody sees it but the counts of answers.
const CLIENT_CLOSED: u16 = 499;

const COVERED: HeaderName = HeaderName::from_static("x-profile-covered");
const TORN: HeaderName = HeaderName::from_static("x-profile-torn-windows");

/// What can be asked about profiles now.
#[derive(Debug)]
pub struct Profiles {
    /// Who may ask.
    pub access: ProfileAccess,
    /// Captures on demand, or why there are none, in words that name the setting.
    pub captures: Result<Service, String>,
    /// The history, or why there is none.
    pub history: Result<History, String>,
    answers: Arc<Semaphore>,
    queries: Arc<Semaphore>,
}

/// What can be asked now, and from each change of the configuration on.
pub type LatestProfiles = watch::Receiver<Arc<Profiles>>;

impl Profiles {
    /// These, for those who may ask.
    pub fn new(
        access: ProfileAccess,
        captures: Result<Service, String>,
        history: Result<History, String>,
    ) -> Self {
        Self {
            access,
            captures,
            history,
            answers: Arc::new(Semaphore::new(ANSWERS)),
            queries: Arc::new(Semaphore::new(QUERIES)),
        }
    }

    /// Others in the place of these. Answers that are being made still count.
    #[must_use]
    pub fn changed(
        &self,
        access: ProfileAccess,
        captures: Result<Service, String>,
        history: Result<History, String>,
    ) -> Self {
        Self {
            access,
            captures,
            history,
            answers: Arc::clone(&self.answers),
            queries: Arc::clone(&self.queries),
        }
    }

    /// Nothing, for this reason.
    pub fn none(why: &str) -> Self {
        let [captures, history] = [why, why].map(str::to_owned);
        Self::new(ProfileAccess::default(), Err(captures), Err(history))
    }
}

/// In what form a profile is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Pprof,
    FlameGraph,
    Folded,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Index,
    Profile(Endpoint),
}

/// Where a profile is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint(Form);

/// Where the index is.
pub(super) const INDEX_PATH: &str = "/debug/pprof/";

/// What is at this path, if it is one of profiles.
pub(super) fn at(path: &str) -> Option<At> {
    let form = match path {
        INDEX_PATH | "/debug/pprof" => return Some(At::Index),
        "/debug/pprof/profile" => Form::Pprof,
        "/debug/pprof/flamegraph" | "/flamegraph" => Form::FlameGraph,
        "/debug/pprof/folded" | "/folded" => Form::Folded,
        _ => return None,
    };
    Some(At::Profile(Endpoint(form)))
}

/// What is needed of a request.
pub(super) struct Asked {
    pub(super) at: At,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) peer: Peer,
}

/// The answer. Making it may take as long as a capture; it ends when the client goes away, or the
/// future is dropped.
pub(super) async fn answer(
    profiles: Arc<Profiles>,
    asked: Asked,
    activity: Arc<Activity>,
) -> Response<Pieces> {
    let Asked {
        at,
        method,
        uri,
        headers,
        peer,
    } = asked;
    if let Some(why) = access::refusal(profiles.access, peer.address, &uri, &headers) {
        return said(StatusCode::FORBIDDEN, why);
    }
    let endpoint = match at {
        At::Profile(endpoint) => endpoint,
        At::Index => return index(&profiles).await,
    };
    let ask = match query::parse(endpoint.0, uri.query(), SystemTime::now()) {
        Ok(ask) => ask,
        Err(why) => return said(StatusCode::BAD_REQUEST, why),
    };
    if method == Method::HEAD {
        return file(&ask, Bytes::new());
    }
    let permits = match permits(&profiles, &ask) {
        Ok(permits) => permits,
        Err(refused) => return *refused,
    };
    activity.make_until(making::longest(&ask), LARGE);
    let made = tokio::select! {
        made = making::make(&profiles, ask.clone(), permits) => made,
        () = peer.gone() => {
            let status = StatusCode::from_u16(CLIENT_CLOSED).expect("it is a status");
            let mut response = said(status, "the client closed the connection");
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
            return response;
        }
    };
    match made {
        Ok((made, permit)) => success(&ask, made, permit),
        Err(why) => failure(&why),
    }
}

/// What making an answer needs. Whoever works for it holds a clone, so that work that goes on when
/// the client has left counts until it ends.
#[derive(Clone)]
struct Permits {
    /// Held as long as the answer's bytes are there.
    answer: Arc<OwnedSemaphorePermit>,
    /// Held while what was read from the history is put together and drawn.
    query: Option<Arc<OwnedSemaphorePermit>>,
}

fn permits(profiles: &Profiles, ask: &query::Ask) -> Result<Permits, Box<Response<Pieces>>> {
    let take = |of: &Arc<Semaphore>, why: &str| {
        let permit = Arc::clone(of).try_acquire_owned();
        let permit = permit.map_err(|_| Box::new(busy(why, RETRY_AFTER)));
        permit.map(Arc::new)
    };
    let reads = matches!(ask.of, query::Of::History(_)) || ask.base.is_some();
    Ok(Permits {
        answer: take(
            &profiles.answers,
            "too many profiles are being sent; ask again soon",
        )?,
        query: if reads {
            let why = "the history is being read for someone else; ask again soon";
            Some(take(&profiles.queries, why)?)
        } else {
            None
        },
    })
}

/// Bytes, and the right to have them in memory.
struct Held {
    bytes: Vec<u8>,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn success(ask: &query::Ask, made: Made, permit: Arc<OwnedSemaphorePermit>) -> Response<Pieces> {
    let held = Held {
        bytes: made.bytes,
        _permit: permit,
    };
    let mut response = file(ask, Bytes::from_owner(held));
    let headers = response.headers_mut();
    if let Some(covered) = made
        .covered
        .and_then(|text| HeaderValue::try_from(text).ok())
    {
        headers.insert(COVERED, covered);
        headers.insert(TORN, made.torn.into());
    }
    response
}

/// An answer with a profile in it.
fn file(ask: &query::Ask, bytes: Bytes) -> Response<Pieces> {
    let content_type = match ask.form {
        Form::Pprof => HeaderValue::from_static("application/octet-stream"),
        Form::FlameGraph => HeaderValue::from_static("image/svg+xml"),
        Form::Folded => PLAIN,
    };
    let mut response = page(StatusCode::OK, content_type, Pieces::from(bytes));
    let headers = response.headers_mut();
    match ask.form {
        Form::Pprof => {
            let name = format!("attachment; filename=\"profile-{}.pb.gz\"", ask.kind());
            let name = HeaderValue::try_from(name).expect("names of types are plain letters");
            headers.insert(header::CONTENT_DISPOSITION, name);
        }
        Form::FlameGraph => {
            // It runs the script that is in it, and loads nothing.
            headers.insert(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(
                    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
                ),
            );
        }
        Form::Folded => {}
    }
    response
}

async fn index(profiles: &Profiles) -> Response<Pieces> {
    let kept = match &profiles.history {
        Ok(history) => Ok(making::kept(history).await),
        Err(why) => Err(why.as_str()),
    };
    let captures = profiles.captures.as_ref();
    let html = index::page(captures.err().map(String::as_str), kept);
    let mut response = page(StatusCode::OK, HTML, Pieces::from(Bytes::from(html)));
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
    );
    response
}

fn failure(why: &NotMade) -> Response<Pieces> {
    match why {
        NotMade::Absent(why) => said(StatusCode::NOT_FOUND, why),
        NotMade::Mismatch(why) => said(StatusCode::BAD_REQUEST, why),
        NotMade::Failed(why) => said(StatusCode::INTERNAL_SERVER_ERROR, why),
        NotMade::Capture(error) => match error {
            CaptureError::Busy { retry_after, .. } => busy(error, *retry_after),
            CaptureError::Unsupported(_) => said(StatusCode::NOT_IMPLEMENTED, error),
            CaptureError::NoSuchProcess(_) | CaptureError::NoSuchAgent(_) => {
                said(StatusCode::NOT_FOUND, error)
            }
            CaptureError::Failed(_) => said(StatusCode::INTERNAL_SERVER_ERROR, error),
        },
        NotMade::History(error) => match error {
            QueryError::Nothing { .. } | QueryError::Torn(_) => said(StatusCode::NOT_FOUND, error),
            QueryError::TooLarge => said(StatusCode::PAYLOAD_TOO_LARGE, error),
            QueryError::Abandoned | QueryError::Directory(_) => {
                said(StatusCode::INTERNAL_SERVER_ERROR, error)
            }
        },
    }
}

fn busy(why: impl Display, retry_after: Duration) -> Response<Pieces> {
    let mut response = said(StatusCode::SERVICE_UNAVAILABLE, why);
    // Whole seconds, and not too early.
    let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, seconds.into());
    response
}

fn said(status: StatusCode, why: impl Display) -> Response<Pieces> {
    text(status, format!("{}: {why}\n", status.as_u16()))
}
