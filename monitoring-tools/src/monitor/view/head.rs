//! The screen's first lines and its last one: which nodes, which view, and how far to be trusted.

use std::time::Duration;

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{Now, put};
use crate::monitor::{
    app::{App, View},
    figures::Figures,
    node::{Contact, Node},
    theme::{Theme, Tone},
    units::{self, passed},
};

/// An agent collects every ten seconds by default; what is older is late.
const LATE: Duration = Duration::from_secs(30);

/// Writes pieces of text one behind the other.
struct Pen<'a> {
    buffer: &'a mut Buffer,
    x: u16,
    y: u16,
    end: u16,
}

impl Pen<'_> {
    fn write(&mut self, text: &str, style: Style) {
        if self.x < self.end {
            let width = u16::try_from(ratatui::text::Line::raw(text).width()).unwrap_or(u16::MAX);
            put(
                self.buffer,
                (self.x, self.y),
                self.end - self.x,
                text,
                style,
                false,
            );
            self.x = self.x.saturating_add(width);
        }
    }
}

/// Draws the head, and says how many lines it has.
pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer, theme: Theme, now: Now) -> u16 {
    let mut pen = Pen {
        buffer,
        x: area.x,
        y: area.y,
        end: area.right(),
    };
    if app.nodes.len() > 1 {
        tabs(app, &mut pen, theme);
        (pen.x, pen.y) = (area.x, pen.y + 1);
    }
    about(app.node(), &mut pen, theme, now);
    (pen.x, pen.y) = (area.x, pen.y + 1);
    for (number, (view, name)) in View::ALL.iter().enumerate() {
        let style = if *view == app.view {
            theme.chosen()
        } else {
            Style::new()
        };
        pen.write(&format!(" {} {name} ", number + 1), style);
    }
    pen.y + 1 - area.y
}

/// All nodes, so that the current one is seen.
fn tabs(app: &App, pen: &mut Pen<'_>, theme: Theme) {
    let label = |node: &Node| {
        let away = if matches!(node.contact, Contact::Away { .. }) {
            " away"
        } else {
            ""
        };
        let name: String = node.name().chars().take(24).collect();
        format!(" {name}{away} ")
    };
    let labels: Vec<String> = app.nodes.iter().map(label).collect();
    let width = |labels: &[String]| -> usize {
        let widths = labels
            .iter()
            .map(|label| ratatui::text::Line::raw(label).width());
        widths.sum()
    };
    let room = usize::from(pen.end - pen.x).saturating_sub(2);
    let mut first = 0;
    while first < app.current && width(&labels[first..=app.current]) > room {
        first += 1;
    }
    if first > 0 {
        pen.write("< ", theme.style(Tone::Dim));
    }
    for (number, label) in labels.iter().enumerate().skip(first) {
        let is_away = matches!(app.nodes[number].contact, Contact::Away { .. });
        let style = match (number == app.current, is_away) {
            (true, _) => theme.chosen(),
            (false, true) => theme.style(Tone::Bad),
            (false, false) => Style::new(),
        };
        pen.write(label, style);
    }
}

/// The node, its agent, how old its numbers are, and what they lack.
fn about(node: &Node, pen: &mut Pen<'_>, theme: Theme, now: Now) {
    pen.write(" ", Style::new());
    pen.write(&node.name(), theme.style(Tone::Strong));
    if let Contact::Away { since, why } = &node.contact {
        let time = passed(now.instant.saturating_duration_since(*since));
        pen.write(" ", Style::new());
        pen.write(&format!(" AWAY for {time} "), theme.alarm());
        pen.write(&format!(" {why}"), theme.style(Tone::Bad));
        return;
    }
    let dim = theme.style(Tone::Dim);
    let Some(figures) = node.figures() else {
        pen.write(&format!("  {}", node.url), dim);
        return;
    };
    let host = &figures.host;
    if let Some(kind) = &host.kind {
        pen.write(&format!(" ({kind})"), dim);
    }
    let since = |start: Option<f64>| {
        let seconds = now.unix_seconds - start.filter(|start| start.is_finite())?;
        Duration::try_from_secs_f64(seconds.max(0.0))
            .ok()
            .map(passed)
    };
    let up = since(host.booted).unwrap_or_else(|| units::NONE.to_owned());
    pen.write(&format!("  up {up}"), Style::new());
    if figures.is_an_agents {
        let version = host.version.as_deref().unwrap_or(units::NONE);
        let up = since(host.started).unwrap_or_else(|| units::NONE.to_owned());
        pen.write(&format!("  agent {version} up {up}"), Style::new());
    } else {
        pen.write("  no agent answers there", theme.style(Tone::Warn));
    }
    age(node, pen, theme, now);
    lost(figures, pen, theme);
}

