//! A program that says what it is told to: this one, started once more.

use std::{
    env,
    io::{self, BufRead, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use monitoring::swarm;

/// What the program says at once; it is a program that says things if it is there at all.
const FIRST: &str = "MONITORING_TEST_SAYS";

/// The test that is the program.
const NAME: &str = "swarm::program::a_program_that_says_what_it_is_told";

/// Before each of its answers: the test harness writes as well.
const ANSWER: &str = "program: ";

pub(super) struct Program {
    child: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Program {
    pub(super) fn start(path: &Path) -> Self {
        Self::start_with(path, "")
    }

    /// Starts it, and has it say something before anything else.
    pub(super) fn start_with(path: &Path, first: &str) -> Self {
        let mut child = Command::new(path)
            .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
            .env(FIRST, first)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (words, answers) = (child.stdin.take(), child.stdout.take().unwrap());
        let mut program = Self {
            child,
            words,
            answers: BufReader::new(answers),
        };
        program.wait_for("said");
        program
    }

    /// Has it say something, and waits until it has.
    pub(super) fn say(&mut self, what: &str) {
        writeln!(self.words.as_ref().unwrap(), "{what}").unwrap();
        self.wait_for("said");
    }

    /// Has it execute another program, which stays until it is killed.
    pub(super) fn become_another(&mut self) {
        writeln!(self.words.as_ref().unwrap(), "execute").unwrap();
        self.wait_for("executes");
    }

    /// Has it end by itself.
    pub(super) fn end(mut self) {
        drop(self.words.take());
        assert!(self.child.wait().unwrap().success());
    }

    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn wait_for(&mut self, answer: &str) {
        let mut lines = (&mut self.answers).lines().map(Result::unwrap);
        let found = lines.find_map(|line| Some(line.split_once(ANSWER)?.1.to_owned()));
        assert_eq!(found.as_deref(), Some(answer));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended is none any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nothing, unless a test has started it.
#[test]
fn a_program_that_says_what_it_is_told() {
    let Ok(first) = env::var(FIRST) else { return };
    say(&first);
    println!("{ANSWER}said");
    for line in io::stdin().lines() {
        let line = line.unwrap();
        if line == "execute" {
            println!("{ANSWER}executes");
            // The library of the test harness may hold back what is written.
            io::stdout().flush().unwrap();
            panic!("{}", Command::new("sleep").arg("600").exec());
        }
        say(&line);
        println!("{ANSWER}said");
    }
}

fn say(line: &str) {
    let words: Vec<_> = line.split(' ').collect();
    match words[..] {
        ["values", number] => {
            let number: u32 = number.parse().unwrap();
            let value = f64::from(number);
            swarm::generation("a", number.into(), value + 0.25, -value);
            swarm::job_queue_depth("a", number.into());
            swarm::resource_allocated("gpu\n", "a", value / 2.0);
        }
        ["goals", agent, times] => {
            for _ in 0..times.parse::<u32>().unwrap() {
                swarm::goal_completed(agent);
            }
        }
        _ => assert_eq!(line, ""),
    }
}
