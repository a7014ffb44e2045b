//! Leaves out frames that a profile itself calls uninteresting: those of an allocator, say, in a
//! profile of what is allocated. The rules are those of pprof's own tools, so that numbers agree.

use regex::Regex;

use super::{
    Profile,
    merge::Import,
    tables::{Line, LocationId},
};

/// Parentheses in names that do not begin arguments.
const NO_ARGUMENTS: [&str; 2] = ["(anonymous namespace)", "operator()"];

/// What to leave out of one location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Nothing,
    /// The location, and what it calls.
    Whole,
    /// So many of its inlined functions, and what it calls.
    Inlined(usize),
}

impl Profile {
    /// The same samples without the frames that [`Self::set_uninteresting`] names: of each stack,
    /// those from the leaf up to the outermost that is to be dropped. A stack of nothing else
    /// stays as it is. Values stay what they are.
    ///
    /// # Errors
    ///
    /// If what the profile has for regular expressions is none.
    pub fn without_uninteresting(&self) -> Result<Self, regex::Error> {
        let (drop, keep) = self.uninteresting();
        let mut interesting = Import::new(self.like());
        if drop.is_empty() {
            return Ok(self.clone());
        }
        let whole = |pattern: &str| Regex::new(&format!("^(?:{pattern})$"));
        let drop = whole(drop)?;
        let keep = Some(keep).filter(|keep| !keep.is_empty());
        let keep = keep.map(whole).transpose()?;
        let dropped = self.functions().map(|(_, function)| {
            let name = without_arguments(function.name);
            drop.is_match(name) && !keep.as_ref().is_some_and(|keep| keep.is_match(name))
        });
        let dropped: Vec<bool> = dropped.collect();
        let cut = |lines: &[Line]| {
            let last = lines.iter().rposition(|line| dropped[line.function.row()]);
            last.map_or(Cut::Nothing, |last| match last + 1 {
                all if all == lines.len() => Cut::Whole,
                some => Cut::Inlined(some),
            })
        };
        let cuts = self.locations().map(|(_, location)| cut(&location.lines));
        let cuts: Vec<Cut> = cuts.collect();
        for (cut, (id, location)) in cuts.iter().zip(self.locations()) {
            if let Cut::Inlined(count) = cut {
                interesting.replace(self, id, &location.lines[*count..]);
            }
        }
        for sample in self.samples() {
            let first = first_left(sample.stack, &cuts);
            interesting.add_stack(self, &sample.stack[first..], &sample, sample.values);
        }
        Ok(interesting.done())
    }
}

/// How many locations of a stack go, from the leaf on.
fn first_left(stack: &[LocationId], cuts: &[Cut]) -> usize {
    let mut interesting = false;
    for (depth, location) in stack.iter().enumerate().rev() {
        match cuts[location.row()] {
            Cut::Nothing => interesting = true,
            // The outermost frames stay, or nothing would be left of some stacks.
            _ if !interesting => {}
            Cut::Whole => return depth + 1,
            Cut::Inlined(_) => return depth,
        }
    }
    0
}

/// A function's name up to its arguments, which is what the expressions are written for.
fn without_arguments(name: &str) -> &str {
    let name = name.strip_prefix('.').unwrap_or(name);
    let mut from = 0;
    while let Some(found) = name[from..].find('(') {
        let at = from + found;
        let reserved = NO_ARGUMENTS.iter().find_map(|reserved| {
            let start = at.checked_sub(reserved.find('(')?)?;
            let rest = name.get(start..)?;
            rest.starts_with(reserved).then(|| start + reserved.len())
        });
        match reserved {
            Some(end) => from = end,
            None => return &name[..at],
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ValueType, top};

    #[test]
    fn names_end_where_arguments_begin() {
        let check = |name: &str, want: &str| assert_eq!(without_arguments(name), want);
        check("main", "main");
        check(".main", "main");
        check("f(int, char)", "f");
        check("(anonymous namespace)::f(int)", "(anonymous namespace)::f");
        check("a::operator()(int)", "a::operator()");
        check("(*T).f", "");
        check("operator", "operator");
    }

    /// A profile with one sample of a stack of locations, leaf first, each of which has inlined
    /// functions, innermost first.
    fn profile(stack: &[&[&str]]) -> Profile {
        let mut profile = Profile::new(vec![ValueType::new("space", "bytes")]);
        let mut locations = Vec::new();
        for functions in stack {
            let lines: Vec<Line> = functions
                .iter()
                .map(|name| Line {
                    function: profile.function(name, "", "", 0),
                    line: 0,
                })
                .collect();
            locations.push(profile.location(None, 0, &lines));
        }
        profile.sample(&locations, &[7], &[]);
        profile
    }

    #[test]
    fn stacks_end_above_what_is_dropped() {
        let check = |stack: &[&[&str]], drop: &str, keep: &str, leaf: &str| {
            let mut profile = profile(stack);
            profile.set_uninteresting(drop, keep);
            let left = profile.without_uninteresting().unwrap();
            assert_eq!(left.total(0), 7);
            let top = top::by_function(&left, 0);
            assert_eq!(top.rows[0].name, leaf, "{stack:?} {drop}");
            assert_eq!(top.rows[0].flat, 7);
        };
        check(&[&["malloc"], &["f"], &["main"]], "malloc", "", "f");
        check(&[&["malloc"], &["f"], &["main"]], "mall", "", "malloc");
        check(&[&["malloc"], &["f"], &["main"]], "", "malloc", "malloc");
        check(
            &[&["malloc"], &["f"], &["main"]],
            "m.*",
            "malloc|main",
            "malloc",
        );
        check(&[&["g"], &["malloc(int)"], &["f"]], "malloc", "", "f");
        check(
            &[&["malloc"], &["f"], &["malloc"], &["main"]],
            "malloc",
            "",
            "main",
        );
        check(&[&["g", "malloc", "f"], &["main"]], "malloc", "", "f");
        check(&[&["malloc"]], "malloc", "", "malloc");
    }

    #[test]
    fn what_is_no_expression_is_an_error() {
        let mut profile = profile(&[&["main"]]);
        profile.set_uninteresting("(", "");
        assert!(profile.without_uninteresting().is_err());
    }
}
