//! Where memory grows: a program that touches a GiB in one function and a quarter of that in
//! another, with small pages and with huge ones.

use std::{fs, time::Duration};

use super::{
    capture::{Capture, PPROF, agent, has_chain, is_of, shown, stacks, sum_of},
    workload::Workload,
};

const WHOLE_MIB: i64 = 1024;
const MIB: i64 = 1 << 20;

/// Time that the program has to touch all of it; it needs about half a second.
const CAPTURED_SECONDS: u32 = 12;

/// What the program asks for beyond what it touches, to begin at a huge page's boundary.
const ALIGNMENT_MIB: i64 = 2 * 2;

fn check_near(what: &str, bytes: i64, want: i64, context: &str) {
    let off = bytes as f64 / want as f64 - 1.0;
    println!("{what}: {bytes} bytes of {want}, {:+.3} %", off * 100.0);
    assert!(
        off.abs() <= 0.01,
        "{what}: {bytes} bytes, not {want}\n{context}"
    );
}

fn check(pages: &str) {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path(), "");
    let arguments = [&*WHOLE_MIB.to_string(), pages];
    let mut program = Workload::start(folder.path(), "memory", &arguments);
    let pid = program.pid();
    let query = format!("type=memory&pid={pid}");
    let capture = Capture::begin(&agent, PPROF, CAPTURED_SECONDS, &query);
    program.begin();
    let [resident] = program.done(Duration::ZERO);
    capture.must_still_run();
    let huge_kib = huge_pages_kib(pid);
    let profile = capture.profile();
    program.end();

    // The program did what it was told to.
    let resident = i64::try_from(resident).unwrap();
    check_near("by its own account", resident, WHOLE_MIB * MIB * 5 / 4, "");
    match pages {
        "huge" if huge_pages_are_to_be_had() => assert!(huge_kib > 0, "no huge pages"),
        _ => assert_eq!(huge_kib, 0, "huge pages"),
    }

    let resident = stacks(&profile, "resident", |sample| is_of(sample, pid));
    let context = shown(&resident);
    for (function, mib) in [("whole", WHOLE_MIB), ("quarter", WHOLE_MIB / 4)] {
        let chain = [
            "main",
            &format!("grow_{function}"),
            &format!("touch_{function}"),
        ];
        let bytes = sum_of(&resident, |stack| has_chain(stack, &chain));
        check_near(chain[2], bytes, mib * MIB, &context);
    }
    let mapped = stacks(&profile, "mapped", |sample| is_of(sample, pid));
    let want = (WHOLE_MIB * 5 / 4 + ALIGNMENT_MIB) * MIB;
    let bytes = sum_of(&mapped, |stack| stack.iter().any(|name| name == "main"));
    check_near("mapped", bytes, want, &shown(&mapped));
}

/// How much of a process's memory is in huge pages.
fn huge_pages_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("AnonHugePages:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.unwrap().parse().unwrap()
}

/// Whether who asks for huge pages gets them.
fn huge_pages_are_to_be_had() -> bool {
    let setting = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    setting.is_ok_and(|setting| !setting.contains("[never]"))
}

#[test]
fn growth_in_small_pages_is_where_it_happens() {
    check("small");
}

#[test]
fn growth_in_huge_pages_is_where_it_happens() {
    check("huge");
}
