//! The command with a stand-in for what captures.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use clap::Parser as _;
use monitoring_profile::{Line, ValueType, pprof};

use super::{super::service::Watch, *};
use crate::cli::{Cli, Command};

/// The command as it would be typed.
fn args(line: &str) -> ProfileArgs {
    let words = ["monitoring-agent", "profile"].into_iter();
    let cli = Cli::try_parse_from(words.chain(line.split(' '))).unwrap();
    match cli.command {
        Some(Command::Profile(args)) => args,
        other => panic!("{other:?}"),
    }
}

/// So many samples at 100 Hz in one function.
fn profile(samples: i64) -> Profile {
    let types = [
        ValueType::new("samples", "count"),
        ValueType::new("cpu", "nanoseconds"),
    ];
    let mut profile = Profile::new(types.to_vec());
    profile.set_default_type(1);
    let function = profile.function("work", "work", "", 0);
    let location = profile.location(None, 1, &[Line { function, line: 0 }]);
    profile.sample(&[location], &[samples, samples * 10_000_000], &[]);
    profile
}

/// A service that gives two samples at once, and tells what it was asked for.
fn service() -> (Service, Arc<Mutex<Vec<Request>>>) {
    let asked: Arc<Mutex<Vec<Request>>> = Arc::default();
    let told = Arc::clone(&asked);
    let engine = move |request: &Request, watch: &mut Watch| {
        told.lock().unwrap().push(request.clone());
        let elapsed = Duration::from_millis(20);
        watch.report(Progress {
            elapsed,
            samples: 2,
        });
        Ok(profile(2))
    };
    (Service::new(engine, 1), asked)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

fn run_at(folder: &Path, line: &str) -> (anyhow::Result<String>, Vec<Request>) {
    let (service, asked) = service();
    let mut args = args(line);
    if args.output != Path::new("-") {
        args.output = folder.join(&args.output);
    }
    let config = Config::default();
    let done = block_on(capture_to_file(
        &args,
        &config,
        &service,
        std::future::pending(),
    ));
    let asked = asked.lock().unwrap().clone();
    (done, asked)
}

#[test]
fn the_ending_is_the_format_unless_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let check = |line: &str, file: &str, is_it: &dyn Fn(&[u8]) -> bool| {
        let (done, _) = run_at(folder.path(), line);
        let done = done.unwrap_or_else(|error| panic!("{line}: {error:#}"));
        assert!(
            done.starts_with("cpu: 0.020 s in ") && done.ends_with(file),
            "{done}"
        );
        let path = folder.path().join(file);
        let bytes = fs::read(&path).unwrap();
        assert!(is_it(&bytes), "{line}: {}", String::from_utf8_lossy(&bytes));
        fs::remove_file(path).unwrap();
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            0,
            "nothing else is left"
        );
    };
    let is_pprof = |bytes: &[u8]| {
        let read = pprof::read(bytes, pprof::Limits::default()).unwrap();
        bytes.starts_with(&[0x1f, 0x8b]) && read.total(1) == 20_000_000
    };
    let is_svg = |bytes: &[u8]| {
        let text = str::from_utf8(bytes).unwrap();
        text.contains("<svg") && text.contains("work") && text.contains("cpu profile")
    };
    let is_folded = |bytes: &[u8]| bytes == b"work 20000000\n";
    check("-o a.pb.gz", "a.pb.gz", &is_pprof);
    check("-o a.pprof", "a.pprof", &is_pprof);
    check("-o a.svg", "a.svg", &is_svg);
    check("-o a.folded", "a.folded", &is_folded);
    check("-o a.txt", "a.txt", &is_folded);
    check("-o a --format pprof", "a", &is_pprof);
    check("-o a.svg --format folded", "a.svg", &is_folded);
    check("-o a.folded --value samples", "a.folded", &|bytes| {
        bytes == b"work 2\n"
    });
}

#[test]
fn the_arguments_are_what_is_captured() {
    let folder = tempfile::tempdir().unwrap();
    let own = std::process::id();
    let check = |line: &str, want: Request| {
        let (done, asked) = run_at(folder.path(), &format!("{line} -o a.svg"));
        done.unwrap();
        assert_eq!(asked, [want], "{line}");
    };
    let plain = Request {
        kind: Type::Cpu,
        hertz: None,
        pid: None,
        agent: None,
        duration: Duration::from_secs(30),
    };
    check("--type cpu", plain.clone());
    check(
        "--seconds 3600 --hz 1000",
        Request {
            hertz: Some(1000),
            duration: Duration::from_hours(1),
            ..plain.clone()
        },
    );
    check(
        &format!("--pid {own} --type memory"),
        Request {
            kind: Type::Memory,
            pid: Some(own),
            ..plain.clone()
        },
    );
    for agent in ["swarmlet", "other"] {
        check(
            &format!("--type offcpu --agent {agent}"),
            Request {
                kind: Type::OffCpu,
                agent: Some(agent.to_owned()),
                ..plain.clone()
            },
        );
    }
}

