//! Screens of a real node, of one that is away, of one that tells nothing, in all sizes.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend, style::Color};

use super::*;
use crate::monitor::{
    app::App,
    flame::{Flame, Looked, Tree},
    node::Node,
    snapshot::Snapshot,
    watch::Watch,
};

const FIRST: &str = include_str!("../../../tests/node/first.txt");
const SECOND: &str = include_str!("../../../tests/node/second.txt");
const FOLDED: &str = include_str!("../../../tests/node/folded.txt");

const VIEWS: [View; 7] = [
    View::Node,
    View::Agents,
    View::Gpus,
    View::Cuda,
    View::Latency,
    View::Losses,
    View::Flame,
];

/// The moment at which the second snapshot was told.
fn moment() -> Now {
    Now {
        instant: Instant::now() + Duration::from_secs(5),
        // A day and an hour after the node was started.
        unix_seconds: 1_795_383_559.0 + 90_000.0,
    }
}

/// A monitor with one node that has told both texts, two seconds apart.
fn app(first: &str, second: &str) -> (App, Now) {
    let now = moment();
    let mut app = App::new(&["http://one:9090/metrics".to_owned()], View::Node, 5);
    let earlier = now.instant.checked_sub(Duration::from_secs(2)).unwrap();
    let mut watch = Watch::default();
    for (text, at) in [(first, earlier), (second, now.instant)] {
        let snapshot = Snapshot::read(text, at).unwrap();
        app.nodes[0].hear(watch.answered(snapshot));
    }
    (app, now)
}

/// A node does not answer, for this reason.
fn miss(app: &mut App, node: usize, why: &str, now: Now) {
    app.nodes[node].hear(Watch::default().missed(why, now.instant));
}

fn screen(app: &mut App, (width, height): (u16, u16), theme: Theme, now: Now) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw(app, frame.buffer_mut(), theme, now))
        .unwrap();
    terminal.backend().buffer().clone()
}

fn text(app: &mut App, size: (u16, u16), now: Now) -> Vec<String> {
    lines(&screen(app, size, Theme::plain(), now))
}

/// The line that begins with this.
#[track_caller]
fn line<'a>(lines: &'a [String], start: &str) -> &'a str {
    let found = lines
        .iter()
        .find(|line| line.trim_start().starts_with(start));
    found.unwrap_or_else(|| panic!("no line begins with {start:?}:\n{}", lines.join("\n")))
}

#[test]
fn the_head_says_what_the_node_is() {
    let (mut app, now) = app(FIRST, SECOND);
    let lines = text(&mut app, (80, 24), now);
    assert!(
        lines[0].starts_with(" gpu-01 (cpu)  up 1d 01:00  agent 0.1.0 up "),
        "{}",
        lines[0]
    );
    assert!(
        lines[0].contains("  1.0 s old"),
        "its numbers were a second old: {}",
        lines[0]
    );
    assert!(lines[0].ends_with("8 LOST"), "{}", lines[0]);
}

#[test]
fn the_node_is_whole_on_a_small_screen() {
    let (mut app, now) = app(FIRST, SECOND);
    let lines = text(&mut app, (80, 24), now);
    for start in [
        "CPU [",
        "load 10.39",
        "DISK",
        "vda",
        "AGENT",
        "swarmlet",
        "other",
        "GPU",
        "7 Tesla",
    ] {
        line(&lines, start);
    }
    assert!(
        line(&lines, "2 H200").contains(" – "),
        "it tells no utilisation"
    );
    assert!(line(&lines, "swarmlet").contains("31.4Mi"));
}

#[test]
fn tables_show_what_they_are_for() {
    let (mut app, now) = app(FIRST, SECOND);
    let mut of = |view: View, start: &str, want: &[&str]| {
        app.view = view;
        let lines = text(&mut app, (200, 60), now);
        let line = line(&lines, start);
        assert!(
            want.iter().all(|want| line.contains(want)),
            "{want:?}: {line}"
        );
    };
    of(
        View::Gpus,
        "0 H200",
        &["81%", "118Gi/140Gi", "51°C", "567/700W", "sw_power_cap"],
    );
    of(View::Cuda, "matmul", &["11.2k", "swarmlet"]);
    of(View::Cuda, "cudaLaunchKernel", &["90k", "µs"]);
    of(
        View::Latency,
        "sched_runqueue_latency swarmlet",
        &["ms", "█"],
    );
    of(View::Losses, "sched ", &["arrival", "33", "7"]);
    of(View::Agents, "gpu-agents", &["51.3ms"]);
}

