//! Reads the windows of a span of time and puts them together, one file after the other.
//!
//! Memory is bounded: that of one file, and of what is put together so far.

use std::{
    io::{self, Read as _},
    time::SystemTime,
};

use monitoring_profile::{Filter, LabelFilter, Profile, pprof};

use super::{History, Span, Window, directory};
use crate::profile::Type;

/// Most memory of the profiles that are put together. The windows of a day of a busy node share
/// nearly all of their stacks and take less.
const MERGED_BYTES: usize = 128 << 20;

/// Largest file that is read, and how large it may be without compression. Those that are written
/// are far smaller: a window of a busy node is some hundred kilobytes.
const FILE_BYTES: u64 = 16 << 20;
const LIMITS: pprof::Limits = pprof::Limits {
    bytes: 64 << 20,
    stack: 4096,
};

/// Most names of torn files that an answer tells.
const TOLD_TORN: usize = 10;

/// Which part of the history is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Of what.
    pub kind: Type,
    /// Windows that overlap it are taken whole.
    pub span: Span,
    /// Only samples with this label `pid`.
    pub pid: Option<u32>,
    /// Only samples with this label `agent`.
    pub agent: Option<String>,
}

/// What there was.
#[derive(Debug)]
pub struct Found {
    /// All windows together.
    pub profile: Profile,
    /// What they really cover: in order, gaps left out.
    pub covered: Vec<Span>,
    /// How many they are.
    pub windows: usize,
    /// How many could not be read.
    pub torn: usize,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No window overlaps the span.
    #[error("no {kind} profile of {asked} is kept: {there_is}")]
    Nothing {
        /// Of what.
        kind: Type,
        /// What was asked for.
        asked: Span,
        /// What there is, in words.
        there_is: String,
    },
    /// All windows of the span are torn.
    #[error("all {0} windows of this time are torn; the agent's log names them")]
    Torn(usize),
    /// It would take too much memory.
    #[error(
        "the windows of this time take more than {} MiB of memory together: ask for a shorter \
         time, or for one agent",
        MERGED_BYTES >> 20
    )]
    TooLarge,
    /// Nobody wants it any more.
    #[error("nobody waits for it any more")]
    Abandoned,
    /// The directory or a file in it cannot be read, though it may be whole.
    #[error("the history cannot be read: {0}")]
    Directory(#[from] io::Error),
}

/// Why one file is left out.
enum Unread {
    /// Deleted since the directory was listed.
    Gone,
    Torn,
    /// The agent could not read it, which says nothing of the file.
    Refused(io::Error),
}

impl History {
    /// The profile of a span of time. Blocks; asks now and then whether it is still wanted.
    ///
    /// # Errors
    ///
    /// When nothing is kept of this time, or it cannot be read or held.
    pub fn query(
        &self,
        query: &Query,
        is_abandoned: &dyn Fn() -> bool,
    ) -> Result<Found, QueryError> {
        self.query_within(query, is_abandoned, MERGED_BYTES)
    }

    pub(super) fn query_within(
        &self,
        query: &Query,
        is_abandoned: &dyn Fn() -> bool,
        most_bytes: usize,
    ) -> Result<Found, QueryError> {
        let windows = self.windows()?;
        let windows = windows
            .into_iter()
            .filter(|window| window.kind == query.kind);
        let all: Vec<Window> = windows.collect();
        let filter = filter(query);
        let mut merged: Option<Profile> = None;
        let mut taken = Vec::new();
        let mut torn = Vec::new();
        for window in all
            .iter()
            .filter(|window| window.span().overlaps(&query.span))
        {
            if is_abandoned() {
                return Err(QueryError::Abandoned);
            }
            let mut profile = match self.read(*window) {
                Ok(profile) => profile,
                Err(Unread::Gone) => continue,
                Err(Unread::Torn) => {
                    torn.push(*window);
                    continue;
                }
                Err(Unread::Refused(error)) => return Err(error.into()),
            };
            if let Some(filter) = &filter {
                profile.retain(filter);
            }
            match &mut merged {
                None => merged = Some(profile),
                // What measures something else under the same name is no window of ours.
                Some(merged) => {
                    if merged.merge(&profile).is_err() {
                        torn.push(*window);
                        continue;
                    }
                }
            }
            taken.push(window.span());
            if merged
                .as_ref()
                .is_some_and(|merged| merged.memory_bytes() > most_bytes)
            {
                return Err(QueryError::TooLarge);
            }
        }
        for window in &torn {
            self.count_torn(*window);
        }
        let Some(mut profile) = merged else {
            return Err(nothing(query, &all, torn.len()));
        };
        let windows = taken.len();
        let covered = Span::union(taken);
        remark(&mut profile, &covered, windows, &torn);
        Ok(Found {
            profile,
            covered,
            windows,
            torn: torn.len(),
        })
    }

