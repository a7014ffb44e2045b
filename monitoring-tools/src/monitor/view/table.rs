//! Tables: columns that fit, rows that are sorted, filtered and scrolled.

use ratatui::{buffer::Buffer, layout::Rect};

use super::put;
use crate::monitor::{
    app::Looking,
    theme::{Theme, Tone},
    units,
};

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Columns of the screen, without the gap before it. Of the first one it is the least: it takes
    /// what its texts need, and the others leave.
    pub(super) width: u16,
    /// Columns that are as important are left out from the last one, the less important first.
    pub(super) rank: u8,
}

/// A column of numbers, or of short text.
pub(super) const fn column(title: &'static str, width: u16, rank: u8) -> Column {
    Column { title, width, rank }
}

/// What stands in a row's column.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
    /// What it is sorted by. Without, by its text.
    pub(super) order: Option<f64>,
    /// Whether it begins at the column's left end, as text does, or ends at its right one.
    pub(super) is_text: bool,
}

impl Cell {
    /// A text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tone: Tone::Plain,
            order: None,
            is_text: true,
        }
    }

    /// A number, as `show` writes it. One that is missing is less than all others.
    pub(super) fn number(value: Option<f64>, show: impl Fn(Option<f64>) -> String) -> Self {
        let text = show(value);
        Self {
            tone: if text == units::NONE {
                Tone::Dim
            } else {
                Tone::Plain
            },
            text,
            order: Some(
                value
                    .filter(|value| value.is_finite())
                    .unwrap_or(f64::NEG_INFINITY),
            ),
            is_text: false,
        }
    }

    pub(super) fn tone(mut self, tone: Tone) -> Self {
        if self.tone == Tone::Plain {
            self.tone = tone;
        }
        self
    }

    /// The tone, if it holds.
    pub(super) fn tone_if(self, holds: bool, tone: Tone) -> Self {
        if holds { self.tone(tone) } else { self }
    }
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Only the rows in which this can be read, in any case of letters.
    pub(super) fn filtered(mut self, filter: &str) -> Self {
        let filter = filter.to_lowercase();
        let has = |cell: &Cell| cell.is_text && cell.text.to_lowercase().contains(&filter);
        self.rows
            .retain(|row| filter.is_empty() || row.iter().any(has));
        self
    }

    /// In the order that was chosen: numbers with the largest first, text from A to Z.
    pub(super) fn sorted(mut self, sorted: Option<(usize, bool)>) -> Self {
        let Some((column, is_turned)) = sorted.filter(|(column, _)| *column < self.columns.len())
        else {
            return self;
        };
        self.rows.sort_by(|one, two| {
            let (one, two) = (&one[column], &two[column]);
            let order = match (one.order, two.order) {
                (Some(one), Some(two)) => two.total_cmp(&one),
                _ => one.text.cmp(&two.text),
            };
            if is_turned { order.reverse() } else { order }
        });
        self
    }

    /// Draws it, the heading first. What does not fit below is said in the last line.
    pub(super) fn draw(
        &self,
        area: Rect,
        buffer: &mut Buffer,
        theme: Theme,
        looking: Option<&mut Looking>,
    ) {
        if area.height < 2 {
            return;
        }
        let places = self.places(area);
        let sorted = looking.as_ref().and_then(|looking| looking.sorted);
        self.heading(&places, area, buffer, theme, sorted);
        let room = usize::from(area.height - 1);
        let is_whole = self.rows.len() <= room;
        let shown = if is_whole { room } else { room - 1 };
        let is_scrolled = looking.is_some();
        let skipped = match looking {
            Some(looking) => {
                let most = self.rows.len().saturating_sub(shown);
                looking.skipped = looking.skipped.min(most);
                looking.skipped
            }
            None => 0,
        };
        let rows = self.rows.iter().skip(skipped).take(shown);
        for (row, y) in rows.zip(area.y + 1..) {
            for (place, cell) in &mut places.iter().zip(row) {
                let Some((x, width)) = *place else { continue };
                let style = theme.style(cell.tone);
                put(buffer, (x, y), width, &cell.text, style, !cell.is_text);
            }
        }
        if !is_whole {
            let below = self.rows.len() - shown - skipped;
            let more = match (skipped, below) {
                (_, below) if !is_scrolled => format!("{below} more"),
                (0, below) => format!("{below} more below"),
                (above, 0) => format!("{above} more above"),
                (above, below) => format!("{above} more above, {below} below"),
            };
            let at = (area.x, area.bottom() - 1);
            put(buffer, at, area.width, &more, theme.style(Tone::Dim), false);
        }
    }

    fn heading(
        &self,
        places: &[Option<(u16, u16)>],
        area: Rect,
        buffer: &mut Buffer,
        theme: Theme,
        sorted: Option<(usize, bool)>,
    ) {
        for (number, (place, column)) in places.iter().zip(&self.columns).enumerate() {
            let Some((x, width)) = *place else { continue };
            let numbers = |row: &Vec<Cell>| row.get(number).is_some_and(|cell| !cell.is_text);
            let is_right = self.rows.first().is_some_and(numbers);
            let (mark, style) = match sorted {
                Some((sorted, is_turned)) if sorted == number => {
                    (if is_turned { "^" } else { "v" }, theme.chosen())
                }
                _ => ("", theme.style(Tone::Strong)),
            };
            let title = format!("{}{mark}", column.title);
            put(buffer, (x, area.y), width, &title, style, is_right);
        }
    }

    /// Where each column is and how wide, if it fits.
    fn places(&self, area: Rect) -> Vec<Option<(u16, u16)>> {
        let mut shown: Vec<bool> = vec![true; self.columns.len()];
        let needed = |shown: &[bool]| -> u16 {
            let columns = self.columns.iter().zip(shown);
            let widths = columns
                .filter(|(_, shown)| **shown)
                .map(|(column, _)| column.width + 1);
            widths.sum::<u16>().saturating_sub(1)
        };
        while needed(&shown) > area.width {
            let columns = self.columns.iter().enumerate();
            let least = columns
                .filter(|(number, _)| *number > 0 && shown[*number])
                .max_by_key(|(number, column)| (column.rank, *number));
            let Some((least, _)) = least else { break };
            shown[least] = false;
        }
        let first = self.rows.iter().filter_map(|row| row.first());
        let longest = first
            .map(|cell| ratatui::text::Line::raw(&cell.text).width())
            .max();
        let longest = u16::try_from(longest.unwrap_or(0)).unwrap_or(u16::MAX);
        let wanted = longest.saturating_sub(self.columns.first().map_or(0, |first| first.width));
        let mut spare = area.width.saturating_sub(needed(&shown)).min(wanted);
        let mut x = area.x;
        let mut places = Vec::with_capacity(shown.len());
        for (column, shown) in self.columns.iter().zip(shown) {
            if !shown {
                places.push(None);
                continue;
            }
            let width = (column.width + std::mem::take(&mut spare)).min(area.right() - x);
            places.push(Some((x, width)));
            x = (x + width + 1).min(area.right());
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |name: &str, number: Option<f64>| {
            vec![
                Cell::text(name),
                Cell::number(number, units::count),
                Cell::text("x"),
            ]
        };
        Table {
            columns: vec![
                column("NAME", 6, 0),
                column("N", 4, 0),
                column("EXTRA", 5, 1),
            ],
            rows: vec![
                row("b", Some(2.0)),
                row("a", None),
                row("c", Some(1000.0)),
                row("d", Some(0.0)),
            ],
        }
    }

    fn lines(table: &Table, width: u16, height: u16, looking: &mut Looking) -> Vec<String> {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        table.draw(area, &mut buffer, Theme::plain(), Some(looking));
        super::super::lines(&buffer)
    }

    #[test]
    fn columns_that_fit() {
        let mut looking = Looking::default();
        let got = lines(&table(), 20, 5, &mut looking);
        assert_eq!(
            got,
            [
                "NAME      N EXTRA",
                "b         2 x",
                "a         – x",
                "c        1k x",
                "d         0 x",
            ]
        );
        let got = lines(&table(), 11, 3, &mut looking);
        assert_eq!(got, ["NAME      N", "b         2", "3 more bel…"]);
        let got = lines(&table(), 4, 3, &mut looking);
        assert_eq!(got[0], "NAME");
    }

    #[test]
    fn rows_are_sorted_filtered_and_scrolled() {
        let names = |table: &Table| -> String {
            table.rows.iter().map(|row| row[0].text.as_str()).collect()
        };
        let sorted = |by| names(&table().sorted(by));
        assert_eq!(sorted(None), "bacd");
        assert_eq!(sorted(Some((0, false))), "abcd");
        assert_eq!(sorted(Some((0, true))), "dcba");
        assert_eq!(sorted(Some((1, false))), "cbda", "what is missing is last");
        assert_eq!(sorted(Some((1, true))), "adbc");
        assert_eq!(sorted(Some((7, true))), "bacd");
        assert_eq!(names(&table().filtered("B")), "b");
        assert_eq!(
            names(&table().filtered("1k")),
            "",
            "numbers are not searched"
        );
        let mut looking = Looking {
            skipped: 99,
            ..Looking::default()
        };
        let got = lines(&table(), 20, 4, &mut looking);
        assert_eq!(
            (got[1].as_str(), got[3].as_str()),
            ("c        1k x", "2 more above")
        );
        assert_eq!(looking.skipped, 2);
    }
}
