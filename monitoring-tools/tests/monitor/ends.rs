//! However the monitor ends, the terminal is as it was.

use std::ffi::OsStr;

use crate::{
    stand_in::{StandIn, wait_for},
    started,
    tmux::Tmux,
};

#[test]
fn by_keys() {
    for keys in [&["q"][..], &["C-c"], &["/", "C-c"], &["?", "q"]] {
        let node = StandIn::agent("", "");
        let tmux = started(&node, (80, 24));
        tmux.press(keys);
        tmux.ends_with(0);
    }
}

#[test]
fn by_signals() {
    for signal in ["-TERM", "-INT", "-HUP"] {
        let node = StandIn::agent("", "");
        let tmux = started(&node, (80, 24));
        let program = tmux.program().to_string();
        let mut kill = std::process::Command::new("kill");
        assert!(kill.args([signal, &program]).status().unwrap().success());
        tmux.ends_with(0);
    }
}

/// Whoever closes a terminal leaves nothing behind that goes on asking, or worse.
#[test]
fn with_its_terminal() {
    let node = StandIn::agent("", "");
    let tmux = started(&node, (80, 24));
    let program = tmux.program();
    drop(tmux);
    wait_for("the program's end", || {
        let state = std::fs::read_to_string(format!("/proc/{program}/stat"));
        let has_ended = |state: String| state.contains(") Z ");
        state.map_or(true, has_ended).then_some(())
    });
}

/// A panic on any thread is told on the screen that was there before.
#[test]
fn by_a_panic() {
    let program = std::env::current_exe().unwrap();
    for (name, want) in [("here", "drawing fails"), ("elsewhere", "a thread fails")] {
        let line = format!(
            "{} --exact ends::panics_{name} --ignored --nocapture",
            program.display()
        );
        let tmux = Tmux::run(&line, (160, 40), &[("RUST_BACKTRACE", OsStr::new("0"))]);
        let screen = tmux.ends_with(101);
        assert!(screen.contains(want), "{screen}");
        assert!(!screen.contains("drawn"), "{screen}");
    }
}

#[test]
#[ignore = "another test runs it, in a terminal"]
fn panics_here() {
    monitoring_tools::monitor::terminal::panics(false);
}

#[test]
#[ignore = "another test runs it, in a terminal"]
fn panics_elsewhere() {
    monitoring_tools::monitor::terminal::panics(true);
}
