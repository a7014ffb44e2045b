//! The sections of the agent's file: which there are, and who reads each.
//!
//! Knows nothing of their values; how a document is walked is the same in every program.

use std::path::Path;

pub(super) use monitoring::config::reading::document::Document;
use monitoring::config::reading::document::{self, quoted};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    agents,
    otlp::{self, OTLP},
    peers,
    problem::{Fault, Problem},
    settings::{self, Draft, MONITORING, SOURCES},
};

const SECTIONS: [&str; 5] = ["monitoring", "agents", "otlp", "peers", "sources"];

/// Reads `text` into `draft`; `path` is only for the messages.
pub(super) fn read(
    path: &Path,
    text: &str,
    draft: &mut Draft,
    notes: &mut Vec<String>,
) -> Vec<Problem> {
    let mut found = document::read(Some(path), text, |document, table| {
        read_sections(document, table, draft);
    });
    notes.append(&mut found.notes);
    found.problems
}

fn read_sections(document: &mut Document<'_>, table: &DeTable<'_>, draft: &mut Draft) {
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "monitoring" => document.read_settings(value, "monitoring", MONITORING, draft),
            "otlp" => {
                document.read_settings(value, "otlp", OTLP, draft);
                if let Some((key, fault)) = otlp::fault(draft) {
                    document.report_missing(value, key, fault);
                }
            }
            "sources" => read_sources(document, value, draft),
            "agents" => draft.config.agents = agents::read(value, document),
            "peers" => draft.config.peers = peers::read(value, document),
            name if settings::find(name).is_some() => {
                let cure = "move it below a line [monitoring]";
                document.report(value, name, Fault::new("outside [monitoring]", cure));
            }
            name => {
                let fault = Fault::unknown("section", name, &SECTIONS);
                document.report(value, &quoted(name), fault);
            }
        }
    }
}

fn read_sources(document: &mut Document<'_>, value: &Spanned<DeValue<'_>>, draft: &mut Draft) {
    let families: Vec<_> = SOURCES.iter().map(|(family, _)| *family).collect();
    let Some(table) = document.table(value, "sources", "sources.host") else {
        return;
    };
    for (key, value) in table {
        let family = key.get_ref().as_ref();
        let path = format!("sources.{}", quoted(family));
        match SOURCES.iter().find(|(known, _)| *known == family) {
            Some((_, settings)) => document.read_settings(value, &path, settings, draft),
            None => document.report(value, &path, Fault::unknown("source", family, &families)),
        }
    }
}
