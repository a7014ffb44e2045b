//! What was kept of the past survives an agent that is killed while it writes.

use std::{
    ffi::CString,
    fs::{self, File},
    io::Read as _,
    os::{
        fd::{AsRawFd as _, FromRawFd as _},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use monitoring_profile::pprof;

use super::{
    capture::{PPROF, agent_with, fetch, is_of, stacks},
    workload::Workload,
};
use crate::{
    poll::poll_until,
    process::{Agent, sum},
};

/// How often an agent may be killed before one was in the middle of writing.
const ATTEMPTS: usize = 20;

/// Windows that are to be there before that.
const WINDOWS: usize = 3;

fn agent(folder: &Path, history: &Path) -> Agent {
    let keys = "hertz = 199\nhistory_window = '1s'\n";
    agent_with(
        folder,
        &format!("{keys}history_directory = '{}'\n", history.display()),
    )
}

/// The files of whole windows, by name, and what else there is.
fn files(history: &Path) -> (Vec<String>, Vec<String>) {
    let entries = fs::read_dir(history).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let mut parts: (Vec<_>, Vec<_>) = names.partition(|name| name.ends_with(".pb.gz"));
    parts.0.sort();
    parts
}

/// Waits until something new is made in a folder, without looking again and again: a window is
/// written within a millisecond.
fn wait_for_new_file(folder: &Path) {
    let path = CString::new(folder.as_os_str().as_bytes()).unwrap();
    // SAFETY: the call takes flags only; the descriptor is ours alone.
    let mut events = unsafe { File::from_raw_fd(libc::inotify_init1(libc::IN_CLOEXEC)) };
    // SAFETY: the path lives across the call.
    let watch =
        unsafe { libc::inotify_add_watch(events.as_raw_fd(), path.as_ptr(), libc::IN_CREATE) };
    assert!(watch >= 0, "{}", std::io::Error::last_os_error());
    assert!(events.read(&mut [0; 4096]).unwrap() > 0);
}

fn unix_seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}

#[test]
fn an_agent_that_is_told_to_stop_keeps_the_open_window() {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history");
    let mut split = Workload::start(folder.path(), "split", &["600", "1"]);
    split.begin();
    let keys = "hertz = 199\nhistory_window = '1h'\n";
    let directory = format!("history_directory = '{}'\n", history.display());
    let mut agent = agent_with(folder.path(), &(keys.to_owned() + &directory));
    let counted = poll_until("samples are counted", || {
        let samples = sum(&agent.fresh_metrics(), "profile_samples_total", "");
        (samples > 300.0).then_some(samples)
    });
    agent.process.signal(libc::SIGTERM);
    agent.process.wait();
    let (whole, half_written) = files(&history);
    assert_eq!((whole.len(), half_written.len()), (1, 0), "{whole:?}");
    let kept = fs::read(history.join(&whole[0])).unwrap();
    let kept = pprof::read(&kept, pprof::Limits::default()).unwrap();
    assert!(
        kept.total(0) as f64 >= counted,
        "{counted} counted, {} kept",
        kept.total(0)
    );
}

#[test]
fn an_agent_killed_while_it_writes_loses_the_open_window_only() {
    let folder = tempfile::tempdir().unwrap();
    // On a disk: in memory nothing takes long enough to be interrupted.
    let on_disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let history = on_disk.path().join("history");
    let mut split = Workload::start(folder.path(), "split", &["600", "1"]);
    split.begin();
    let begun = unix_seconds();
    let half_written = (0..ATTEMPTS).find_map(|attempt| {
        let mut agent = agent(folder.path(), &history);
        let enough = files(&history).0.len() + WINDOWS;
        poll_until("windows are kept", || {
            (files(&history).0.len() >= enough).then_some(())
        });
        wait_for_new_file(&history);
        agent.process.signal(libc::SIGKILL);
        agent.process.wait();
        let (_, half_written) = files(&history);
        println!("attempt {attempt}: {half_written:?}");
        (!half_written.is_empty()).then_some(half_written)
    });
    assert!(half_written.is_some(), "no agent was killed while it wrote");

    let (before, _) = files(&history);
    let agent = agent(folder.path(), &history);
    // It says what is lost, and removes it.
    agent.process.wait_for("they are lost, and were removed");
    poll_until("what was half written is gone", || {
        let (_, rest) = files(&history);
        half_written
            .iter()
            .flatten()
            .all(|name| !rest.contains(name))
            .then_some(())
    });
    let (after, _) = files(&history);
    assert!(
        before.iter().all(|name| after.contains(name)),
        "{before:?} became {after:?}"
    );
    // All that was whole is in the answer.
    let span = format!("from={begun}&to={}", unix_seconds());
    let address = &agent.address;
    let profile = fetch(address, &format!("{PPROF}?{span}"), Duration::ZERO).profile();
    let of_split = stacks(&profile, "samples", |sample| is_of(sample, split.pid()));
    let samples: i64 = of_split.values().sum();
    println!("{} windows, {samples} samples of the program", before.len());
    assert!(
        profile.total(0) >= before.len().try_into().unwrap(),
        "{samples}"
    );
    assert!(samples > 0, "{}", profile.total(0));

    torn_files_are_said(&agent, &history, &span);
    nothing_is_said_of_other_times(&agent, begun);
}

/// One that was torn later on, by whoever, is left out, and the answer says so.
fn torn_files_are_said(agent: &Agent, history: &Path, span: &str) {
    let first = history.join(&files(history).0[0]);
    let whole = fs::metadata(&first).unwrap().len();
    let file = File::options().write(true).open(&first).unwrap();
    file.set_len(whole / 2).unwrap();
    let answer = fetch(&agent.address, &format!("{PPROF}?{span}"), Duration::ZERO);
    let head = answer.head.to_lowercase();
    assert!(head.contains("x-profile-torn-windows: 1"), "{head}");
    assert!(answer.profile().total(0) > 0);
    agent.process.wait_for("is torn: its window is lost");
}

/// Where nothing was kept, there is no profile.
fn nothing_is_said_of_other_times(agent: &Agent, begun: u64) {
    let span = format!("from={}&to={}", begun - 7200, begun - 3600);
    let answer = fetch(&agent.address, &format!("{PPROF}?{span}"), Duration::ZERO);
    assert_eq!(answer.status, 404, "{}", answer.text());
}
