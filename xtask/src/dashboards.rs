//! `cargo xtask dashboards`: Grafana's dashboards, written from what this folder says of them.
//!
//! Owns the list of dashboards and where their files lie. What each shows is in the file of its
//! name; how that becomes Grafana's JSON is in `board.rs` and `panel.rs`.

mod agent_activity;
mod board;
mod evolution_progress;
mod gpu_performance;
#[cfg(test)]
mod import;
mod network_traffic;
mod panel;
mod system_overview;
mod variables;

use std::{fs, path::Path};

use anyhow::{Context as _, Error, Result};

use crate::catalogue::{Catalogue, LABELS, NAMES};
use board::Board;

/// The folder of the dashboards.
pub(crate) const FOLDER: &str = "dashboards";

/// All dashboards, in the order in which they link to each other.
const BOARDS: [fn() -> Board; 5] = [
    system_overview::board,
    gpu_performance::board,
    agent_activity::board,
    network_traffic::board,
    evolution_progress::board,
];

/// Every dashboard's file, relative to the root, and what it is to hold.
///
/// # Errors
///
/// Names the expression that cannot be parsed.
pub(crate) fn files(catalogue: &Catalogue) -> Result<Vec<(String, String)>, String> {
    let file = |board: fn() -> Board| {
        let board = board();
        let text = format!("{:#}\n", board.json(catalogue)?);
        Ok((format!("{FOLDER}/{}.json", board.name), text))
    };
    BOARDS.into_iter().map(file).collect()
}

/// Writes all dashboards down anew.
pub(crate) fn write(root: &Path) -> Result<()> {
    let read =
        |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"));
    let catalogue = Catalogue::of(&read(NAMES)?, &read(LABELS)?);
    for (path, text) in files(&catalogue).map_err(Error::msg)? {
        fs::write(root.join(&path), text).with_context(|| format!("write {path}"))?;
        println!("dashboards: wrote {path}");
    }
    Ok(())
}
