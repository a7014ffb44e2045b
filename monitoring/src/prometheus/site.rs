//! What a request is answered: paths, methods, status codes.
//!
//! Knows nothing of sockets.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{HeaderMap, Request, Response, StatusCode, body::Incoming};
use tokio::net::TcpStream;

use super::render::{Panicked, Renders};
use crate::{
    MetricsCollector,
    server::{
        Limits, Site,
        answer::{Pieces, Scrape, finish, html, is_read, not_allowed, text},
        connection::Activity,
        exposition::Syntax,
        landing,
        negotiate::Kind,
        readers::Readers,
        stats::Stats,
    },
};

/// How long metrics may take to be gathered. Prometheus itself waits for 10 s by default.
const LONGEST_GATHERING: Duration = Duration::from_mins(1);

/// What there is beside version 0.0.4 of the text format.
const OFFERED: &[Kind] = &[Kind::Text1_0_0, Kind::OpenMetrics1_0_0];

/// The metrics, and what is around them.
#[derive(Debug)]
pub(super) struct Metrics {
    path: String,
    renders: Renders,
    readers: Readers,
    limits: Limits,
    stats: Stats,
    landing: Bytes,
    not_found: Bytes,
}

impl Metrics {
    pub(super) fn new(path: &str, refresh_interval: Duration, collector: MetricsCollector) -> Self {
        let links = [
            (path, "Metrics, for Prometheus"),
            ("/healthz", "Whether the exporter runs"),
        ];
        let about = concat!("monitoring ", env!("CARGO_PKG_VERSION"));
        let lead = "The metrics of one process.";
        let not_found = format!("404: there is no such path. There are: / {path} /healthz\n");
        Self {
            landing: landing::document("Metrics", about, lead, &links, "").into(),
            not_found: not_found.into(),
            path: path.to_owned(),
            renders: Renders::new(collector, refresh_interval),
            readers: Readers::default(),
            limits: Limits::default(),
            stats: Stats::default(),
        }
    }

    async fn scrape(&self, headers: &HeaderMap, activity: &Arc<Activity>) -> Response<Pieces> {
        let scrape = Scrape::asked(headers, activity, OFFERED);
        activity.make_until(LONGEST_GATHERING, 1);
        let syntax = match scrape.format.kind {
            Kind::OpenMetrics1_0_0 => Syntax::OpenMetrics,
            _ => Syntax::Classic,
        };
        let rendered = self.renders.scrape(syntax, scrape.gzip, &self.stats);
        match rendered.await {
            Ok(pieces) => {
                let content_type = scrape.content_type();
                scrape.answer(content_type, pieces, activity, &self.readers, &self.stats)
            }
            Err(Panicked) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "500: gathering the metrics panicked, most likely in a collector of the \
                 application's own. The process's error output says where.\n",
            ),
        }
    }
}

impl Site for Metrics {
    type Peer = ();

    fn peer(_: &TcpStream) {}

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn stats(&self) -> &Stats {
        &self.stats
    }

    async fn answer(
        &self,
        request: &Request<Incoming>,
        activity: &Arc<Activity>,
        (): (),
    ) -> Response<Pieces> {
        let mut response = match request.uri().path() {
            path if path == self.path && is_read(request) => {
                self.scrape(request.headers(), activity).await
            }
            "/" if is_read(request) => html(self.landing.clone()),
            "/healthz" if is_read(request) => text(StatusCode::OK, "ok\n"),
            path if path == self.path || matches!(path, "/" | "/healthz") => not_allowed(),
            _ => text(StatusCode::NOT_FOUND, self.not_found.clone()),
        };
        finish(&mut response, request, &self.stats);
        response
    }
}
