//! A program with known functions, and what it tells of them.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use monitoring_agent::profile::{
    mappings::{Mappings, Place},
    symbols::{Named, Symbols},
};
use tempfile::TempDir;

/// What its functions are called.
pub(crate) const INNER: &str = "work::inner(std::vector<int, std::allocator<int> >&, long)";
pub(crate) const OUTER: &str = "outer";

/// The program, built in a folder of its own.
pub(crate) struct Program {
    folder: TempDir,
}

impl Program {
    pub(crate) fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("program.c");
        fs::write(&source, include_str!("program.c")).unwrap();
        let mut build = Command::new("cc");
        build.args(["-O1", "-Wl,--build-id", "-o"]);
        let status = build
            .arg(folder.path().join("program"))
            .arg(source)
            .status();
        assert!(status.expect("`cc` builds the program").success());
        Self { folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("program")
    }
}

/// A process of the program, once it has told of itself.
pub(crate) struct Running {
    child: Child,
    pub(crate) pid: u32,
    pub(crate) told: Told,
}

/// What a process has told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) time_ns: u64,
    pub(crate) inner: u64,
    pub(crate) outer: u64,
    /// Code that it has written; 0 if it has not.
    pub(crate) made: u64,
}

impl Running {
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let address = |at: usize| u64::from_str_radix(words[at], 16).unwrap();
        let told = Told {
            time_ns: words[1].parse().unwrap(),
            inner: address(2),
            outer: address(3),
            made: address(4),
        };
        Self {
            pid: child.id(),
            child,
            told,
        }
    }

    /// Lets it end, and waits for that.
    pub(crate) fn end(mut self) -> (u32, Told) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
        (self.pid, self.told.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is asked.
pub(crate) struct Asked {
    pub(crate) mappings: Arc<Mappings>,
    pub(crate) symbols: Arc<Symbols>,
}

impl Asked {
    pub(crate) fn new() -> Self {
        Self {
            mappings: Mappings::start().expect("the tests need root"),
            symbols: Symbols::new(),
        }
    }

    /// The place of an address, and its name.
    pub(crate) fn at(&self, pid: u32, time_ns: u64, address: u64) -> (Place, Named) {
        let mut places = Vec::new();
        self.mappings.places(pid, time_ns, &[address], &mut places);
        let named = self.symbols.name(&places, &[]);
        (places.remove(0), named[0].clone())
    }

    /// The function at an address, or what is wrong.
    pub(crate) fn name(&self, pid: u32, time_ns: u64, address: u64) -> String {
        let (place, named) = self.at(pid, time_ns, address);
        match named.functions.first() {
            Some(function) => function.name.to_string(),
            None => format!("{place:?} {named:?} {:?}", self.symbols.stats().unnamed),
        }
    }

    /// Checks that a process's functions have their names.
    pub(crate) fn check(&self, pid: u32, told: &Told) {
        assert_eq!(self.name(pid, told.time_ns, told.inner), INNER);
        assert_eq!(self.name(pid, told.time_ns, told.outer), OUTER);
    }
}
