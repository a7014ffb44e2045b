//! `stratoswarm-monitor` in a real terminal, which tmux is, with nodes that stand in for real ones
//! and tell what a real agent told.

mod ends;
mod hostile;
mod once;
mod screens;
mod tmux;

#[path = "../stand_in/mod.rs"]
mod stand_in;

use std::ffi::OsStr;

use stand_in::StandIn;
use tmux::Tmux;

/// The program.
const MONITOR: &str = env!("CARGO_BIN_EXE_stratoswarm-monitor");

/// A command line that asks these nodes often.
fn command(nodes: &[&StandIn], more: &str) -> String {
    let urls: Vec<String> = nodes
        .iter()
        .map(|node| format!("--url {}", node.address))
        .collect();
    format!("{MONITOR} --interval 200ms {} {more}", urls.join(" "))
}

/// The monitor of one node, once its rates are there.
fn started(node: &StandIn, size: (u16, u16)) -> Tmux {
    let tmux = Tmux::run(&command(&[node], ""), size, &[] as &[(&str, &OsStr)]);
    tmux.wait_for("LOST");
    tmux
}
