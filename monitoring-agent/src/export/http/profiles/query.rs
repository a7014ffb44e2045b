//! What a request for a profile asks for: the part of the address behind the question mark.
//!
//! Strict: a slip must not lead to another profile than the one that was meant. Every message says
//! what is wrong and what to write instead. Knows neither connections nor how profiles are made.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

use super::{Form, time};
use crate::{
    config::MAX_HERTZ,
    printable::printable,
    profile::{
        Type,
        history::{Query, Span},
        service::Request,
    },
};

/// Length of a capture where nobody says how long: that of Go's own endpoint.
const DEFAULT_SECONDS: u32 = 30;

/// Longest capture. What takes longer is in the history.
pub(super) const MAX_SECONDS: u32 = 3600;

/// The largest process id that the kernel gives.
const MAX_PID: u32 = 1 << 22;

/// Longest agent name, in characters, as in the configuration.
const AGENT_LENGTH: usize = 64;

/// Longest part of a request that is said back.
const SHOWN: usize = 60;

/// All parameters.
const KNOWN: [&str; 10] = [
    "seconds",
    "hz",
    "pid",
    "agent",
    "type",
    "from",
    "to",
    "base_from",
    "base_to",
    "value",
];

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) form: Form,
    pub(super) of: Of,
    /// What it is compared with.
    pub(super) base: Option<Query>,
    /// Which of the samples' values is shown.
    pub(super) value: Option<String>,
}

/// Where the profile comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Capture(Request),
    History(Query),
}

impl Ask {
    pub(super) fn kind(&self) -> Type {
        match &self.of {
            Of::Capture(request) => request.kind,
            Of::History(query) => query.kind,
        }
    }
}

/// Reads a query; the error is for people.
pub(super) fn parse(form: Form, query: Option<&str>, now: SystemTime) -> Result<Ask, String> {
    let given = Parameters::read(query.unwrap_or_default())?;
    let kind = given.kind()?;
    let pid = given.number("pid", 1..=MAX_PID, "1234")?;
    let agent = given.agent()?;
    if pid.is_some() && agent.is_some() {
        return Err("both pid and agent are given; use one of them".to_owned());
    }
    let query = |span| Query {
        kind,
        span,
        pid,
        agent: agent.clone(),
    };
    let base = given.span("base_from", "base_to", now)?.map(query);
    let of = match given.span("from", "to", now)? {
        Some(span) => {
            for only_live in ["seconds", "hz"] {
                if given.0.contains_key(only_live) {
                    return Err(format!(
                        "{only_live} and from are given; leave {only_live} out for what was, or \
                         from for what is to come"
                    ));
                }
            }
            Of::History(query(span))
        }
        None => Of::Capture(given.request(kind, pid, agent.clone())?),
    };
    let value = given.0.get("value").cloned();
    if value.is_some() && form == Form::Pprof {
        return Err(
            "value is for flame graphs and folded stacks; this file has all values: leave \
                    it out"
                .to_owned(),
        );
    }
    Ok(Ask {
        form,
        of,
        base,
        value,
    })
}

/// What is given, each once and not empty.
struct Parameters(BTreeMap<String, String>);

impl Parameters {
    fn read(query: &str) -> Result<Self, String> {
        let mut given = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decoded(key)?, decoded(value)?);
            if !KNOWN.contains(&key.as_str()) {
                let (key, known) = (shown(&key), KNOWN.join(", "));
                return Err(format!("unknown parameter {key}; there are: {known}"));
            }
            if value.is_empty() {
                return Err(format!("{key} is empty; give it a value, or leave it out"));
            }
            if given.contains_key(&key) {
                return Err(format!("{key} is given twice; give it once"));
            }
            given.insert(key, value);
        }
        Ok(Self(given))
    }

    fn number(
        &self,
        key: &str,
        range: RangeInclusive<u32>,
        example: &str,
    ) -> Result<Option<u32>, String> {
        let Some(text) = self.0.get(key) else {
            return Ok(None);
        };
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_number);
        let number = number.filter(|number| range.contains(number));
        let (low, high) = (range.start(), range.end());
        number.map(Some).ok_or_else(|| {
            let fault = if is_number {
                "out of range"
            } else {
                "no whole number"
            };
            let text = shown(text);
            format!(
                "{key}={text}: {fault}; use a whole number from {low} to {high}, for example \
                 {key}={example}"
            )
        })
    }

    fn kind(&self) -> Result<Type, String> {
        let Some(text) = self.0.get("type") else {
            return Ok(Type::default());
        };
        Type::named(text).ok_or_else(|| {
            let text = shown(text);
            format!("type={text}: no type of profile; use type=cpu, type=offcpu or type=memory")
        })
    }

    fn agent(&self) -> Result<Option<String>, String> {
        let Some(name) = self.0.get("agent") else {
            return Ok(None);
        };
        if name.chars().count() > AGENT_LENGTH || name.chars().any(char::is_control) {
            let name = shown(name);
            return Err(format!(
                "agent={name}: no agent's name; use one of [[agents]] in the configuration, or \
                 agent=other for the rest"
            ));
        }
        Ok(Some(name.clone()))
    }

    fn span(&self, from: &str, to: &str, now: SystemTime) -> Result<Option<Span>, String> {
        let moment = |key: &str| {
            let Some(text) = self.0.get(key) else {
                return Ok(None);
            };
            let moment = time::parse(text, now);
            let said = |fault| format!("{key}={}: {fault}; {}", shown(text), time::CURE);
            moment.map(Some).map_err(said)
        };
        match (moment(from)?, moment(to)?) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(format!(
                "{to} is given without {from}; say where it begins, for example {from}=-1h"
            )),
            (Some(start), end) => {
                let end = end.unwrap_or(now);
                if start >= end {
                    let end = if self.0.contains_key(to) { to } else { "now" };
                    return Err(format!(
                        "{from} is not before {end}; exchange them, or leave {to} out for now"
                    ));
                }
                Ok(Some(Span::new(start, end)))
            }
        }
    }

    fn request(
        &self,
        kind: Type,
        pid: Option<u32>,
        agent: Option<String>,
    ) -> Result<Request, String> {
        let seconds = self.number("seconds", 1..=MAX_SECONDS, "30")?;
        let hertz = self.number("hz", 1..=MAX_HERTZ, "99")?;
        if hertz.is_some() && kind != Type::Cpu {
            return Err(format!(
                "hz is given, and a profile of type {kind} takes no samples in time; leave it out"
            ));
        }
        let seconds = seconds.unwrap_or(DEFAULT_SECONDS);
        Ok(Request {
            kind,
            hertz,
            pid,
            agent,
            duration: Duration::from_secs(seconds.into()),
        })
    }
}

/// A key or value as it was meant: `%2F` is a slash, and `+` a space, as forms have it.
fn decoded(text: &str) -> Result<String, String> {
    let bad = || {
        let text = shown(text);
        format!("{text}: not encoded as an address wants it; write % as %25")
    };
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || {
                    let digit = char::from(bytes.next()?).to_digit(16)?;
                    u8::try_from(digit).ok()
                };
                let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
                high << 4 | low
            }
            byte => byte,
        });
    }
    String::from_utf8(plain).map_err(|_| bad())
}

/// Foreign text, cut and safe to show.
fn shown(text: &str) -> String {
    printable(text.as_bytes(), SHOWN)
}
