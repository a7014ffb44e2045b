//! What frames are called where people read them. Knows no file format.

use indexmap::IndexSet;

use crate::{Location, MappingRef, Profile};

/// What nothing at all is known of.
pub(crate) const UNKNOWN: &str = "[unknown]";

/// Addresses from here on are the kernel's, on every architecture that we run on.
const KERNEL_ADDRESSES: u64 = 1 << 63;

/// Characters of a name in a graph; some templates of C++ are longer. Names are repeated for each
/// stack, and no one reads so much of one.
const LONGEST: usize = 4096;

/// The mappings of the kernel have names that begin so.
const KERNEL_FILES: &str = "[kernel";

/// How a frame is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// For a graph: what has no name is told apart by its address, and the kernel's functions are
    /// marked.
    Graph,
    /// For a list: what has no name is summed up by its file, as pprof's own lists do.
    List,
}

/// Names of frames, each with a number. Serves several profiles at once, so that their frames can
/// be compared.
#[derive(Debug)]
pub(crate) struct Names {
    naming: Naming,
    all: IndexSet<String>,
}

/// For each location of a profile, the numbers of its frames' names, innermost first.
pub(crate) type Frames = Vec<Box<[usize]>>;

impl Names {
    pub(crate) fn new(naming: Naming) -> Self {
        Self {
            naming,
            all: IndexSet::new(),
        }
    }

    /// The number of a name.
    pub(crate) fn number(&mut self, name: String) -> usize {
        let name = match self.naming {
            Naming::Graph => safe(&name),
            Naming::List => name,
        };
        self.all.insert_full(name).0
    }

    /// The number of a name, if some frame has it.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.all.get_index_of(name)
    }

    pub(crate) fn name(&self, number: usize) -> &str {
        &self.all[number]
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// All names, by their numbers.
    pub(crate) fn all(&self) -> impl ExactSizeIterator<Item = &str> {
        self.all.iter().map(String::as_str)
    }

    /// Names the frames of all locations.
    pub(crate) fn frames(&mut self, profile: &Profile) -> Frames {
        let locations = profile.locations();
        locations
            .map(|(_, location)| self.of(profile, location))
            .collect()
    }

    fn of(&mut self, profile: &Profile, location: &Location) -> Box<[usize]> {
        let mapping = location.mapping.map(|id| profile.mapping_at(id));
        let mark = match self.naming {
            Naming::Graph if in_kernel(location, mapping) => "_[k]",
            _ => "",
        };
        if location.lines.is_empty() {
            let name = unnamed(location, mapping, self.naming);
            return [self.number(name + mark)].into();
        }
        let lines = location.lines.iter().map(|line| {
            let function = profile.function_at(line.function);
            let named = [function.name, function.system_name]
                .into_iter()
                .find(|name| !name.is_empty());
            let name = named.map_or_else(|| unnamed(location, mapping, self.naming), str::to_owned);
            self.number(name + mark)
        });
        lines.collect()
    }
}

/// A name that can stand in a folded stack, where `;` separates frames, a space the value, and
/// readers take a number at the end for a second value.
fn safe(name: &str) -> String {
    let allowed = |character: char| match character {
        ';' => ':',
        // These two are no characters of XML.
        '\u{fffe}' | '\u{ffff}' => ' ',
        _ if character.is_control() || character.is_whitespace() => ' ',
        _ => character,
    };
    let cut = name
        .char_indices()
        .nth(LONGEST)
        .map(|(end, _)| &name[..end]);
    let name: String = cut.unwrap_or(name).chars().map(allowed).collect();
    let name = name.trim();
    // Some readers take a line that begins so for a comment.
    let name = name
        .strip_prefix('#')
        .map_or_else(|| name.to_owned(), |rest| format!("_{rest}"));
    let number = |text: &str| {
        text.chars()
            .all(|digit| digit.is_ascii_digit() || digit == '.')
    };
    match name.rsplit_once(' ') {
        _ if name.is_empty() => UNKNOWN.to_owned(),
        Some((rest, last)) if number(last) => format!("{rest}_{last}"),
        _ => name,
    }
}

fn in_kernel(location: &Location, mapping: Option<MappingRef<'_>>) -> bool {
    location.address >= KERNEL_ADDRESSES
        || mapping.is_some_and(|mapping| mapping.file.starts_with(KERNEL_FILES))
}

/// What a frame is called whose function has no name.
fn unnamed(location: &Location, mapping: Option<MappingRef<'_>>, naming: Naming) -> String {
    let Some(mapping) = mapping.filter(|mapping| !mapping.file.is_empty()) else {
        return UNKNOWN.to_owned();
    };
    let file = mapping.file.rsplit('/').next().unwrap_or_default();
    let file = file.trim_start_matches('[').trim_end_matches(']');
    match naming {
        Naming::Graph => {
            let within = location.address.wrapping_sub(mapping.start);
            let offset = within.wrapping_add(mapping.offset);
            format!("[{file}]+{offset:#x}")
        }
        Naming::List => format!("[{file}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_safe() {
        let check = |name: &str, want: &str| assert_eq!(safe(name), want, "{name:?}");
        check("f<[u8; 4]>::g", "f<[u8: 4]>::g");
        check("operator new(unsigned long)", "operator new(unsigned long)");
        check("a\nb\u{2028}c\u{ffff}", "a b c");
        check(" \t", UNKNOWN);
        check("", UNKNOWN);
        check("worker 12", "worker_12");
        check("worker 1 2", "worker 1_2");
        check("worker 1.5", "worker_1.5");
        check("12", "12");
        check("# 12", "__12");
        check("#", "_");
        assert_eq!(safe(&"ü".repeat(2 * LONGEST)), "ü".repeat(LONGEST));
    }
}
