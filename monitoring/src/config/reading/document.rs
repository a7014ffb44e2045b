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
    problem::{Fault, Place, Problem, shown},
    settings::{self, Setting},
    values::Value,
};

/// Most errors of syntax that are looked at. One can lead to many that mean nothing.
const SYNTAX_ERRORS: usize = 8;

/// A key whose value is told to nobody, wherever it stands, and the section where it stands: what is
/// not TOML there may be a part of it.
const SECRET: &str = "headers";
const SECRET_SECTION: &str = "otlp";

/// A file that is being read.
pub struct Document<'a> {
    /// `None` for a text that came from no file.
    path: Option<&'a Path>,
    text: &'a str,
    /// Where each line begins, so that finding a line is cheap however many problems there are.
    lines: Vec<usize>,
    problems: Vec<Problem>,
    notes: Vec<String>,
}

/// What was found besides the values.
#[derive(Debug, Default)]
pub struct Findings {
    /// In the order of their lines.
    pub problems: Vec<Problem>,
    /// Sentences about values that are good.
    pub notes: Vec<String>,
}

/// Reads `text`, whose sections `walk` knows; `path` is only for the messages.
pub fn read(
    path: Option<&Path>,
    text: &str,
    walk: impl FnOnce(&mut Document<'_>, &DeTable<'_>),
) -> Findings {
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
        walk(&mut document, table.get_ref());
    } else {
        document.report_syntax(&errors);
    }
    let Document {
        mut problems,
        notes,
        ..
    } = document;
    problems.sort_by_key(|problem| problem.place.line());
    Findings { problems, notes }
}

impl Document<'_> {
    /// Reads the keys of a section.
    pub fn read_settings<T>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        path: &str,
        settings: &[Setting<T>],
        into: &mut T,
    ) {
        let Some(table) = self.table(value, path, path) else {
            return;
        };
        self.report_unknown(table, path, &settings::keys(settings));
        for setting in settings {
            if let Some(value) = table.get(setting.key)
                && let Err(fault) = (setting.apply)(into, Value::Toml(value.get_ref()))
            {
                self.report(value, &format!("{path}.{}", setting.key), fault);
            }
        }
    }

    /// The table that belongs here. A value of another type is reported.
    pub fn table<'t, 'i>(
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
    pub fn report_unknown(&mut self, table: &DeTable<'_>, path: &str, valid: &[&str]) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if !valid.contains(&name) {
                let fault = Fault::unknown("key", name, valid);
                let key = format!("{path}.{}", quoted(name));
                if path == SECRET_SECTION {
                    // It may be a header that was put into the wrong place.
                    self.report_missing(value, &key, fault);
                } else {
                    self.report(value, &key, fault);
                }
            }
        }
    }

    /// Reports a fault of this value.
    pub fn report(&mut self, value: &Spanned<DeValue<'_>>, key: &str, fault: Fault) {
        // Of a table, the source is no more than its header, which is the key once more.
        let source = match value.get_ref() {
            DeValue::Table(_) => None,
            _ if key.split('.').any(|part| part == SECRET) => None,
            _ => self.text.get(value.span()),
        };
        let place = self.place(value.span().start);
        self.problems.push(fault.at(place, key.to_owned(), source));
    }

    /// Reports that something is missing in, or too much for, this value.
    pub fn report_missing(&mut self, value: &Spanned<DeValue<'_>>, key: &str, fault: Fault) {
        self.problems
            .push(fault.at(self.place(value.span().start), key.to_owned(), None));
    }

    /// Notes something about a value that is good.
    pub fn note(&mut self, value: &Spanned<DeValue<'_>>, key: &str, why: &str) {
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
            let place = self.place_of(line);
            self.problems.push(fault.at(place, key, Some(&value)));
        }
    }

    /// What a line that is not TOML is likely about: its key below the nearest header, its value.
    fn key_and_value(&self, line: usize) -> (String, String) {
        let lines = || self.text.lines().take(line);
        let text = lines().last().unwrap_or_default().trim();
        let headers = lines().map(str::trim).filter(|line| line.starts_with('['));
        let section = headers
            .last()
            .and_then(|header| header.trim_matches('[').split(']').next());
        let is_secret = section.is_some_and(|section| section.trim().starts_with(SECRET_SECTION));
        let hidden = |value: &str| if is_secret { "…" } else { value }.to_owned();
        let parts = text.split_once(['=', ':']);
        let parts = parts.filter(|(key, _)| !key.is_empty());
        let Some((key, value)) = parts.filter(|(key, _)| !is_secret || is_bare(key.trim())) else {
            return ("line".to_owned(), hidden(text));
        };
        let key = shown(key.trim());
        let key = match section {
            Some(section) => format!("{}.{key}", shown(section)),
            None => key,
        };
        (key, hidden(value.trim()))
    }

    fn place(&self, at: usize) -> Place {
        self.place_of(self.line(at))
    }

    fn place_of(&self, line: usize) -> Place {
        match self.path {
            Some(path) => Place::File {
                path: path.to_owned(),
                line,
            },
            None => Place::Line(line),
        }
    }

    /// Number of the line with this byte, counted from 1.
    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }
}

/// A key as it has to be written.
pub fn quoted(key: &str) -> String {
    if is_bare(key) {
        shown(key)
    } else {
        format!("\"{}\"", shown(key))
    }
}

/// Whether a key needs no quotes.
fn is_bare(key: &str) -> bool {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !key.is_empty() && key.chars().all(bare)
}
