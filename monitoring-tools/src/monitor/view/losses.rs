//! What the agent could not see: reasons as a table, and above it how its sources fare.

use std::fmt::Write as _;

use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    heading, put,
    table::{Cell, Table, column},
    wrapped,
};
use crate::monitor::{
    figures::losses::{Losses, Source},
    theme::{Theme, Tone},
    units::{NONE, bytes, count, percent, seconds},
};

/// So many lines are for what one of them has to say.
const LINES: usize = 2;

/// So many lines are left for the table and its heading.
const REASONS: u16 = 4;

/// So many families are named of which series were left out.
const LIMITED: usize = 2;

/// Draws all but the reasons, which are the table that is returned with its place.
pub(super) fn draw(
    losses: &Losses,
    area: Rect,
    buffer: &mut Buffer,
    theme: Theme,
) -> (Table, Rect) {
    let mut y = area.y;
    for (text, tone) in about(losses) {
        let style = theme.style(tone);
        let mut lines = wrapped(&text, area.width.into());
        if lines.len() > LINES {
            lines.truncate(LINES);
            lines[LINES - 1].push('…');
        }
        for line in lines {
            // Reasons are what one is here for: they have the last lines.
            if y + REASONS >= area.bottom() {
                break;
            }
            put(buffer, (area.x, y), area.width, &line, style, false);
            y += 1;
        }
    }
    let title = Rect {
        y,
        height: 1,
        ..area
    };
    let about = "since the agent started, and now";
    heading(buffer, title, "Lost", about, theme);
    let below = Rect {
        y: title.bottom(),
        height: area.bottom().saturating_sub(title.bottom()),
        ..area
    };
    (reasons(losses), below)
}

/// How the agent and its sources fare, a line for each.
fn about(losses: &Losses) -> Vec<(String, Tone)> {
    let names = |sources: &[&Source]| {
        let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        if names.is_empty() {
            NONE.to_owned()
        } else {
            names.join(" ")
        }
    };
    let (down, up): (Vec<&Source>, Vec<&Source>) =
        losses.sources.iter().partition(|source| !source.is_up);
    let agent = format!(
        "The agent itself: {} of a CPU, {} of memory",
        percent(losses.cpu),
        bytes(losses.rss_bytes)
    );
    let mut lines = vec![
        (agent, Tone::Plain),
        (format!("Sources that deliver: {}", names(&up)), Tone::Plain),
    ];
    if !down.is_empty() {
        let text = format!("Sources that do not: {}", names(&down));
        lines.push((text, Tone::Warn));
    }
    if !losses.detached.is_empty() {
        let text = format!("Not attached: {}", losses.detached.join(" "));
        lines.push((text, Tone::Warn));
    }
    for (family, series) in losses.limited.iter().take(LIMITED) {
        let text = format!("{family}: {} series left out", count(Some(*series)));
        lines.push((text, Tone::Warn));
    }
    lines.extend(slowest(&losses.sources).map(|text| (text, Tone::Dim)));
    lines
}

/// The source that takes longest to collect, and the one whose numbers are oldest.
fn slowest(sources: &[Source]) -> Option<String> {
    let most = |value: fn(&Source) -> Option<f64>| {
        let known = sources
            .iter()
            .filter_map(|source| Some((source, value(source)?)));
        known.max_by(|one, two| one.1.total_cmp(&two.1))
    };
    let (slow, time) = most(|source| source.collect_seconds)?;
    let mut text = format!("Slowest to collect: {} {}", slow.name, seconds(Some(time)));
    if let Some((old, age)) = most(|source| source.age_seconds) {
        let _ = write!(
            text,
            ".  Oldest numbers: {} {}",
            old.name,
            seconds(Some(age))
        );
    }
    Some(text)
}

fn reasons(losses: &Losses) -> Table {
    let rows = losses.reasons.iter().map(|loss| {
        let is_new = loss.new.is_some_and(|new| new > 0.0);
        vec![
            Cell::text(&loss.source),
            Cell::text(&loss.reason),
            Cell::number(Some(loss.total), count),
            Cell::number(loss.new, count).tone_if(is_new, Tone::Bad),
        ]
    });
    Table {
        columns: vec![
            column("SOURCE", 12, 0),
            column("REASON", 28, 0),
            column("TOTAL", 8, 0),
            column("NOW", 8, 0),
        ],
        rows: rows.collect(),
    }
}
