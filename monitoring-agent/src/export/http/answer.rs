//! What a request is answered: paths, methods, status codes, headers.
//!
//! Answers are ready at once: they are made of bytes that exist or of the newest snapshot, and
//! never wait for a source. Only those of `profiles` take time, which others do not notice.

use std::sync::Arc;

use bytes::Bytes;
use hyper::{HeaderMap, Request, Response, StatusCode, body::Incoming, header::HeaderValue};
pub(super) use monitoring::server::answer::{HTML, PLAIN, Pieces, page, text};
use monitoring::server::{
    Limits, Site,
    answer::{Scrape, finish, is_read, not_allowed},
    connection::Activity,
    negotiate::Kind,
    readers::Readers,
};
use tokio::net::TcpStream;

use super::{
    HttpOptions, HttpStats,
    page::Page,
    profiles::{self, INDEX_PATH, Peer},
};
use crate::{
    export::render::{Form, Renders},
    snapshot::Latest,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What metrics can be had in beside version 0.0.4 of the text format.
const OFFERED: &[Kind] = &[Kind::Text1_0_0, Kind::OpenMetrics1_0_0, Kind::Protobuf];

/// Where JSON is served.
pub(super) const JSON_PATH: &str = "/metrics.json";

/// What is served, to all connections.
pub(super) struct Agent {
    options: HttpOptions,
    limits: Limits,
    stats: Arc<HttpStats>,
    renders: Renders,
    readers: Readers,
    page: Page,
    not_found: Bytes,
}

impl Site for Agent {
    type Peer = Peer;

    fn peer(stream: &TcpStream) -> Peer {
        Peer::of(stream)
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn stats(&self) -> &HttpStats {
        &self.stats
    }

    /// The body of an answer is small, or shared with other answers.
    async fn answer(
        &self,
        request: &Request<Incoming>,
        activity: &Arc<Activity>,
        peer: Peer,
    ) -> Response<Pieces> {
        let mut response = match profiles::at(request.uri().path()) {
            // On the heap, because few connections ask for it.
            Some(at) if is_read(request) => {
                Box::pin(self.profile(at, request, activity, peer)).await
            }
            Some(_) => not_allowed(),
            None => self.route(request, activity),
        };
        finish(&mut response, request, &self.stats);
        response
    }
}

impl Agent {
    pub(super) fn new(options: HttpOptions, latest: Latest, stats: Arc<HttpStats>) -> Self {
        let path = &options.metrics_path;
        let not_found = format!(
            "404: there is no such path. There are: / {path} {JSON_PATH} /healthz /readyz \
             {INDEX_PATH}\n"
        );
        Self {
            page: Page::new(path),
            not_found: not_found.into(),
            renders: Renders::new(latest, Arc::clone(&options.exemplars)),
            readers: Readers::default(),
            limits: options.limits(),
            options,
            stats,
        }
    }

    fn route(&self, request: &Request<Incoming>, activity: &Arc<Activity>) -> Response<Pieces> {
        let answer: &dyn Fn() -> Response<Pieces> = match request.uri().path() {
            path if path == self.options.metrics_path => {
                &|| self.scrape(None, request.headers(), activity)
            }
            JSON_PATH => &|| self.scrape(Some(Form::Json), request.headers(), activity),
            "/healthz" => &|| text(StatusCode::OK, "ok\n"),
            "/readyz" => &|| self.ready(),
            "/" => &|| self.page.answer(request),
            _ => return text(StatusCode::NOT_FOUND, self.not_found.clone()),
        };
        if is_read(request) {
            return answer();
        }
        not_allowed()
    }

    fn profile(
        &self,
        at: profiles::At,
        request: &Request<Incoming>,
        activity: &Arc<Activity>,
        peer: Peer,
    ) -> impl Future<Output = Response<Pieces>> + use<> {
        let profiles = Arc::clone(&self.options.profiles.borrow());
        let asked = profiles::Asked {
            at,
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            peer,
        };
        profiles::answer(profiles, asked, Arc::clone(activity))
    }

    /// The metrics in this form, or in the one that the client likes best.
    fn scrape(
        &self,
        form: Option<Form>,
        headers: &HeaderMap,
        activity: &Arc<Activity>,
    ) -> Response<Pieces> {
        let scrape = Scrape::asked(headers, activity, OFFERED);
        let (form, content_type) = match form {
            Some(form) => (form, JSON),
            None => (form_of(scrape.format.kind), scrape.content_type()),
        };
        let pieces = self.renders.scrape(form, scrape.gzip);
        scrape.answer(content_type, pieces, activity, &self.readers, &self.stats)
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
}

fn form_of(kind: Kind) -> Form {
    match kind {
        Kind::Text0_0_4 | Kind::Text1_0_0 => Form::Text,
        Kind::OpenMetrics1_0_0 => Form::OpenMetrics,
        Kind::Protobuf => Form::Protobuf,
    }
}
