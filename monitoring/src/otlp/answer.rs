//! What a collector's answer means: taken, to be tried again, or never to be sent again.
//!
//! By <https://opentelemetry.io/docs/specs/otlp/>. Knows nothing of connections.

use std::{
    error::Error,
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The most that is kept of an answer: more than any collector says of a request, and little enough
/// for one that sends without end.
pub(super) const LONGEST: usize = 64 * 1024;

/// What a message begins with in which something is said of a partial success: the number of that
/// field, and that its length follows.
const PARTIAL_SUCCESS: u8 = 1 << 3 | 2;

/// Most characters that are kept of what a collector says: it is for a line of a log.
const SAID: usize = 300;

/// The collector took the request, or most of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Spans or data points that it did not take, and does not want to see again.
    pub rejected: u64,
    /// What it says about it, or warns of. One line, of a few hundred characters at most.
    pub said: String,
}

/// Why the collector did not take a request. In words, one line: nothing of headers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may take the same request later.
    #[error("{why}")]
    Unavailable {
        /// What happened.
        why: String,
        /// It asked not to be tried again before that much time is over.
        after: Option<Duration>,
    },
    /// It may take smaller requests.
    #[error("{0}")]
    TooLarge(String),
    /// It will not take this request.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    pub(super) fn unavailable(why: impl Into<String>) -> Self {
        let (why, after) = (why.into(), None);
        Self::Unavailable { why, after }
    }
}

/// What all answers of collectors are, whatever was sent: the same numbers stand for the same.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// What the message of a success says, or the first [`LONGEST`] bytes of it. One that is no such
/// message says nothing: that the request was taken is said elsewhere.
pub(super) fn accepted(message: &[u8]) -> Accepted {
    let partial = match Answer::decode(message) {
        Ok(answer) => answer.partial_success,
        Err(_) if message.len() >= LONGEST => cut_off(message),
        Err(_) => None,
    };
    let partial = partial.unwrap_or_default();
    Accepted {
        rejected: u64::try_from(partial.rejected).unwrap_or(0),
        said: line(&partial.error_message),
    }
}

/// What a message says whose end is missing: how much was rejected stands before the words about it,
/// of which one is that long.
fn cut_off(message: &[u8]) -> Option<PartialSuccess> {
    let mut inner = message.strip_prefix(&[PARTIAL_SUCCESS])?;
    prost::decode_length_delimiter(&mut inner).ok()?;
    let mut partial = PartialSuccess::default();
    // It fails where the message is cut off, and keeps what stands before.
    let _ = partial.merge(inner);
    Some(partial)
}

/// What an HTTP status other than success means.
pub(super) fn of_http(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Failure {
    let why = format!("the collector answers {status}");
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let after = headers.get(RETRY_AFTER).and_then(|value| {
                let text = value.to_str().ok()?.trim();
                retry_after(text, now)
            });
            Failure::Unavailable { why, after }
        }
        StatusCode::PAYLOAD_TOO_LARGE => Failure::TooLarge(why),
        _ => Failure::Refused(why),
    }
}

/// Seconds, or a date.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// What a status of gRPC other than success means.
pub(super) fn of_grpc(status: &Status) -> Failure {
    if let Some(source) = status.source() {
        // It never came to a status of the other side.
        return Failure::unavailable(chain(source));
    }
    let code = status.code();
    let said = line(status.message());
    let colon = if said.is_empty() { "" } else { ": " };
    let why = format!("the collector answers {code:?}{colon}{said}");
    let retry = status.get_details_retry_info();
    let after = retry.as_ref().and_then(|retry| retry.retry_delay);
    match code {
        Code::ResourceExhausted | Code::OutOfRange if is_about_size(&said) => {
            Failure::TooLarge(why)
        }
        Code::ResourceExhausted if retry.is_none() => Failure::Refused(why),
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Failure::Unavailable { why, after },
        _ => Failure::Refused(why),
    }
}

/// Whether a server complains of the message's size. There is no code for it: those of Go and C++
/// say `received message larger than max`, that of Java `exceeds maximum size`, and that of Rust
/// `message length too large`.
fn is_about_size(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    ["larger than max", "exceeds maximum", "too large"]
        .iter()
        .any(|words| said.contains(words))
}

/// What went wrong, and what was behind it, each once.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.contains(&said) {
            // Writing to a string does not fail.
            let _ = write!(text, ": {said}");
        }
        source = error.source();
    }
    line(&text)
}

/// One line that is not too long, of what others wrote.
fn line(text: &str) -> String {
    let shown = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    text.trim().chars().take(SAID).map(shown).collect()
}

#[cfg(test)]
mod tests;
