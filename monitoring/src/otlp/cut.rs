//! gRPC's answers with messages that are cut to what is kept of them. Whether a request was taken is
//! said behind the message, however long that is. Knows nothing of what a message says.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::client::legacy;
use tonic::client::GrpcService;

use super::{answer::LONGEST, client::Connector};

/// What stands before each message: whether it is compressed, which none is as nobody asks for it,
/// and its length.
const HEAD: usize = 5;

/// A client whose answers are cut.
#[derive(Clone, Debug)]
pub(super) struct Cutting(pub(super) legacy::Client<Connector, tonic::body::Body>);

type Answering = Pin<Box<dyn Future<Output = Result<Response<Cut>, legacy::Error>> + Send>>;

impl GrpcService<tonic::body::Body> for Cutting {
    type ResponseBody = Cut;
    type Error = legacy::Error;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), legacy::Error>> {
        // A request makes its connection itself.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Answering {
        let answer = self.0.request(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Cut {
                body,
                messages: Messages::default(),
            }))
        })
    }
}

/// An answer's body.
#[derive(Debug)]
pub(super) struct Cut {
    body: Incoming,
    messages: Messages,
}

impl Body for Cut {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Self { body, messages } = &mut *self;
        let frame = Pin::new(body).poll_frame(context);
        frame.map_ok(|frame| frame.map_data(|data| messages.cut(data)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// Where in its messages a body is.
#[derive(Debug, Default)]
struct Messages {
    /// As much of a head as is here.
    head: BytesMut,
    /// Bytes of the message that are still to be kept, and those after them that are not.
    kept: usize,
    dropped: usize,
}

impl Messages {
    /// What is kept of the next bytes.
    fn cut(&mut self, mut data: Bytes) -> Bytes {
        let mut kept = BytesMut::new();
        while data.has_remaining() {
            if self.kept > 0 {
                let part = data.split_to(self.kept.min(data.len()));
                self.kept -= part.len();
                kept.put(part);
            } else if self.dropped > 0 {
                let part = self.dropped.min(data.len());
                self.dropped -= part;
                data.advance(part);
            } else {
                let missing = HEAD - self.head.len();
                self.head.put(data.split_to(missing.min(data.len())));
                if self.head.len() == HEAD {
                    kept.put_u8(self.head.get_u8());
                    let length = self.head.get_u32();
                    let most = length.min(u32::try_from(LONGEST).unwrap_or(u32::MAX));
                    kept.put_u32(most);
                    (self.kept, self.dropped) = (most as usize, (length - most) as usize);
                }
            }
        }
        kept.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message, with its head.
    fn message(length: usize) -> Vec<u8> {
        let mut message = vec![0];
        message.extend(u32::try_from(length).unwrap().to_be_bytes());
        message.extend((0..=u8::MAX).cycle().take(length));
        message
    }

    #[test]
    fn what_is_too_long_is_cut_wherever_frames_begin() {
        let whole = [message(3), message(0), message(LONGEST), message(7)].concat();
        let long = [message(LONGEST + 70_000), message(2)].concat();
        let mut cut = message(LONGEST);
        cut.extend(message(2));
        for step in [1, 2, 3, 4, 5, 6, 1000, LONGEST, usize::MAX] {
            let through = |bytes: &[u8]| {
                let mut messages = Messages::default();
                let parts = bytes.chunks(step.min(bytes.len()));
                let parts = parts.map(|part| messages.cut(Bytes::copy_from_slice(part)));
                parts.collect::<Vec<_>>().concat()
            };
            assert!(through(&whole) == whole, "{step}");
            assert!(through(&long) == cut, "{step}");
        }
    }
}
