//! What the kernel tells of files as they are mapped, as far as it is of interest here: those whose
//! names are looked for, and whatever processes map that use CUDA.

use std::collections::{HashMap, HashSet};

use super::{Events, MappedFile, Names};

/// What is new.
#[derive(Debug, Default)]
pub struct News {
    /// Processes that have mapped files whose names are looked for; when they did so first, on the
    /// monotonic clock.
    pub named: HashMap<(u32, MappedFile), u64>,
    /// Followed processes that have mapped anything to execute; likewise.
    pub changed: HashMap<u32, u64>,
    /// Records for which there was no room.
    pub lost: u64,
    /// Whether anything was told at all, of interest or not.
    pub heard: bool,
}

impl News {
    /// Takes what was told. Processes that are `followed` are of interest whatever they map.
    pub fn take(events: &mut Events, names: &Names, followed: &HashSet<u32>) -> Self {
        let mut news = Self::default();
        let heard = events.take(|record| {
            let first = if names.library(record.file_name()).is_some() {
                news.named
                    .entry((record.pid, record.file))
                    .or_insert(record.at_ns)
            } else if followed.contains(&record.pid) {
                news.changed.entry(record.pid).or_insert(record.at_ns)
            } else {
                return;
            };
            *first = record.at_ns.min(*first);
        });
        Self {
            lost: heard.lost,
            heard: heard.any,
            ..news
        }
    }
}