    fn read(&self, window: Window) -> Result<Profile, Unread> {
        let mut bytes = Vec::new();
        let read = directory::open(self.directory(), window).and_then(|file| {
            // A byte more than allowed tells the largest file from one that is larger.
            file.take(FILE_BYTES + 1).read_to_end(&mut bytes)
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Unread::Gone),
            Err(error) if is_refusal(&error) => Err(Unread::Refused(error)),
            Ok(length) if length as u64 <= FILE_BYTES => {
                pprof::read(&bytes, LIMITS).map_err(|_| Unread::Torn)
            }
            _ => Err(Unread::Torn),
        }
    }
}

/// Whether it is the agent that lacks something: descriptors, memory or a permission. Anything else is
/// the file's own, or the disk's.
fn is_refusal(error: &io::Error) -> bool {
    let of_the_agent = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOMEM,
        libc::EACCES,
        libc::EPERM,
    ];
    error
        .raw_os_error()
        .is_some_and(|number| of_the_agent.contains(&number))
}

fn filter(query: &Query) -> Option<Filter> {
    let label = |key: &str, value: String| LabelFilter {
        key: key.to_owned(),
        value,
    };
    let pid = query.pid.map(|pid| label("pid", pid.to_string()));
    let agent = query.agent.clone().map(|agent| label("agent", agent));
    let labels: Vec<_> = pid.into_iter().chain(agent).collect();
    (!labels.is_empty()).then(|| Filter {
        labels,
        ..Filter::default()
    })
}

fn nothing(query: &Query, all: &[Window], torn: usize) -> QueryError {
    if torn > 0 {
        return QueryError::Torn(torn);
    }
    let there_is = match Span::union(all.iter().map(Window::span)).as_slice() {
        [] => "there is none at all".to_owned(),
        [only] => format!("there is {only}"),
        [first, .., last] => {
            let all = Span {
                start_ms: first.start_ms,
                end_ms: last.end_ms,
            };
            format!("there is {all}, with gaps")
        }
    };
    QueryError::Nothing {
        kind: query.kind,
        asked: query.span,
        there_is,
    }
}

/// Says in the profile itself what it is of.
fn remark(profile: &mut Profile, covered: &[Span], windows: usize, torn: &[Window]) {
    let spans: Vec<_> = covered.iter().map(Span::to_string).collect();
    let spans = spans.join(", ");
    profile.add_comment(format!("put together of {windows} windows: {spans}"));
    for window in torn.iter().take(TOLD_TORN) {
        profile.add_comment(format!("torn, and left out: {}", window.name()));
    }
    if let more @ 1.. = torn.len().saturating_sub(TOLD_TORN) {
        profile.add_comment(format!("torn, and left out: {more} more"));
    }
}

impl Query {
    /// All of this type between two times.
    pub fn of(kind: Type, start: SystemTime, end: SystemTime) -> Self {
        Self {
            kind,
            span: Span::new(start, end),
            pid: None,
            agent: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_agent_lacks_is_not_the_files_fault() {
        let is_refusal = |number| is_refusal(&io::Error::from_raw_os_error(number));
        assert!(is_refusal(libc::EMFILE));
        assert!(is_refusal(libc::EACCES));
        assert!(!is_refusal(libc::EIO));
        let broken = io::Error::new(io::ErrorKind::InvalidData, "no regular file");
        assert!(!super::is_refusal(&broken));
    }
}
