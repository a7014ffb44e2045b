//! Go, as `cargo xtask setup` fetches it: programs that write profiles, and `go tool pprof`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Where setup keeps it.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/go");

/// A program that says in its own profiles what it does: recursion, calls from several places,
/// inlined functions, labels, and memory.
const PROGRAM: &str = r#"package main

import (
	"context"
	"os"
	"runtime"
	"runtime/pprof"
	"time"
)

//go:noinline
func spin(n int) int {
	x := 1
	for i := 0; i < n; i++ {
		x = x*31 + i%7
	}
	return x
}

func inlined(n int) int { return spin(n) + 1 }

//go:noinline
func recurse(depth, n int) int {
	if depth == 0 {
		return spin(n)
	}
	return recurse(depth-1, n) + spin(n/4)
}

//go:noinline
func hold(n int) [][]byte {
	var kept [][]byte
	for i := 0; i < n; i++ {
		kept = append(kept, make([]byte, 64<<10))
	}
	return kept
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	runtime.MemProfileRate = 1
	file, err := os.Create(os.Args[1])
	must(err)
	must(pprof.StartCPUProfile(file))
	end := time.Now().Add(1500 * time.Millisecond)
	sum := 0
	for time.Now().Before(end) {
		for _, phase := range []string{"one", "two"} {
			pprof.Do(context.Background(), pprof.Labels("phase", phase), func(context.Context) {
				sum += recurse(5, 100000) + inlined(200000)
			})
		}
	}
	pprof.StopCPUProfile()
	must(file.Close())
	kept := hold(100)
	runtime.GC()
	file, err = os.Create(os.Args[2])
	must(err)
	must(pprof.Lookup("heap").WriteTo(file, 0))
	must(file.Close())
	runtime.KeepAlive(kept)
	runtime.KeepAlive(sum)
}
"#;

/// A folder with Go's own profiles of one program.
pub(crate) struct Profiles {
    folder: tempfile::TempDir,
}

impl Profiles {
    /// The profiles, made once for all tests.
    pub(crate) fn get() -> &'static Self {
        static PROFILES: OnceLock<Profiles> = OnceLock::new();
        PROFILES.get_or_init(Self::make)
    }

    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("main.go"), PROGRAM).unwrap();
        run(kept(folder.path(), "go").args(["build", "-o", "program", "main.go"]));
        let mut program = Command::new(folder.path().join("program"));
        let program = program.current_dir(folder.path());
        run(program.args(["cpu.pb.gz", "heap.pb.gz"]));
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// What `go tool pprof` prints, in a folder.
pub(crate) fn pprof(folder: &Path, arguments: &[&str]) -> String {
    let mut command = kept(folder, "pprof");
    run(command.arg("-symbolize=none").args(arguments))
}

/// `go` or `pprof`, in a folder, with all that they keep below `.tools`, and without the network.
fn kept(folder: &Path, program: &str) -> Command {
    let mut command = Command::new(installed().join("bin").join(program));
    command.current_dir(folder);
    for (name, value) in [
        ("GOCACHE", format!("{KEPT}/cache")),
        ("GOPATH", format!("{KEPT}/path")),
        ("PPROF_TMPDIR", folder.to_string_lossy().into_owned()),
        ("GOENV", "off".to_owned()),
        ("GOFLAGS", String::new()),
        ("GOPROXY", "off".to_owned()),
        ("GOTOOLCHAIN", "local".to_owned()),
        ("GOTELEMETRY", "off".to_owned()),
        ("CGO_ENABLED", "0".to_owned()),
    ] {
        command.env(name, value);
    }
    command.env_remove("GOROOT");
    command
}

fn installed() -> PathBuf {
    let versions = fs::read_dir(KEPT).into_iter().flatten().flatten();
    let mut found = versions
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/pprof").is_file());
    found
        .next()
        .expect("Go is in .tools/go: run `cargo xtask setup`")
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