#[test]
fn one_snapshot_has_no_rates_and_no_zeros_for_them() {
    let (mut app, now) = app(FIRST, FIRST);
    let lines = text(&mut app, (80, 24), now);
    assert!(
        line(&lines, "CPU [").contains(" – of 2]"),
        "{}",
        line(&lines, "CPU [")
    );
    let disk = line(&lines, "vda").split_whitespace().skip(1).take(4);
    assert_eq!(disk.collect::<Vec<_>>(), ["–"; 4]);
}

#[test]
fn a_node_that_is_away_says_so_and_keeps_its_numbers() {
    let (mut app, mut now) = app(FIRST, SECOND);
    miss(&mut app, 0, "connection refused", now);
    now.instant += Duration::from_secs(7);
    let lines = text(&mut app, (80, 24), now);
    assert!(
        lines[0].contains("AWAY for 7 s  connection refused"),
        "{}",
        lines[0]
    );
    line(&lines, "swarmlet");
    let again = Snapshot::read(SECOND, now.instant).unwrap();
    app.nodes[0].hear(Watch::default().answered(again));
    assert!(!text(&mut app, (80, 24), now)[0].contains("AWAY"));
}

#[test]
fn tabs_show_the_current_node() {
    let now = moment();
    let urls: Vec<String> = (0..20)
        .map(|node| format!("http://node{node:02}:9090/metrics"))
        .collect();
    let mut app = App::new(&urls, View::Node, 5);
    miss(&mut app, 19, "gone", now);
    let first = text(&mut app, (80, 24), now);
    assert!(
        first[0].starts_with(" node00:9090  node01:9090 "),
        "{}",
        first[0]
    );
    app.current = 19;
    let last = text(&mut app, (80, 24), now);
    assert!(last[0].starts_with("< "), "{}", last[0]);
    assert!(last[0].ends_with(" node19:9090 away"), "{}", last[0]);
}

#[test]
fn filters_and_orders_are_those_that_were_chosen() {
    let (mut app, now) = app(FIRST, SECOND);
    app.view = View::Agents;
    app.filter = "AGENTS".to_owned();
    let lines = text(&mut app, (80, 24), now);
    line(&lines, "gpu-agents");
    assert!(!lines.iter().any(|line| line.starts_with("swarmlet")));
    line(&lines, "only /AGENTS");
    app.filter = "nobody".to_owned();
    line(
        &text(&mut app, (80, 24), now),
        "None of the 4 rows has this in it",
    );
    app.filter.clear();
    app.looking().sorted = Some((3, false));
    let lines = text(&mut app, (80, 24), now);
    assert!(lines[2].contains("RSSv"), "{}", lines[2]);
    assert!(
        lines[3].starts_with("swarmlet") && lines[6].starts_with("other"),
        "{lines:?}"
    );
    app.looking().sorted = Some((3, true));
    assert!(text(&mut app, (80, 24), now)[3].starts_with("other"));
}

#[test]
fn flame_graphs() {
    let (mut app, now) = app(FIRST, SECOND);
    app.view = View::Flame;
    line(&text(&mut app, (80, 24), now), "Press f");
    app.nodes[0].flame = Flame::Taking;
    line(
        &text(&mut app, (80, 24), now),
        "The agent takes a profile of the next 5 s.",
    );
    app.nodes[0].flame = Flame::Refused(format!(
        "it answers 403: {}\n\nUse a tunnel",
        "no ".repeat(60)
    ));
    let lines = text(&mut app, (80, 24), now);
    line(&lines, "it answers 403: no no");
    line(&lines, "Use a tunnel");
    app.nodes[0].flame = Flame::Taken(Looked::new(
        Tree::read("a;b 3000000000\na;c 1000000000\n").unwrap(),
    ));
    let lines = text(&mut app, (80, 24), now);
    assert_eq!(lines[2], "all  4s of CPU time, 100% of 4s");
    assert_eq!((lines[3].as_str(), lines[4].as_str()), ("▏all", "▏a"));
    assert_eq!(
        lines[5],
        format!("▏b{}▏c", " ".repeat(58)),
        "three quarters of 80"
    );
    let Flame::Taken(looked) = &mut app.nodes[0].flame else {
        unreachable!()
    };
    looked.down();
    looked.down();
    looked.zoom_in();
    let lines = text(&mut app, (80, 24), now);
    assert_eq!(
        (lines[2].as_str(), lines[3].as_str()),
        ("b  3s of CPU time, 75% of 4s", "▏b")
    );
    assert_eq!(lines[4], "");
    // Deep stacks scroll with what is marked.
    let mut looked = Looked::new(Tree::read(FOLDED).unwrap());
    for _ in 0..40 {
        looked.down();
        looked.beside(true);
    }
    app.nodes[0].flame = Flame::Taken(looked);
    assert!(
        screen(&mut app, (80, 24), Theme::colored(), now)
            .content
            .len()
            == 80 * 24
    );
}

