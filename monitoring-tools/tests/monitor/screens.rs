//! What is seen, and what keys do to it.

use std::ffi::OsStr;

use crate::{
    command,
    stand_in::{Answer, FIRST, StandIn, TEXT},
    started,
    tmux::Tmux,
};

const NONE: &[(&str, &OsStr)] = &[];

/// Every view at both sizes: each has what it is for, and fits.
fn shows_all_views(size: (u16, u16)) {
    let node = StandIn::agent("", "");
    let tmux = started(&node, size);
    let check = |key: &str, name: &str, wants: &[&str]| {
        tmux.press(&[key]);
        tmux.wait_until(name, |screen| {
            wants.iter().all(|want| screen.contains(want))
        });
        let screen = tmux.keep(name);
        assert!(screen.starts_with(" gpu-01 (cpu)  up "), "{screen}");
        let last = screen.trim_end().lines().last().unwrap();
        assert!(last.contains("? help  q quit"), "{screen}");
    };
    check(
        "2",
        "agents",
        &["THRDS", "swarmlet", "gpu-agents", "evolution", "other"],
    );
    check("3", "gpus", &["0 H200", "567/700W", "sw_power_cap"]);
    check(
        "4",
        "cuda",
        &["cudaLaunchKernel", "layers::attention", "copied h2d"],
    );
    check("5", "latency", &["cuda_call_duration cudaMemcpy", "p99"]);
    check("6", "losses", &["The agent itself:", "arrival"]);
    check("7", "flame", &["all  ", "▏python3", "▏_PyEval"]);
    check(
        "1",
        "node",
        &["CPU [", "load 10.39", "vda", "eth0", "swarmlet", "0 H200"],
    );
    tmux.press(&["q"]);
    tmux.ends_with(0);
}

#[test]
fn all_views_fit_80x24() {
    shows_all_views((80, 24));
}

#[test]
fn all_views_fit_200x60() {
    shows_all_views((200, 60));
}

/// The first words of the rows of the table on the screen.
fn rows(screen: &str, column: &str) -> Vec<String> {
    let rows = screen
        .lines()
        .skip_while(|line| !line.starts_with(column))
        .skip(1);
    let words = rows.map_while(|row| row.split_whitespace().next());
    words
        .map(str::to_owned)
        .take_while(|word| word != "s/arrows")
        .collect()
}

#[test]
fn tables_are_sorted_filtered_and_held() {
    let node = StandIn::agent("", "");
    let tmux = started(&node, (80, 24));
    tmux.press(&["2"]);
    tmux.wait_for("THRDS");
    // By name, and by resident memory: three columns further.
    tmux.press(&["s"]);
    let screen = tmux.wait_for("AGENTv");
    assert_eq!(
        rows(&screen, "AGENTv"),
        ["evolution", "gpu-agents", "other", "swarmlet"]
    );
    tmux.press(&["Right", "Right", "Right"]);
    let screen = tmux.wait_for("RSSv");
    assert_eq!(
        rows(&screen, "AGENT"),
        ["swarmlet", "gpu-agents", "evolution", "other"]
    );
    tmux.press(&["r"]);
    let screen = tmux.wait_for("RSS^");
    assert_eq!(
        rows(&screen, "AGENT"),
        ["other", "evolution", "gpu-agents", "swarmlet"]
    );
    tmux.press(&["/", "A", "G", "E", "N", "T"]);
    tmux.wait_for("/AGENT_");
    tmux.press(&["Enter"]);
    let screen = tmux.wait_for("only /AGENT ");
    assert_eq!(rows(&screen, "AGENT")[..1], ["gpu-agents"]);
    assert!(!screen.contains("swarmlet"), "{screen}");
    tmux.press(&["Escape"]);
    tmux.wait_for("swarmlet");
    tmux.press(&["p"]);
    tmux.wait_for("PAUSED for ");
    tmux.press(&["?"]);
    tmux.wait_for("hold everything still");
    tmux.press(&["x"]);
    tmux.wait_for("swarmlet");
    tmux.press(&["Space"]);
    tmux.wait_until("the end of the pause", |screen| !screen.contains("PAUSED"));
}

