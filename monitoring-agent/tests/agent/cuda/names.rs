//! What launched kernels are called: by what programs register and ask the driver for, by the
//! symbols of their files, and where all that is missing, by a place that says so.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use cuda_sim::Linkage;
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};
use tempfile::TempDir;

use super::rig::{
    Program, agent, compare, compare_names, known, launches_by_name, metrics, name_of,
    nothing_lost, number, same, seen,
};
use crate::process::{Agent, sum};

/// What the C program does: threads, and for each its launches, pairs of allocation and free, copies.
const THREADS: u32 = 4;
const LAUNCHES: u32 = 2_501;
const ARGUMENTS: [&str; 4] = ["4", "2501", "10", "10"];

/// The kernels' symbols, and how often each is launched: in turn, this one first.
const KERNELS: [(&str, u32); 2] = [
    ("_Z9vectorAddPKfS0_Pfi", THREADS * LAUNCHES.div_ceil(2)),
    ("_Z6reducePKfPfi", THREADS * (LAUNCHES / 2)),
];

/// A folder with the stand-ins, and the C program in it.
fn program(linkage: Linkage) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    cuda_sim::install(folder.path()).unwrap();
    let program = cuda_sim::build_program(folder.path(), linkage).unwrap();
    (folder, program)
}

/// Takes a program's symbols away, as distributors do.
pub(super) fn strip(program: &Path) {
    let status = Command::new("strip")
        .arg(program)
        .status()
        .expect("this test strips a program: install `strip` (package binutils)");
    assert!(status.success());
}

/// Starts the C program, up to where it waits for a line.
fn start(folder: &TempDir, program: &Path, variables: &[(&str, &str)]) -> Program {
    let mut command = command(program);
    let mut program = Program::start(folder.path(), command.envs(variables.iter().copied()));
    program.line("Start");
    program
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(ARGUMENTS).env("CUDA_WORKLOAD_WAIT", "1");
    command
}

/// Has the C program do its work. What the agent has then.
fn work(agent: &Agent, program: &mut Program) -> String {
    known(agent);
    program.go_on();
    let said = program.report();
    same("failures", number(&said["failures"]), 0.0);
    let metrics = metrics(agent);
    program.go_on();
    program.ends_well();
    nothing_lost(&metrics);
    metrics
}

/// Launches by the names that these symbols should have.
fn expected(label_of: impl Fn(&str) -> String) -> BTreeMap<String, f64> {
    let kernels = KERNELS.into_iter();
    kernels
        .map(|(symbol, launches)| (label_of(symbol), launches.into()))
        .collect()
}

/// The places of the kernels' stubs in the program, as names.
fn places(program: &Path) -> BTreeMap<String, f64> {
    let bytes = fs::read(program).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let place = |wanted: &str| {
        let mut symbols = file.symbols();
        let symbol = symbols.find(|symbol| symbol.name() == Ok(wanted));
        let address = symbol.unwrap().address();
        let mut segments = file.segments();
        let segment = segments
            .find(|each| (each.address()..each.address() + each.size()).contains(&address))
            .unwrap();
        let offset = address - segment.address() + segment.file_range().0;
        let name = program.file_name().unwrap().to_string_lossy();
        format!("unknown:{name}+0x{offset:x}")
    };
    expected(place)
}

#[test]
fn registered_functions_are_named_without_any_symbols() {
    let (folder, program) = program(Linkage::Dynamic);
    strip(&program);
    let agent = agent(folder.path());
    let _first = Program::forerunner(folder.path(), &agent, "");
    let mut program = start(&folder, &program, &[]);
    let metrics = work(&agent, &mut program);
    assert_eq!(launches_by_name(&metrics), expected(name_of));
}

#[test]
fn a_fork_has_what_its_parent_registered() {
    let (folder, program) = program(Linkage::Dynamic);
    strip(&program);
    let agent = agent(folder.path());
    let _first = Program::forerunner(folder.path(), &agent, "");
    let mut program = start(&folder, &program, &[("CUDA_WORKLOAD_FORK", "1")]);
    let metrics = work(&agent, &mut program);
    assert_eq!(launches_by_name(&metrics), expected(name_of));
}

#[test]
fn a_program_from_before_the_agent_is_named_by_its_symbols() {
    let (folder, program) = program(Linkage::Dynamic);
    let mut program = start(&folder, &program, &[]);
    let agent = agent(folder.path());
    seen(&agent, "workload", "attached");
    let metrics = work(&agent, &mut program);
    assert_eq!(launches_by_name(&metrics), expected(name_of));
}

