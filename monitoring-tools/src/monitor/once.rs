//! One screen as text, for scripts.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use ratatui::{buffer::Buffer, crossterm::terminal, layout::Rect};

use super::{
    app::{Action, App, View},
    cli::Cli,
    flame::Flame,
    mailbox::Mailbox,
    node::{Contact, Node},
    now, poll,
    theme::Theme,
    view,
};
use crate::{output, scrape::printable};

/// The screen of nobody's terminal.
const USUAL: (u16, u16) = (80, 24);

/// Prints a screen of each node once there is nothing more to wait for.
///
/// # Errors
///
/// If no node has answered, or none has a profile where that is shown; what is printed says why.
pub(super) fn run(cli: &Cli, app: &mut App, mailbox: &Arc<Mailbox>) -> Result<()> {
    let capture = match app.view {
        View::Flame => Duration::from_secs(app.flame_seconds.into()) + poll::NAMING,
        _ => Duration::ZERO,
    };
    let end = Instant::now() + capture.max(*cli.wait);
    if app.view == View::Flame {
        for node in 0..app.nodes.len() {
            app.current = node;
            if app.take_profile() == Action::TakeProfile {
                poll::profile(node, app.node().address(), app.flame_seconds, mailbox)?;
            }
        }
    }
    while !app.nodes.iter().all(|node| is_complete(node, app.view)) {
        if !mailbox.wait(end) {
            break;
        }
        app.hear(mailbox);
    }
    let (width, height) = cli.size.or_else(|| terminal::size().ok()).unwrap_or(USUAL);
    let mut text = String::new();
    for node in 0..app.nodes.len() {
        app.current = node;
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        view::draw(app, &mut buffer, Theme::plain(), now());
        for line in view::lines(&buffer) {
            let _ = writeln!(text, "{line}");
        }
    }
    output::write(text.as_bytes(), false, None)?;
    if app.nodes.iter().all(|node| node.figures().is_none()) {
        bail!("no node has answered{}", reasons(&app.nodes, not_answered));
    }
    let has_profile = |node: &Node| matches!(node.flame, Flame::Taken(_));
    if app.view == View::Flame && !app.nodes.iter().any(has_profile) {
        bail!("no node has a profile{}", reasons(&app.nodes, no_profile));
    }
    Ok(())
}

/// What each node says to it, a line for each.
fn reasons(nodes: &[Node], why: impl Fn(&Node) -> String) -> String {
    let reason = |node: &Node| format!("\n  {}: {}", printable(node.address()), why(node));
    nodes.iter().map(reason).collect()
}

fn not_answered(node: &Node) -> String {
    match &node.contact {
        Contact::Away { why, .. } => why.clone(),
        _ => "no answer yet; --wait gives it more time".to_owned(),
    }
}

fn no_profile(node: &Node) -> String {
    match (&node.contact, &node.flame) {
        (Contact::Away { .. }, _) => not_answered(node),
        // Advice follows, which is on the screen.
        (_, Flame::Refused(why)) => why.lines().next().unwrap_or_default().to_owned(),
        _ => "none yet; --wait gives it more time".to_owned(),
    }
}

/// Whether it has told all that it will: rates, or that it is away; and a profile, if it was asked.
fn is_complete(node: &Node, view: View) -> bool {
    let has_rates = node
        .figures()
        .is_some_and(|figures| figures.interval_seconds.is_some());
    let is_away = matches!(node.contact, Contact::Away { .. });
    let has_profile = view != View::Flame || !matches!(node.flame, Flame::None | Flame::Taking);
    is_away || has_rates && has_profile
}
