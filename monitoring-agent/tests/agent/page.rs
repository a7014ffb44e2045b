//! The page at `/` in a real browser: it shows what `/metrics` says, and says when it cannot.

mod browser;
mod flames;
mod kernels;

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;

use self::browser::Browser;
use crate::{
    gpu::{EVERYTHING, Node, only_host_and_process},
    poll::poll_until,
    process::{Agent, Running, value},
};

/// The name of an agent that would be markup, if it were taken for it.
const HOSTILE: &str = "<img src=x onerror=\"document.title='broken'\">";

/// How long a program is watched for a flame graph.
const WATCHED: Duration = Duration::from_secs(2);

/// What is shown in the row of a table whose first cell is this text, by column.
fn cells(browser: &mut Browser, table: &str, first: &str) -> Vec<String> {
    let row = format!(
        "[...document.querySelectorAll('{table} tbody tr')]\
         .find(row => row.children[0].textContent === {})",
        json!(first)
    );
    browser.wait_until(&format!("Boolean({row})"));
    let texts = format!("JSON.stringify([...{row}.children].map(cell => cell.textContent))");
    serde_json::from_str(&browser.text(&texts)).unwrap()
}

fn live(browser: &mut Browser) {
    browser.wait_until("document.body.dataset.state === 'live'");
    // Rates come with the second snapshot.
    browser.wait_until("/\\d %/.test(document.querySelector('[data-tile=cpu] b')?.textContent)");
}

/// The number at the beginning of a text like `23.5 GiB`, in its unit.
fn bytes(text: &str) -> f64 {
    let (number, unit) = text.split_once(' ').unwrap();
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = units.iter().position(|name| *name == unit).unwrap();
    number.parse::<f64>().unwrap() * 1024_f64.powi(i32::try_from(power).unwrap())
}

fn assert_fits(browser: &mut Browser, width: u32) {
    browser.resize(width);
    let wide = browser.value("document.documentElement.scrollWidth");
    assert_eq!(wide, json!(width), "it is wider than the screen");
}

#[test]
fn the_page_agrees_with_the_metrics() {
    let node = Node::new(EVERYTHING);
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("page-sleeper");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let _sleepers = [(); 3].map(|()| {
        let mut command = Command::new(&program);
        Running::start(command.arg("3600").stdout(Stdio::null()))
    });
    let config = node.config()
        + &only_host_and_process()
        + &format!("[[agents]]\nname = '''{HOSTILE}'''\nexe = 'page-sleeper'\n");
    let agent = Agent::with_config(folder.path(), &config);
    poll_until("the sleepers are known", || {
        let metrics = agent.fresh_metrics();
        let series = format!("agent_active{{agent=\"{}\"}}", HOSTILE.replace('"', "\\\""));
        (value(&metrics, &series) == Some(3.0)).then_some(())
    });
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", agent.address), 1280);
    live(&mut browser);

    assert_eq!(cells(&mut browser, "#agents-table", HOSTILE)[1], "3");
    assert_eq!(browser.value("document.querySelectorAll('img').length"), 0);
    let metrics = agent.fresh_metrics();
    let total = value(&metrics, "node_memory_total_bytes").unwrap();
    let shown = browser.text(
        "[...document.querySelectorAll('#host-parts .legend li')]\
         .find(line => line.textContent.startsWith('In all')).querySelector('b').textContent",
    );
    let shown = bytes(&shown);
    assert!((shown / total - 1.0).abs() < 0.01, "{shown} for {total}");
    let cpus = metrics.matches("mode=\"idle\"").count();
    let bars = browser.value("document.querySelectorAll('.cpus li').length");
    assert_eq!(bars, json!(cpus));
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix("monitoring_agent_source_up{source=\"") else {
            continue;
        };
        let (name, up) = rest.split_once("\"} ").unwrap();
        let state = cells(&mut browser, "#source-parts", name)[1].clone();
        assert_eq!(state == "up", up == "1", "{name} is {state}");
    }
    // As the script of the GPU has it.
    let gpu = browser.text("document.querySelector('#gpu-cards').textContent");
    for said in [
        "GPU 0",
        "NVIDIA H200",
        "37 %",
        "8.00 GiB of 140 GiB",
        "310 W of 700 W",
        "52 °C",
    ] {
        assert!(gpu.contains(said), "{said}: {gpu}");
    }
    assert!(gpu.contains("hw slowdown"), "{gpu}");
    let findings = browser.text("document.querySelector('#findings').textContent");
    assert!(findings.contains("is slowed down"), "{findings}");

    browser.picture("gpu-1280.png");
    assert_fits(&mut browser, 390);
    browser.picture("gpu-390.png");
    controls(&mut browser);
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

