//! Everything together: what the kernel side says, real processes, and sums.

use std::collections::HashMap;

use proptest::prelude::*;

use monitoring_common::cuda::{pid_of, process_at};

use super::{record::tests::encode, *};

mod program;

use self::program::{Link, Program};

/// The process of a number, as it is seen first.
fn process(pid: u32) -> ProcessId {
    process_at(pid, 0)
}

fn label(kernels: &Kernels, pid: u32, function: u64) -> Option<String> {
    let name = kernels.name(process(pid), function)?;
    Some(name.label.to_string())
}

fn say(kernels: &mut Kernels, pid: u32, function: u64, name: &str) {
    let text = format!("{name}\0");
    kernels.received(&encode(process(pid), function, 0, text.as_bytes()));
}

impl Kernels {
    /// Finds out all names that are waited for.
    fn resolve(&mut self) {
        let (mut resolver, mut budget) = (Resolver::default(), Budget::default());
        for (process, functions) in self.take_waiting() {
            let said = |pid, function| self.said(pid, function);
            let names = resolver.names(process, &functions, &said, &mut budget);
            self.found(process, functions, names);
        }
    }
}

fn launch(kernels: &mut Kernels, pid: u32, functions: &[u64]) {
    for function in functions {
        kernels.received(&encode(process(pid), *function, 0, b""));
    }
    kernels.resolve();
}

#[test]
fn nobody_waits_twice_for_a_name_that_does_not_come() {
    let mut kernels = Kernels::new();
    let key = LaunchKey {
        function: 5,
        process: process(7),
        agent: 0,
        device: 0,
        padding: 0,
    };
    assert!(!kernels.has_names_of([&key]));
    // It was entered in the kernel's map, and not launched yet.
    kernels.launches([(key, 0)].into_iter());
    assert!(!kernels.has_names_of([&key]));
    kernels.launches([(key, 1)].into_iter());
    assert!(kernels.has_names_of([&key]));
}

#[test]
fn processes_that_launch_nothing_are_known_until_they_are_forgotten() {
    let mut kernels = Kernels::new();
    say(&mut kernels, 7, 10, "_Z6matmulPf");
    let processes = kernels.processes();
    assert_eq!(processes, HashSet::from([process(7)]));
    kernels.ended(&processes);
    assert_eq!(kernels.processes(), HashSet::new());
    assert_eq!(label(&kernels, 7, 10), None);
}

#[test]
fn names_come_in_any_order() {
    let mut kernels = Kernels::new();
    // A handle of a handle; the first is named last.
    kernels.received(&encode(process(7), 30, 20, b""));
    kernels.received(&encode(process(7), 30, 0, b""));
    kernels.received(&encode(process(7), 20, 10, b""));
    say(&mut kernels, 7, 10, "_Z6matmulPf");
    kernels.resolve();
    assert_eq!(label(&kernels, 7, 30).as_deref(), Some("matmul"));
    assert_eq!(label(&kernels, 8, 30), None);
    assert_eq!(
        kernels.name(process(7), 30).unwrap().full,
        "matmul(float*)".into()
    );
    kernels.received(b"torn");
    assert_eq!(kernels.lost().malformed, 1);
    kernels.ended(&HashSet::from([process(7)]));
    assert_eq!(label(&kernels, 7, 30), None);
}

#[test]
fn a_process_that_is_gone_has_named_nothing() {
    let mut kernels = Kernels::new();
    launch(&mut kernels, u32::MAX, &[10]);
    let name = label(&kernels, u32::MAX, 10);
    assert_eq!(name.as_deref(), Some("unknown:ended"));
}

#[test]
fn functions_are_named_by_the_symbols_of_the_program() {
    for link in [Link::WithSymbols, Link::Exported, Link::Fixed] {
        let program = Program::start(link);
        let mut kernels = Kernels::new();
        launch(&mut kernels, program.pid, &program.functions);
        let [matmul, softmax, hidden] = program.functions;
        let of = |function| label(&kernels, program.pid, function).unwrap();
        assert_eq!(of(matmul), "matmul", "{link:?}");
        assert_eq!(of(softmax), "ns::softmax", "{link:?}");
        if matches!(link, Link::Exported) {
            assert!(
                of(hidden).starts_with("unknown:program+0x"),
                "{}",
                of(hidden)
            );
        } else {
            assert_eq!(of(hidden), "hidden", "{link:?}");
        }
    }
}

#[test]
fn functions_of_a_stripped_program_are_places_in_its_file() {
    let program = Program::start(Link::Stripped);
    let mut kernels = Kernels::new();
    launch(&mut kernels, program.pid, &program.functions);
    let file = std::fs::read(program.path()).unwrap();
    for (function, code) in program.functions.iter().zip(&program.code) {
        let name = label(&kernels, program.pid, *function).unwrap();
        let offset = name.strip_prefix("unknown:program+0x").expect(&name);
        let offset = usize::from_str_radix(offset, 16).unwrap();
        assert_eq!(&file[offset..offset + code.len()], &code[..]);
    }
    // Within a function, which nobody launches, and no address at all.
    let heap = program.heap;
    launch(&mut kernels, program.pid, &[heap, 8, u64::MAX]);
    for handle in [heap, 8, u64::MAX] {
        let name = label(&kernels, program.pid, handle);
        assert_eq!(name.as_deref(), Some("unknown:handle"));
    }
}

