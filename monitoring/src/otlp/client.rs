//! Sends a request, by HTTP or gRPC. Knows nothing of what is in it.

use std::{
    io::{self, Write as _},
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use flate2::{Compression as Level, write::GzEncoder};
use http::{
    HeaderValue, Request, Uri,
    header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT},
    uri::PathAndQuery,
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;
use tonic::{client::Grpc, codec::CompressionEncoding, metadata::MetadataMap};

use super::{
    Accepted, Compression, Failure, Protocol, Target,
    answer::{LONGEST, accepted, chain, of_grpc, of_http},
    codec::Encoded,
    cut::Cutting,
    tls::{self, TlsError},
};

/// Who asks.
const AGENT: &str = concat!("stratoswarm-monitoring/", env!("CARGO_PKG_VERSION"));

/// How long a connection is kept that nothing is sent on.
const IDLE: Duration = Duration::from_secs(90);

pub(super) type Connector = HttpsConnector<HttpConnector>;

/// Sends requests to one collector, one at a time, over one connection, which it makes when it has
/// none. To be used within a runtime of Tokio with network and time.
#[derive(Debug)]
pub struct Client {
    target: Target,
    uri: Uri,
    wire: Wire,
}

#[derive(Debug)]
enum Wire {
    Http(legacy::Client<Connector, Full<Bytes>>),
    Grpc(legacy::Client<Connector, tonic::body::Body>),
}

/// Why nothing can be sent to a target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL is none.
    #[error("not a URL: {0}")]
    Url(#[from] http::uri::InvalidUri),
    /// The files for TLS are of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Client {
    /// A client for a target. It connects to nothing, but reads the files for TLS where the URL is
    /// one of `https`.
    ///
    /// # Errors
    ///
    /// When the files for TLS are of no use, in words that say what to do about it.
    pub fn new(target: &Target) -> Result<Self, ClientError> {
        let config = if target.is_tls() {
            tls::config(&target.tls)?
        } else {
            unused()
        };
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let mut client = legacy::Client::builder(TokioExecutor::new());
        client
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1);
        let wire = match target.protocol {
            Protocol::HttpProtobuf => {
                let connector = builder.enable_http1().wrap_connector(tcp);
                Wire::Http(client.build(connector))
            }
            Protocol::Grpc => {
                let connector = builder.enable_http2().wrap_connector(tcp);
                Wire::Grpc(client.http2_only(true).build(connector))
            }
        };
        Ok(Self {
            target: target.clone(),
            uri: target.url.parse()?,
            wire,
        })
    }

    /// Where requests go.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Sends one encoded request, once.
    ///
    /// # Errors
    ///
    /// When the collector did not take it, or nobody knows whether it did: a connection that ends
    /// before the whole answer is here counts as a failure that may pass.
    pub async fn send(&self, request: Bytes) -> Result<Accepted, Failure> {
        let limit = self.target.timeout;
        let answered = async {
            match &self.wire {
                Wire::Http(client) => self.post(client, request).await,
                Wire::Grpc(client) => self.call(client, request).await,
            }
        };
        timeout(limit, answered).await.unwrap_or_else(|_| {
            let why = format!("no whole answer within {} s", limit.as_secs_f64());
            Err(Failure::unavailable(why))
        })
    }

    async fn post(
        &self,
        client: &legacy::Client<Connector, Full<Bytes>>,
        body: Bytes,
    ) -> Result<Accepted, Failure> {
        let (body, encoding) = match self.target.compression {
            Compression::None => (body, None),
            Compression::Gzip => {
                let body = gzip(&body);
                let body = body.map_err(|error| Failure::Refused(error.to_string()))?;
                (body, Some(HeaderValue::from_static("gzip")))
            }
        };
        let mut request = Request::post(self.uri.clone())
            .body(Full::new(body))
            .expect("all of its parts are checked");
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in self.target.headers.iter() {
            headers.insert(name, value.clone());
        }
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, encoding);
        }
        let broken = |error: legacy::Error| Failure::unavailable(chain(&error));
        let (head, body) = client.request(request).await.map_err(broken)?.into_parts();
        let body = beginning(body).await;
        if !head.status.is_success() {
            return Err(of_http(head.status, &head.headers, SystemTime::now()));
        }
        match body {
            Ok(body) => Ok(accepted(&body)),
            Err(error) => Err(Failure::unavailable(chain(&error))),
        }
    }

    async fn call(
        &self,
        client: &legacy::Client<Connector, tonic::body::Body>,
        message: Bytes,
    ) -> Result<Accepted, Failure> {
        // Longer messages do not come through.
        let mut grpc = Grpc::with_origin(Cutting(client.clone()), self.uri.clone())
            .max_decoding_message_size(LONGEST);
        if self.target.compression == Compression::Gzip {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        let mut request = tonic::Request::new(message);
        let headers = self.target.headers.iter().cloned();
        *request.metadata_mut() = MetadataMap::from_headers(headers.collect());
        let path = PathAndQuery::from_static(self.target.signal.method());
        let broken = |error: legacy::Error| Failure::unavailable(chain(&error));
        grpc.ready().await.map_err(broken)?;
        match grpc.unary(request, path, Encoded).await {
            Ok(answer) => Ok(accepted(answer.get_ref())),
            Err(status) => Err(of_grpc(&status)),
        }
    }
}

/// As much of an answer as is kept.
async fn beginning(mut body: Incoming) -> hyper::Result<BytesMut> {
    let mut bytes = BytesMut::new();
    while bytes.len() < LONGEST
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    bytes.truncate(LONGEST);
    Ok(bytes)
}

/// For connections without TLS: trusts nobody.
fn unused() -> ClientConfig {
    ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("ring has what the versions want")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

fn gzip(bytes: &[u8]) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Level::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.into())
}
