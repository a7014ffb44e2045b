//! Makes a profile of a window: names its addresses, and labels its counts.
//!
//! Knows no session. To be called on a thread that may take its time: it reads programs' symbols.

use monitoring_common::{
    profile::{Key, memory, mode, status},
    sched::reason,
};
use monitoring_profile::{Label, Line, LocationId, Mapping, MappingId, Profile, ValueType};

use super::{
    Type,
    mappings::Place,
    placer::{Stack, Window},
    symbols::{Named, Symbols},
};
use crate::printable::printable;

/// Longest name of a file in the name of a function that has none, in characters.
const FILE_CHARS: usize = 80;

/// The kernel's function in which a thread leaves its CPU.
const SWITCH: &str = "__schedule";

/// What is sampled, as far as a profile tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// What is counted.
    pub kind: Type,
    /// Samples a second of each busy CPU; 0 where events themselves are counted.
    pub hertz: u32,
}

/// Which counts are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only those of this agent.
    pub agent: Option<&'a str>,
}

/// The profile of a window. `agents` are the agents' names by number.
pub fn assemble(
    window: &Window,
    content: Content,
    symbols: &Symbols,
    agents: &[String],
    filter: Filter<'_>,
) -> Profile {
    let mut profile = empty(content);
    let begun_ns = unix_ns(window.begun);
    profile.set_time(begun_ns, signed(window.lasted.as_nanos()));
    let named = symbols.name(&window.places, &window.kernel);
    let mut locations = Locations::new(&mut profile, window, &named, content.kind);
    let mut stack = Vec::new();
    for counted in &window.counted {
        let agent = agents.get(usize::from(counted.key.agent));
        let agent = agent.map_or("other", String::as_str);
        if filter.agent.is_some_and(|wanted| wanted != agent) {
            continue;
        }
        stack.clear();
        let found = window.stacks.get(&counted.key);
        if let Some(found) = found {
            locations.of(found, &mut stack);
        } else {
            stack.push(locations.untold());
        }
        let values = values(content.kind, &counted.key, counted.samples, counted.value);
        let labels = labels(content.kind, &counted.key, found, agent);
        locations.profile.sample(&stack, &values, &labels);
    }
    profile
}

/// A profile of this content without samples.
pub fn empty(content: Content) -> Profile {
    let types: &[(&str, &str)] = match content.kind {
        Type::Cpu => &[("samples", "count"), ("cpu", "nanoseconds")],
        Type::OffCpu => &[("switches", "count"), ("offcpu", "nanoseconds")],
        Type::Memory => &[
            ("mappings", "count"),
            ("mapped", "bytes"),
            ("faults", "count"),
            ("resident", "bytes"),
        ],
    };
    let value_type = |(kind, unit): &(&str, &str)| ValueType::new(*kind, *unit);
    let mut profile = Profile::new(types.iter().map(value_type).collect());
    // The last one: some readers know no other default.
    let last = types.len() - 1;
    profile.set_default_type(last);
    if content.hertz > 0 {
        profile.set_period(value_type(&types[last]), period_ns(content.hertz));
    }
    profile
}

/// Nanoseconds that a sample stands for.
fn period_ns(hertz: u32) -> i64 {
    1_000_000_000 / i64::from(hertz)
}

/// A profile's values of a count.
fn values(kind: Type, key: &Key, samples: u64, value: u64) -> Vec<i64> {
    let [samples, value] = [samples, value].map(signed);
    match kind {
        Type::Cpu | Type::OffCpu => vec![samples, value],
        Type::Memory if key.reason == memory::MAPPED => vec![samples, value, 0, 0],
        Type::Memory => vec![0, 0, samples, value],
    }
}

fn labels(kind: Type, key: &Key, stack: Option<&Stack>, agent: &str) -> Vec<Label> {
    let mut labels = vec![Label::text("agent", agent)];
    if let Some(stack) = stack {
        labels.push(Label::text("process", &stack.process));
        labels.push(Label::text("thread", &stack.thread));
    }
    labels.push(Label::number("pid", key.process.into()));
    labels.push(Label::number("tid", key.thread.into()));
    match kind {
        Type::Cpu => labels.push(Label::text("mode", mode::NAMES[usize::from(key.mode)])),
        Type::OffCpu => labels.push(Label::text(
            "reason",
            reason::NAMES[usize::from(key.reason)],
        )),
        Type::Memory => {}
    }
    // A stack that was not told is not the stack's own fault.
    let status = if stack.is_some() {
        key.status
    } else {
        status::ERROR
    };
    labels.push(Label::text("status", status::NAMES[usize::from(status)]));
    labels
}

