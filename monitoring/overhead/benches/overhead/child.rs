//! A subject's process: this program once more, which answers in lines of numbers.
//!
//! Knows nothing of what the numbers mean.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Write as _},
    panic,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio, abort},
};

/// Where this variable is set, this process is a subject's, and these are its words.
const WORDS: &str = "MONITORING_OVERHEAD_SUBJECT";

/// The words of this process, if it is a subject's.
pub(crate) fn words() -> Option<String> {
    let words = env::var(WORDS).ok()?;
    // Otherwise the other threads would wait for the one that has panicked.
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        print(panic);
        abort();
    }));
    Some(words)
}

/// Says the next line of numbers to the process that has started this one.
pub(crate) fn answer(numbers: &[f64]) {
    let words: Vec<String> = numbers.iter().map(f64::to_string).collect();
    let mut out = io::stdout().lock();
    writeln!(out, "{}", words.join(" ")).expect("the first process listens");
}

/// Waits until the first process asks once more, or wants nothing more.
pub(crate) fn is_asked() -> bool {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.expect("the first process writes lines") > 0
}

/// A subject's process, seen from the first one. It is ended when this is dropped.
pub(crate) struct Subject {
    words: String,
    process: Child,
    /// Closed when nothing more is wanted.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Subject {
    pub(crate) fn start(words: &str) -> Self {
        let program = env::current_exe().expect("this program's path");
        let mut process = Command::new(program)
            .env(WORDS, words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start this program once more");
        Self {
            words: words.to_owned(),
            questions: process.stdin.take(),
            answers: BufReader::new(process.stdout.take().expect("it is piped")),
            process,
        }
    }

    /// The next line of numbers.
    pub(crate) fn answer(&mut self) -> Vec<f64> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        let numbers = line.split_whitespace().map(str::parse);
        match (read, numbers.collect::<Result<Vec<f64>, _>>()) {
            (Ok(1..), Ok(numbers)) => numbers,
            _ => panic!("the process of `{}` said {line:?}", self.words),
        }
    }

    /// Asks for one more line, and waits for it.
    pub(crate) fn ask(&mut self) -> Vec<f64> {
        let questions = self.questions.as_mut().expect("open until the last one");
        writeln!(questions).expect("the subject's process listens");
        self.answer()
    }

    /// Asks for nothing more: the last line.
    pub(crate) fn finish(mut self) -> Vec<f64> {
        self.questions = None;
        self.answer()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