fn age(node: &Node, pen: &mut Pen<'_>, theme: Theme, now: Now) {
    let Some(taken) = node.taken() else { return };
    let age = now.instant.saturating_duration_since(taken);
    let text = format!("  {:.1} s old", age.as_secs_f64());
    let tone = if age > LATE { Tone::Warn } else { Tone::Plain };
    pen.write(&text, theme.style(tone));
}

fn lost(figures: &Figures, pen: &mut Pen<'_>, theme: Theme) {
    let losses = &figures.losses;
    match (losses.total, losses.new) {
        (None, _) => {}
        (Some(0.0), _) => pen.write("  nothing lost", theme.style(Tone::Good)),
        (Some(_), Some(new)) if new > 0.0 => {
            pen.write(
                &format!("  {} LOST", units::count(Some(new))),
                theme.style(Tone::Bad),
            );
        }
        (total, _) => pen.write(
            &format!("  {} lost", units::count(total)),
            theme.style(Tone::Warn),
        ),
    }
    let down: Vec<&str> = losses.down().map(|source| source.name.as_str()).collect();
    if !down.is_empty() {
        pen.write(
            &format!("  off: {}", down.join(" ")),
            theme.style(Tone::Warn),
        );
    }
}

/// The last line: what stands still, what is filtered, which keys there are.
pub(super) fn foot(app: &App, area: Rect, buffer: &mut Buffer, theme: Theme, now: Now) {
    let mut pen = Pen {
        buffer,
        x: area.x,
        y: area.y,
        end: area.right(),
    };
    if let Some(since) = app.paused {
        let time = passed(now.instant.saturating_duration_since(since));
        pen.write(&format!(" PAUSED for {time} "), theme.alarm());
        pen.write(" p goes on  ", Style::new());
    }
    if app.is_typing {
        pen.write(&format!("/{}", app.filter), theme.style(Tone::Strong));
        pen.write("_", theme.chosen());
        pen.write("  Enter keeps it, Esc clears it", theme.style(Tone::Dim));
        return;
    }
    if !app.filter.is_empty() && !matches!(app.view, View::Node | View::Flame) {
        pen.write(&format!(" only /{}  ", app.filter), theme.style(Tone::Warn));
    }
    let mut keys = match app.view {
        View::Flame => vec![
            "arrows choose",
            "Enter zooms",
            "Backspace back",
            "f takes another",
        ],
        View::Node => vec!["1-7 views", "p pause"],
        _ => vec![
            "s/arrows sort",
            "r turn",
            "/ filter",
            "up/down scroll",
            "p pause",
        ],
    };
    if app.paused.is_some() {
        keys.retain(|key| *key != "p pause");
    }
    if app.nodes.len() > 1 {
        keys.insert(0, "Tab node");
    }
    // Whoever knows how to ask for help knows all the others.
    let last = "? help  q quit";
    let room = usize::from(pen.end.saturating_sub(pen.x)).saturating_sub(last.len() + 1);
    while keys.iter().map(|key| key.len() + 2).sum::<usize>() > room {
        keys.pop();
    }
    keys.push(last);
    pen.write(&format!(" {}", keys.join("  ")), theme.style(Tone::Dim));
}
