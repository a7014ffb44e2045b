//! Lists as tables, for people.

use std::fmt::Write as _;

use super::{
    calls::{Call, Calls},
    lists::Top,
    units::{Scale, percent},
};

/// How tables are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// With the escape sequences of terminals for bold text.
    pub bold: bool,
}

/// Which calls of a function are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Those that call it.
    Callers,
    /// Those that it calls.
    Callees,
}

impl Style {
    fn heading(self, text: &str) -> String {
        if self.bold {
            format!("\x1b[1m{text}\x1b[0m\n")
        } else {
            format!("{text}\n")
        }
    }
}

impl Top {
    /// The list as a table with a heading: what functions take themselves (flat), what they and
    /// the rows above take (sum), what they take with those that they call (cum).
    pub fn to_table(&self, style: Style) -> String {
        let values = self.rows.iter().map(|row| match row.flat {
            0 => row.cumulative,
            flat => flat,
        });
        let scale = Scale::of(
            &values.collect::<Vec<_>>(),
            self.whole,
            &self.value_type.unit,
        );
        let shown: i128 = self.rows.iter().map(|row| i128::from(row.flat)).sum();
        let shown = crate::profile::saturated(shown);
        let mut table = format!(
            "Showing {} of {} rows, {} ({}) of {} in all\n",
            self.rows.len(),
            self.all_rows,
            scale.show(shown),
            percent(shown, self.whole).trim(),
            scale.show(self.whole),
        );
        if self.by == "function" {
            self.functions(&scale, style, &mut table);
        } else {
            self.labels(&scale, style, &mut table);
        }
        table
    }

    fn functions(&self, scale: &Scale, style: Style, table: &mut String) {
        let cells = self
            .rows
            .iter()
            .map(|row| [scale.show(row.flat), scale.show(row.cumulative)]);
        let cells: Vec<[String; 2]> = cells.collect();
        let [flat, cumulative] = [0, 1].map(|column| width(cells.iter().map(|row| &*row[column])));
        let heading = format!(
            "{:>flat$} {:>6} {:>6} {:>cumulative$} {:>6}  function",
            "flat", "flat%", "sum%", "cum", "cum%"
        );
        table.push_str(&style.heading(&heading));
        let mut sum = 0_i64;
        for (row, [own, all]) in self.rows.iter().zip(&cells) {
            sum = sum.saturating_add(row.flat);
            let parts = [row.flat, sum, row.cumulative].map(|part| percent(part, self.whole));
            let [own_part, sum_part, all_part] = parts;
            let name = printable(&row.name);
            line(
                table,
                format_args!(
                    "{own:>flat$} {own_part} {sum_part} {all:>cumulative$} {all_part}  {name}"
                ),
            );
        }
    }

    fn labels(&self, scale: &Scale, style: Style, table: &mut String) {
        let cells = self.rows.iter().map(|row| scale.show(row.flat));
        let cells: Vec<String> = cells.collect();
        let width = width(cells.iter().map(String::as_str));
        let by = printable(&self.by);
        let heading = format!("{:>width$} {:>6} {:>6}  {by}", "value", "value%", "sum%");
        table.push_str(&style.heading(&heading));
        let mut sum = 0_i64;
        for (row, value) in self.rows.iter().zip(&cells) {
            sum = sum.saturating_add(row.flat);
            let [part, sum] = [row.flat, sum].map(|part| percent(part, self.whole));
            let name = printable(&row.name);
            line(table, format_args!("{value:>width$} {part} {sum}  {name}"));
        }
    }
}

impl Calls {
    /// The calls in one direction as a table with a heading. Percentages are parts of what the
    /// function takes with those that it calls.
    pub fn to_table(&self, direction: Direction, style: Style) -> String {
        let (calls, what) = match direction {
            Direction::Callers => (&self.callers, "caller"),
            Direction::Callees => (&self.callees, "callee"),
        };
        let function = &self.function;
        let values = calls.iter().map(|call| call.value);
        let values: Vec<i64> = values.chain([function.flat, function.cumulative]).collect();
        let scale = Scale::of(&values, self.whole, &self.value_type.unit);
        let mut table = format!(
            "{}: {} flat ({}), {} cum ({}) of {} in all\n",
            printable(&function.name),
            scale.show(function.flat),
            percent(function.flat, self.whole).trim(),
            scale.show(function.cumulative),
            percent(function.cumulative, self.whole).trim(),
            scale.show(self.whole),
        );
        let shown: Vec<String> = calls.iter().map(|call| scale.show(call.value)).collect();
        let width = width(shown.iter().map(String::as_str));
        table.push_str(&style.heading(&format!("{:>width$} {:>6}  {what}", "value", "value%")));
        for (Call { name, value }, shown) in calls.iter().zip(&shown) {
            let part = percent(*value, function.cumulative);
            let name = printable(name);
            line(&mut table, format_args!("{shown:>width$} {part}  {name}"));
        }
        table
    }
}

/// Ten characters, as in pprof's own lists, or more where a number needs them.
fn width<'a>(cells: impl Iterator<Item = &'a str>) -> usize {
    cells.map(str::len).max().unwrap_or_default().max(10)
}

fn line(table: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(table, "{line}").expect("a string takes all that is written");
}

/// A name without what a terminal takes for commands. Anyone can choose it.
fn printable(name: &str) -> String {
    let mut printable = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}