/// Unlike those of compilers, its code does not say what it registers.
#[test]
fn a_stripped_program_from_before_the_agent_has_places() {
    let (folder, program) = program(Linkage::Dynamic);
    let places = places(&program);
    strip(&program);
    let mut program = start(&folder, &program, &[]);
    let agent = agent(folder.path());
    seen(&agent, "workload", "attached");
    let metrics = work(&agent, &mut program);
    assert_eq!(launches_by_name(&metrics), places);
}

#[test]
fn functions_of_the_driver_from_before_the_agent_are_handles() {
    let folder = tempfile::tempdir().unwrap();
    cuda_sim::install(folder.path()).unwrap();
    let arguments = "--api driver --threads 2 --launches 1000 --wait loaded,end";
    let mut program = Program::workload(folder.path(), arguments);
    program.line("Loaded");
    let agent = agent(folder.path());
    seen(&agent, "workload", "attached");
    known(&agent);
    program.go_on();
    program.report();
    let launches = launches_by_name(&metrics(&agent));
    assert_eq!(
        launches,
        BTreeMap::from([("unknown:handle".to_owned(), 1000.0)])
    );
    program.go_on();
    program.ends_well();
}

#[test]
fn a_program_with_the_runtime_in_it_is_counted_by_its_symbols() {
    let (folder, program) = program(Linkage::Static);
    let agent = agent(folder.path());
    // Until it loads the driver's library it is like any other program.
    let mut first = Program::start_forerunner(folder.path(), &mut command(&program));
    first.line("Start");
    first.go_on();
    first.report();
    seen(&agent, "forerunner", "static");
    let mut program = start(&folder, &program, &[]);
    let metrics = work(&agent, &mut program);
    assert_eq!(launches_by_name(&metrics), expected(name_of));
    let label = "agent=\"workload\",api=\"runtime\",call=\"cudaLaunchKernel\"";
    let calls = sum(&metrics, "cuda_call_duration_seconds_count", label);
    same("calls", calls, f64::from(THREADS * LAUNCHES));
    let of_driver = "agent=\"workload\",api=\"driver\"";
    let nested = sum(&metrics, "cuda_call_duration_seconds_count", of_driver);
    same("calls of the driver", nested, 0.0);
}

#[test]
fn a_stripped_program_with_the_runtime_in_it_is_seen_by_its_driver_calls() {
    let (folder, program) = program(Linkage::Stripped);
    let agent = agent(folder.path());
    // The program loads the driver's library at its first call only.
    let _first = Program::forerunner(folder.path(), &agent, "--api driver");
    let mut program = start(&folder, &program, &[]);
    known(&agent);
    program.go_on();
    program.report();
    seen(&agent, "workload", "stripped");
    let metrics = metrics(&agent);
    // The runtime asks the driver for its kernels by name.
    assert_eq!(launches_by_name(&metrics), expected(name_of));
    let count = |label: &str| {
        let label = format!("agent=\"workload\",{label}");
        sum(&metrics, "cuda_call_duration_seconds_count", &label)
    };
    let launches = f64::from(THREADS * LAUNCHES);
    same(
        "launches",
        count("api=\"driver\",call=\"cuLaunchKernel\""),
        launches,
    );
    let allocations = f64::from(THREADS * 11);
    same(
        "frees",
        count("api=\"driver\",call=\"cuMemFree\""),
        allocations,
    );
    same("calls of the runtime", count("api=\"runtime\""), 0.0);
    nothing_lost(&metrics);
    program.go_on();
    program.ends_well();
}

#[test]
fn handles_have_the_names_of_what_they_are_of() {
    for (api, how) in [
        ("runtime", "--handles"),
        ("runtime", "--stubs"),
        ("driver", "--handles"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        cuda_sim::install(folder.path()).unwrap();
        let agent = agent(folder.path());
        let _first = Program::forerunner(folder.path(), &agent, &format!("--api {api}"));
        let arguments = format!("--api {api} {how} --threads 2 --launches 1000 --wait end");
        let mut program = Program::known_workload(folder.path(), &agent, &arguments);
        let said = program.report();
        let metrics = metrics(&agent);
        compare(&metrics, &said, api);
        compare_names(&metrics, &said, name_of);
        program.go_on();
        program.ends_well();
    }
}
