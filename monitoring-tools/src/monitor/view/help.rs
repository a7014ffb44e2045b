//! The keys.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::put;
use crate::monitor::theme::{Theme, Tone};

const KEYS: [(&str, &str); 13] = [
    (
        "1 2 3 4 5 6 7",
        "node, agents, GPUs, CUDA, latency, losses, flame",
    ),
    ("Tab, Shift-Tab", "the next node, the one before"),
    ("p, space", "hold everything still, and go on"),
    ("s, left, right", "sort a table by another column"),
    ("r; Esc", "turn the order around; back to the usual one"),
    ("/", "only rows with a text; Enter keeps, Esc clears it"),
    ("up, down, PgUp, PgDn, Home", "scroll; also j and k"),
    ("f", "flame graph: take another profile"),
    ("arrows", "flame graph: caller, called, those beside it"),
    (
        "Enter, Backspace",
        "flame graph: as wide as the screen, and back",
    ),
    ("?, h", "this page; any key leaves it"),
    ("q, Ctrl-C", "end"),
    ("–", "not known: not told, or no two snapshots yet"),
];

pub(super) fn draw(area: Rect, buffer: &mut Buffer, theme: Theme) {
    for ((keys, what), y) in KEYS.iter().zip(area.y..area.bottom()) {
        put(
            buffer,
            (area.x + 1, y),
            27,
            keys,
            theme.style(Tone::Strong),
            false,
        );
        put(
            buffer,
            (area.x + 29, y),
            area.width - 29,
            what,
            Style::new(),
            false,
        );
    }
    let y = area.y + u16::try_from(KEYS.len() + 1).unwrap_or(0);
    if y < area.bottom() {
        let text = "Rates and quantiles are of the time between the agent's last two snapshots.";
        put(
            buffer,
            (area.x + 1, y),
            area.width - 1,
            text,
            theme.style(Tone::Dim),
            false,
        );
    }
}
