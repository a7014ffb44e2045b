//! What is wrong with a configuration, and how it is told: where, which key, which value, why, and
//! what to write instead.
//!
//! Knows no key and no rule; those who find a problem bring the words.

use std::{fmt, path::PathBuf};

/// Most problems that are written out. Whoever has more mends these first.
const SHOWN: usize = 20;

/// Longest value that is written out in full, in characters.
const LONGEST_VALUE: usize = 80;

/// The configuration cannot be used. Holds every problem that was found, at least one.
///
/// A program that starts must stop and print this; one that reloads keeps what it had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(
    /// In the order of the layers: file (by line), environment, command line.
    pub Vec<Problem>,
);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = &self.0[..] {
            return problem.fmt(f);
        }
        write!(f, "the configuration has {} problems:", self.0.len())?;
        for problem in self.0.iter().take(SHOWN) {
            write!(f, "\n  {problem}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the value came from.
    pub place: Place,
    /// The key with its full path (`agents[2].exe`), the variable or the flag.
    pub key: String,
    /// The value as it was written, shortened, without control characters or passwords. `None`
    /// where something is missing.
    pub value: Option<String>,
    /// What is wrong with it.
    pub fault: String,
    /// What to write instead.
    pub cure: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, ": {}; {}", self.fault, self.cure)
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a text that came from no file, counted from 1.
    Line(usize),
    /// A line of the configuration file, counted from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// A `MONITORING_*` variable.
    Environment,
    /// A flag.
    CommandLine,
    /// Nobody named it: the file at the usual place.
    Default,
}

impl Place {
    /// The line, where there is one.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Line(line) | Self::File { line, .. } => Some(*line),
            Self::Environment | Self::CommandLine | Self::Default => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment => f.write_str("environment"),
            Self::CommandLine => f.write_str("command line"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What a reader of a value says. Place, key and value are its caller's to add.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub fault: String,
    /// What to write instead.
    pub cure: String,
}

impl Fault {
    /// What is wrong, and what to write instead.
    pub fn new(fault: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            fault: fault.into(),
            cure: cure.into(),
        }
    }

    /// The problem that this is, of a value at a place.
    pub fn at(self, place: Place, key: String, value: Option<&str>) -> Problem {
        Problem {
            place,
            key,
            value: value.map(shown),
            fault: self.fault,
            cure: self.cure,
        }
    }

    /// A name that stands for nothing, among the names that would.
    pub fn unknown(what: &str, name: &str, valid: &[&str]) -> Self {
        let known = valid.join(", ");
        let cure = match nearest(name, valid) {
            Some(near) => format!("did you mean {near}? Known here: {known}"),
            None => format!("known here: {known}"),
        };
        Self::new(format!("unknown {what}"), cure)
    }
}

/// A value on one line of bounded length, safe for a terminal and for a log.
pub fn shown(value: &str) -> String {
    let value = without_credentials(value);
    let mut shown = String::new();
    for (at, character) in value.chars().enumerate() {
        if at == LONGEST_VALUE {
            shown.push('…');
            break;
        }
        // What has no form of its own (a byte order mark, a change of direction) is written out.
        let escaped = character.escape_debug();
        if character.is_control() || escaped.len() > 2 {
            shown.extend(escaped);
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The value with `***` for what stands before the `@` of a URL.
fn without_credentials(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return value.to_owned();
    };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..authority_end].rfind('@') {
        Some(at) => format!("{scheme}://***{}", &rest[at..]),
        None => value.to_owned(),
    }
}

/// The valid name that `name` is most likely a slip of, if any is near enough.
pub fn nearest<'a>(name: &str, valid: &[&'a str]) -> Option<&'a str> {
    // A slip changes few letters: two, or a third of a longer name. A beginning (env, monitor) is
    // nearer than most of them.
    let allowed = 2.max(name.len() / 3);
    let distance = |candidate: &str| match name.len() {
        3.. if candidate.starts_with(name) => 1,
        _ => edits(name, candidate, allowed),
    };
    valid
        .iter()
        .map(|candidate| (distance(candidate), *candidate))
        .filter(|(edits, candidate)| *edits <= allowed && *edits < candidate.len())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance; more than `allowed` is returned at once where the lengths alone tell.
fn edits(from: &str, to: &str, allowed: usize) -> usize {
    let distance = from.len().abs_diff(to.len());
    if distance > allowed {
        return distance;
    }
    let to = to.as_bytes();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_key() {
        let valid = ["metrics_port", "metrics_path", "node", "node_type"];
        let check =
            |name: &str, want: Option<&str>| assert_eq!(nearest(name, &valid), want, "{name}");
        check("metrics_prot", Some("metrics_port"));
        check("metrics-port", Some("metrics_port"));
        check("metrik_path", Some("metrics_path"));
        check("METRICS_PORT", None);
        check("nod", Some("node"));
        check("metrics_po", Some("metrics_port"));
        check("nodetype", Some("node_type"));
        check("interval", None);
        check("", None);
        check(&"x".repeat(1 << 20), None);
    }

    #[test]
    fn values_are_short_plain_and_without_passwords() {
        let check = |value: &str, want: &str| assert_eq!(shown(value), want);
        check("\"10s\"", "\"10s\"");
        check("a\nb\u{1b}[2J", "a\\nb\\u{1b}[2J");
        check("http://me:secret@host/x", "http://***@host/x");
        check("http://host/a@b", "http://host/a@b");
        check("me@host", "me@host");
        check("'a'\u{feff}\u{202e}\\", "'a'\\u{feff}\\u{202e}\\");
        check(&"é".repeat(90), &format!("{}…", "é".repeat(80)));
    }
}
