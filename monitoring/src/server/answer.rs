//! What answers have in common: bodies, headers, and what a scraper asks for.
//!
//! Knows no path.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header::{self, HeaderName, HeaderValue},
};
use tokio::time::Instant;

use super::{
    connection::Activity,
    negotiate::{Format, Kind, scrape_timeout, wants_gzip},
    readers::Readers,
    stats::Stats,
};

const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// The type of a text.
pub const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The type of a page.
pub const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// What a scraper asks for, and until when.
pub struct Scrape {
    /// Whether it wants the answer compressed.
    pub gzip: bool,
    /// The format that it likes best of those that are offered.
    pub format: Format,
    deadline: Option<Instant>,
}

impl Scrape {
    /// As the request says. Version 0.0.4 of the text format is always offered.
    pub fn asked(headers: &HeaderMap, activity: &Activity, offered: &[Kind]) -> Self {
        let values = |name| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        let timeout = headers
            .get(SCRAPE_TIMEOUT)
            .and_then(|value| scrape_timeout(value.as_bytes()));
        Self {
            gzip: wants_gzip(values(header::ACCEPT_ENCODING)),
            format: Format::negotiate(values(header::ACCEPT), offered),
            deadline: timeout.and_then(|timeout| activity.request_began().checked_add(timeout)),
        }
    }

    /// The type of the format that it is given.
    pub fn content_type(&self) -> HeaderValue {
        let text = self.format.content_type().try_into();
        text.expect("a content type is made of visible ASCII")
    }

    /// The answer: the part that all scrapers share, and this scrape's tail, compressed if that was
    /// asked for.
    pub fn answer(
        &self,
        content_type: HeaderValue,
        [shared, tail]: [Bytes; 2],
        activity: &Arc<Activity>,
        readers: &Readers,
        stats: &Stats,
    ) -> Response<Pieces> {
        if let Some(deadline) = self.deadline {
            // From here on the deadline bounds the writing, see `Activity`.
            activity.answer_by(deadline);
            if deadline <= Instant::now() {
                return too_late();
            }
        }
        let (shared, cut_off) = readers.lend(shared, activity);
        stats.evicted_connections.fetch_add(cut_off, Relaxed);
        let mut response = page(StatusCode::OK, content_type, Pieces::from([shared, tail]));
        let headers = response.headers_mut();
        headers.insert(
            header::VARY,
            HeaderValue::from_static("Accept, Accept-Encoding"),
        );
        if self.gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// Adds to an answer what all answers have, and counts it. It is not to be kept, unless it says
/// something else itself.
pub fn finish(response: &mut Response<Pieces>, request: &Request<Incoming>, stats: &Stats) {
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    if !request.body().is_end_stream() {
        // No request has a meaningful body, and none is read to find the next request.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    stats.count_answer(response.status());
}

/// A page for people, which may load nothing.
pub fn html(body: Bytes) -> Response<Pieces> {
    let mut response = page(StatusCode::OK, HTML, Pieces::from(body));
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
    );
    response
}

/// Whether the request only reads.
pub fn is_read(request: &Request<Incoming>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The answer to any other.
pub fn not_allowed() -> Response<Pieces> {
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "405: only GET and HEAD are answered here\n",
    );
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn too_late() -> Response<Pieces> {
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        "503: the time in X-Prometheus-Scrape-Timeout-Seconds had passed before the answer was \
         ready. Either it is too short, or this node is overloaded.\n",
    )
}

/// An answer of plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Pieces> {
    page(status, PLAIN, Pieces::from(body.into()))
}

/// An answer with this body.
pub fn page(status: StatusCode, content_type: HeaderValue, body: Pieces) -> Response<Pieces> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// A body of up to two pieces, of known length, which copies neither.
#[derive(Debug)]
pub struct Pieces([Bytes; 2]);

impl From<[Bytes; 2]> for Pieces {
    fn from(pieces: [Bytes; 2]) -> Self {
        Self(pieces)
    }
}

impl From<Bytes> for Pieces {
    fn from(piece: Bytes) -> Self {
        Self([piece, Bytes::new()])
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self
            .0
            .iter_mut()
            .find(|piece| !piece.is_empty())
            .map(std::mem::take);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}
