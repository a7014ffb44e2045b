//! Small drawings in a line: bars, and lines of what was.

use ratatui::{buffer::Buffer, style::Style};

use super::put;
use crate::monitor::theme::{Theme, Tone};

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Where a share is worth a look, and where something is wrong.
const HIGH: f64 = 0.75;
const FULL: f64 = 0.92;

/// The tone of a share that is better small.
pub(super) fn tone(share: Option<f64>) -> Tone {
    match share {
        Some(share) if share >= FULL => Tone::Bad,
        Some(share) if share >= HIGH => Tone::Warn,
        _ => Tone::Plain,
    }
}

/// A bar `[||||      text]`, of a share from 0 to 1.
pub(super) fn bar(
    buffer: &mut Buffer,
    at: (u16, u16),
    width: u16,
    share: Option<f64>,
    text: &str,
    theme: Theme,
) {
    if width < 4 {
        return;
    }
    let (x, y) = at;
    let plain = Style::new();
    put(buffer, at, 1, "[", plain, false);
    put(buffer, (x + width - 1, y), 1, "]", plain, false);
    let room = width - 2;
    let full = filled(share, room);
    let style = match tone(share) {
        Tone::Plain => theme.style(Tone::Accent),
        tone => theme.style(tone),
    };
    put(
        buffer,
        (x + 1, y),
        room,
        &"|".repeat(full.into()),
        style,
        false,
    );
    put(buffer, (x + 1, y), room, text, plain, true);
}

/// How many of so many columns a share fills.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the number of columns"
)]
fn filled(share: Option<f64>, room: u16) -> u16 {
    let share = share.filter(|share| share.is_finite()).unwrap_or(0.0);
    (share.clamp(0.0, 1.0) * f64::from(room)).round() as u16
}

/// A line of values, each a character; the highest is as high as `most`, or as the highest of them.
/// A gap is where there was none.
pub(super) fn spark(values: &[Option<f64>], most: Option<f64>) -> String {
    let highest = values.iter().flatten().copied().fold(0.0, f64::max);
    let most = most.unwrap_or(highest);
    let level = |value: &Option<f64>| match value {
        Some(value) => level(if most > 0.0 { value / most } else { 0.0 }),
        None => ' ',
    };
    values.iter().map(level).collect()
}

/// A character as high as a share.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the last level"
)]
pub(super) fn level(share: f64) -> char {
    let last = LEVELS.len() - 1;
    let at = (share.clamp(0.0, 1.0) * last as f64).round() as usize;
    LEVELS[at.min(last)]
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;

    use super::*;

    #[test]
    fn bars() {
        let check = |share, width, want: &str| {
            let mut buffer = Buffer::empty(Rect::new(0, 0, width, 1));
            bar(&mut buffer, (0, 0), width, share, "5%", Theme::plain());
            assert_eq!(super::super::lines(&buffer)[0], want, "{share:?}");
        };
        check(Some(0.5), 12, "[|||||   5%]");
        check(Some(0.0), 12, "[        5%]");
        check(None, 12, "[        5%]");
        check(Some(7.0), 12, "[||||||||5%]");
        check(Some(f64::NAN), 12, "[        5%]");
        check(Some(0.5), 3, "");
    }

    #[test]
    fn lines_of_what_was() {
        let check =
            |values: &[Option<f64>], most, want: &str| assert_eq!(spark(values, most), want);
        check(&[], None, "");
        check(&[Some(0.0), None, Some(7.0)], None, "▁ █");
        check(&[Some(1.0), Some(2.0)], Some(2.0), "▅█");
        check(&[Some(0.0)], None, "▁");
        check(&[None], None, " ");
    }
}
