//! Flame graphs: interactive SVG that a browser opens, drawn by inferno.

use std::io;

use inferno::flamegraph::{
    self, Palette, TextTruncateDirection,
    color::{BackgroundColor, MultiPalette},
};

use crate::{Profile, folded, stacks::Stacks};

/// How a flame graph is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The title.
    pub title: String,
    /// A second line below the title.
    pub subtitle: Option<String>,
    /// Labels whose values are the outermost frames; see [`folded::Options`].
    pub roots: Vec<String>,
    /// Frames that are narrower are left out, in per cent of the width; their values are still in
    /// the frames below. Sensible is 0.01, a tenth of a pixel.
    pub narrowest_percent: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            title: "Flame graph".to_owned(),
            subtitle: None,
            roots: folded::Options::default().roots,
            narrowest_percent: 0.01,
        }
    }
}

/// A flame graph cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// A width cannot be negative. Differences are drawn by [`write_difference`].
    #[error("the value of {0:?} is negative: a difference is drawn from the two profiles")]
    Negative(String),
    /// The file cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Draws one value of all samples. The width of the lowest frame, `all`, is the profile's total.
///
/// # Errors
///
/// If a stack's value is negative, or `out` fails.
///
/// # Panics
///
/// If there is no such value.
pub fn write(
    profile: &Profile,
    value: usize,
    options: &Options,
    out: &mut impl io::Write,
) -> Result<(), DrawError> {
    let stacks = Stacks::of([profile], value, &options.roots);
    let lines = stacks.sorted().into_iter().map(|(stack, [sum])| {
        let stack = stack.to_string();
        if sum < 0 {
            return Err(DrawError::Negative(stack));
        }
        Ok((format!("{stack} {sum}"), sum))
    });
    let unit = &profile.sample_types()[value].unit;
    draw(lines.collect::<Result<_, _>>()?, unit, options, out)
}

/// Draws how one value changed. Widths are those of `after`; frames that grew are red, those that
/// shrank are blue. What is not in `after` any more has no width: draw the difference the other
/// way round to see it.
///
/// # Errors
///
/// If a stack's value is negative, or `out` fails.
///
/// # Panics
///
/// If there is no such value.
pub fn write_difference(
    before: &Profile,
    after: &Profile,
    value: usize,
    options: &Options,
    out: &mut impl io::Write,
) -> Result<(), DrawError> {
    let stacks = Stacks::of([before, after], value, &options.roots);
    let lines = stacks.sorted().into_iter().map(|(stack, sums)| {
        let stack = stack.to_string();
        let [before, after] = sums;
        if before.min(after) < 0 {
            return Err(DrawError::Negative(stack));
        }
        Ok((format!("{stack} {before} {after}"), after))
    });
    let unit = &after.sample_types()[value].unit;
    draw(lines.collect::<Result<_, _>>()?, unit, options, out)
}

/// Draws lines of folded stacks, each with its width.
fn draw(
    mut lines: Vec<(String, i64)>,
    unit: &str,
    options: &Options,
    out: &mut impl io::Write,
) -> Result<(), DrawError> {
    if lines.iter().all(|(_, width)| *width == 0) {
        return Ok(draw_nothing(&options.title, out)?);
    }
    let mut drawn = flamegraph::Options::default();
    drawn.title.clone_from(&options.title);
    drawn.subtitle.clone_from(&options.subtitle);
    drawn.min_width = options.narrowest_percent;
    unit.clone_into(&mut drawn.count_name);
    // It colours the kernel's functions differently.
    drawn.colors = Palette::Multi(MultiPalette::Java);
    drawn.bgcolors = Some(BackgroundColor::Grey);
    drawn.text_truncate_direction = TextTruncateDirection::Right;
    // The same profile gives the same picture.
    drawn.deterministic = true;
    // Lines are sorted by frames, which is not the order of their characters: a space comes before
    // what separates frames. Only this option takes them as they are, and from the end.
    drawn.flame_chart = true;
    lines.reverse();
    let lines = lines.iter().map(|(line, _)| line.as_str());
    Ok(flamegraph::from_lines(&mut drawn, lines, out)?)
}

/// inferno takes a graph without width for an error.
fn draw_nothing(title: &str, out: &mut impl io::Write) -> io::Result<()> {
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(
        out,
        "<?xml version=\"1.0\" standalone=\"no\"?>\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1200\" height=\"60\">\
         <text x=\"600\" y=\"35\" text-anchor=\"middle\" font-family=\"monospace\">\
         {title}: no samples</text></svg>"
    )
}
