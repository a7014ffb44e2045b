//! What `stratoswarm-monitor` does: shows nodes in a terminal, from what they tell Prometheus.

mod app;
mod change;
mod cli;
mod distribution;
mod figures;
mod flame;
mod history;
mod mailbox;
mod node;
mod once;
mod poll;
mod snapshot;
#[doc(hidden)]
pub mod terminal;
mod theme;
mod units;
mod view;
mod watch;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use ratatui::crossterm::event::{self, Event};

use app::{Action, App};
pub use cli::Cli;
use mailbox::Mailbox;
use poll::Poller;
use terminal::Screen;
use theme::Theme;
use view::Now;

/// How long a key, an answer or a signal may wait until it is noticed.
const PATIENCE: Duration = Duration::from_millis(50);

/// Ages are shown, and they grow.
const REDRAW: Duration = Duration::from_secs(1);

/// Shows nodes until somebody ends it.
///
/// # Errors
///
/// If there is no terminal; with `--once`, if no node has answered.
pub fn run(cli: &Cli) -> Result<()> {
    let mailbox = Arc::new(Mailbox::of(cli.urls.len()));
    let mut app = App::new(&cli.urls, cli.view, cli.flame_seconds);
    if cli.once {
        let _poller = Poller::start(&cli.urls, cli.interval, &mailbox)?;
        return once::run(cli, &mut app, &mailbox);
    }
    let mut screen = Screen::take()?;
    let _poller = Poller::start(&cli.urls, cli.interval, &mailbox)?;
    live(&mut screen, &mut app, &mailbox)
}

fn live(screen: &mut Screen, app: &mut App, mailbox: &Arc<Mailbox>) -> Result<()> {
    let theme = Theme::of_environment();
    if app.view == app::View::Flame && app.take_profile() == Action::TakeProfile {
        take_profile(app, mailbox)?;
    }
    let mut drawn: Option<Instant> = None;
    while !screen.is_told_to_end() {
        if drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            screen
                .terminal
                .draw(|frame| view::draw(app, frame.buffer_mut(), theme, now()))
                .context("draw on the terminal")?;
            drawn = Some(Instant::now());
        }
        if app.hear(mailbox) {
            drawn = None;
        }
        if !event::poll(PATIENCE).context("read from the terminal")? {
            continue;
        }
        let action = match event::read().context("read from the terminal")? {
            Event::Key(key) => app.press(key, Instant::now()),
            Event::Resize(..) => Action::Draw,
            _ => continue,
        };
        drawn = None;
        match action {
            Action::Draw => {}
            Action::TakeProfile => take_profile(app, mailbox)?,
            Action::Quit => break,
        }
    }
    Ok(())
}

fn take_profile(app: &App, mailbox: &Arc<Mailbox>) -> Result<()> {
    poll::profile(
        app.current,
        app.node().address(),
        app.flame_seconds,
        mailbox,
    )
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Now {
        instant: Instant::now(),
        unix_seconds: unix.map_or(0.0, |unix| unix.as_secs_f64()),
    }
}
