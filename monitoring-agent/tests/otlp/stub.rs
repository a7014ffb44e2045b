//! A collector that answers as a test tells it to, over HTTP and gRPC at one port, and keeps the
//! spans of requests to which it says yes. Knows nothing of who sends.

use std::{
    convert::Infallible,
    io::Read as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
};

use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use monitoring::otlp::Protocol;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    },
    trace::v1::Span,
};
use prost::Message as _;
use tokio::{net::TcpListener, sync::oneshot};

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// For gRPC.
    pub(crate) trailers: Vec<(&'static str, String)>,
}

impl Answer {
    /// All is taken.
    pub(crate) fn yes(protocol: Protocol) -> Self {
        Self::partly(protocol, 0, "")
    }

    /// All but so many are taken.
    pub(crate) fn partly(protocol: Protocol, rejected: i64, why: &str) -> Self {
        let partial_success = ExportTracePartialSuccess {
            rejected_spans: rejected,
            error_message: why.to_owned(),
        };
        let message = ExportTraceServiceResponse {
            partial_success: (rejected > 0).then_some(partial_success),
        };
        Self::message(protocol, message.encode_to_vec())
    }

    /// A success with this message, whatever it is.
    pub(crate) fn message(protocol: Protocol, message: Vec<u8>) -> Self {
        match protocol {
            Protocol::Grpc => {
                let length = u32::try_from(message.len()).unwrap();
                let mut body = vec![0];
                body.extend(length.to_be_bytes());
                body.extend(message);
                Self {
                    status: 200,
                    headers: vec![("content-type", "application/grpc".to_owned())],
                    body,
                    trailers: vec![("grpc-status", "0".to_owned())],
                }
            }
            _ => Self {
                status: 200,
                headers: vec![("content-type", "application/x-protobuf".to_owned())],
                body: message,
                trailers: Vec::new(),
            },
        }
    }

    /// An HTTP status.
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// A status of gRPC.
    pub(crate) fn code(code: u8, message: &str) -> Self {
        Self {
            status: 200,
            headers: vec![
                ("content-type", "application/grpc".to_owned()),
                ("grpc-status", code.to_string()),
                ("grpc-message", message.replace(' ', "%20")),
            ],
            body: Vec::new(),
            trailers: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// Decompressed.
    pub(crate) message: Vec<u8>,
    /// As it was on the wire.
    pub(crate) wire_bytes: usize,
}

impl Asked {
    /// Its spans, in their order.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let request = ExportTraceServiceRequest::decode(&self.message[..]).unwrap();
        let scopes = request
            .resource_spans
            .into_iter()
            .flat_map(|of| of.scope_spans);
        scopes.flat_map(|of| of.spans).collect()
    }
}

type Answers = dyn FnMut(&Asked) -> Answer + Send;

/// Runs as long as this lives.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Stub {
    /// One at any port.
    pub(crate) fn start(
        protocol: Protocol,
        answers: impl FnMut(&Asked) -> Answer + Send + 'static,
    ) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), protocol, answers)
    }

    /// One at this address.
    pub(crate) fn at(
        address: SocketAddr,
        protocol: Protocol,
        answers: impl FnMut(&Asked) -> Answer + Send + 'static,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let answers: Arc<Mutex<Box<Answers>>> = Arc::new(Mutex::new(Box::new(answers)));
        let (end, ended) = oneshot::channel();
        let kept = Arc::clone(&asked);
        let work = async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answers, kept) = (Arc::clone(&answers), Arc::clone(&kept));
                let service = service_fn(move |request| {
                    let (answers, kept) = (Arc::clone(&answers), Arc::clone(&kept));
                    async move { Ok::<_, Infallible>(answer(protocol, request, &answers, &kept).await) }
                });
                let stream = TokioIo::new(stream);
                tokio::spawn(async move {
                    // A client may go as it likes.
                    if protocol == Protocol::Grpc {
                        let server = http2::Builder::new(TokioExecutor::new());
                        let _ = server.serve_connection(stream, service).await;
                    } else {
                        let server = http1::Builder::new();
                        let _ = server.serve_connection(stream, service).await;
                    }
                });
            }
        };
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = work => {}
                    _ = ended => {}
                }
            });
        });
        Self {
            address,
            asked,
            end: Some(end),
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

async fn answer(
    protocol: Protocol,
    request: Request<Incoming>,
    answers: &Mutex<Box<Answers>>,
    kept: &Mutex<Vec<Asked>>,
) -> Response<BoxBody<Bytes, Infallible>> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        // The client is gone.
        return Response::new(Full::default().boxed());
    };
    let body = body.to_bytes();
    let is = |name: &str| head.headers.get(name).is_some_and(|value| value == "gzip");
    let (message, is_gzip) = match protocol {
        Protocol::Grpc => (&body[5..], body[0] == 1 && is("grpc-encoding")),
        _ => (&body[..], is("content-encoding")),
    };
    let mut plain = message.to_vec();
    if is_gzip {
        plain.clear();
        GzDecoder::new(message).read_to_end(&mut plain).unwrap();
    }
    let asked = Asked {
        path: head.uri.path().to_owned(),
        headers: head.headers,
        message: plain,
        wire_bytes: body.len(),
    };
    let answer = answers.lock().unwrap()(&asked);
    kept.lock().unwrap().push(asked);
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let body = Full::new(Bytes::from(answer.body));
    if answer.trailers.is_empty() {
        return response.body(body.boxed()).unwrap();
    }
    let mut trailers = HeaderMap::new();
    for (name, value) in answer.trailers {
        trailers.insert(name, value.parse().unwrap());
    }
    let body = body.with_trailers(async { Some(Ok(trailers)) });
    response.body(body.boxed()).unwrap()
}
