//! What the monitor shows at this moment, and what keys do to it. Knows no terminal.

use std::time::Instant;

use clap::ValueEnum;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{flame::Flame, mailbox::Mailbox, node::Node};

/// What can be shown of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum View {
    /// CPUs, memory, disks, network; agents and GPUs in short
    Node,
    /// Watched process groups
    Agents,
    /// GPUs
    Gpus,
    /// Kernels, calls, copies
    Cuda,
    /// Quantiles of every histogram
    Latency,
    /// What the agent could not see
    Losses,
    /// A profile of the last seconds
    Flame,
}

impl View {
    /// All of them, by the digit that shows them.
    pub(super) const ALL: [(Self, &'static str); 7] = [
        (Self::Node, "Node"),
        (Self::Agents, "Agents"),
        (Self::Gpus, "GPUs"),
        (Self::Cuda, "CUDA"),
        (Self::Latency, "Latency"),
        (Self::Losses, "Losses"),
        (Self::Flame, "Flame"),
    ];

    fn number(self) -> usize {
        let all = Self::ALL.iter().position(|(view, _)| *view == self);
        all.expect("all views are in the list")
    }
}

/// How a table is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Looking {
    /// The column that it is sorted by, if not as it comes; and whether what is least is first.
    pub(super) sorted: Option<(usize, bool)>,
    /// Rows that are above the screen.
    pub(super) skipped: usize,
}

/// What is to be done about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing but to draw again.
    Draw,
    /// Take a profile of the current node.
    TakeProfile,
    /// End.
    Quit,
}

/// Everything that decides what is drawn.
#[derive(Debug)]
pub(super) struct App {
    pub(super) nodes: Vec<Node>,
    /// Which node is shown.
    pub(super) current: usize,
    pub(super) view: View,
    looking: [Looking; View::ALL.len()],
    /// Columns of the table that was drawn last, so that keys choose among them.
    pub(super) columns: usize,
    /// Only rows with this in them.
    pub(super) filter: String,
    /// Whether keys are written into the filter.
    pub(super) is_typing: bool,
    /// Since when nothing changes any more.
    pub(super) paused: Option<Instant>,
    pub(super) shows_help: bool,
    /// Seconds of a profile.
    pub(super) flame_seconds: u32,
}

/// Longest filter, in characters.
const LONGEST_FILTER: usize = 60;

impl App {
    pub(super) fn new(urls: &[String], view: View, flame_seconds: u32) -> Self {
        Self {
            nodes: urls.iter().map(|url| Node::new(url)).collect(),
            current: 0,
            view,
            looking: [Looking::default(); View::ALL.len()],
            columns: 0,
            filter: String::new(),
            is_typing: false,
            paused: None,
            shows_help: false,
            flame_seconds,
        }
    }

    pub(super) fn node(&self) -> &Node {
        &self.nodes[self.current]
    }

    /// How the current view's table is looked at.
    pub(super) fn looking(&mut self) -> &mut Looking {
        &mut self.looking[self.view.number()]
    }

    /// Takes what nodes have answered, and says whether there was anything. While all stands still,
    /// only profiles are taken: somebody has asked for them.
    pub(super) fn hear(&mut self, mailbox: &Mailbox) -> bool {
        let mut has_news = false;
        for (number, node) in self.nodes.iter_mut().enumerate() {
            if let Some(profile) = mailbox.take_profile(number) {
                node.profiled(profile);
                has_news = true;
            }
            if self.paused.is_some() {
                continue;
            }
            if let Some(report) = mailbox.take_report(number) {
                node.hear(report);
                has_news = true;
            }
        }
        has_news
    }

    /// What a key does.
    pub(super) fn press(&mut self, key: KeyEvent, now: Instant) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::Draw;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control {
            return match key.code {
                KeyCode::Char('c') => Action::Quit,
                _ => Action::Draw,
            };
        }
        if self.is_typing {
            self.type_key(key.code);
            return Action::Draw;
        }
        if self.shows_help {
            self.shows_help = false;
            if !matches!(key.code, KeyCode::Char('q')) {
                return Action::Draw;
            }
        }
        match key.code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('?' | 'h') => self.shows_help = true,
            KeyCode::Char('p' | ' ') => {
                self.paused = if self.paused.is_some() {
                    None
                } else {
                    Some(now)
                };
            }
            KeyCode::Char(digit @ '1'..='7') => {
                let number = usize::from(digit as u8 - b'1');
                return self.show(View::ALL[number].0);
            }
            KeyCode::Tab => self.current = (self.current + 1) % self.nodes.len(),
            KeyCode::BackTab => {
                self.current = (self.current + self.nodes.len() - 1) % self.nodes.len();
            }
            code if self.view == View::Flame => return self.press_in_flame(code),
            code => self.press_in_table(code),
        }
        Action::Draw
    }

    fn show(&mut self, view: View) -> Action {
        self.view = view;
        match self.node().flame {
            Flame::None if view == View::Flame => self.take_profile(),
            _ => Action::Draw,
        }
    }

    /// Whoever calls it takes the profile.
    pub(super) fn take_profile(&mut self) -> Action {
        let flame = &mut self.nodes[self.current].flame;
        if matches!(flame, Flame::Taking) {
            return Action::Draw;
        }
        *flame = Flame::Taking;
        Action::TakeProfile
    }

    fn press_in_flame(&mut self, code: KeyCode) -> Action {
        if code == KeyCode::Char('f') {
            return self.take_profile();
        }
        let Flame::Taken(looked) = &mut self.nodes[self.current].flame else {
            return Action::Draw;
        };
        match code {
            KeyCode::Up => looked.up(),
            KeyCode::Down => looked.down(),
            KeyCode::Left => looked.beside(false),
            KeyCode::Right => looked.beside(true),
            KeyCode::Enter => looked.zoom_in(),
            KeyCode::Backspace | KeyCode::Esc => looked.zoom_out(),
            _ => {}
        }
        Action::Draw
    }

    fn press_in_table(&mut self, code: KeyCode) {
        let columns = self.columns;
        let is_filtered = !self.filter.is_empty();
        let looking = self.looking();
        let rows = |rows: usize| looking.skipped.saturating_add(rows);
        match code {
            KeyCode::Down | KeyCode::Char('j') => looking.skipped = rows(1),
            KeyCode::PageDown => looking.skipped = rows(10),
            KeyCode::Up | KeyCode::Char('k') => looking.skipped = looking.skipped.saturating_sub(1),
            KeyCode::PageUp => looking.skipped = looking.skipped.saturating_sub(10),
            KeyCode::Home => looking.skipped = 0,
            KeyCode::Char('s') | KeyCode::Right if columns > 0 => {
                let next = looking
                    .sorted
                    .map_or(0, |(column, _)| (column + 1) % columns);
                looking.sorted = Some((next, false));
            }
            KeyCode::Left if columns > 0 => {
                let next = looking.sorted.map_or(columns, |(column, _)| column);
                looking.sorted = Some(((next + columns - 1) % columns, false));
            }
            KeyCode::Char('r') => {
                looking.sorted = looking.sorted.map(|(column, is_least)| (column, !is_least));
            }
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Esc if !is_filtered => looking.sorted = None,
            KeyCode::Esc => self.filter.clear(),
            _ => {}
        }
    }

    fn type_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            // Pastes may hold what terminals take for commands.
            KeyCode::Char(letter)
                if !letter.is_control() && self.filter.chars().count() < LONGEST_FILTER =>
            {
                self.filter.push(letter);
            }
            _ => {}
        }
        self.looking().skipped = 0;
    }
}

#[cfg(test)]
mod tests;
