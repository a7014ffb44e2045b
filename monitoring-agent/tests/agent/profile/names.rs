//! Functions have their names, wherever they are: in the kernel, in code that was made while it
//! runs, in processes that are gone, and in those of containers.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use super::{
    capture::{Capture, PPROF, Stacks, agent, has_chain, is_of, label, shown, stacks, sum_of},
    workload::{Workload, build},
};

/// How long programs work, and how long is captured at most.
const WORKED: &str = "3";
const CAPTURED_SECONDS: u32 = 5;

/// Enough samples that a share means something, also on a machine that is busy with other things.
const FEWEST: i64 = 50;

/// The rate of the captures.
const HERTZ: &str = "hz=199";

/// The functions of the kernel that this machine has.
fn kernel_functions() -> HashSet<String> {
    let text = fs::read_to_string("/proc/kallsyms").expect("the tests need root");
    let names = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2));
    names.map(str::to_owned).collect()
}

/// Captures while a program works; the stacks of its process, and of those samples of it that were
/// taken in the kernel.
fn captured(folder: &Path, name: &str) -> (Stacks, Stacks) {
    let agent = agent(folder, "");
    let mut program = Workload::start(folder, name, &[WORKED]);
    let pid = program.pid();
    let capture = Capture::begin(
        &agent,
        PPROF,
        CAPTURED_SECONDS,
        &format!("{HERTZ}&pid={pid}"),
    );
    program.begin();
    let profile = capture.profile();
    let all = stacks(&profile, "samples", |sample| is_of(sample, pid));
    let in_kernel = stacks(&profile, "samples", |sample| {
        is_of(sample, pid) && label(sample, "mode") == "kernel"
    });
    let [_cpu_ns] = program.done(Duration::ZERO);
    program.end();
    (all, in_kernel)
}

#[test]
fn functions_of_the_kernel_have_names() {
    let folder = tempfile::tempdir().unwrap();
    let (all, in_kernel) = captured(folder.path(), "calls");
    let [total, kernel] = [&all, &in_kernel].map(|stacks| sum_of(stacks, |_| true));
    assert!(total >= FEWEST, "{}", shown(&all));
    // It does nothing but to have the kernel write zeros.
    assert!(kernel as f64 >= total as f64 * 0.5, "{}", shown(&all));
    let is_read = |stack: &[String]| stack.iter().any(|name| name == "vfs_read");
    let reads = sum_of(&in_kernel, is_read);
    assert!(reads as f64 >= kernel as f64 * 0.8, "{}", shown(&in_kernel));
    // What is called in the kernel is what the kernel says that it has: programs' functions in
    // these stacks are those of this program and of the C library.
    let functions = kernel_functions();
    let entered = |name: &String| name.starts_with("entry_SYSCALL") || name == "el0_svc";
    for stack in in_kernel.keys() {
        let Some(entry) = stack.iter().position(entered) else {
            continue;
        };
        for name in &stack[entry..] {
            assert!(functions.contains(name), "{name} in {stack:?}");
        }
    }
    let through_entry = sum_of(&in_kernel, |stack| stack.iter().any(entered));
    assert!(
        through_entry as f64 >= kernel as f64 * 0.8,
        "{}",
        shown(&in_kernel)
    );
}

#[test]
fn code_made_at_run_time_has_the_names_of_its_map() {
    let folder = tempfile::tempdir().unwrap();
    let (all, _) = captured(folder.path(), "jit");
    let total = sum_of(&all, |_| true);
    assert!(total >= FEWEST, "{}", shown(&all));
    let chain = ["main", "calls_made_code", "LazyCompile:*hot made.js:7"];
    let named = sum_of(&all, |stack| has_chain(stack, &chain));
    assert!(named as f64 >= total as f64 * 0.95, "{}", shown(&all));
    let other = sum_of(&all, |stack| {
        stack.iter().any(|name| name == "never called")
    });
    assert_eq!(other, 0, "{}", shown(&all));
}

/// Programs that end while the capture goes on: one is a file still, the other is no more.
#[test]
fn processes_that_are_gone_have_their_names() {
    const LEFT: &str = "left-behind";
    const REMOVED: &str = "removed";
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), "");
    let split = build(folder.path(), "split");
    let programs = [LEFT, REMOVED].map(|name| {
        let program = folder.path().join(name);
        fs::copy(&split, &program).unwrap();
        program
    });
    let mut running = programs
        .each_ref()
        .map(|program| Workload::of(Command::new(program).args(["2", "1"])));
    let capture = Capture::begin(&agent, PPROF, CAPTURED_SECONDS + 1, HERTZ);
    running.iter_mut().for_each(Workload::begin);
    for program in running {
        let [_cpu_ns] = program.done(Duration::ZERO);
        program.end();
    }
    let gone = Instant::now();
    fs::remove_file(&programs[1]).unwrap();
    let profile = capture.profile();
    let since = gone.elapsed();
    assert!(since >= Duration::from_secs(1), "gone for {since:?} only");
    for name in [LEFT, REMOVED] {
        let of_it = stacks(&profile, "samples", |sample| {
            label(sample, "process") == name
        });
        check_split_names(name, &of_it);
    }
}

/// A process in namespaces of its own, whose files nobody else can see.
#[test]
fn processes_of_containers_have_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), "");
    let mut running = ["split", "jit"].map(|name| {
        let program = build(folder.path(), name);
        let arguments = if name == "split" { "3 1" } else { "3" };
        // The file that runs, and the map of the code that it makes, are in file systems of its
        // own; its process id is another one outside.
        let script = format!(
            "mount -t tmpfs none /mnt && cp {} /mnt/inner-{name} && mount -t tmpfs none /tmp && \
             exec /mnt/inner-{name} {arguments}",
            program.display()
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        Workload::of(unshare.args(["sh", "-c", &script]))
    });
    let capture = Capture::begin(&agent, PPROF, CAPTURED_SECONDS, HERTZ);
    running.iter_mut().for_each(Workload::begin);
    let profile = capture.profile();
    for program in running {
        let [_cpu_ns] = program.done(Duration::ZERO);
        program.end();
    }
    let of = |name: &str| {
        stacks(&profile, "samples", |sample| {
            label(sample, "process") == name
        })
    };
    assert!(!Path::new("/mnt/inner-split").exists());
    check_split_names("inner-split", &of("inner-split"));
    let jit = of("inner-jit");
    let named = sum_of(&jit, |stack| {
        has_chain(
            stack,
            &["main", "calls_made_code", "LazyCompile:*hot made.js:7"],
        )
    });
    let total = sum_of(&jit, |_| true);
    assert!(
        total >= FEWEST && named as f64 >= total as f64 * 0.95,
        "{}",
        shown(&jit)
    );
}

/// Nearly all of the program's time is in functions that have their names.
fn check_split_names(name: &str, of_it: &Stacks) {
    let total = sum_of(of_it, |_| true);
    assert!(total >= FEWEST, "{name}: {}", shown(of_it));
    let ends = ["sixty", "thirty", "ten"];
    let named = sum_of(of_it, |stack| {
        stack.iter().any(|name| name == "main") && stack.iter().any(|name| ends.contains(&&**name))
    });
    assert!(
        named as f64 >= total as f64 * 0.98,
        "{name}: {}",
        shown(of_it)
    );
}
