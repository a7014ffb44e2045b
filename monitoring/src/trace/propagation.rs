//! Contexts on their way between processes, in the headers `traceparent` and `tracestate`.
//!
//! By <https://www.w3.org/TR/trace-context-2/>. Knows nothing of what carries the headers.

use std::{fmt, str::FromStr};

use super::{
    context::{SpanContext, TraceFlags},
    ids::{SpanId, TraceId},
    tracestate::TraceState,
};

/// The header with the ids.
const TRACEPARENT: &str = "traceparent";

/// The header with what tracing systems say to each other.
const TRACESTATE: &str = "tracestate";

/// The length of the header in version 0, which later ones only append to.
const LENGTH: usize = 55;

/// A header `traceparent` that breaks the rules, and is to be ignored: whoever gets it begins a new
/// trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("traceparent {why}")]
pub struct InvalidTraceparent {
    why: &'static str,
}

impl SpanContext {
    /// The header `traceparent`.
    ///
    /// ```
    /// # use monitoring::SpanContext;
    /// let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// let context: SpanContext = header.parse()?;
    /// assert_eq!(context.to_traceparent(), header);
    /// # Ok::<(), monitoring::trace::InvalidTraceparent>(())
    /// ```
    pub fn to_traceparent(&self) -> String {
        let (trace_id, span_id, flags) = (self.trace_id, self.span_id, self.flags.bits());
        format!("00-{trace_id}-{span_id}-{flags:02x}")
    }

    /// Gives the headers of a request that the span makes to `set`, by name and value. A context
    /// that is not valid has none.
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// # let span = monitoring::Tracer::new("stratoswarm").start_span("request");
    /// let mut headers = HashMap::new();
    /// span.context().inject(|name, value| {
    ///     headers.insert(name, value.to_owned());
    /// });
    /// assert!(headers["traceparent"].starts_with("00-"));
    /// ```
    pub fn inject(&self, mut set: impl FnMut(&'static str, &str)) {
        if !self.is_valid() {
            return;
        }
        set(TRACEPARENT, &self.to_traceparent());
        if let Some(state) = &self.trace_state {
            set(TRACESTATE, state.as_str());
        }
    }

    /// The context in the headers of a request, which `get` finds by their names, in lower case. Of
    /// several headers with one name it gives all values, joined by commas.
    ///
    /// None if there is no context, or one that breaks the rules. A list of states that does, is
    /// left out.
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// # use monitoring::SpanContext;
    /// # let tracer = monitoring::Tracer::new("stratoswarm");
    /// # let headers = HashMap::from([(
    /// #     "traceparent",
    /// #     "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    /// # )]);
    /// let mut span = tracer.start_span("process_request");
    /// if let Some(caller) = SpanContext::extract(|name| headers.get(name).copied()) {
    ///     span = span.with_parent(&caller);
    /// }
    /// # assert_eq!(span.context().trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    /// ```
    pub fn extract<V: AsRef<str>>(mut get: impl FnMut(&'static str) -> Option<V>) -> Option<Self> {
        let context: Self = get(TRACEPARENT)?.as_ref().parse().ok()?;
        let state = get(TRACESTATE).and_then(|list| TraceState::parse(list.as_ref()));
        Some(context.with_trace_state(state))
    }
}

/// Reads a header `traceparent`, of this version or a later one, as a context of another process.
impl FromStr for SpanContext {
    type Err = InvalidTraceparent;

    fn from_str(header: &str) -> Result<Self, InvalidTraceparent> {
        let because = |why| InvalidTraceparent { why };
        let header = header.trim_matches([' ', '\t']).as_bytes();
        if header.len() < LENGTH {
            return Err(because("is too short"));
        }
        if [2, 35, 52].iter().any(|at| header[*at] != b'-') {
            return Err(because("has no hyphens between its parts"));
        }
        let part = |from: usize, to: usize| {
            let digits = &header[from..to];
            number(digits).ok_or(because(
                "has other characters than lower-case hexadecimal digits",
            ))
        };
        let (version, trace_id) = (part(0, 2)?, part(3, 35)?);
        let (span_id, flags) = (part(36, 52)?, part(53, 55)?);
        match version {
            0 if header.len() > LENGTH => return Err(because("is too long")),
            0xff => return Err(because("has the version ff, which there is not")),
            _ if header.get(LENGTH).is_some_and(|next| *next != b'-') => {
                return Err(because("has no hyphen behind its flags"));
            }
            _ => {}
        }
        #[expect(clippy::cast_possible_truncation, reason = "they are as many digits")]
        let (span_id, flags) = (SpanId::from_u64(span_id as u64), flags as u8);
        let context = Self {
            trace_id: TraceId::from_u128(trace_id),
            span_id,
            flags: TraceFlags::from_bits(flags),
            is_remote: true,
            trace_state: None,
        };
        if context.is_valid() {
            Ok(context)
        } else {
            Err(because("has an id that is 0"))
        }
    }
}

/// The `traceparent` of the context.
impl fmt::Display for SpanContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_traceparent())
    }
}

