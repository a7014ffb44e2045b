//! What is counted of CUDA's libraries, and what is done at each of their functions. The list itself
//! is in [`table`].

mod table;

use glob::Pattern;
use monitoring_common::cuda::{Hook, kind};

use self::table::{GROUPS, Group, NONE};

/// All functions, numbered.
fn all() -> impl Iterator<Item = (&'static str, &'static Group, &'static [u8])> {
    GROUPS.iter().flat_map(|group| {
        let functions = group.functions.iter();
        functions.map(move |(name, positions)| (*name, group, *positions))
    })
}

/// What stands for another version of the arguments, or for another default stream.
const SUFFIXES: [&str; 5] = ["_ptsz", "_ptds", "_v2", "_v3", "_v4"];

/// The name without what tells versions apart.
fn base(symbol: &str) -> &str {
    let mut name = symbol;
    while let Some(shorter) = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)) {
        name = shorter;
    }
    name
}

/// What stands at the function of this name, if it is counted.
pub(super) fn hook_of(symbol: &str) -> Option<Hook> {
    // By itself first: some versions have their arguments in other places.
    let named = |name| all().enumerate().find(|(_, (each, ..))| *each == name);
    let (number, (name, group, positions)) = named(symbol).or_else(|| named(base(symbol)))?;
    let mut arguments = [NONE; 4];
    arguments[..positions.len()].copy_from_slice(positions);
    let number = u16::try_from(number).expect("fewer than `MAX_CALLS`, which a test sees to");
    let hook = Hook::new(number, group.kind)
        .with_arguments(arguments)
        .with_variant(group.variant);
    let hook = if group.waits { hook.that_waits() } else { hook };
    Some(if is_leaf(name, group) {
        hook.that_is_a_leaf()
    } else {
        hook
    })
}

/// Whether a function contains no other counted one, and nothing of what it returns is needed. The
/// runtime's functions contain the driver's.
fn is_leaf(name: &str, group: &Group) -> bool {
    let kinds = [
        kind::LAUNCH,
        kind::LAUNCH_EX,
        kind::COPY,
        kind::COPY_STRUCTURE,
        kind::COPY_BATCH,
        kind::SET,
        kind::PLAIN,
    ];
    api_of(name) == "driver" && kinds.contains(&group.kind) && !group.waits
}

/// Whether calls may be counted when they are entered, by [`Hook::call`].
pub(super) fn leaves() -> Vec<bool> {
    all().map(|(name, group, _)| is_leaf(name, group)).collect()
}

/// The calls' names, by [`Hook::call`].
pub(super) fn names() -> Vec<&'static str> {
    all().map(|(name, ..)| name).collect()
}

/// The name of a call, by [`Hook::call`].
pub(super) fn name_of(number: u16) -> Option<&'static str> {
    all().nth(number.into()).map(|(name, ..)| name)
}

/// The library that a function belongs to: the runtime's functions begin with `cuda`.
pub(super) fn api_of(name: &str) -> &'static str {
    if name.trim_start_matches('_').starts_with("cuda") {
        "runtime"
    } else {
        "driver"
    }
}

/// Whether a glob is that of any counted call's name.
pub fn is_call(glob: &Pattern) -> bool {
    all().any(|(name, ..)| glob.matches(name))
}

/// The calls that are to be counted.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// By number.
    calls: Vec<bool>,
}

impl Chosen {
    /// Those that a glob of the first list matches and none of the second.
    pub(super) fn new(calls: &[Pattern], excluded: &[Pattern]) -> Self {
        let is_one = |globs: &[Pattern], name| globs.iter().any(|glob| glob.matches(name));
        let calls = all().map(|(name, ..)| is_one(calls, name) && !is_one(excluded, name));
        Self {
            calls: calls.collect(),
        }
    }

    pub(super) fn has(&self, hook: Hook) -> bool {
        self.calls.get(usize::from(hook.call())) == Some(&true)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use monitoring_common::cuda::MAX_CALLS;

    use super::*;

    #[test]
    fn each_function_is_in_the_list_once() {
        let names = names();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        // The last number is that of the calls that measure what a probe costs.
        assert!(names.len() < MAX_CALLS);
        for (number, (name, group, positions)) in all().enumerate() {
            let hook = hook_of(name).unwrap();
            assert_eq!(usize::from(hook.call()), number, "{name}");
            assert_eq!((hook.kind(), hook.waits()), (group.kind, group.waits));
            let places = (0..4).map(|place| hook.argument(place));
            let given = positions.iter().copied();
            assert!(places.eq(given.chain([NONE; 4]).take(4)), "{name}");
        }
    }

    #[test]
    fn versions_are_one_call_unless_their_arguments_are_elsewhere() {
        let call = |symbol| hook_of(symbol).unwrap().call();
        assert_eq!(call("cuMemcpyHtoD_v2_ptds"), call("cuMemcpyHtoD"));
        assert_eq!(call("cuCtxCreate_v2"), call("cuCtxCreate"));
        assert_ne!(call("cuCtxCreate_v4"), call("cuCtxCreate"));
        // By the driver's call in it, which is followed.
        assert_eq!(hook_of("cudaMalloc3D"), None);
    }

    #[test]
    fn calls_are_chosen_by_globs() {
        let globs = |texts: &[&str]| -> Vec<Pattern> {
            let globs = texts.iter().map(|text| Pattern::new(text).unwrap());
            globs.collect()
        };
        let chosen = Chosen::new(&globs(&["cu*"]), &globs(&["*Query", "cudaMalloc"]));
        let check = |symbol: &str, want| {
            let hook = hook_of(symbol).unwrap();
            assert_eq!(chosen.has(hook), want, "{symbol}");
        };
        check("cuLaunchKernel_ptsz", true);
        check("cudaMallocAsync", true);
        check("cudaMalloc", false);
        check("cuEventQuery", false);
        check("__cudaRegisterFunction", false);
    }
}
