//! The terminal: taken over at the start, and given back as it was, however the monitor ends.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Stdout, stdin, stdout},
    os::fd::{AsFd as _, OwnedFd},
    panic,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor, execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The exit code of a program that a panic ended, as Rust's own.
const PANICKED: i32 = 101;

const NO_TERMINAL: &str = "there is no terminal to draw on; --once prints a screen as text";

/// How long the monitor may take to end by itself when its terminal is gone.
const GRACE: Duration = Duration::from_millis(300);

/// The screen, until it is dropped.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) terminal: Terminal<CrosstermBackend<Stdout>>,
    told_to_end: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal over: another screen, and each key as it is pressed.
    ///
    /// SIGINT, SIGTERM and SIGHUP are taken note of from here on. A panic on any thread gives the
    /// terminal back, says what has happened, and ends the program: half of it alone would go on
    /// drawing over that.
    ///
    /// # Errors
    ///
    /// If there is no terminal.
    pub(super) fn take() -> Result<Self> {
        // Into a file or a pipe, a screen would be nothing but control sequences.
        ensure!(stdout().is_terminal(), NO_TERMINAL);
        let told_to_end = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&told_to_end))
                .context("handle signals")?;
        }
        give_back_on_panic();
        end_with_the_terminal(Arc::clone(&told_to_end))?;
        enable_raw_mode().context(NO_TERMINAL)?;
        let taken = execute!(stdout(), EnterAlternateScreen, cursor::Hide)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match taken {
            Ok(terminal) => Ok(Self {
                terminal,
                told_to_end,
            }),
            Err(error) => {
                give_back();
                Err(error).context("draw on the terminal")
            }
        }
    }

    /// Whether a signal has come that ends programs.
    pub(super) fn is_told_to_end(&self) -> bool {
        self.told_to_end.load(Ordering::Relaxed)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// As it was. What fails cannot be helped: the terminal may be gone.
fn give_back() {
    let _: io::Result<()> = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, cursor::Show);
}

/// Ends the program when nobody can see it any more. Who reads keys would not: crossterm reads a
/// terminal that is gone again and again, and never comes back.
fn end_with_the_terminal(told_to_end: Arc<AtomicBool>) -> Result<()> {
    let keys = if stdin().is_terminal() {
        stdin().as_fd().try_clone_to_owned()
    } else {
        File::open("/dev/tty").map(OwnedFd::from)
    };
    let keys = keys.context(NO_TERMINAL)?;
    let watch = move || {
        // Without anything to wait for, only the end is told.
        let mut ends = [PollFd::new(&keys, PollFlags::empty())];
        while poll(&mut ends, None).is_err_and(|error| error == rustix::io::Errno::INTR) {}
        told_to_end.store(true, Ordering::Relaxed);
        thread::sleep(GRACE);
        std::process::exit(0);
    };
    let watching = thread::Builder::new().name("terminal".to_owned());
    watching.spawn(watch).context("start a thread")?;
    Ok(())
}

fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let say = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            say(panic);
            std::process::exit(PANICKED);
        }));
    });
}

/// For the tests: takes the terminal over, draws, and panics, on another thread if `elsewhere`.
#[doc(hidden)]
pub fn panics(elsewhere: bool) {
    let mut screen = Screen::take().expect("the test gives it a terminal");
    let draw = |frame: &mut ratatui::Frame<'_>| frame.render_widget("drawn", frame.area());
    screen
        .terminal
        .draw(draw)
        .expect("a terminal can be drawn on");
    if elsewhere {
        let thread = thread::spawn(|| panic!("a thread fails"));
        let _ = thread.join();
        unreachable!("the panic ends the program");
    }
    panic!("drawing fails");
}