/// The number of these hexadecimal digits, which are in lower case, and at most 32.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    /// Reads a header, and writes what was understood.
    fn check(header: &str, want: Option<&str>) {
        let context = header.parse::<SpanContext>();
        assert_eq!(
            context
                .as_ref()
                .ok()
                .map(SpanContext::to_traceparent)
                .as_deref(),
            want,
            "{header:?}"
        );
        assert!(context.is_ok_and(|context| context.is_remote()) == want.is_some());
    }

    #[test]
    fn headers_of_this_version() {
        let header = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
        for flags in ["00", "01", "02", "03"] {
            check(&header(flags), Some(&header(flags)));
        }
        check(&format!(" {}\t", header("01")), Some(&header("01")));
        // Flags of the future are not passed on, as nobody here knows what they promise.
        check(&header("ff"), Some(&header("03")));
        check(&format!("{}-", header("01")), None);
        check(&format!("{}-00", header("01")), None);
    }

    #[test]
    fn headers_of_later_versions() {
        let want = format!("00-{TRACE}-{SPAN}-01");
        for version in ["01", "cc", "fe"] {
            let header = format!("{version}-{TRACE}-{SPAN}-01");
            check(&header, Some(&want));
            check(&format!("{header}-what-comes"), Some(&want));
            check(&format!("{header}-"), Some(&want));
            check(&format!("{header}."), None);
            check(&format!("{header}1"), None);
        }
        check(&format!("ff-{TRACE}-{SPAN}-01"), None);
    }

    #[test]
    fn broken_headers() {
        let zeros = "0".repeat(32);
        for header in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("0-{TRACE}-{SPAN}-011"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0G"),
            format!("0 -{TRACE}-{SPAN}-01"),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{TRACE}0-{}-01", &SPAN[1..]),
            format!("00-{TRACE}-{SPAN}-é"),
        ] {
            check(&header, None);
        }
    }

    #[test]
    fn contexts_are_carried_in_headers() {
        let carry = |state: &str| {
            let headers = HashMap::from([
                (TRACEPARENT, format!("00-{TRACE}-{SPAN}-01")),
                (TRACESTATE, state.to_owned()),
            ]);
            let context = SpanContext::extract(|name| headers.get(name)).unwrap();
            let mut sent = HashMap::new();
            context.inject(|name, value| {
                sent.insert(name, value.to_owned());
            });
            assert_eq!(sent[TRACEPARENT], headers[TRACEPARENT]);
            sent.remove(TRACESTATE)
        };
        assert_eq!(carry("a=1, b=2").as_deref(), Some("a=1,b=2"));
        assert_eq!(carry("no state").as_deref(), None);
        assert_eq!(SpanContext::extract(|_| None::<&str>), None);
        SpanContext::NONE.inject(|name, _| panic!("{name} of no context"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace in 1_u128.., span in 1_u64.., flags in 0_u8..4) {
            let (trace, span) = (TraceId::from_u128(trace), SpanId::from_u64(span));
            let context = SpanContext::new(trace, span, TraceFlags::from_bits(flags));
            let read: SpanContext = context.to_traceparent().parse().unwrap();
            prop_assert!(read.is_remote());
            prop_assert_eq!(SpanContext { is_remote: false, ..read }, context);
        }

        #[test]
        fn no_header_panics(header in ".{0,80}") {
            let _ = header.parse::<SpanContext>();
            let _ = TraceState::parse(&header);
        }

        #[test]
        fn a_header_with_one_other_byte_is_refused_or_means_itself(
            at in 0_usize..55,
            byte in 0_u8..128,
        ) {
            let mut header = format!("00-{TRACE}-{SPAN}-01").into_bytes();
            header[at] = byte;
            let header = String::from_utf8(header).unwrap();
            if let Ok(context) = header.parse::<SpanContext>() {
                let is_kept = |range: std::ops::Range<usize>| {
                    context.to_traceparent()[range.clone()] == header[range]
                };
                prop_assert!(is_kept(3..52), "{}", header);
            }
        }

        #[test]
        fn states_that_are_read_are_read_again(header in "[a-c@]{1,3}=[ -~]{0,4}(,[a-z ]{1,2}=[!-~]{1,3}){0,3}") {
            if let Some(state) = TraceState::parse(&header) {
                prop_assert_eq!(TraceState::parse(state.as_str()), Some(state));
            }
        }
    }
}
