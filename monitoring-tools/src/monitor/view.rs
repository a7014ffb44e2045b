//! The screen: a head, one view of one node, a foot. Knows figures, and not where they come from.

mod agents;
mod cuda;
mod flame;
mod gpus;
mod head;
mod help;
mod latency;
mod losses;
mod meter;
mod node;
mod table;

use std::time::Instant;

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    app::{App, View},
    node::Contact,
    theme::{Theme, Tone},
    units,
};

/// The smallest screen on which something can be read.
pub(super) const LEAST: (u16, u16) = (60, 16);

/// The moment that a screen is of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) instant: Instant,
    /// Seconds since 1970.
    pub(super) unix_seconds: f64,
}

/// Draws the whole screen.
pub(super) fn draw(app: &mut App, buffer: &mut Buffer, theme: Theme, now: Now) {
    let area = buffer.area;
    let (width, height) = LEAST;
    if area.width < width || area.height < height {
        let text = format!(
            "too small: {}x{} of {width}x{height}",
            area.width, area.height
        );
        put(
            buffer,
            (area.x, area.y),
            area.width,
            &text,
            theme.style(Tone::Strong),
            false,
        );
        return;
    }
    let top = head::draw(app, area, buffer, theme, now);
    let body = Rect {
        y: area.y + top,
        height: area.height - top - 1,
        ..area
    };
    let foot = Rect {
        y: area.bottom() - 1,
        height: 1,
        ..area
    };
    if app.shows_help {
        app.columns = 0;
        help::draw(body, buffer, theme);
    } else {
        draw_body(app, body, buffer, theme);
    }
    head::foot(app, foot, buffer, theme, now);
}

fn draw_body(app: &mut App, area: Rect, buffer: &mut Buffer, theme: Theme) {
    app.columns = 0;
    if app.view == View::Flame {
        flame::draw(app, area, buffer, theme);
        return;
    }
    let node = app.node();
    let Some(figures) = node.figures() else {
        let text = match &node.contact {
            Contact::Away { .. } => {
                "Nothing has come from this node yet. It is asked again and again."
            }
            _ => "The node is being asked.",
        };
        put(
            buffer,
            (area.x + 2, area.y + 1),
            area.width - 2,
            text,
            Style::new(),
            false,
        );
        return;
    };
    if app.view == View::Node {
        node::draw(figures, &node.history, area, buffer, theme);
        return;
    }
    let (table, area) = match app.view {
        View::Agents => (agents::table(&figures.agents), area),
        View::Gpus => (gpus::table(figures, &node.history, area.width), area),
        View::Cuda => cuda::draw(&figures.cuda, area, buffer, theme),
        View::Latency => (latency::table(figures, &node.history, area.width), area),
        _ => losses::draw(&figures.losses, area, buffer, theme),
    };
    let all = table.rows.len();
    let filter = app.filter.clone();
    let looking = app.looking();
    let table = table.filtered(&filter).sorted(looking.sorted);
    if table.rows.is_empty() {
        let text = empty(app.view, all);
        put(
            buffer,
            (area.x, area.y),
            area.width,
            &text,
            theme.style(Tone::Dim),
            false,
        );
        return;
    }
    table.draw(area, buffer, theme, Some(looking));
    app.columns = table.columns.len();
}

/// Why a table has no rows.
fn empty(view: View, all: usize) -> String {
    if all > 0 {
        return format!("None of the {all} rows has this in it. Esc shows all.");
    }
    let why = match view {
        View::Agents => "The node tells of no agents: its sources process and sched are off.",
        View::Gpus => "The node tells of no GPU: it has none, or no driver.",
        View::Cuda => {
            "No calls into CUDA have been seen: no process makes any, or the source is off."
        }
        View::Losses => "Nothing was lost.",
        _ => "The node tells of nothing like it.",
    };
    why.to_owned()
}

/// Draws text into so many columns of a line: from the left, or to the right end. What does not fit
/// is cut off, with a mark.
fn put(buffer: &mut Buffer, at: (u16, u16), width: u16, text: &str, style: Style, right: bool) {
    let (x, y) = at;
    let area = buffer.area;
    if width == 0 || x >= area.right() || y >= area.bottom() {
        return;
    }
    let width = width.min(area.right() - x);
    let line = ratatui::text::Line::raw(text);
    let needed = u16::try_from(line.width()).unwrap_or(u16::MAX);
    if needed > width {
        buffer.set_stringn(x, y, text, usize::from(width - 1), style);
        buffer.set_stringn(x + width - 1, y, "…", 1, style);
        return;
    }
    let start = if right { x + width - needed } else { x };
    buffer.set_stringn(start, y, text, usize::from(width), style);
}

/// A heading over a part of a view, with what it is about behind it.
fn heading(buffer: &mut Buffer, area: Rect, title: &str, about: &str, theme: Theme) {
    put(
        buffer,
        (area.x, area.y),
        area.width,
        title,
        theme.style(Tone::Strong),
        false,
    );
    let shift = u16::try_from(title.chars().count() + 2).unwrap_or(u16::MAX);
    if shift < area.width {
        let at = (area.x + shift, area.y);
        put(
            buffer,
            at,
            area.width - shift,
            about,
            theme.style(Tone::Dim),
            false,
        );
    }
}

/// Lines of at most so many characters, broken at spaces where there are any.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is one from the start");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// The lines of a screen as text.
pub(super) fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width.max(1));
    let rows = buffer.content.chunks(width);
    let line = |row: &[ratatui::buffer::Cell]| {
        let mut line = String::new();
        let mut covered = 0;
        for cell in row {
            if covered > 0 {
                covered -= 1;
                continue;
            }
            line.push_str(cell.symbol());
            covered = ratatui::text::Line::raw(cell.symbol())
                .width()
                .saturating_sub(1);
        }
        line.trim_end().to_owned()
    };
    rows.map(line).collect()
}

/// A quantile, of which only the least may be known.
fn quantile(value: Option<super::distribution::Quantile>, is_time: bool) -> String {
    use super::distribution::Quantile;
    let show = |value| {
        if is_time {
            units::seconds(Some(value))
        } else {
            units::count(Some(value))
        }
    };
    match value {
        None => units::NONE.to_owned(),
        Some(Quantile::At(value)) => show(value),
        Some(Quantile::Above(value)) => format!(">{}", show(value)),
    }
}

#[cfg(test)]
mod tests;