#[test]
fn what_is_wrong_is_said_before_anything_is_captured() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("folder.svg")).unwrap();
    let check = |line: &str, want: &str| {
        let (done, asked) = run_at(folder.path(), line);
        let error = format!("{:#}", done.unwrap_err());
        assert!(error.contains(want), "{line}: {error}");
        assert!(asked.is_empty(), "{line}");
    };
    check("-o a", "end it in .svg, .pb.gz or .folded");
    check("-o -", "add --format");
    check("-o no/where/a.svg", "cannot write");
    check("-o folder.svg", "directory");
    check("-o a.svg --type memory --hz 99", "--hz is for --type cpu");
    check("-o a.pb.gz --value cpu", "has all values");
    check(
        "-o a.svg --agent nobody",
        "\"nobody\" in the configuration; there are: swarmlet,",
    );
    check("-o a.svg --pid 4194304", "there is no process 4194304");
    let off = Config {
        profiling_enabled: false,
        ..Config::default()
    };
    let error = request(&args("-o a.svg"), &off).unwrap_err().to_string();
    assert!(
        error.contains("monitoring.profiling_enabled is false"),
        "{error}"
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no file is left"
    );
    let (done, _) = run_at(folder.path(), "-o a.svg --value bytes");
    let error = done.unwrap_err().to_string();
    assert!(error.contains("there are: samples, cpu"), "{error}");
}

#[test]
fn a_file_is_replaced_whole_and_links_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (
        folder.path().join("a.folded"),
        folder.path().join("b.folded"),
    );
    fs::write(&file, "old").unwrap();
    std::os::unix::fs::symlink("a.folded", &link).unwrap();
    run_at(folder.path(), "-o b.folded").0.unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "work 20000000\n");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o600, 0o600);
    // A device is written to, not replaced.
    let device = args("-o /dev/null --format svg");
    let (service, _) = service();
    let config = Config::default();
    let done = capture_to_file(&device, &config, &service, std::future::pending());
    assert!(block_on(done).unwrap().ends_with("/dev/null"));
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn a_capture_that_fails_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.svg"), "old").unwrap();
    let mut args = args("-o a.svg");
    args.output = folder.path().join("a.svg");
    let engine =
        |_: &Request, _: &mut Watch| Err(CaptureError::Failed(anyhow::anyhow!("no more memory")));
    let config = Config::default();
    let service = Service::new(engine, 1);
    let done = block_on(capture_to_file(
        &args,
        &config,
        &service,
        std::future::pending(),
    ));
    assert_eq!(
        format!("{:#}", done.unwrap_err()),
        "capture: no more memory"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(&args.output).unwrap(), "old");
}

#[test]
fn an_empty_profile_has_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let empty =
        |_: &Request, _: &mut Watch| Ok(Profile::difference(&profile(2), &profile(2)).unwrap());
    let service = Service::new(empty, 1);
    for file in ["a.svg", "a.pb.gz", "a.folded"] {
        let mut args = args("-o x.svg");
        args.output = folder.path().join(file);
        let config = Config::default();
        let done = block_on(capture_to_file(
            &args,
            &config,
            &service,
            std::future::pending(),
        ));
        let done = done.unwrap_or_else(|error| panic!("{file}: {error:#}"));
        assert!(done.starts_with("cpu: 0.000 s"), "{done}");
        assert!(args.output.exists());
    }
}

/// Captures until it is told to end: the first signal ends it early, the second everything.
#[test]
fn signals_end_it_early_or_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let output: PathBuf = folder.path().join("a.folded");
    let started = Arc::new(AtomicUsize::new(0));
    let deaf = Arc::new(AtomicUsize::new(0));
    let (starts, is_deaf) = (Arc::clone(&started), Arc::clone(&deaf));
    let engine = move |_: &Request, watch: &mut Watch| {
        starts.fetch_add(1, SeqCst);
        let ends = |watch: &Watch| match is_deaf.load(SeqCst) {
            0 => watch.is_over(),
            _ => watch.is_abandoned(),
        };
        let mut samples = 0;
        while !ends(watch) {
            samples = 1;
            thread::park_timeout(Duration::from_millis(1));
        }
        Ok(profile(samples))
    };
    let service = Service::new(engine, 4);
    let mut args = args("--seconds 3600 -o x.folded");
    args.output.clone_from(&output);
    let config = Config::default();
    let wait_for_end = |count: usize, again: bool| {
        block_on(async {
            let interrupt = async {
                while started.load(SeqCst) < count {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let signal = || {
                    // SAFETY: the process handles the signal: the command runs.
                    unsafe { libc::kill(libc::getpid(), libc::SIGINT) };
                };
                signal();
                // Two at once would be one, so the others come as long as it runs.
                if !again {
                    std::future::pending::<()>().await;
                }
                loop {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    signal();
                }
            };
            tokio::select! {
                done = run(&args, &config, &service) => done,
                () = interrupt => unreachable!(),
            }
        })
    };
    let done = wait_for_end(1, false).unwrap();
    assert!(done.starts_with("cpu: 0.010 s"), "{done}");
    assert_eq!(fs::read_to_string(&output).unwrap(), "work 10000000\n");
    fs::remove_file(&output).unwrap();
    deaf.store(1, SeqCst);
    let error = wait_for_end(2, true).unwrap_err().to_string();
    assert!(error.contains("nothing was written"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
