//! Processes that run, that have ended, whose files are gone, and many of them.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use monitoring_agent::profile::mappings::Place;

use crate::{
    poll::poll_until,
    program::{Asked, INNER, OUTER, Program, Running},
};

/// Waits for a time, as everything that happens meanwhile may take it.
fn after(start: Instant, time: Duration) {
    poll_until("time passes", || (start.elapsed() >= time).then_some(()));
}

#[test]
fn one_that_ended_a_second_ago_has_names() {
    let (asked, program) = (Asked::new(), Program::build());
    let (pid, told) = Running::start(&program.path(), &[]).end();
    after(Instant::now(), Duration::from_secs(1));
    asked.mappings.catch_up();
    asked.check(pid, &told);
    let (_, named) = asked.at(pid, told.time_ns, told.inner);
    assert_eq!(*named.file, *program.path().to_str().unwrap());
    assert_eq!(named.build_id.len(), 40, "{named:?}");
    let function = &named.functions[0];
    assert_eq!(&*function.system_name, "_ZN4work5innerERSt6vectorIiSaIiEEl");
    asked.mappings.forget_before(u64::MAX);
    let (place, _) = asked.at(pid, told.time_ns, told.inner);
    assert!(matches!(place, Place::Unknown { .. }), "{place:?}");
}

#[test]
fn one_that_ran_before_has_names_also_when_it_has_ended() {
    let program = Program::build();
    let running = Running::start(&program.path(), &["wait"]);
    let asked = Asked::new();
    asked.check(running.pid, &running.told);
    let (pid, told) = running.end();
    asked.mappings.catch_up();
    asked.check(pid, &told);
}

#[test]
fn a_deleted_program_has_names_and_its_successor_others() {
    let (asked, program) = (Asked::new(), Program::build());
    let running = Running::start(&program.path(), &["wait"]);
    asked.mappings.catch_up();
    poll_until("the program is held open", || {
        (asked.mappings.stats().open_files > 0).then_some(())
    });
    asked.check(running.pid, &running.told);
    fs::remove_file(program.path()).unwrap();
    // Another one takes its path, with the same functions at other places.
    fs::copy("/bin/true", program.path()).unwrap();
    let (pid, told) = running.end();
    asked.mappings.catch_up();
    asked.check(pid, &told);
    let asked = Asked::new();
    let (place, named) = asked.at(pid, told.time_ns, told.inner);
    assert!(
        named.functions.is_empty(),
        "nobody knew it: {place:?} {named:?}"
    );
}

#[test]
fn one_in_a_container_has_names_and_so_has_what_it_compiles() {
    let (asked, program) = (Asked::new(), Program::build());
    let mut shell = Command::new("unshare");
    // Its files, and the list, are where nobody else sees them.
    let script = "mount -t tmpfs none /tmp && cp /proc/self/fd/3 /tmp/hidden && \
                  exec /tmp/hidden jit wait";
    let redirected = format!("exec 3<{}; {script}", program.path().display());
    shell.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        &redirected,
    ]);
    let running = Running::spawn(shell);
    let told = running.told.clone();
    // The process itself is the child of the one that was started.
    let children = format!("/proc/{0}/task/{0}/children", running.pid);
    let pid: u32 = fs::read_to_string(children)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    asked.mappings.catch_up();
    asked.check(pid, &told);
    let (place, named) = asked.at(pid, told.time_ns, told.made);
    assert!(matches!(place, Place::Jit { .. }), "{place:?}");
    assert_eq!(&*named.functions[0].name, "made::here(int, \"a b\")");
    assert_eq!(&*named.file, "[jit]");
    // With it ends its file system.
    running.end();
    asked.mappings.catch_up();
    asked.check(pid, &told);
}

#[test]
fn one_in_layers_of_file_systems_has_names_when_it_has_ended() {
    let (asked, program) = (Asked::new(), Program::build());
    // As container runtimes do: the program is in the lower of two layers.
    let script = "mount -t tmpfs none /mnt && cd /mnt && mkdir lower upper work merged && \
                  cp \"$1\" lower/layered && mount -t overlay -o \
                  lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work none /mnt/merged && \
                  exec /mnt/merged/layered wait";
    let mut shell = Command::new("unshare");
    shell
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(program.path());
    let running = Running::spawn(shell);
    asked.mappings.catch_up();
    asked.check(running.pid, &running.told);
    let (pid, told) = running.end();
    asked.mappings.catch_up();
    asked.check(pid, &told);
}

#[test]
fn a_stripped_program_has_places_without_functions() {
    let (asked, program) = (Asked::new(), Program::build());
    let strip = Command::new("strip").arg(program.path()).status();
    assert!(strip.expect("`strip` is of Debian's binutils").success());
    let (pid, told) = Running::start(&program.path(), &[]).end();
    asked.mappings.catch_up();
    let (place, named) = asked.at(pid, told.time_ns, told.inner);
    let Place::File { offset, .. } = place else {
        panic!("{place:?}");
    };
    assert!(named.functions.is_empty(), "{named:?}");
    assert_eq!(*named.file, *program.path().to_str().unwrap());
    assert_eq!(named.build_id.len(), 40);
    assert!(offset < program.path().metadata().unwrap().len());
}

#[test]
fn many_short_processes_have_names_and_memory_stays_as_it_is() {
    const ROUNDS: usize = 4;
    const PROCESSES: usize = 250;
    /// Of 200 a second.
    const EACH: Duration = Duration::from_millis(5);
    let (asked, program) = (Asked::new(), Program::build());
    let mut memory = Vec::new();
    let (mut good, mut took) = (0, Duration::ZERO);
    let first = Instant::now();
    for round in 0..ROUNDS {
        let start = Instant::now();
        let mut told = Vec::new();
        for number in 0..PROCESSES {
            told.push(Running::start(&program.path(), &[]).end());
            after(start, EACH * u32::try_from(number).unwrap());
        }
        asked.mappings.catch_up();
        let start = Instant::now();
        for (pid, told) in told {
            let mut places = Vec::new();
            let time_ns = told.time_ns;
            for address in [told.inner, told.outer] {
                asked.mappings.places(pid, time_ns, &[address], &mut places);
            }
            let found = asked.symbols.name(&places, &[]);
            let names = found.iter().filter_map(|place| place.functions.first());
            good += usize::from(names.map(|function| &*function.name).eq([INNER, OUTER]));
        }
        took += start.elapsed();
        let stats = asked.mappings.stats();
        println!("round {round}: {stats:?}, {:?}", asked.symbols.stats());
        assert!(stats.processes >= PROCESSES, "{stats:?}");
        asked.mappings.forget_before(u64::MAX);
        memory.push(asked.mappings.stats().memory_bytes + asked.symbols.stats().memory_bytes);
    }
    println!(
        "{:?} for all, {took:?} of it for names, memory {memory:?}",
        first.elapsed()
    );
    assert!(
        good * 100 >= ROUNDS * PROCESSES * 99,
        "{good} of all have names"
    );
    let lost: u64 = asked.mappings.lost().iter().map(|(_, lost)| lost).sum();
    println!("lost {:?}", asked.mappings.lost());
    assert!(
        lost <= (ROUNDS * PROCESSES / 100) as u64,
        "{:?}",
        asked.mappings.lost()
    );
    // Other tests run meanwhile, and have processes as well.
    let [early, late] = [memory[0], memory[ROUNDS - 1]];
    assert!(late < early + early / 2 + 256 * 1024, "{memory:?}");
}
