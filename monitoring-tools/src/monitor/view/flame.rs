//! The flame graph: a line for each depth, a frame as wide as its share.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{put, wrapped};
use crate::monitor::{
    app::App,
    flame::{Flame, Looked, ROOT},
    theme::{Theme, Tone},
    units::{percent, seconds},
};

pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer, theme: Theme) {
    let at = (area.x + 1, area.y + 1);
    let width = area.width - 2;
    match &app.node().flame {
        Flame::None => put(
            buffer,
            at,
            width,
            "Press f to take a profile.",
            Style::new(),
            false,
        ),
        Flame::Taking => {
            let text = format!(
                "The agent takes a profile of the next {} s.",
                app.flame_seconds
            );
            put(buffer, at, width, &text, Style::new(), false);
        }
        Flame::Refused(why) => refused(why, area, buffer, theme),
        Flame::Taken(looked) => graph(looked, area, buffer, theme),
    }
}

/// The reason, and advice in a paragraph of its own.
fn refused(why: &str, area: Rect, buffer: &mut Buffer, theme: Theme) {
    let width = usize::from(area.width - 2);
    let tones = [Tone::Warn, Tone::Plain];
    let mut y = area.y;
    put(
        buffer,
        (area.x + 1, y),
        area.width,
        "There is no profile.",
        theme.style(Tone::Strong),
        false,
    );
    y += 2;
    for (paragraph, tone) in why.split("\n\n").zip(tones.into_iter().cycle()) {
        for line in wrapped(paragraph, width) {
            if y < area.bottom() {
                put(
                    buffer,
                    (area.x + 1, y),
                    area.width - 2,
                    &line,
                    theme.style(tone),
                    false,
                );
            }
            y += 1;
        }
        y += 1;
    }
}

fn graph(looked: &Looked, area: Rect, buffer: &mut Buffer, theme: Theme) {
    let frames = &looked.tree.frames;
    let (all, zoom) = (frames[ROOT].value, looked.zoom);
    let marked = &frames[looked.selected];
    let time = |value: u64| seconds(Some(value as f64 / 1e9));
    let about = format!(
        "{}  {} of CPU time, {} of {}",
        marked.name,
        time(marked.value),
        percent(Some(marked.value as f64 / all as f64)),
        time(all)
    );
    put(
        buffer,
        (area.x, area.y),
        area.width,
        &about,
        theme.style(Tone::Strong),
        false,
    );
    let lines = usize::from(area.height - 1);
    let depth = looked.tree.depth(looked.selected) - looked.tree.depth(zoom);
    let skipped = (depth + 2).saturating_sub(lines);
    let drawing = Drawing {
        looked,
        skipped,
        area: Rect {
            y: area.y + 1,
            height: area.height - 1,
            ..area
        },
        theme,
    };
    drawing.draw(buffer);
}

struct Drawing<'a> {
    looked: &'a Looked,
    /// Depths that are above the screen.
    skipped: usize,
    area: Rect,
    theme: Theme,
}

impl Drawing<'_> {
    /// From the frame that is zoomed to, down: each with its start and the share of its line.
    fn draw(&self, buffer: &mut Buffer) {
        let frames = &self.looked.tree.frames;
        let whole = frames[self.looked.zoom].value.max(1);
        let lines = usize::from(self.area.height);
        let mut line = vec![(self.looked.zoom, 0_u64)];
        for depth in 0..self.skipped + lines {
            let mut next = Vec::new();
            for (frame, start) in line {
                let end = start.saturating_add(frames[frame].value);
                let (from, to) = (self.column(start, whole), self.column(end, whole));
                if to <= from {
                    continue;
                }
                if let Some(row) = depth.checked_sub(self.skipped) {
                    let y = self.area.y + u16::try_from(row).unwrap_or(u16::MAX);
                    self.frame(buffer, frame, (from, to), y);
                }
                let mut child_start = start;
                for child in &frames[frame].children {
                    next.push((*child, child_start));
                    child_start = child_start.saturating_add(frames[*child].value);
                }
            }
            line = next;
        }
    }

    /// The column of the screen for a share of the whole.
    fn column(&self, value: u64, whole: u64) -> u16 {
        let width = u128::from(self.area.width);
        let column = u128::from(value) * width / u128::from(whole);
        self.area.x + u16::try_from(column).unwrap_or(self.area.width)
    }

    fn frame(&self, buffer: &mut Buffer, frame: usize, (from, to): (u16, u16), y: u16) {
        let name = &self.looked.tree.frames[frame].name;
        let style = self.theme.flame(name, frame == self.looked.selected);
        let width = to - from;
        buffer.set_stringn(from, y, " ".repeat(width.into()), width.into(), style);
        // An edge tells frames apart that have one colour, or none.
        put(buffer, (from, y), 1, "▏", style, false);
        if width > 2 {
            put(buffer, (from + 1, y), width - 1, name, style, false);
        }
    }
}