/// What can be done with the page, by keys too.
fn controls(browser: &mut Browser) {
    let mut reached = Vec::new();
    for _ in 0..60 {
        browser.press("Tab");
        let name = "document.activeElement.id || document.activeElement.name || \
                    document.activeElement.textContent";
        reached.push(browser.text(name));
    }
    for control in [
        "every",
        "pause",
        "agents-filter",
        "Agent",
        "type",
        "span",
        "Draw",
    ] {
        assert!(
            reached.iter().any(|name| name == control),
            "{control}: {reached:?}"
        );
    }
    let click = |title: &str| {
        format!(
            "[...document.querySelectorAll('#agents-table thead button')]\
             .find(button => button.textContent === '{title}').click()"
        )
    };
    let first = "document.querySelector('#agents-table tbody th').textContent";
    browser.value(&click("Agent"));
    assert_eq!(browser.text(first), HOSTILE, "in the order of names");
    browser.value(&click("Agent"));
    assert_ne!(browser.text(first), HOSTILE, "in the other order");
    let order = "document.querySelector('#agents-table [aria-sort]').getAttribute('aria-sort')";
    assert_eq!(browser.text(order), "descending");
    browser.value(
        "(() => { const filter = document.querySelector('#agents-filter'); filter.value = 'IMG'; \
         filter.dispatchEvent(new Event('input')); })()",
    );
    let rows = "document.querySelectorAll('#agents-table tbody tr').length";
    assert_eq!(browser.value(rows), 1);

    browser.value("document.querySelector('#pause').click()");
    browser.wait_until("document.body.dataset.state === 'paused'");
    let pressed = "document.querySelector('#pause').getAttribute('aria-pressed')";
    assert_eq!(browser.text(pressed), "true");
    browser.value("document.querySelector('#pause').click()");
    browser.wait_until("document.body.dataset.state === 'live'");
}

#[test]
fn an_agent_that_is_away_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::with_config(folder.path(), &only_host_and_process());
    let address = agent.address.clone();
    let mut browser = Browser::start();
    browser.open(&format!("http://{address}/"), 1280);
    browser.value("document.querySelector('#every').value = '1'");
    live(&mut browser);
    let gpus = browser.text("document.querySelector('#gpu-cards').textContent");
    assert!(gpus.contains("No GPU is read"), "{gpus}");
    browser.picture("no-gpu-1280.png");
    assert_fits(&mut browser, 390);
    browser.picture("no-gpu-390.png");
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);

    agent.process.child.kill().unwrap();
    agent.process.wait();
    browser.wait_until("document.body.dataset.state === 'away'");
    let said = browser.text("document.querySelector('#state').textContent");
    assert!(said.contains("cannot be reached"), "{said}");

    let file = folder.path().join("monitoring.toml");
    let mut again = Command::new(env!("CARGO_BIN_EXE_monitoring-agent"));
    again.args(["--listen", &address, "--collection-interval", "200ms"]);
    let _again = Running::start(again.arg("--config").arg(&file));
    browser.wait_until("document.body.dataset.state === 'live'");
    // The agent is another: its counters begin anew, and two snapshots of it are needed.
    live(&mut browser);
    let errors = &browser.complaints;
    // That it could not be fetched is the browser's to say; nothing else is.
    let others = errors.iter().filter(|error| !error.contains("net::ERR_"));
    assert_eq!(others.count(), 0, "{errors:#?}");
}

/// The parser, rates, and stacks on their own, by Node.js.
#[test]
fn the_page_computes_rates_and_trees() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/export/http/page");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/page/units.mjs");
    let mut node = Command::new("node");
    let output = node.args(["--test", script]).env("PAGE", folder).output();
    let output = output.unwrap_or_else(|error| {
        panic!("node: {error}; `cargo xtask setup` installs what the tests need")
    });
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("# fail 0") && !said.contains("# pass 0"),
        "{said}"
    );
}