#[test]
fn a_node_goes_and_comes_back_by_itself() {
    let (one, mut two) = (StandIn::agent("", ""), StandIn::agent("gpu-01", "gpu-02"));
    let tmux = Tmux::run(&command(&[&one, &two], ""), (80, 24), NONE);
    tmux.wait_for(" gpu-01  gpu-02");
    tmux.press(&["Tab"]);
    tmux.wait_for("\n gpu-02 (cpu)");
    two.go();
    let screen = tmux.wait_for("AWAY for ");
    assert!(screen.contains(" gpu-01  gpu-02 away"), "{screen}");
    assert!(screen.contains("connection refused"), "{screen}");
    assert!(
        screen.contains("swarmlet"),
        "its last numbers stay: {screen}"
    );
    tmux.press(&["Tab"]);
    tmux.wait_for("\n gpu-01 (cpu)");
    tmux.press(&["BTab"]);
    tmux.wait_for("AWAY for ");
    two.come();
    tmux.wait_until("the node", |screen| {
        !screen.contains("away") && !screen.contains("AWAY")
    });
}

#[test]
fn the_screen_follows_the_terminal() {
    let node = StandIn::agent("", "");
    let tmux = started(&node, (80, 24));
    tmux.resize(40, 10);
    tmux.wait_for("too small: 40x10 of 60x16");
    tmux.resize(60, 16);
    tmux.wait_for("CPU [");
    tmux.resize(200, 60);
    let screen = tmux.wait_for("UTIL, LAST");
    assert!(
        screen.lines().nth(2).unwrap().chars().count() > 150,
        "{screen}"
    );
}

#[test]
fn colors_are_for_those_who_want_them() {
    let node = StandIn::agent("", "");
    let has_color = |tmux: &Tmux| {
        tmux.wait_for("0 H200");
        tmux.styled().contains("[38;5;")
    };
    let check = |value: &str, want: bool| {
        let variables = [("NO_COLOR", value)];
        let tmux = Tmux::run(&command(&[&node], ""), (80, 24), &variables);
        assert_eq!(has_color(&tmux), want, "{value:?}");
    };
    check("", true);
    check("1", false);
}

#[test]
fn hostile_names_do_nothing_to_the_terminal() {
    let evil = "x\u{1b}]2;owned\u{7}\u{1b}[2J\u{9b}31m";
    let node = StandIn::agent("swarmlet", "x\u{1b}]2;owned\u{7}\u{1b}[2J\u{9b}31m");
    assert!(FIRST.contains("swarmlet") && evil.starts_with('x'));
    let tmux = started(&node, (200, 60));
    let title = tmux.known("#{pane_title}");
    tmux.press(&["2"]);
    let screen = tmux.wait_for(r"x\u{1b}]2;owned\u{7}\u{1b}[2J\u{9b}31m");
    assert!(
        screen.starts_with(" gpu-01"),
        "nothing was cleared: {screen}"
    );
    assert_ne!(title, "owned");
    assert_eq!(tmux.known("#{pane_title}"), title);
}

/// Profiles are for the node itself, unless it is configured otherwise.
#[test]
fn a_flame_graph_that_is_refused_comes_with_advice() {
    let pages = |path: &str, _| -> Answer {
        match path.split('?').next() {
            Some("/metrics") => (200, TEXT, FIRST.to_owned()),
            _ => (
                403,
                "text/plain",
                "403: profiles are for \x1b[2Jthis node\n".to_owned(),
            ),
        }
    };
    let node = StandIn::new(pages);
    let tmux = Tmux::run(&command(&[&node], "--view flame"), (80, 24), NONE);
    let screen = tmux.wait_for("There is no profile.");
    assert!(
        screen.contains(r"it answers 403: profiles are for \u{1b}[2Jthis node"),
        "{screen}"
    );
    assert!(screen.contains("ssh -L 9090:localhost:9090"), "{screen}");
}

#[test]
fn a_flame_graph_is_walked_through() {
    let node = StandIn::agent("", "");
    let tmux = Tmux::run(&command(&[&node], "--view flame"), (80, 24), NONE);
    tmux.wait_for("all  535ms of CPU time, 100% of 535ms");
    tmux.press(&["Down", "Down"]);
    tmux.wait_for("_PyEval_EvalFrameDefault  111ms of CPU time, 21% of 535ms");
    tmux.press(&["Right", "Enter"]);
    let screen = tmux.wait_for("\n▏__write");
    assert_eq!(screen.lines().nth(3).unwrap().trim_end(), "▏__write");
    tmux.press(&["BSpace"]);
    tmux.wait_for("\n▏python3");
}