/// The locations of a window in its profile.
struct Locations<'a> {
    profile: &'a mut Profile,
    user: Vec<LocationId>,
    kernel: Vec<LocationId>,
    /// Of a profile of waits, which of the kernel's are in [`SWITCH`].
    switches: Vec<bool>,
    untold: Option<LocationId>,
}

impl<'a> Locations<'a> {
    /// `named` are the names of the window's places, and then of the kernel's addresses.
    fn new(profile: &'a mut Profile, window: &Window, named: &[Named], kind: Type) -> Self {
        let (of_user, of_kernel) = named.split_at(window.places.len());
        let user = window.places.iter().zip(of_user);
        let user = user.map(|(place, named)| location(profile, place, named));
        let user = user.collect();
        let kernel = window.kernel.iter().zip(of_kernel);
        let kernel = kernel.map(|(address, named)| {
            let mapping = mapping(profile, named);
            let lines = lines(profile, named, || format!("[kernel]+{address:#x}"));
            profile.location(mapping, *address, &lines)
        });
        let kernel = kernel.collect();
        let is_switch = |named: &Named| {
            let function = named.functions.first();
            kind == Type::OffCpu && function.is_some_and(|function| &*function.name == SWITCH)
        };
        Self {
            profile,
            user,
            kernel,
            switches: of_kernel.iter().map(is_switch).collect(),
            untold: None,
        }
    }

    /// The locations of a stack, the innermost first.
    fn of(&self, stack: &Stack, to: &mut Vec<LocationId>) {
        // What that calls is the agent's way to learn of it.
        let mut kernel = stack.kernel.iter();
        let switch = kernel.position(|at| self.switches[*at as usize]);
        let kernel = &stack.kernel[switch.unwrap_or(0)..];
        to.extend(kernel.iter().map(|at| self.kernel[*at as usize]));
        to.extend(stack.user.iter().map(|at| self.user[*at as usize]));
    }

    /// What stands for a stack that the kernel could not tell.
    fn untold(&mut self) -> LocationId {
        if let Some(untold) = self.untold {
            return untold;
        }
        let function = self.profile.function("[stack lost]", "", "", 0);
        let lines = [Line { function, line: 0 }];
        let untold = self.profile.location(None, 0, &lines);
        self.untold = Some(untold);
        untold
    }
}

fn location(profile: &mut Profile, place: &Place, named: &Named) -> LocationId {
    // Of a file, the place in it: it is the same in all processes, wherever these have it.
    let address = match place {
        Place::File { offset, .. } | Place::Vdso { offset } => *offset,
        Place::Jit { address, .. } | Place::Unknown { address } => *address,
    };
    let lines = lines(profile, named, || unnamed(place));
    let mapping = mapping(profile, named);
    profile.location(mapping, address, &lines)
}

/// What stands for the name of a function that has none.
fn unnamed(place: &Place) -> String {
    match place {
        Place::File { file, offset, .. } => {
            let name = file.path().rsplit(|byte| *byte == b'/').next();
            let name = printable(name.unwrap_or_default(), FILE_CHARS);
            format!("[{name}]+{offset:#x}")
        }
        Place::Vdso { offset } => format!("[vdso]+{offset:#x}"),
        Place::Jit { .. } => "[jit]".to_owned(),
        Place::Unknown { .. } => "[unknown]".to_owned(),
    }
}

/// The file that a place is in.
fn mapping(profile: &mut Profile, named: &Named) -> Option<MappingId> {
    if named.file.is_empty() {
        return None;
    }
    Some(profile.mapping(&Mapping {
        file: named.file.to_string(),
        limit: u64::MAX,
        build_id: named.build_id.to_string(),
        has_functions: true,
        ..Mapping::default()
    }))
}

/// The functions at an address; one that says where it is if they have no names.
fn lines(profile: &mut Profile, named: &Named, unnamed: impl FnOnce() -> String) -> Vec<Line> {
    if named.functions.is_empty() {
        let function = profile.function(&unnamed(), "", "", 0);
        return vec![Line { function, line: 0 }];
    }
    let lines = named.functions.iter().map(|function| Line {
        function: profile.function(&function.name, &function.system_name, &function.file, 0),
        line: function.line.into(),
    });
    lines.collect()
}

fn unix_ns(time: std::time::SystemTime) -> i64 {
    let since = time.duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| signed(since.as_nanos()))
}

/// As a profile has it; what is too large for it is as large as can be.
fn signed(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
