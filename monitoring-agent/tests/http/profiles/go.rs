//! `go tool pprof` fetches profiles by itself, from the address that its own users know.

use std::{fs, process::Command, time::Duration};

use monitoring_agent::profile::Type;
use monitoring_profile::pprof;

use super::capture::{Site, known};

/// Where setup keeps Go, with pprof built from it.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/go");

fn fetched(site: &Site, path: &str) -> String {
    let versions = fs::read_dir(KEPT).into_iter().flatten().flatten();
    let mut programs = versions.map(|version| version.path().join("bin/pprof"));
    let program = programs.find(|program| program.is_file());
    let program = program.expect("pprof is in .tools/go: run `cargo xtask setup`");
    let folder = tempfile::tempdir().unwrap();
    let address = format!("http://localhost:{}{path}", site.server.addr.port());
    let mut command = Command::new(program);
    command.args(["-top", "-unit=count", &address]);
    command.env("PPROF_TMPDIR", folder.path());
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn go_tool_pprof_fetches_and_reads_a_profile() {
    let site = Site::start(false);
    let kept = site
        .history
        .keep(Type::Cpu, Duration::from_mins(1), &pprof::write(&known()));
    kept.unwrap();
    for path in [
        "/debug/pprof/profile?seconds=5",
        "/debug/pprof/profile",
        "/debug/pprof/profile?from=-1h",
        "",
    ] {
        let top = fetched(&site, path);
        let lines: Vec<_> = top
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        for want in [
            "30 75.00% 75.00% 30 75.00% work",
            "10 25.00% 100% 40 100% main",
        ] {
            assert!(lines.iter().any(|line| line == want), "{path}: {top}");
        }
    }
    let requests = site.captures.requests.lock().unwrap();
    let seconds = requests.iter().map(|request| request.duration.as_secs());
    let seconds: Vec<_> = seconds.collect();
    assert_eq!(seconds, [5, 30, 30]);
}
