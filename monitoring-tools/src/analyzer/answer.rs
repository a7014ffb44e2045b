//! What is answered, in the format that was asked for.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use monitoring_profile::{
    Profile, folded, pprof, svg,
    top::{self, Direction, Order, Scale, Style, Top},
};
use serde_json::Value;

use super::cli::{Cli, Format};
use crate::output;

/// So many names are listed where one was meant.
const NAMES: usize = 10;

/// What an answer is about.
pub(super) struct Shown<'a> {
    /// Which of the profiles' values.
    pub(super) value: usize,
    /// What 100 % are.
    pub(super) whole: i64,
    /// What is compared with, if anything is.
    pub(super) before: Option<&'a Profile>,
    /// What was asked for.
    pub(super) after: &'a Profile,
}

/// The answer, in the format that was asked for.
pub(super) fn answer(cli: &Cli, shown: &Shown<'_>) -> Result<Vec<u8>> {
    let Shown {
        value,
        before,
        after,
        ..
    } = *shown;
    let difference = match before {
        Some(before) => Some(Profile::difference(before, after).context("compare")?),
        None => None,
    };
    let profile = difference.as_ref().unwrap_or(after);
    let folding = folded::Options::default();
    let mut answer = Vec::new();
    match (cli.format(), before) {
        (Format::Folded, None) => folded::write(after, value, &folding, &mut answer)?,
        (Format::Folded, Some(before)) => {
            folded::write_difference(before, after, value, &folding, &mut answer)?;
        }
        (Format::Svg, None) => {
            let options = drawing(after, value, "Flame graph");
            svg::write(after, value, &options, &mut answer)?;
        }
        (Format::Svg, Some(before)) => {
            let options = drawing(after, value, "Differential flame graph");
            svg::write_difference(before, after, value, &options, &mut answer)?;
        }
        (Format::Pprof, _) => answer = pprof::write(profile),
        (Format::Json, _) => {
            let list = list(cli, profile, shown)?;
            serde_json::to_writer_pretty(&mut answer, &list.json())?;
            answer.push(b'\n');
        }
        (Format::Table, _) => {
            let style = Style {
                bold: cli.output.is_none() && output::may_be_bold(),
            };
            answer.extend(heading(shown).into_bytes());
            answer.extend(list(cli, profile, shown)?.table(style).into_bytes());
        }
    }
    Ok(answer)
}

fn drawing(profile: &Profile, value: usize, title: &str) -> svg::Options {
    let kind = &profile.sample_types()[value];
    svg::Options {
        title: format!("{title}: {}", kind.kind),
        ..svg::Options::default()
    }
}

/// What a table or JSON shows.
enum List {
    Top(Top),
    Calls(top::Calls, Direction),
}

impl List {
    fn json(&self) -> Value {
        match self {
            Self::Top(top) => top.to_json(),
            Self::Calls(calls, _) => calls.to_json(),
        }
    }

    fn table(&self, style: Style) -> String {
        match self {
            Self::Top(top) => top.to_table(style),
            Self::Calls(calls, direction) => calls.to_table(*direction, style),
        }
    }
}

fn list(cli: &Cli, profile: &Profile, shown: &Shown<'_>) -> Result<List> {
    let value = shown.value;
    let wanted = [
        (&cli.callers, Direction::Callers),
        (&cli.callees, Direction::Callees),
    ];
    for (name, direction) in wanted {
        if let Some(name) = name {
            let mut calls = calls(profile, value, name)?;
            calls.whole = shown.whole;
            calls.callers.truncate(cli.rows());
            calls.callees.truncate(cli.rows());
            return Ok(List::Calls(calls, direction));
        }
    }
    let mut top = match &cli.by {
        Some(label) => by_label(profile, value, label)?,
        None => top::by_function(profile, value),
    };
    top.whole = shown.whole;
    if cli.cum {
        top.sort(Order::Cumulative);
    }
    top.shorten(cli.rows());
    Ok(List::Top(top))
}

fn by_label(profile: &Profile, value: usize, label: &str) -> Result<Top> {
    let top = top::by_label(profile, value, label);
    if top.rows.is_empty() && profile.samples().len() != 0 {
        let mut known: Vec<&str> = Vec::new();
        for sample in profile.samples() {
            for label in sample.labels() {
                if !known.contains(&label.key) {
                    known.push(label.key);
                }
            }
        }
        known.sort_unstable();
        known.truncate(NAMES);
        match known.as_slice() {
            [] => bail!("no sample has a label"),
            known => bail!(
                "no sample has the label {label}; there are {}",
                known.join(", ")
            ),
        }
    }
    Ok(top)
}

/// The calls of a function whose name, or a part of it, is known.
fn calls(profile: &Profile, value: usize, name: &str) -> Result<top::Calls> {
    if let Some(calls) = top::calls(profile, value, name) {
        return Ok(calls);
    }
    let functions = top::by_function(profile, value);
    let rows = functions.rows.iter().map(|row| row.name.as_str());
    let matching: Vec<&str> = rows.filter(|row| row.contains(name)).collect();
    match matching.as_slice() {
        [] => bail!("no sample has a function whose name contains {name}"),
        [one] => top::calls(profile, value, one).context("the function was found above"),
        several => {
            let shown = several
                .iter()
                .take(NAMES)
                .fold(String::new(), |mut all, one| {
                    let _ = write!(all, "\n  {one}");
                    all
                });
            bail!(
                "{} functions have names that contain {name}:{shown}",
                several.len()
            )
        }
    }
}

/// What the profile is of, above a table.
fn heading(shown: &Shown<'_>) -> String {
    let profile = shown.after;
    let kind = &profile.sample_types()[shown.value];
    let mut heading = format!("Type: {} ({})\n", kind.kind, kind.unit);
    let since = u64::try_from(profile.time_ns())
        .ok()
        .filter(|time| *time != 0);
    if let Some(since) = since {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(since);
        let time = humantime::format_rfc3339_seconds(time);
        let _ = writeln!(heading, "Time: {time}");
    }
    let duration_ns = profile.duration_ns();
    if duration_ns > 0 {
        let duration = Scale::for_value(duration_ns, "nanoseconds").show(duration_ns);
        let _ = write!(heading, "Duration: {duration}");
        if kind.unit == "nanoseconds" && shown.before.is_none() {
            let busy = shown.whole as f64 / duration_ns as f64;
            let _ = write!(heading, ", the total is {:.2}% of it", busy * 100.0);
        }
        heading.push('\n');
    }
    heading
}
