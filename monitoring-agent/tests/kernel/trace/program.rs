//! A program with spans of its own: this one, started once more. It does what it is told to.

use std::{
    env,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use monitoring::Tracer;
use monitoring_common::trace::ThreadContext;

use crate::work;

/// Has the test that is the program be it.
const PART: &str = "MONITORING_TEST_HAS_SPANS";

const NAME: &str = "trace::program::a_program_with_spans";

/// Before each of its answers: the test harness writes as well.
const ANSWER: &str = "program: ";

pub(super) struct Program {
    child: Child,
    words: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Program {
    pub(super) fn start() -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
            .env(PART, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (words, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut program = Self {
            child,
            words,
            answers: BufReader::new(answers),
        };
        assert_eq!(program.answer(), "ready");
        program
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it make so many calls of `getppid` in a span that is recorded, and says which that was.
    pub(super) fn in_a_span(&mut self, calls: u64) -> ThreadContext {
        writeln!(self.words, "{calls}").unwrap();
        let answer = self.answer();
        let (trace, span) = answer.split_once(' ').unwrap();
        ThreadContext {
            trace_id: u128::from_str_radix(trace, 16).unwrap().to_be_bytes(),
            span_id: u64::from_str_radix(span, 16).unwrap().to_be_bytes(),
        }
    }

    /// Has it execute another program, and waits until that runs.
    pub(super) fn become_another(&mut self) {
        writeln!(self.words, "execute").unwrap();
        let mut echo = String::new();
        writeln!(self.words, "are you there?").unwrap();
        while echo != "are you there?\n" {
            echo.clear();
            assert!(self.answers.read_line(&mut echo).unwrap() > 0);
        }
    }

    fn answer(&mut self) -> String {
        let lines = (&mut self.answers).lines().map(Result::unwrap);
        let mut answers = lines.filter_map(|line| Some(line.split_once(ANSWER)?.1.to_owned()));
        answers.next().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nothing, unless [`Program::start`] has started it.
#[test]
fn a_program_with_spans() {
    if env::var_os(PART).is_none() {
        return;
    }
    let tracer = Tracer::builder("program").sample_rate(1.0).build().unwrap();
    println!("{ANSWER}ready");
    let mut line = String::new();
    // Byte by byte, so that whoever takes its place finds what is not meant for it.
    while read_line(&mut line) > 0 {
        let Ok(calls) = line.trim_end().parse() else {
            // Writes what it reads.
            panic!("{}", Command::new("cat").exec());
        };
        let span = tracer.start_span("work");
        let current = span.enter();
        work::getppid(calls);
        let context = span.context();
        drop(current);
        println!(
            "{ANSWER}{:032x} {:016x}",
            context.trace_id().to_u128(),
            context.span_id().to_u64()
        );
        line.clear();
    }
}

/// The next line, and nothing of what is behind it. How long it is; 0 at the end.
fn read_line(line: &mut String) -> usize {
    let mut byte = [0];
    // The standard library's own reader takes what it can get.
    while !line.ends_with('\n') && File::from(stdin()).read(&mut byte).unwrap() > 0 {
        line.push(byte[0].into());
    }
    line.len()
}

fn stdin() -> OwnedFd {
    io::stdin().as_fd().try_clone_to_owned().unwrap()
}