#[test]
fn a_deleted_program_is_read_all_the_same() {
    let program = Program::start(Link::WithSymbols);
    std::fs::remove_file(program.path()).unwrap();
    let mut kernels = Kernels::new();
    launch(&mut kernels, program.pid, &program.functions);
    let name = label(&kernels, program.pid, program.functions[0]);
    assert_eq!(name.as_deref(), Some("matmul"));
}

#[test]
fn a_fork_has_its_parents_names() {
    let program = Program::start(Link::Stripped);
    let [matmul, softmax, _] = program.functions;
    let mut kernels = Kernels::new();
    say(&mut kernels, program.pid, matmul, "_Z6matmulPf");
    launch(&mut kernels, program.fork, &[matmul, softmax]);
    let name = label(&kernels, program.fork, matmul);
    assert_eq!(name.as_deref(), Some("matmul"));
    let name = label(&kernels, program.fork, softmax).unwrap();
    assert!(name.starts_with("unknown:program+0x"), "{name}");
    // This test made the program, but is none of its kind.
    say(&mut kernels, std::process::id(), softmax, "mine");
    launch(&mut kernels, program.pid, &[softmax]);
    let name = label(&kernels, program.pid, softmax).unwrap();
    assert!(name.starts_with("unknown:program+0x"), "{name}");
}

#[test]
fn launches_before_the_name_are_counted_and_told() {
    let mut kernels = Kernels::new();
    let key = LaunchKey {
        function: 10,
        process: process(7),
        agent: 1,
        device: 0,
        padding: 0,
    };
    let rows = kernels.launches([(key, 5)].into_iter());
    assert_eq!(&*rows[0].kernel_type, "unknown:unresolved");
    say(&mut kernels, 7, 10, "matmul");
    let rows = kernels.launches([(key, 8)].into_iter());
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (&*row.kernel_type, row.count))
        .collect();
    assert_eq!(rows, [("matmul", 3), ("unknown:unresolved", 5)]);
    assert_eq!(kernels.lost().unresolved, 5);
}

#[derive(Clone, Debug)]
enum Step {
    Launch(LaunchKey, u64),
    /// The function is said to be another one.
    Name(u32, u64, u8),
    Look,
    /// The process ends; others may get its number.
    End(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let (pid, function) = (1_u32..5, 0_u64..150);
    let key = (pid.clone(), function.clone(), 0_u16..3, 0_u16..3).prop_map(
        |(pid, function, agent, device)| LaunchKey {
            function,
            process: process(pid),
            agent,
            device,
            padding: 0,
        },
    );
    prop_oneof![
        60 => (key, 1_u64..3_000).prop_map(|(key, count)| Step::Launch(key, count)),
        20 => (pid.clone(), function, any::<u8>())
            .prop_map(|(pid, function, name)| Step::Name(pid, function, name)),
        10 => Just(Step::Look),
        2 => pid.prop_map(Step::End),
    ]
}

/// The kernel's side: rows, and what was launched in all.
#[derive(Default)]
struct Model {
    rows: HashMap<LaunchKey, u64>,
    launched: BTreeMap<(u16, Option<u16>), u64>,
    shown: BTreeMap<(u16, Option<u16>, Arc<str>), u64>,
}

impl Model {
    fn look(&mut self, kernels: &mut Kernels) {
        let rows = kernels.launches(self.rows.iter().map(|(key, count)| (*key, *count)));
        let mut sums = BTreeMap::new();
        let mut shown = BTreeMap::new();
        let mut names: BTreeMap<u16, BTreeSet<Arc<str>>> = BTreeMap::new();
        for row in rows {
            *sums.entry((row.agent, row.device_id)).or_default() += row.count;
            names
                .entry(row.agent)
                .or_default()
                .insert(Arc::clone(&row.kernel_type));
            let key = (row.agent, row.device_id, row.kernel_type);
            assert_eq!(shown.insert(key, row.count), None, "one row twice");
        }
        assert_eq!(sums, self.launched);
        for (key, before) in &self.shown {
            assert!(shown.get(key) >= Some(before), "{key:?} fell from {before}");
        }
        assert!(
            names
                .values()
                .all(|names| names.len() <= FIRST_NAMES + LATER_NAMES + 1)
        );
        self.shown = shown;
    }
}

proptest! {
    #[test]
    fn sums_are_right_at_every_step_and_no_series_falls(
        steps in proptest::collection::vec(step(), 1..400),
    ) {
        let mut kernels = Kernels::new();
        let mut model = Model::default();
        // More names than there are series for.
        for (pid, function) in (1..5).flat_map(|pid| (0..150).map(move |each| (pid, each))) {
            say(&mut kernels, pid, function, &format!("kernel{function}"));
        }
        for step in steps {
            match step {
                Step::Launch(key, count) => {
                    *model.rows.entry(key).or_default() += count;
                    *model.launched.entry((key.agent, Some(key.device))).or_default() += count;
                }
                Step::Name(pid, function, name) => {
                    say(&mut kernels, pid, function, &format!("kernel{name}"));
                }
                Step::Look => model.look(&mut kernels),
                Step::End(pid) => {
                    model.look(&mut kernels);
                    model.rows.retain(|key, _| pid_of(key.process) != pid);
                    kernels.ended(&HashSet::from([process(pid)]));
                }
            }
        }
        model.look(&mut kernels);
    }
}
