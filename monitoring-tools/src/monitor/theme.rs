//! Colours. Chosen so that text can be read on black and on white, because a terminal does not say
//! which it has; its own colours for text and background stay.

use std::env;

use ratatui::style::{Color, Modifier, Style};

/// What text is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// As the terminal writes.
    #[default]
    Plain,
    /// Less important.
    Dim,
    /// A heading, or what one has chosen.
    Strong,
    /// A bar, a line.
    Accent,
    /// All is well.
    Good,
    /// Worth a look.
    Warn,
    /// Something is wrong.
    Bad,
}

/// Of the 256 colours of terminals, those of a middling lightness.
const ACCENT: u8 = 31;
const GOOD: u8 = 28;
const WARN: u8 = 130;
const BAD: u8 = 160;
const DIM: u8 = 243;

/// Backgrounds of frames of a flame graph, under black text: of programs, and of the kernel.
const FLAMES: [u8; 5] = [216, 222, 180, 223, 215];
const KERNEL: u8 = 152;
const BLACK: u8 = 16;

/// How tones look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    has_colors: bool,
}

impl Theme {
    /// With colours, unless somebody has declined them with `NO_COLOR`, or the terminal has none.
    pub(super) fn of_environment() -> Self {
        let declined = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        Self {
            has_colors: !declined && !dumb,
        }
    }

    /// Without colours.
    pub(super) fn plain() -> Self {
        Self { has_colors: false }
    }

    #[cfg(test)]
    pub(super) fn colored() -> Self {
        Self { has_colors: true }
    }

    pub(super) fn style(self, tone: Tone) -> Style {
        let style = Style::new();
        let color = |color: u8| {
            if self.has_colors {
                style.fg(Color::Indexed(color))
            } else {
                style
            }
        };
        match tone {
            Tone::Plain => style,
            Tone::Dim => color(DIM),
            Tone::Strong => style.add_modifier(Modifier::BOLD),
            Tone::Accent => color(ACCENT),
            Tone::Good => color(GOOD),
            Tone::Warn => color(WARN).add_modifier(Modifier::BOLD),
            Tone::Bad => color(BAD).add_modifier(Modifier::BOLD),
        }
    }

    /// What stands out as nothing else does.
    pub(super) fn alarm(self) -> Style {
        self.style(Tone::Bad).add_modifier(Modifier::REVERSED)
    }

    /// What one has chosen.
    #[allow(clippy::unused_self, reason = "it is one of the theme's styles")]
    pub(super) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A frame of a flame graph. Without colours frames are told apart by their edges.
    pub(super) fn flame(self, name: &str, is_selected: bool) -> Style {
        if is_selected {
            return self.chosen().add_modifier(Modifier::BOLD);
        }
        if !self.has_colors {
            return Style::new();
        }
        let hash = name.bytes().fold(0_usize, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(byte.into())
        });
        let background = if name.ends_with("_[k]") {
            KERNEL
        } else {
            FLAMES[hash % FLAMES.len()]
        };
        Style::new()
            .fg(Color::Indexed(BLACK))
            .bg(Color::Indexed(background))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lightness of one of the 256 colours, as WCAG defines it.
    fn lightness(color: u8) -> f64 {
        let parts = match color {
            16..=231 => {
                let level = |part: u8| if part == 0 { 0 } else { 55 + 40 * part };
                let color = color - 16;
                [level(color / 36), level(color / 6 % 6), level(color % 6)]
            }
            232..=255 => [8 + 10 * (color - 232); 3],
            _ => panic!("terminals differ in color {color}"),
        };
        let linear = parts.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    }

    fn contrast(one: f64, two: f64) -> f64 {
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    #[test]
    fn text_can_be_read_on_light_and_on_dark() {
        for color in [ACCENT, GOOD, WARN, BAD, DIM] {
            for background in [0.0, 1.0] {
                let contrast = contrast(lightness(color), background);
                assert!(contrast > 3.5, "{color} on {background}: {contrast}");
            }
        }
        for color in FLAMES.into_iter().chain([KERNEL]) {
            let contrast = contrast(lightness(color), lightness(BLACK));
            assert!(contrast > 7.0, "{color}: {contrast}");
        }
    }

    #[test]
    fn there_are_no_colors_where_there_are_to_be_none() {
        let plain = Theme::plain();
        let tones = [
            Tone::Dim,
            Tone::Strong,
            Tone::Accent,
            Tone::Good,
            Tone::Warn,
            Tone::Bad,
        ];
        let styles = tones.map(|tone| plain.style(tone)).into_iter();
        let others = [
            plain.alarm(),
            plain.chosen(),
            plain.flame("a", true),
            plain.flame("a", false),
        ];
        for style in styles.chain(others) {
            assert_eq!((style.fg, style.bg), (None, None));
        }
        assert!(Theme::colored().flame("a_[k]", false).bg.is_some());
    }
}
