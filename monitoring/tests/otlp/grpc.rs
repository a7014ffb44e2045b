//! What a collector may answer by gRPC. The collector is this test's own, which answers as it is told
//! and does not look at the spans.

use std::{
    convert::Infallible,
    net::Ipv4Addr,
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::{BufMut as _, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use monitoring::trace::{Protocol, Tracer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::{net::TcpListener, sync::oneshot};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::collector::DEADLINE;

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// A collector, until it is dropped.
struct Answering {
    url: String,
    /// When it was asked.
    asked: Arc<Mutex<Vec<Instant>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Answering {
    /// Answers by how often it was asked before.
    fn new(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let (listens, listening) = mpsc::channel();
        let (answer, all) = (Arc::new(answer), Arc::clone(&asked));
        let work = async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            listens.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let (answer, asked) = (Arc::clone(&answer), Arc::clone(&all));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
                    async move {
                        let before = {
                            let mut asked = asked.lock().unwrap();
                            asked.push(Instant::now());
                            asked.len() - 1
                        };
                        let request = request.into_body().collect().await?;
                        assert!(!request.to_bytes().is_empty());
                        Ok::<_, hyper::Error>(answer(before))
                    }
                });
                let server = http2::Builder::new(TokioExecutor::new());
                // A client that goes away is none of the collector's worry.
                tokio::spawn(server.serve_connection(TokioIo::new(connection), service));
            }
        };
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = work => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            url: format!("http://{}", listening.recv_timeout(DEADLINE).unwrap()),
            asked,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn tracer(&self) -> Tracer {
        let tracer = Tracer::builder("answers")
            .sample_rate(1.0)
            .endpoint(&self.url)
            .protocol(Protocol::Grpc)
            // However busy the machine is, no request is made twice for want of an answer.
            .timeout(DEADLINE);
        tracer.build().unwrap()
    }

    fn asked(&self) -> Vec<Instant> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

/// A message, and behind it whether the request was taken.
fn said(rejected: i64, words: usize, code: Code) -> Answer {
    let partial_success = Some(ExportTracePartialSuccess {
        rejected_spans: rejected,
        error_message: "x".repeat(words),
    });
    let message = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    let mut framed = vec![0];
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.extend(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code as i32));
    let body = Full::new(Bytes::from(framed)).with_trailers(async { Some(Ok(trailers)) });
    let mut answer = Response::new(body.boxed());
    let grpc = HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert(CONTENT_TYPE, grpc);
    answer
}

/// A status without a message.
fn status(status: Status) -> Answer {
    status.into_http::<Full<Bytes>>().map(BodyExt::boxed)
}

/// An answer that is far longer than what is kept of one.
const LONG: usize = 1 << 20;

#[test]
fn a_long_answer_says_that_the_spans_were_taken() {
    let collector = Answering::new(|_| said(1, LONG, Code::Ok));
    let tracer = collector.tracer();
    for _ in 0..3 {
        tracer.start_span("work").end();
    }
    assert!(tracer.flush(DEADLINE));
    let stats = tracer.stats();
    assert_eq!((stats.exported, stats.dropped_refused), (2, 1), "{stats:?}");
    assert_eq!(collector.asked().len(), 1, "they were sent again");
}

#[test]
fn a_long_answer_may_be_followed_by_a_failure() {
    let collector = Answering::new(|before| match before {
        0 => said(0, LONG, Code::Unavailable),
        _ => said(0, 0, Code::InvalidArgument),
    });
    let tracer = collector.tracer();
    tracer.start_span("work").end();
    assert!(tracer.flush(DEADLINE));
    let stats = tracer.stats();
    assert_eq!((stats.exported, stats.dropped_refused), (0, 1), "{stats:?}");
    assert_eq!(collector.asked().len(), 2);
}

#[test]
fn a_collector_that_says_when_is_not_asked_before() {
    const LATER: Duration = Duration::from_millis(1500);
    let collector = Answering::new(|before| match before {
        0 => {
            let details = ErrorDetails::with_retry_info(Some(LATER));
            let busy = Code::ResourceExhausted;
            status(Status::with_error_details(busy, "busy", details))
        }
        _ => said(0, 0, Code::Ok),
    });
    let tracer = collector.tracer();
    tracer.start_span("work").end();
    // Each asks for a try, and none is made.
    let end = Instant::now() + DEADLINE;
    while !tracer.flush(Duration::from_millis(50)) {
        assert!(Instant::now() < end, "it is never asked again");
    }
    let asked = collector.asked();
    assert_eq!(asked.len(), 2);
    let waited = asked[1] - asked[0];
    assert!(waited >= LATER, "{waited:?}");
    assert_eq!(tracer.stats().exported, 1);
}
