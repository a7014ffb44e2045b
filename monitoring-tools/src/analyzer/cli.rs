//! The command line of `profile-analyzer`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use monitoring_profile::LabelFilter;
use regex::Regex;

/// Rows of a table unless another number is asked for: as many as a terminal shows.
const ROWS: usize = 30;

/// Says what a profile holds: which functions take most, who calls them, what has changed.
///
/// Profiles are files in pprof's format, compressed or not, whoever made them, or folded stacks.
/// Several are put together. Without options, the functions that take most are listed.
#[derive(Debug, Parser)]
#[command(
    name = "profile-analyzer",
    version,
    after_help = "Exit codes: 0 all is well, 1 a file cannot be read or written or has nothing of \
                  what was asked for, 2 wrong usage."
)]
pub struct Cli {
    /// Profiles; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Show N rows at most, 0 for all [default: 30 in tables, all in JSON]
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,

    /// Sort by what functions take with those that they call
    #[arg(long)]
    pub cum: bool,

    /// Divide up by a label instead: agent, process, thread, pid, …
    #[arg(long, value_name = "LABEL", conflicts_with_all = ["callers", "callees", "cum"])]
    pub by: Option<String>,

    /// Show who calls a function: its name, or a part that no other name has
    #[arg(long, value_name = "FUNCTION", conflicts_with_all = ["callees", "cum"])]
    pub callers: Option<String>,

    /// Show whom a function calls: its name, or a part that no other name has
    #[arg(long, value_name = "FUNCTION", conflicts_with = "cum")]
    pub callees: Option<String>,

    /// Show what has changed since this profile; percentages are parts of its total
    #[arg(long, value_name = "BEFORE")]
    pub diff: Option<PathBuf>,

    /// Only stacks with a function, source file or mapped file that matches
    #[arg(long, value_name = "REGEX")]
    pub focus: Option<Regex>,

    /// No stacks with a function, source file or mapped file that matches
    #[arg(long, value_name = "REGEX")]
    pub ignore: Option<Regex>,

    /// Only samples with this label; repeated, with all of them
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<LabelFilter>,

    /// Which of the profile's values: cpu, samples, … [default: what the profile says]
    #[arg(long = "type", value_name = "KIND")]
    pub kind: Option<String>,

    /// The form of the answer [default: by the name of the output, or table]
    #[arg(long)]
    pub format: Option<Format>,

    /// Write to a file: .svg, .json, .folded and .pprof or .pb.gz choose the format
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for people.
    Table,
    /// For programs: exact numbers in the profile's own units.
    Json,
    /// A line for each stack.
    Folded,
    /// An interactive flame graph.
    Svg,
    /// A profile again: what was put together and filtered.
    Pprof,
}

impl Cli {
    /// The format that was asked for, or that the output's name says.
    pub fn format(&self) -> Format {
        let named = self.output.as_ref().and_then(|output| {
            let name = output.file_name()?.to_str()?;
            let endings = [
                (".json", Format::Json),
                (".folded", Format::Folded),
                (".svg", Format::Svg),
                (".pprof", Format::Pprof),
                (".pb", Format::Pprof),
                (".pb.gz", Format::Pprof),
            ];
            let found = endings.iter().find(|(ending, _)| name.ends_with(ending));
            found.map(|(_, format)| *format)
        });
        self.format.or(named).unwrap_or(Format::Table)
    }

    /// How many rows are shown.
    pub fn rows(&self) -> usize {
        match (self.top, self.format()) {
            (Some(0), _) | (None, Format::Json) => usize::MAX,
            (Some(rows), _) => rows,
            (None, _) => ROWS,
        }
    }

    /// Whether only some samples are wanted.
    pub fn filters(&self) -> bool {
        self.focus.is_some() || self.ignore.is_some() || !self.labels.is_empty()
    }
}

fn label(text: &str) -> Result<LabelFilter, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(LabelFilter {
            key: key.to_owned(),
            value: value.to_owned(),
        }),
        _ => Err("a label is KEY=VALUE, such as process=nginx".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn formats_follow_from_the_output() {
        let check = |line: &str, want: Format| assert_eq!(parse(line).unwrap().format(), want);
        check("p a", Format::Table);
        check("p a -o b", Format::Table);
        check("p a -o b.svg", Format::Svg);
        check("p a -o b.pb.gz", Format::Pprof);
        check("p a -o b.pprof", Format::Pprof);
        check("p a -o b.svg --format json", Format::Json);
    }

    #[test]
    fn rows_are_limited_in_tables() {
        let check = |line: &str, want: usize| assert_eq!(parse(line).unwrap().rows(), want);
        check("p a", ROWS);
        check("p a --top 3", 3);
        check("p a --top 0", usize::MAX);
        check("p a --format json", usize::MAX);
        check("p a --format json --top 3", 3);
    }

    #[test]
    fn wrong_usage_is_told() {
        let check = |line: &str, want: ErrorKind| {
            let error = parse(line).expect_err("it is wrong usage");
            assert_eq!(error.kind(), want, "{line}");
            assert_eq!(error.exit_code(), 2, "{line}");
        };
        check("p", ErrorKind::MissingRequiredArgument);
        check("p a --focus (", ErrorKind::ValueValidation);
        check("p a --label pid", ErrorKind::ValueValidation);
        check("p a --label =1", ErrorKind::ValueValidation);
        check("p a --by pid --callers f", ErrorKind::ArgumentConflict);
        check("p a --format xml", ErrorKind::InvalidValue);
        check("p a --top -1", ErrorKind::UnknownArgument);
    }
}
