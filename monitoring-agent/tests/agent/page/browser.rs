//! A real browser without a screen, told what to do over a pipe by the `DevTools` protocol.
//!
//! Knows no page.

use std::{
    fs,
    io::{BufRead as _, BufReader, PipeReader, PipeWriter, Write as _, pipe},
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    poll::{PATIENCE, poll_until},
    process::Running,
};

/// What keeps it from asking anybody anything on its own, and from a sandbox that root cannot have.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];

/// Where it reads what it is told, and where it answers.
const PIPES: [RawFd; 2] = [3, 4];

/// A browser with one tab.
pub(super) struct Browser {
    to: PipeWriter,
    from: Receiver<Value>,
    session: Option<String>,
    last: u64,
    /// What went wrong in the page so far: exceptions, errors, violations of its policy.
    pub(super) complaints: Vec<String>,
    // They go in this order: it writes to the folder until its end.
    _process: Running,
    _folder: TempDir,
}

impl Browser {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (its_input, to) = pipe().unwrap();
        let (from, its_output) = pipe().unwrap();
        let mut command = Command::new("chromium");
        command
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", folder.path().display()))
            .arg("about:blank")
            .stdout(Stdio::null());
        let ends = [its_input.as_raw_fd(), its_output.as_raw_fd()];
        let hand_over = move || {
            // First out of the way: an end may have the number that the other is to get.
            // SAFETY: the calls take numbers only.
            let moved = ends.map(|end| unsafe { libc::fcntl(end, libc::F_DUPFD_CLOEXEC, 10) });
            for (end, number) in moved.into_iter().zip(PIPES) {
                // SAFETY: the call takes numbers only.
                if unsafe { libc::dup2(end, number) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: only system calls are made between fork and exec.
        unsafe { command.pre_exec(hand_over) };
        let process = Running::start(&mut command);
        drop((its_input, its_output));
        let mut browser = Self {
            to,
            from: messages(from),
            session: None,
            last: 0,
            complaints: Vec::new(),
            _process: process,
            _folder: folder,
        };
        let tab = browser.tell("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": tab["targetId"], "flatten": true});
        let attached = browser.tell("Target.attachToTarget", &attach);
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Runtime", "Log", "Page"] {
            browser.tell(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Tells it something, and waits for the answer.
    fn tell(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        loop {
            let told = self.from.recv_timeout(PATIENCE);
            let told = told.unwrap_or_else(|error| panic!("{method}: the browser: {error}"));
            if told["id"] == self.last {
                assert!(told["error"].is_null(), "{method}: {told}");
                return told["result"].clone();
            }
            self.listen(&told);
        }
    }

    fn listen(&mut self, event: &Value) {
        let about = &event["params"];
        let is_bad = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => about["type"] == "error",
            Some("Log.entryAdded") => about["entry"]["level"] == "error",
            _ => false,
        };
        if is_bad {
            self.complaints.push(about.to_string());
        }
    }

    /// Shows a page on a screen of this width, and waits until it is there.
    pub(super) fn open(&mut self, url: &str, width: u32) {
        self.resize(width);
        self.tell("Page.navigate", &json!({"url": url}));
        let there = json!(url);
        self.wait_until(&format!(
            "location.href === {there} && document.readyState === 'complete'"
        ));
    }

    pub(super) fn resize(&mut self, width: u32) {
        let screen = json!({
            "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false,
        });
        self.tell("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// The value of an expression in the page.
    pub(super) fn value(&mut self, expression: &str) -> Value {
        let ask = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let found = self.tell("Runtime.evaluate", &ask);
        assert!(found["exceptionDetails"].is_null(), "{expression}: {found}");
        found["result"]["value"].clone()
    }

    pub(super) fn text(&mut self, expression: &str) -> String {
        let value = self.value(expression);
        let text = value.as_str();
        text.unwrap_or_else(|| panic!("{expression}: {value}"))
            .to_owned()
    }

    /// Waits until an expression is true in the page.
    pub(super) fn wait_until(&mut self, expression: &str) {
        poll_until(expression, || {
            (self.value(expression) == json!(true)).then_some(())
        });
    }

    /// Presses a key, as on a keyboard.
    pub(super) fn press(&mut self, key: &str) {
        for kind in ["rawKeyDown", "keyUp"] {
            let code = match key {
                "Tab" => 9,
                "Escape" => 27,
                "ArrowDown" => 40,
                _ => panic!("no code is known of {key}"),
            };
            let pressed = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code,
            });
            self.tell("Input.dispatchKeyEvent", &pressed);
        }
    }

    /// Puts a picture of the whole page below the folder where Cargo builds.
    pub(super) fn picture(&mut self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
        fs::create_dir_all(&folder).unwrap();
        let of_all = json!({"format": "png", "captureBeyondViewport": true});
        let shot = self.tell("Page.captureScreenshot", &of_all);
        let data = shot["data"].as_str().unwrap();
        let bytes = BASE64_STANDARD.decode(data).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// What comes over the pipe, each ended by a zero byte.
fn messages(from: PipeReader) -> Receiver<Value> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let parts = BufReader::new(from).split(0).map_while(Result::ok);
        for message in parts {
            // A browser that says something else is none.
            let message = serde_json::from_slice(&message).unwrap();
            if send.send(message).is_err() {
                return;
            }
        }
    });
    receive
}
