//! What a request is answered: paths, methods, status codes, headers.
//!
//! Answers are ready at once: they are made of bytes that exist or of the newest snapshot, and
//! never wait for a source.

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

use super::{HttpOptions, HttpStats, connection::Activity, landing, readers::Readers};
use crate::{
    export::{
        negotiate::{TextFormat, scrape_timeout, wants_gzip},
        render::{Form, Renders},
    },
    snapshot::Latest,
};

const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Where JSON is served.
pub(super) const JSON_PATH: &str = "/metrics.json";

/// What is served, to all connections.
pub(super) struct Site {
    pub(super) options: HttpOptions,
    pub(super) stats: Arc<HttpStats>,
    renders: Renders,
    readers: Readers,
    landing: Bytes,
    not_found: Bytes,
}

impl Site {
    pub(super) fn new(options: HttpOptions, latest: Latest, stats: Arc<HttpStats>) -> Self {
        let path = &options.metrics_path;
        let not_found = format!(
            "404: there is no such path. There are: / {path} {JSON_PATH} /healthz /readyz\n"
        );
        Self {
            landing: landing::page(path).into(),
            not_found: not_found.into(),
            renders: Renders::new(latest),
            readers: Readers::default(),
            options,
            stats,
        }
    }

    /// The whole answer. Its body is small, or shared with other answers.
    pub(super) fn answer(
        &self,
        request: &Request<Incoming>,
        activity: &Arc<Activity>,
    ) -> Response<Pieces> {
        let mut response = self.route(request, activity);
        let headers = response.headers_mut();
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if !request.body().is_end_stream() {
            // No request has a meaningful body, and none is read to find the next request.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.stats.count_answer(response.status());
        response
    }

    fn route(&self, request: &Request<Incoming>, activity: &Arc<Activity>) -> Response<Pieces> {
        let answer: &dyn Fn() -> Response<Pieces> = match request.uri().path() {
            path if path == self.options.metrics_path => {
                &|| self.scrape(Form::Text, request.headers(), activity)
            }
            JSON_PATH => &|| self.scrape(Form::Json, request.headers(), activity),
            "/healthz" => &|| text(StatusCode::OK, "ok\n"),
            "/readyz" => &|| self.ready(),
            "/" => &|| self.landing(),
            _ => return text(StatusCode::NOT_FOUND, self.not_found.clone()),
        };
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return answer();
        }
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "405: only GET and HEAD are answered here\n",
        );
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        response
    }

    fn scrape(
        &self,
        form: Form,
        headers: &HeaderMap,
        activity: &Arc<Activity>,
    ) -> Response<Pieces> {
        let values = |name| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        let gzip = wants_gzip(values(header::ACCEPT_ENCODING));
        let content_type = match form {
            Form::Json => JSON,
            Form::Text => TextFormat::negotiate(values(header::ACCEPT))
                .content_type()
                .try_into()
                .expect("a content type is made of visible ASCII"),
        };
        let timeout = headers
            .get(SCRAPE_TIMEOUT)
            .and_then(|v| scrape_timeout(v.as_bytes()));
        let deadline = timeout.and_then(|timeout| activity.request_began().checked_add(timeout));

        let [shared, tail] = self.renders.scrape(form, gzip);
        if let Some(deadline) = deadline {
            // From here on the deadline bounds the writing, see `Activity`.
            activity.answer_by(deadline);
            if deadline <= Instant::now() {
                return too_late();
            }
        }
        let (shared, cut_off) = self.readers.lend(shared, activity);
        self.stats.evicted_connections.fetch_add(cut_off, Relaxed);
        let mut response = page(StatusCode::OK, content_type, Pieces::from([shared, tail]));
        let headers = response.headers_mut();
        headers.insert(
            header::VARY,
            HeaderValue::from_static("Accept, Accept-Encoding"),
        );
        if gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    fn ready(&self) -> Response<Pieces> {
        if self.renders.snapshot().ready {
            return text(StatusCode::OK, "ready\n");
        }
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: no source has delivered its first numbers yet\n",
        )
    }

    fn landing(&self) -> Response<Pieces> {
        let mut response = page(StatusCode::OK, HTML, Pieces::from(self.landing.clone()));
        response.headers_mut().insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
        );
        response
    }
}

fn too_late() -> Response<Pieces> {
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        "503: the time in X-Prometheus-Scrape-Timeout-Seconds had passed before the answer was \
         ready. Either it is too short, or this node is overloaded.\n",
    )
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Pieces> {
    page(status, PLAIN, Pieces::from(body.into()))
}

fn page(status: StatusCode, content_type: HeaderValue, body: Pieces) -> Response<Pieces> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

/// A body of up to two pieces, of known length, which copies neither.
#[derive(Debug)]
pub(super) struct Pieces([Bytes; 2]);

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
