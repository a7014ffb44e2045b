//! A terminal of a test's own.

use std::{
    ffi::OsStr,
    fs,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::stand_in::wait_for;

/// What stands on the screen before the program is started, and when it has ended.
const BEFORE: &str = "before it";
const ENDED: &str = "ended with";

/// A terminal, and its server, until it is dropped.
pub(crate) struct Tmux {
    socket: String,
    size: (u16, u16),
}

impl Tmux {
    /// Runs a command line on a terminal of this size. When it has ended, the screen says with which
    /// code, and what the terminal's settings are.
    pub(crate) fn run(
        line: &str,
        (width, height): (u16, u16),
        environment: &[(&str, impl AsRef<OsStr>)],
    ) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let tmux = Self {
            socket: format!("monitor-test-{}-{count}", std::process::id()),
            size: (width, height),
        };
        let script =
            format!("echo {BEFORE}; {line}; echo {ENDED} $?; stty -a | grep -w icanon; cat");
        let mut start = tmux.command(&["new-session", "-d"]);
        start.args(["-x", &width.to_string(), "-y", &height.to_string(), &script]);
        start
            .env_remove("NO_COLOR")
            .env_remove("TMUX")
            .env("SHELL", "/bin/sh");
        start.envs(
            environment
                .iter()
                .map(|(name, value)| (name, value.as_ref())),
        );
        let output = start.output();
        let output = output.expect("tmux can be started; `cargo xtask setup` installs it");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        tmux
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        // Nobody's settings, and characters beyond ASCII.
        command
            .args(["-u", "-f", "/dev/null", "-L", &self.socket])
            .args(arguments);
        command
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The screen as it is.
    pub(crate) fn screen(&self) -> String {
        self.ask(&["capture-pane", "-p"])
    }

    /// The screen with the escape sequences for what it looks like.
    pub(crate) fn styled(&self) -> String {
        self.ask(&["capture-pane", "-p", "-e"])
    }

    /// Something that tmux knows of the terminal.
    pub(crate) fn known(&self, what: &str) -> String {
        self.ask(&["display-message", "-p", what]).trim().to_owned()
    }

    /// The screen, once this is on it.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |screen| screen.contains(text))
    }

    /// The screen, once it is as it should be.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let is_so = || {
            last = self.screen();
            is_so(&last).then(|| last.clone())
        };
        let found = std::panic::AssertUnwindSafe(|| wait_for(what, is_so));
        let found = std::panic::catch_unwind(found).ok();
        found.unwrap_or_else(|| panic!("{what}: not on the screen:\n{}", self.screen()))
    }

    /// Presses keys, by tmux's names.
    pub(crate) fn press(&self, keys: &[&str]) {
        self.ask(&[&["send-keys"], keys].concat());
    }

    pub(crate) fn resize(&self, width: u16, height: u16) {
        let (width, height) = (width.to_string(), height.to_string());
        self.ask(&["resize-window", "-x", &width, "-y", &height]);
    }

    /// The process of the program, which the shell started.
    pub(crate) fn program(&self) -> i32 {
        let shell = self.known("#{pane_pid}");
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        children.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// That the program ends with this code, and that the terminal is as it was.
    #[track_caller]
    pub(crate) fn ends_with(&self, code: i32) -> String {
        let screen = self.wait_until("the end", |screen| screen.contains("icanon"));
        assert!(screen.contains(&format!("{ENDED} {code}\n")), "{screen}");
        assert!(
            screen.contains(BEFORE),
            "the other screen is gone: {screen}"
        );
        // Lines are read as lines again, and the cursor is seen.
        assert!(!screen.contains("-icanon"), "{screen}");
        assert_eq!(self.known("#{alternate_on} #{cursor_flag}"), "0 1");
        screen
    }

    /// Keeps a screen for people, under target/tmp.
    pub(crate) fn keep(&self, name: &str) -> String {
        let screen = self.screen();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screens");
        fs::create_dir_all(&folder).unwrap();
        let (width, height) = self.size;
        fs::write(folder.join(format!("{name}-{width}x{height}.txt")), &screen).unwrap();
        let lines: Vec<&str> = screen.lines().collect();
        assert_eq!(lines.len(), usize::from(height), "{screen}");
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() <= usize::from(width)),
            "{screen}"
        );
        screen
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // It ends the shell and the program as well.
        let _ = self.command(&["kill-server"]).output();
    }
}
