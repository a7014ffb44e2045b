//! What keys do.

use super::*;
use crate::monitor::{flame::Tree, snapshot::Snapshot, watch::Watch};

fn app(nodes: usize) -> App {
    let urls: Vec<String> = (0..nodes)
        .map(|node| format!("http://n{node}/metrics"))
        .collect();
    let mut app = App::new(&urls, View::Node, 5);
    app.columns = 3;
    app
}

fn press(app: &mut App, keys: &[KeyCode]) -> Action {
    let press = |app: &mut App, code: &KeyCode| app.press(KeyEvent::from(*code), Instant::now());
    keys.iter().map(|code| press(app, code)).last().unwrap()
}

fn letters(app: &mut App, keys: &str) -> Action {
    let codes: Vec<KeyCode> = keys.chars().map(KeyCode::Char).collect();
    press(app, &codes)
}

#[test]
fn views_and_nodes() {
    let mut app = app(3);
    assert_eq!(letters(&mut app, "2"), Action::Draw);
    assert_eq!(app.view, View::Agents);
    press(&mut app, &[KeyCode::Tab, KeyCode::Tab]);
    assert_eq!(app.current, 2);
    press(&mut app, &[KeyCode::Tab]);
    assert_eq!(app.current, 0);
    press(&mut app, &[KeyCode::BackTab]);
    assert_eq!(app.current, 2);
}

#[test]
fn ends() {
    assert_eq!(letters(&mut app(1), "q"), Action::Quit);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    let mut app = app(1);
    letters(&mut app, "/");
    assert_eq!(
        app.press(control_c, Instant::now()),
        Action::Quit,
        "also while typing"
    );
    assert_eq!(
        letters(&mut app, "q"),
        Action::Draw,
        "it is a letter of the filter"
    );
}

#[test]
fn tables_are_sorted_and_filtered() {
    let mut app = app(1);
    letters(&mut app, "2s");
    assert_eq!(app.looking().sorted, Some((0, false)));
    press(
        &mut app,
        &[
            KeyCode::Right,
            KeyCode::Right,
            KeyCode::Right,
            KeyCode::Left,
        ],
    );
    assert_eq!(app.looking().sorted, Some((2, false)));
    letters(&mut app, "r");
    assert_eq!(app.looking().sorted, Some((2, true)));
    letters(&mut app, "1");
    assert_eq!(app.looking().sorted, None, "each view has its own");
    letters(&mut app, "2/gp\u{1b}");
    press(&mut app, &[KeyCode::Backspace, KeyCode::Enter]);
    assert_eq!((app.filter.as_str(), app.is_typing), ("g", false));
    press(&mut app, &[KeyCode::Down, KeyCode::PageDown, KeyCode::Up]);
    assert_eq!(app.looking().skipped, 10);
    press(&mut app, &[KeyCode::Esc]);
    assert_eq!(app.filter, "");
    assert_eq!(app.looking().sorted, Some((2, true)));
    press(&mut app, &[KeyCode::Esc]);
    assert_eq!(app.looking().sorted, None);
}

#[test]
fn help_goes_with_any_key() {
    let mut app = app(1);
    letters(&mut app, "?");
    assert!(app.shows_help);
    letters(&mut app, "3");
    assert_eq!((app.shows_help, app.view), (false, View::Node));
    assert_eq!(letters(&mut app, "?q"), Action::Quit);
}

#[test]
fn nothing_changes_while_it_is_paused() {
    let mut app = app(1);
    let (mailbox, mut watch) = (Mailbox::of(1), Watch::default());
    let mut scrape = |text: &str| {
        let snapshot = Snapshot::read(text, Instant::now()).unwrap();
        mailbox.report(0, watch.answered(snapshot));
    };
    letters(&mut app, "p");
    scrape("node_load1 1\n");
    assert!(!app.hear(&mailbox));
    assert!(app.node().figures().is_none());
    scrape("node_load1 2\n");
    letters(&mut app, " ");
    assert!(app.hear(&mailbox));
    assert_eq!(
        app.node().figures().unwrap().host.loads[0],
        Some(2.0),
        "the newest of those that came meanwhile"
    );
    assert!(!app.hear(&mailbox));
}

#[test]
fn profiles_are_taken_when_they_are_asked_for() {
    let mut app = app(2);
    assert_eq!(letters(&mut app, "7"), Action::TakeProfile);
    assert_eq!(letters(&mut app, "f"), Action::Draw, "one is being taken");
    let mailbox = Mailbox::of(2);
    mailbox.profile(0, Ok(Tree::read("a;b 1\n").unwrap()));
    assert!(app.hear(&mailbox));
    press(&mut app, &[KeyCode::Down, KeyCode::Enter]);
    let Flame::Taken(looked) = &app.node().flame else {
        panic!("{:?}", app.node().flame);
    };
    assert_eq!((looked.selected, looked.zoom), (1, 1));
    assert_eq!(letters(&mut app, "17"), Action::Draw, "there is one");
    assert_eq!(letters(&mut app, "f"), Action::TakeProfile);
    mailbox.profile(1, Err("no".to_owned()));
    app.hear(&mailbox);
    press(&mut app, &[KeyCode::Tab]);
    assert!(matches!(&app.node().flame, Flame::Refused(why) if why == "no"));
}
