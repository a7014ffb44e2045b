//! Flame graphs on the page: drawn, searched, compared; and why there is none.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use super::{WATCHED, browser::Browser};
use crate::{
    poll::poll_until,
    process::{Agent, Running},
    profile::agent_with,
};

/// A program that is always busy, by a name that would be markup.
const BUSY: &str = "<i>busy</i>";

/// Fills the form in, sends it off, and waits for what is said of it.
fn draw(browser: &mut Browser, fields: &str) -> String {
    browser.value(&format!(
        "(() => {{ const form = document.querySelector('#profile-form'); \
         for (const [name, value] of Object.entries({fields})) form[name].value = value; \
         form.requestSubmit(); }})()"
    ));
    browser.wait_until("document.querySelector('#profile-stop').hidden");
    browser.text("document.querySelector('#profile-note').textContent")
}

fn busy(folder: &Path) -> Running {
    // A path with a slash in its name is none, so the process names itself.
    let name = "printf '%s' \"$0\" > /proc/self/comm; while :; do :; done";
    let mut command = Command::new("/bin/sh");
    command.current_dir(folder).args(["-c", name, BUSY]);
    Running::start(command.stdout(Stdio::null()))
}

fn opened(agent: &Agent) -> Browser {
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", agent.address), 1280);
    browser.wait_until("document.body.dataset.state === 'live'");
    browser
}

#[test]
fn flame_graphs_are_searched_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history");
    let keys = format!(
        "hertz = 99\nhistory_window = '1s'\nhistory_directory = '{}'\n",
        history.display()
    );
    let agent = agent_with(folder.path(), &keys);
    let _busy = busy(folder.path());
    let mut browser = opened(&agent);
    let live = json!({"span": "live", "seconds": WATCHED.as_secs(), "base": ""}).to_string();
    let said = draw(&mut browser, &live);
    assert!(said.contains("in all"), "{said}");
    let frame = format!(
        "[...document.querySelectorAll('#flame-view button')]\
         .find(button => button.getAttribute('aria-label').startsWith({}))",
        json!(format!("{BUSY}: "))
    );
    browser.wait_until(&format!("Boolean({frame})"));
    assert_eq!(
        browser.value("document.querySelectorAll('#flame i i').length"),
        0
    );

    browser.value(&format!(
        "(() => {{ const search = document.querySelector('#flame-search'); \
         search.value = {}; search.dispatchEvent(new Event('input')); }})()",
        json!(BUSY)
    ));
    browser.wait_until(&format!("{frame}.classList.contains('found')"));
    let found = browser.text("document.querySelector('#flame-found').textContent");
    assert!(
        found.ends_with("of the whole") && !found.starts_with("0.0"),
        "{found}"
    );

    zoom(&mut browser, &frame);
    poll_until("windows are kept", || {
        let (status, _) = agent.get("/folded?from=-1h");
        (status == 200).then_some(())
    });
    let compared = json!({"span": "live", "seconds": 1, "base": "before"}).to_string();
    let said = draw(&mut browser, &compared);
    assert!(said.contains("in all"), "{said}");
    browser.wait_until("Boolean(document.querySelector('#flame-view [data-kind=more]'))");
    let detail = browser.text("document.querySelector('#flame-detail').textContent");
    assert!(detail.contains("before 100.0 %"), "{detail}");
    let said = draw(
        &mut browser,
        &json!({"span": "-1h", "base": ""}).to_string(),
    );
    assert!(said.contains("Covered: "), "{said}");
    browser.picture("flame-1280.png");
    browser.resize(390);
    browser.wait_until("document.documentElement.scrollWidth === 390");
    browser.picture("flame-390.png");
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

/// Into the frame of the busy program and out of it, by mouse and by keys.
fn zoom(browser: &mut Browser, frame: &str) {
    let wide = format!("parseFloat({frame}.style.width)");
    let before = browser.value(&wide).as_f64().unwrap();
    browser.value(&format!("{frame}.focus()"));
    browser.value(&format!("{frame}.click()"));
    assert_eq!(browser.value(&wide), json!(100), "zoomed, from {before} %");
    let focused = "document.activeElement.getAttribute('aria-label')";
    assert!(browser.text(focused).starts_with(BUSY));
    browser.press("ArrowDown");
    assert!(
        !browser.text(focused).starts_with(BUSY),
        "one frame further"
    );
    browser.press("Escape");
    assert!(browser.text(focused).starts_with("all: "));
    assert_eq!(browser.value(&wide).as_f64(), Some(before));
}

#[test]
fn the_page_says_why_there_is_no_profile() {
    let folder = tempfile::tempdir().unwrap();
    let check = |keys: &str, fields: &str, want: &str| {
        let agent = agent_with(folder.path(), keys);
        let mut browser = opened(&agent);
        let said = draw(&mut browser, fields);
        assert!(said.contains(want), "{said}");
        assert_eq!(
            browser.value("document.querySelector('#flame').hidden"),
            json!(true)
        );
    };
    check(
        "history = false\naccess = 'off'\n",
        "{span: 'live', seconds: 1}",
        "sources.profile.access",
    );
    check("history = false\n", "{span: '-1h'}", "no history");
    check("history = false\n", "{span: 'range'}", "from when");
}
