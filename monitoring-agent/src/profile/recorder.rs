//! Records a session: hears of stacks as the kernel tells of them, and ends windows.
//!
//! Takes no longer than the kernel does. Where the stacks belong says the [`placer`](super::placer).

use std::{
    collections::HashMap,
    mem,
    time::{Duration, SystemTime},
};

use monitoring_common::profile::Key;

use super::session::{Counted, NewStack, Session};
use crate::{clock, printable::printable};

/// Longest name, escaped: the kernel keeps 15 bytes, each of which may take four characters.
const NAME_CHARS: usize = 60;

/// A session that is being recorded.
pub struct Recorder {
    session: Session,
    begun: Begun,
    /// What the kernel had no room to count, by whether the window's number is odd.
    uncounted: [Uncounted; 2],
}

/// Samples and value of each key: on a node where processes come and go, hundreds of thousands of
/// events have some ten thousand keys.
type Uncounted = HashMap<Key, (u64, u64)>;

/// When a window began, by the clock on the wall and by one that nobody sets.
#[derive(Clone, Copy, Debug)]
struct Begun {
    time: SystemTime,
    /// Since the machine was booted, sleep included: what is sampled behind a sleep is dated behind it.
    since_boot: Duration,
}

impl Begun {
    fn now() -> Self {
        Self {
            time: SystemTime::now(),
            since_boot: clock::since_boot(),
        }
    }
}

/// All that was counted between two moments, of stacks that are heard of separately.
#[derive(Debug)]
pub struct Ended {
    /// The window's number.
    pub window: u32,
    /// What was counted, by process, thread and stack.
    pub counted: Vec<Counted>,
    /// The stacks that had not been heard of before it ended. Some may be of the next window.
    pub heard: Vec<Heard>,
    /// When it began.
    pub begun: SystemTime,
    /// How long it lasted, time in which the machine slept included.
    pub lasted: Duration,
}

/// A stack as the kernel told of it.
#[derive(Debug)]
pub struct Heard {
    /// What it counts under.
    pub key: Key,
    /// The window in which it was taken.
    pub window: u32,
    /// When it was taken, on the monotonic clock.
    pub time_ns: u64,
    /// Name of the process.
    pub process: String,
    /// Name of the thread.
    pub thread: String,
    /// The program's addresses, the innermost first.
    pub user: Box<[u64]>,
    /// The kernel's.
    pub kernel: Box<[u64]>,
}

impl Heard {
    fn new(stack: &NewStack<'_>) -> Self {
        Self {
            key: stack.key,
            window: stack.window,
            time_ns: stack.time_ns,
            process: text(&stack.process_comm),
            thread: text(&stack.comm),
            user: stack.user.into(),
            kernel: stack.kernel.into(),
        }
    }
}

impl Recorder {
    /// Begins the first window.
    pub fn new(session: Session) -> Self {
        Self {
            session,
            begun: Begun::now(),
            uncounted: Default::default(),
        }
    }

    /// The session.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Takes in the stacks that the kernel has told of. To be called often enough that its ring does
    /// not run over, and that their processes can still be looked at.
    pub fn hear(&mut self) -> Vec<Heard> {
        let (mut heard, uncounted) = (Vec::new(), &mut self.uncounted);
        self.session.hear(&mut |stack| {
            if let NewStack {
                key,
                samples: samples @ 1..,
                value,
                ..
            } = stack
            {
                let sums = &mut uncounted[(stack.window & 1) as usize];
                let (all_samples, all_value) = sums.entry(key).or_default();
                *all_samples += samples;
                *all_value += value;
            }
            heard.push(Heard::new(&stack));
        });
        heard
    }

    /// Ends the window, and begins the next.
    ///
    /// # Errors
    ///
    /// When the kernel's maps cannot be read. What they hold is then in a later window.
    pub fn end_window(&mut self) -> anyhow::Result<Ended> {
        let window = self.session.window();
        let mut counted = self.session.end_window()?;
        // All stacks of the window are in the ring since it has ended.
        let heard = self.hear();
        let uncounted = mem::take(&mut self.uncounted[(window & 1) as usize]);
        counted.extend(uncounted.into_iter().map(|(key, sums)| Counted {
            key,
            samples: sums.0,
            value: sums.1,
            stack_sent: true,
        }));
        let begun = mem::replace(&mut self.begun, Begun::now());
        Ok(Ended {
            window,
            counted,
            heard,
            begun: begun.time,
            lasted: self.begun.since_boot.saturating_sub(begun.since_boot),
        })
    }
}

/// A name as the kernel keeps it, ended by a zero, as one that can be shown.
fn text(name: &[u8; 16]) -> String {
    let end = name.iter().position(|byte| *byte == 0);
    printable(&name[..end.unwrap_or(name.len())], NAME_CHARS)
}
