//! Walks a TOML document: finds each key's setting, and the line of each problem.
//!
//! Knows the form of the file and nothing of its values. The document is walked by hand rather than
//! by serde, so that all problems are found at once and each knows its full path and line.

use std::path::Path;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    agents, peers,
    problem::{Fault, Place, Problem, shown},
    settings::{self, Draft, MONITORING, SOURCES, Setting},
    values::Value,
};

const SECTIONS: [&str; 4] = ["monitoring", "agents", "peers", "sources"];

/// Most errors of syntax that are looked at. One can lead to many that mean nothing.
const SYNTAX_ERRORS: usize = 8;

/// A file that is being read.
pub(super) struct Document<'a> {
    path: &'a Path,
    text: &'a str,
    /// Where each line begins, so that finding a line is cheap however many problems there are.
    lines: Vec<usize>,
    problems: Vec<Problem>,
    notes: Vec<String>,
}

/// Reads `text` into `draft`; `path` is only for the messages.
pub(super) fn read(
    path: &Path,
    text: &str,
    draft: &mut Draft,
    notes: &mut Vec<String>,
) -> Vec<Problem> {
    let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
    let mut document = Document {
        path,
        text,
        lines: std::iter::once(0).chain(breaks).collect(),
        problems: Vec::new(),
        notes: Vec::new(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        document.read_sections(table.get_ref(), draft);
    } else {
        document.report_syntax(&errors);
    }
    document
        .problems
        .sort_by_key(|problem| match problem.place {
            Place::File { line, .. } => line,
            _ => 0,
        });
    notes.append(&mut document.notes);
    document.problems
}

impl Document<'_> {
    fn read_sections(&mut self, table: &DeTable<'_>, draft: &mut Draft) {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "monitoring" => self.read_settings(value, "monitoring", MONITORING, draft),
                "sources" => self.read_sources(value, draft),
                "agents" => draft.config.agents = agents::read(value, self),
                "peers" => draft.config.peers = peers::read(value, self),
                name if settings::find(name).is_some() => {
                    let cure = "move it below a line [monitoring]";
                    self.report(value, name, Fault::new("outside [monitoring]", cure));
                }
                name => {
                    let fault = Fault::unknown("section", name, &SECTIONS);
                    self.report(value, &quoted(name), fault);
                }
            }
        }
    }

    fn read_sources(&mut self, value: &Spanned<DeValue<'_>>, draft: &mut Draft) {
        let families: Vec<_> = SOURCES.iter().map(|(family, _)| *family).collect();
        let Some(table) = self.table(value, "sources", "sources.host") else {
            return;
        };
        for (key, value) in table {
            let family = key.get_ref().as_ref();
            let path = format!("sources.{}", quoted(family));
            match SOURCES.iter().find(|(known, _)| *known == family) {
                Some((_, settings)) => self.read_settings(value, &path, settings, draft),
                None => self.report(value, &path, Fault::unknown("source", family, &families)),
            }
        }
    }

    fn read_settings(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        path: &str,
        settings: &[Setting],
        draft: &mut Draft,
    ) {
        let Some(table) = self.table(value, path, path) else {
            return;
        };
        self.report_unknown(table, path, &settings::keys(settings));
        for setting in settings {
            if let Some(value) = table.get(setting.key)
                && let Err(fault) = (setting.apply)(draft, Value::Toml(value.get_ref()))
            {
                self.report(value, &format!("{path}.{}", setting.key), fault);
            }
        }
    }

    /// The table that belongs here. A value of another type is reported.
    fn table<'t, 'i>(
        &mut self,
        value: &'t Spanned<DeValue<'i>>,
        path: &str,
        header: &str,
    ) -> Option<&'t DeTable<'i>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(table);
        }
        let cure = format!(
            "write [{header}] in single brackets on a line of its own, and its keys below it"
        );
        let fault = Value::Toml(value.get_ref()).wrong_type("a table", &cure);
        self.report(value, path, fault);
        None
    }

    /// Reports each key of the table that is not in `valid`.
    pub(super) fn report_unknown(&mut self, table: &DeTable<'_>, path: &str, valid: &[&str]) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if !valid.contains(&name) {
                let fault = Fault::unknown("key", name, valid);
                self.report(value, &format!("{path}.{}", quoted(name)), fault);
            }
        }
    }

    /// Reports a fault of this value.
    pub(super) fn report(&mut self, value: &Spanned<DeValue<'_>>, key: &str, fault: Fault) {
        // Of a table, the source is no more than its header, which is the key once more.
        let source = match value.get_ref() {
            DeValue::Table(_) => None,
            _ => self.text.get(value.span()),
        };
        let place = self.place(value.span().start);
        self.problems.push(fault.at(place, key.to_owned(), source));
    }

    /// Reports that something is missing in, or too much for, this value.
    pub(super) fn report_missing(&mut self, value: &Spanned<DeValue<'_>>, key: &str, fault: Fault) {
        self.problems
            .push(fault.at(self.place(value.span().start), key.to_owned(), None));
    }

    /// Notes something about a value that is good.
    pub(super) fn note(&mut self, value: &Spanned<DeValue<'_>>, key: &str, why: &str) {
        let place = self.place(value.span().start);
        let source = shown(self.text.get(value.span()).unwrap_or_default());
        self.notes.push(format!("{place}: {key} = {source}: {why}"));
    }

    fn report_syntax(&mut self, errors: &[toml::de::Error]) {
        let mut last = 0;
        for error in errors.iter().take(SYNTAX_ERRORS) {
            let line = self.line(error.span().map_or(0, |span| span.start));
            // The first error of a line is the one to mend.
            if std::mem::replace(&mut last, line) == line {
                continue;
            }
            let (key, value) = self.key_and_value(line);
            let cure = match error.message() {
                message if message.contains("duplicate") => "keep one of them",
                message if message.contains("quoted") => {
                    "put quotes around what is not a plain number, for example key = \"10s\""
                }
                _ => {
                    "write key = 10, key = true, key = \"text\" or key = [\"text\"], one key a line"
                }
            };
            let fault = Fault::new(format!("not TOML: {}", error.message()), cure);
            let place = Place::File {
                path: self.path.to_owned(),
                line,
            };
            self.problems.push(fault.at(place, key, Some(&value)));
        }
    }

    /// What a line that is not TOML is likely about: its key below the nearest header, its value.
    fn key_and_value(&self, line: usize) -> (String, String) {
        let lines = || self.text.lines().take(line);
        let text = lines().last().unwrap_or_default().trim();
        let Some((key, value)) = text
            .split_once(['=', ':'])
            .filter(|(key, _)| !key.is_empty())
        else {
            return ("line".to_owned(), text.to_owned());
        };
        let key = shown(key.trim());
        let headers = lines().map(str::trim).filter(|line| line.starts_with('['));
        let section = headers
            .last()
            .and_then(|header| header.trim_matches('[').split(']').next());
        let key = match section {
            Some(section) => format!("{}.{key}", shown(section)),
            None => key,
        };
        (key, value.trim().to_owned())
    }

    fn place(&self, at: usize) -> Place {
        Place::File {
            path: self.path.to_owned(),
            line: self.line(at),
        }
    }

    /// Number of the line with this byte, counted from 1.
    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }
}

/// A key as it has to be written.
fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        shown(key)
    } else {
        format!("\"{}\"", shown(key))
    }
}
