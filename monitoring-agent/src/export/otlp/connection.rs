//! A collector, and when it is asked next. Knows nothing of what is sent.

use std::{future::Future, time::Instant};

use bytes::Bytes;
use monitoring::otlp::{Accepted, Backoff, Client, Failure, Target};

use super::{health::Health, size::Size};

/// Sends requests to one collector, and remembers how it took the last one.
#[derive(Debug)]
pub(super) struct Connection {
    target: Target,
    /// Made when it is wanted, and anew after a failure: with what the files for TLS say by then,
    /// and with nothing left of a connection that hangs.
    client: Option<Client>,
    backoff: Backoff,
    /// The collector is not asked before.
    next_try: Option<Instant>,
    /// How large a request may be.
    size: Size,
    /// Bytes of the last request.
    sent_bytes: usize,
}

impl Connection {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            client: None,
            backoff: Backoff::default(),
            next_try: None,
            size: Size::default(),
            sent_bytes: 0,
        }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// When the collector may be asked, if not now.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.next_try
    }

    /// Bytes of the largest request that the collector is likely to take.
    pub(super) fn largest(&self) -> usize {
        self.size.bytes()
    }

    /// The collector may be asked at once, whatever it did before.
    pub(super) fn hurry(&mut self) {
        self.next_try = None;
        self.backoff.reset();
    }

    /// Sends one request, once. To be [settled](Self::settle) when it is over; one that is given up
    /// on the way leaves no connection behind.
    pub(super) fn send(
        &mut self,
        request: Bytes,
    ) -> impl Future<Output = (Option<Client>, Result<Accepted, Failure>)> + use<> {
        self.sent_bytes = request.len();
        let client = match self.client.take() {
            Some(client) => Ok(client),
            None => Client::new(&self.target),
        };
        async move {
            match client {
                Err(error) => {
                    let (why, after) = (error.to_string(), None);
                    (None, Err(Failure::Unavailable { why, after }))
                }
                Ok(client) => {
                    let answer = client.send(request).await;
                    (Some(client), answer)
                }
            }
        }
    }

    /// Takes up how a request ended, and tells the log what is new about it. `then` says what
    /// becomes of what was to be sent.
    pub(super) fn settle(
        &mut self,
        (client, answer): (Option<Client>, Result<Accepted, Failure>),
        health: &mut Health,
        then: &str,
    ) -> Result<Accepted, Failure> {
        let (url, now) = (&self.target.url, Instant::now());
        match &answer {
            Ok(accepted) => {
                (self.client, self.next_try) = (client, None);
                self.backoff.reset();
                self.size.taken();
                health.worked(url, now);
                if accepted.rejected > 0 || !accepted.said.is_empty() {
                    health.remarked(url, accepted.rejected, &accepted.said, now);
                }
            }
            Err(Failure::Unavailable { why, after }) => {
                self.next_try = Some(now + self.backoff.wait(*after));
                health.failed(url, why, then, now);
            }
            Err(Failure::TooLarge(why)) => {
                (self.client, self.next_try) = (client, None);
                self.size.refused(self.sent_bytes);
                if self.size.is_hopeless() {
                    self.next_try = Some(now + self.backoff.wait(None));
                    let then = "the smallest are too large for it, and are dropped, and counted; it \
                                is asked more rarely";
                    health.failed(url, why, then, now);
                } else {
                    // A smaller one may be taken.
                    health.narrowed(url, why, self.sent_bytes, now);
                }
            }
            Err(Failure::Refused(why)) => {
                (self.client, self.next_try) = (client, None);
                self.backoff.reset();
                health.failed(url, why, "such are dropped, and counted", now);
            }
        }
        answer
    }
}