#[test]
fn a_small_screen_says_that_it_is_too_small() {
    let (mut app, now) = app(FIRST, SECOND);
    assert_eq!(
        text(&mut app, (59, 24), now)[0],
        "too small: 59x24 of 60x16"
    );
    assert_eq!(
        text(&mut app, (80, 15), now)[0],
        "too small: 80x15 of 60x16"
    );
    assert_eq!(text(&mut app, (5, 1), now)[0], "too …");
    line(&text(&mut app, (60, 16), now), "CPU [");
}

#[test]
fn the_help_fits_on_the_smallest_screen() {
    let (mut app, now) = app(FIRST, SECOND);
    app.shows_help = true;
    line(&text(&mut app, LEAST, now), "q, Ctrl-C");
    let lines = text(&mut app, (80, 24), now);
    line(&lines, "–");
    assert!(!lines.iter().any(|line| line.ends_with('…')), "{lines:?}");
}

#[test]
fn the_foot_always_tells_how_to_get_help_and_how_to_end() {
    let (mut app, now) = app(FIRST, SECOND);
    app.nodes.push(Node::new("http://two:1/metrics"));
    app.paused = Some(now.instant);
    app.filter = "swarm".to_owned();
    for view in VIEWS {
        app.view = view;
        for size in [(80, 24), (200, 60)] {
            let lines = text(&mut app, size, now);
            assert!(lines.last().unwrap().ends_with("? help  q quit"));
        }
    }
}

#[test]
fn without_colors_there_are_none() {
    let (mut app, now) = app(FIRST, SECOND);
    let has_color = |buffer: &Buffer| {
        let colored =
            |cell: &ratatui::buffer::Cell| cell.fg != Color::Reset || cell.bg != Color::Reset;
        buffer.content.iter().any(colored)
    };
    for view in VIEWS {
        app.view = view;
        assert!(!has_color(&screen(
            &mut app,
            (120, 40),
            Theme::plain(),
            now
        )));
        assert!(
            has_color(&screen(&mut app, (120, 40), Theme::colored(), now)),
            "{view:?}"
        );
    }
}

#[test]
fn many_cpus_are_still_seen() {
    let text_of = |scale: f64| -> String {
        let cpu = |cpu: u32| {
            format!(
                "node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"idle\"}} {}\n\
                 node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"user\"}} {}\n",
                scale * f64::from(192 - cpu),
                scale * f64::from(cpu)
            )
        };
        (0..192).map(cpu).collect()
    };
    let (mut app, now) = app(&text_of(1.0), &text_of(2.0));
    let lines = text(&mut app, (80, 24), now);
    let levels: String = lines[4..7].concat();
    assert_eq!(levels.chars().count(), 192, "{lines:?}");
    assert!(levels.starts_with('▁') && levels.ends_with('█'));
}

/// Whatever somebody calls a process, a disk or a kernel.
#[test]
fn nothing_hostile_is_drawn() {
    let evil = "a\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\u{200b}\u{8}\t\u{0}";
    let hostile = SECOND
        .replace("swarmlet", evil)
        .replace("vda", evil)
        .replace("gpu-01", evil)
        .replace("sw_power_cap", evil)
        .replace("matmul", evil)
        .replace("NVIDIA H200", evil);
    let (mut app, now) = app(&hostile, &hostile);
    app.nodes[0].flame = Flame::Taken(Looked::new(Tree::read(&format!("{evil};b 1\n")).unwrap()));
    for view in VIEWS {
        app.view = view;
        for line in text(&mut app, (200, 60), now) {
            let is_harmless =
                |letter: char| !letter.is_control() && !"\u{202e}\u{200b}".contains(letter);
            assert!(line.chars().all(is_harmless), "{line:?}");
        }
    }
    miss(&mut app, 0, "x", now);
    assert!(text(&mut app, (200, 60), now)[0].contains(r"a\u{1b}]0;owned"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// No size and no view breaks the drawing.
    #[test]
    fn any_size_can_be_drawn(width in 1_u16..260, height in 1_u16..90, view in 0_usize..7, help: bool) {
        let (mut app, now) = app(FIRST, SECOND);
        app.view = VIEWS[view];
        app.shows_help = help;
        app.looking().skipped = 1000;
        app.nodes[0].flame = Flame::Taken(Looked::new(Tree::read(FOLDED).unwrap()));
        screen(&mut app, (width, height), Theme::colored(), now);
    }
}
