//! What `stratoswarm-monitor` does: shows nodes in a terminal, from what they tell Prometheus.

mod app;
mod change;
mod cli;
mod distribution;
mod figures;
mod flame;
mod history;
mod node;
mod once;
mod poll;
mod snapshot;
#[doc(hidden)]
pub mod terminal;
mod theme;
mod units;
mod view;

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use ratatui::crossterm::event::{self, Event};

use app::{Action, App};
pub use cli::Cli;
use poll::{News, Poller};
use terminal::Screen;
use theme::Theme;
use view::Now;

/// How long a key, an answer or a signal may wait until it is noticed.
const PATIENCE: Duration = Duration::from_millis(50);

/// Ages are shown, and they grow.
const REDRAW: Duration = Duration::from_secs(1);

/// Answers that wait to be looked at. A node's next question waits until there is room.
const WAITING: usize = 16;

/// Shows nodes until somebody ends it.
///
/// # Errors
///
/// If there is no terminal; with `--once`, if no node has answered.
pub fn run(cli: &Cli) -> Result<()> {
    let (news, heard) = sync_channel(WAITING);
    let mut app = App::new(&cli.urls, cli.view, cli.flame_seconds);
    if cli.once {
        let _poller = Poller::start(&cli.urls, cli.interval, &news)?;
        return once::run(cli, &mut app, &heard, &news);
    }
    let mut screen = Screen::take()?;
    let _poller = Poller::start(&cli.urls, cli.interval, &news)?;
    live(&mut screen, &mut app, &heard, &news)
}

fn live(
    screen: &mut Screen,
    app: &mut App,
    heard: &Receiver<News>,
    news: &SyncSender<News>,
) -> Result<()> {
    let theme = Theme::of_environment();
    if app.view == app::View::Flame && app.take_profile() == Action::TakeProfile {
        take_profile(app, news)?;
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
        while let Ok(news) = heard.try_recv() {
            app.hear(news, Instant::now());
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
            Action::TakeProfile => take_profile(app, news)?,
            Action::Quit => break,
        }
    }
    Ok(())
}

fn take_profile(app: &App, news: &SyncSender<News>) -> Result<()> {
    poll::profile(app.current, app.node().address(), app.flame_seconds, news)
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Now {
        instant: Instant::now(),
        unix_seconds: unix.map_or(0.0, |unix| unix.as_secs_f64()),
    }
}
