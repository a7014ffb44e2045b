//! Profiles of any shape, for property tests, and what they say, for comparisons.

use std::collections::BTreeMap;

use monitoring_profile::{Label, LabelValue, Line, Mapping, Profile, ValueType};
use proptest::{collection::vec, option, prelude::*, sample::select};

/// Few, so that samples, stacks and functions are equal now and then; and some that formats have
/// to take care of.
const NAMES: [&str; 12] = [
    "main",
    "work",
    "a;b",
    "x 12",
    "# no comment",
    "a\nb",
    "",
    " ",
    "f<[u8; 4]>::g",
    "ünï",
    "x 1 2",
    "memcpy.part.0",
];

#[derive(Clone, Debug)]
struct Frame {
    mapping: Option<usize>,
    address: u64,
    functions: Vec<(usize, i64)>,
}

#[derive(Clone, Debug)]
struct Sample {
    stack: Vec<Frame>,
    values: [i64; 2],
    process: Option<usize>,
    pid: Option<i64>,
}

fn frame() -> impl Strategy<Value = Frame> {
    let address = prop_oneof![0..4_u64, Just(0xffff_ffff_8100_0000), any::<u64>()];
    let functions = vec((0..NAMES.len(), 0..3_i64), 0..3);
    (option::of(0..3_usize), address, functions).prop_map(|(mapping, address, functions)| Frame {
        mapping,
        address,
        functions,
    })
}

/// Profiles with two values, `("samples", "count")` and `("cpu", "nanoseconds")`, of these amounts.
fn profile_of(amount: impl Strategy<Value = i64> + 'static) -> impl Strategy<Value = Profile> {
    let amount = amount.boxed();
    let process = option::of(0..NAMES.len());
    let labels = (process, option::of(-1..3_i64));
    let sample = (vec(frame(), 0..6), amount.clone(), amount, labels);
    let sample = sample.prop_map(|(stack, count, cpu, (process, pid))| Sample {
        stack,
        values: [count, cpu],
        process,
        pid,
    });
    let header = (
        any::<i64>(),
        0..i64::MAX,
        option::of(0..2_usize),
        select(vec!["", "a.*"]),
    );
    (vec(sample, 0..12), header).prop_map(|(samples, (time_ns, duration_ns, default, drop))| {
        let mut profile = built(&samples);
        profile.set_time(time_ns, duration_ns);
        profile.set_period(ValueType::new("cpu", "nanoseconds"), 10);
        profile.set_uninteresting(drop, "");
        profile.add_comment("a test");
        if let Some(default) = default {
            profile.set_default_type(default);
        }
        profile
    })
}

/// Profiles whose values are not negative.
pub(crate) fn profile() -> impl Strategy<Value = Profile> {
    profile_of(0..1_000_000_000_000_i64)
}

/// Profiles such as differences.
pub(crate) fn signed_profile() -> impl Strategy<Value = Profile> {
    profile_of(-1_000_000_000..1_000_000_000_i64)
}

fn built(samples: &[Sample]) -> Profile {
    let types = [("samples", "count"), ("cpu", "nanoseconds")];
    let types = types.map(|(kind, unit)| ValueType::new(kind, unit));
    let mut profile = Profile::new(types.to_vec());
    for sample in samples {
        let mut stack = Vec::new();
        for frame in &sample.stack {
            let mapping = frame.mapping.map(|number| {
                profile.mapping(&Mapping {
                    start: 0x1000,
                    limit: 0x9000,
                    file: ["/usr/lib/libc.so.6", "[kernel]", ""][number].to_owned(),
                    build_id: "00ff".to_owned(),
                    has_functions: number == 0,
                    ..Mapping::default()
                })
            });
            let lines = frame.functions.iter().map(|(name, line)| Line {
                function: profile.function(NAMES[*name], "system", "file.c", *line),
                line: *line,
            });
            let lines: Vec<Line> = lines.collect();
            stack.push(profile.location(mapping, frame.address, &lines));
        }
        let process = sample
            .process
            .map(|name| Label::text("process", NAMES[name]));
        let pid = sample.pid.map(|value| Label {
            key: "pid".to_owned(),
            value: LabelValue::Number {
                value,
                unit: "id".to_owned(),
            },
        });
        let labels: Vec<Label> = pid.into_iter().chain(process).collect();
        profile.sample(&stack, &sample.values, &labels);
    }
    profile
}

/// All that samples say, whatever the order of tables and samples.
pub(crate) fn content(profile: &Profile) -> BTreeMap<(Vec<String>, Vec<String>), Vec<i64>> {
    let samples = profile.samples().map(|sample| {
        let stack = sample.stack.iter().map(|id| {
            let location = profile.location_at(*id);
            let mapping = location.mapping.map(|id| profile.mapping_at(id));
            let lines: Vec<_> = location
                .lines
                .iter()
                .map(|line| (profile.function_at(line.function), line.line))
                .collect();
            format!("{mapping:?} {:x} {lines:?}", location.address)
        });
        let mut labels: Vec<String> = sample.labels().map(|label| format!("{label:?}")).collect();
        labels.sort();
        ((stack.collect(), labels), sample.values.to_vec())
    });
    let content: BTreeMap<_, _> = samples.collect();
    assert_eq!(
        content.len(),
        profile.samples().len(),
        "samples are told apart"
    );
    content
}
