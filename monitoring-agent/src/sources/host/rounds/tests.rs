//! Rounds over mounts that answer, fail and hang as the test says.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        mpsc::{Sender, sync_channel},
    },
};

use super::*;

const SPACE: Space = Space {
    size_bytes: 8.0,
    avail_bytes: 4.0,
};
const DEADLINE: Duration = Duration::from_secs(20);

/// Mounts whose name begins with `hung` hang until released; `bad` ones fail.
struct Machine {
    rounds: Rounds,
    entered: Receiver<PathBuf>,
    /// One for each hung mount; dropping it makes the mount answer.
    held: BTreeMap<&'static str, Sender<()>>,
}

fn machine(hung: &[&'static str], grace: Duration, hung_after: Duration) -> Machine {
    let (enter, entered) = channel();
    let (mut held, mut gates) = (BTreeMap::new(), BTreeMap::new());
    for name in hung {
        let (hand, gate) = channel::<()>();
        held.insert(*name, hand);
        gates.insert(PathBuf::from(name), Mutex::new(gate));
    }
    let ask = move |path: &Path| {
        if let Some(gate) = gates.get(path) {
            // The test may have ended without looking.
            let _ = enter.send(path.to_owned());
            let _ = gate.lock().unwrap().recv();
        }
        match path.to_str() {
            Some("bad") => Err(io::Error::from_raw_os_error(libc::EIO)),
            Some("foreign") => Ok(None),
            _ => Ok(Some(SPACE)),
        }
    };
    Machine {
        rounds: Rounds::with_limits(Arc::new(ask), grace, hung_after),
        entered,
        held,
    }
}

fn mounts(names: &[&str]) -> Vec<Mount> {
    let mount = |name: &&str| Mount {
        device: "none".to_owned(),
        fstype: "nfs".to_owned(),
        mountpoint: (*name).to_owned(),
        path: PathBuf::from(name),
    };
    names.iter().map(mount).collect()
}

fn names(spaces: &[(Mount, Space)]) -> Vec<&str> {
    let mut names: Vec<_> = spaces
        .iter()
        .map(|(mount, _)| mount.mountpoint.as_str())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn healthy_mounts_answer_at_once() {
    let mut machine = machine(&[], DEADLINE, DEADLINE);
    let (spaces, result) = machine.rounds.collect(mounts(&["a", "b"]));
    assert_eq!(names(&spaces), ["a", "b"]);
    assert_eq!(spaces[0].1, SPACE);
    assert!(result.is_ok());
    // A mount that is gone is gone.
    assert_eq!(names(&machine.rounds.collect(mounts(&["b"])).0), ["b"]);
    assert_eq!(names(&machine.rounds.collect(Vec::new()).0), [""; 0]);
    assert_eq!(machine.rounds.skipped(), 0);
}

#[test]
fn a_failure_does_not_lose_the_others() {
    let mut machine = machine(&[], DEADLINE, DEADLINE);
    let (spaces, result) = machine
        .rounds
        .collect(mounts(&["a", "bad", "foreign", "z"]));
    assert_eq!(names(&spaces), ["a", "z"]);
    assert!(format!("{:#}", result.unwrap_err()).starts_with("statvfs \"bad\""));
    assert!(machine.rounds.collect(mounts(&["a", "foreign"])).1.is_ok());
}

#[test]
fn a_hung_mount_is_left_out_until_it_answers() {
    let mut machine = machine(&["hung"], Duration::ZERO, Duration::ZERO);
    let table = ["a", "hung", "z"];
    machine.rounds.grace = DEADLINE;
    assert_eq!(
        names(&machine.rounds.collect(mounts(&["a", "z"])).0),
        ["a", "z"]
    );

    // The mounts known to answer come first, so that they have before it hangs.
    machine.rounds.grace = Duration::ZERO;
    let _ = machine.rounds.collect(mounts(&table));
    machine.entered.recv_timeout(DEADLINE).unwrap();
    machine.rounds.grace = DEADLINE;
    let (spaces, result) = machine.rounds.collect(mounts(&table));
    assert_eq!(names(&spaces), ["a", "z"]);
    assert!(result.is_ok());
    assert_eq!(
        (machine.rounds.skipped(), machine.rounds.hung.len()),
        (1, 1)
    );

    for collections in 2..5 {
        let (spaces, _) = machine.rounds.collect(mounts(&table));
        assert_eq!(names(&spaces), ["a", "z"]);
        assert_eq!(
            (machine.rounds.skipped(), machine.rounds.hung.len()),
            (collections, 1)
        );
    }
    assert!(
        machine.entered.try_recv().is_err(),
        "one thread waits for it, no more"
    );

    machine.held.clear();
    let deadline = Instant::now() + DEADLINE;
    while names(&machine.rounds.collect(mounts(&table)).0) != table {
        assert!(
            Instant::now() < deadline,
            "it answers, but is left out: {:?}",
            machine.rounds
        );
        thread::yield_now();
    }
    assert!(machine.rounds.hung.is_empty());
}

#[test]
fn a_slow_mount_has_its_last_space() {
    let mut machine = machine(&["hung"], DEADLINE, DEADLINE);
    // As if it had answered before it became slow.
    machine.rounds.newest = mounts(&["a", "hung"])
        .into_iter()
        .map(|m| (m, SPACE))
        .collect();
    machine.rounds.grace = Duration::ZERO;
    let _ = machine.rounds.collect(mounts(&["a", "hung"]));
    machine.entered.recv_timeout(DEADLINE).unwrap();
    for _ in 0..3 {
        assert_eq!(
            names(&machine.rounds.collect(mounts(&["a", "hung"])).0),
            ["a", "hung"]
        );
    }
    assert_eq!(
        (machine.rounds.skipped(), machine.rounds.hung.len()),
        (0, 0)
    );
    assert!(
        machine.entered.try_recv().is_err(),
        "no second round beside the first"
    );
}

#[test]
fn a_collection_does_not_wait_for_a_hung_mount() {
    let mut machine = machine(&["hung"], Duration::from_millis(1), DEADLINE);
    let started = Instant::now();
    let _ = machine.rounds.collect(mounts(&["hung"]));
    assert!(started.elapsed() < DEADLINE / 2);
}

#[test]
fn too_many_hung_mounts_bound_the_threads() {
    let mut machine = machine(&["hung"], DEADLINE, DEADLINE);
    let _ = machine.rounds.collect(mounts(&["a"]));
    let (_hold, gate) = sync_channel::<()>(0);
    let gate = Arc::new(Mutex::new(gate));
    for number in 0..MAX_HUNG {
        let gate = Arc::clone(&gate);
        let thread = thread::spawn(move || gate.lock().unwrap().recv().unwrap_or_default());
        machine.rounds.hung.push(Hung {
            path: PathBuf::from(format!("{number}")),
            thread,
        });
    }
    let (spaces, _) = machine.rounds.collect(mounts(&["a", "hung", "new", "0"]));
    assert_eq!(names(&spaces), ["a"]);
    assert_eq!(machine.rounds.skipped(), 3);
    assert!(machine.entered.try_recv().is_err());
}
