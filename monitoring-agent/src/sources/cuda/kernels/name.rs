//! What a function is shown as: demangled, shortened for the label, harmless. Knows nothing of
//! processes.
//!
//! The label is the name alone: without return type, parameters and template arguments, so that
//! `void at::native::vectorized_elementwise_kernel<4, …>(…)` counts as
//! `at::native::vectorized_elementwise_kernel`. Instances of one template are one series.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

use cpp_demangle::{DemangleNodeType, DemangleOptions, DemangleWrite, Symbol};

use crate::printable::printable;

/// Longest label, in characters. Functions whose labels are alike up to there are one series.
pub const LABEL_CHARS: usize = 120;

/// Longest full name, in characters: some of `PyTorch`'s reach this with all their arguments.
pub const FULL_CHARS: usize = 2_048;

/// Most text that a demangler may write for one name. A name of a kilobyte can stand for text of
/// any length, because it may refer to its own parts.
const DEMANGLED_BYTES: usize = 64 * 1024;

/// Follows text that was cut.
const CUT: &str = "…";

/// What a function is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The whole name, demangled, on one line; at most [`FULL_CHARS`] characters. For profiles and
    /// spans.
    pub full: Box<str>,
    /// The name alone; at most [`LABEL_CHARS`] characters. For metrics.
    pub label: Arc<str>,
}

impl Name {
    /// Of a function whose symbol is known; `cut` if that may lack its end.
    ///
    /// # Example
    ///
    /// ```
    /// use monitoring_agent::sources::cuda::kernels::Name;
    ///
    /// let name = Name::new(b"_Z6matmulIfEvPT_i", false);
    /// assert_eq!(&*name.full, "void matmul<float>(float*, int)");
    /// assert_eq!(&*name.label, "matmul");
    /// ```
    pub fn new(symbol: &[u8], cut: bool) -> Self {
        let end = symbol.iter().position(|byte| *byte == 0);
        let symbol = within_file(&symbol[..end.unwrap_or(symbol.len())]);
        let room = FULL_CHARS - CUT.chars().count();
        let (mut full, label) = match rust(symbol).or_else(|| cpp(symbol)) {
            Some((full, label)) => (printable(full.as_bytes(), room), Some(label)),
            None => (printable(symbol, room), beginning(symbol)),
        };
        let label = label.as_ref().map_or(symbol, String::as_bytes);
        if cut {
            full.push_str(CUT);
        }
        Self {
            full: full.into(),
            label: printable(label, LABEL_CHARS).into(),
        }
    }

    /// Of a function of which only this much is known: `unknown:what`.
    pub(super) fn unknown(what: &str) -> Self {
        let text = format!("unknown:{what}");
        Self {
            full: text.as_str().into(),
            label: text.into(),
        }
    }

    /// How much memory it takes, about.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.full.len() + self.label.len()
    }
}

/// The symbol by which its own file knows a kernel that is no other's: where device code is linked,
/// nvcc puts the file before it, after the number of characters that this takes.
fn within_file(symbol: &[u8]) -> &[u8] {
    let own = || {
        let rest = symbol.strip_prefix(b"__nv_static_")?;
        let digits = rest.iter().position(|byte| *byte == b'_')?;
        let length: usize = str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        let own = rest.get(digits.checked_add(1)?.checked_add(length)?..)?;
        own.strip_prefix(b"_").filter(|own| !own.is_empty())
    };
    own().unwrap_or(symbol)
}

/// Full name and label of a Rust function.
fn rust(symbol: &[u8]) -> Option<(String, String)> {
    let text = str::from_utf8(symbol).ok()?;
    // The older mangling looks like C++'s but for the hash at its end.
    let hash = text.rsplit_once("17h").map(|(_, rest)| rest);
    let hashed = hash.is_some_and(|rest| {
        rest.len() >= 17 && rest.as_bytes()[..16].iter().all(u8::is_ascii_hexdigit)
    });
    if !hashed && !text.starts_with("_R") {
        return None;
    }
    let demangled = rustc_demangle::try_demangle(text).ok()?;
    let mut full = Bounded::default();
    // An error means that there is no more room: what was written is the beginning.
    let _ = write!(full, "{demangled:#}");
    let label = without_generics(&full.text);
    Some((full.text, label))
}

/// Rust's path without `::<…>`.
fn without_generics(path: &str) -> String {
    let mut label = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once("::<") {
        label.push_str(before);
        let mut depth = 1_u32;
        let mut previous = ' ';
        let end = after.char_indices().find(|(_, character)| {
            match character {
                '<' => depth += 1,
                // Not the arrow of a function's type.
                '>' if previous != '-' => depth -= 1,
                _ => {}
            }
            previous = *character;
            depth == 0
        });
        rest = end.map_or("", |(place, _)| &after[place + 1..]);
    }
    label.push_str(rest);
    label
}

/// Full name and label of a C++ function.
fn cpp(symbol: &[u8]) -> Option<(String, String)> {
    if !symbol.starts_with(b"_Z") {
        return None;
    }
    let parsed = Symbol::new(symbol).ok()?;
    let mut full = Bounded::default();
    let whole = parsed.structured_demangle(&mut full, &DemangleOptions::new());
    if whole.is_err() && full.left > 0 {
        return None;
    }
    let mut short = WithoutArguments::default();
    let options = DemangleOptions::new().no_params().no_return_type();
    let label = parsed.structured_demangle(&mut short, &options);
    let label = label.is_ok().then_some(short.bounded.text);
    let label = label.filter(|label| !label.is_empty());
    Some((full.text, label.or_else(|| beginning(symbol))?))
}

/// What the beginning of a mangled C++ name says: the name up to its template arguments, also where
/// the rest was cut, which is what the longest names of libraries come to.
fn beginning(symbol: &[u8]) -> Option<String> {
    let text = str::from_utf8(symbol).ok()?.strip_prefix("_Z")?;
    let text = text.strip_prefix('L').unwrap_or(text);
    let (mut text, nested) = match text.strip_prefix('N') {
        Some(text) => (text.trim_start_matches(['r', 'V', 'K', 'R', 'O']), true),
        None => (text, false),
    };
    let mut path = Vec::new();
    if let Some(rest) = text.strip_prefix("St") {
        path.push("std");
        text = rest;
    }
    loop {
        text = text.strip_prefix('L').unwrap_or(text);
        let digits = text.find(|character: char| !character.is_ascii_digit());
        let Some((length, rest)) = digits.and_then(|end| text.split_at_checked(end)) else {
            break;
        };
        let Ok(Some((name, rest))) = length.parse().map(|length| rest.split_at_checked(length))
        else {
            break;
        };
        path.push(if name.starts_with("_GLOBAL__N_") {
            "(anonymous namespace)"
        } else {
            name
        });
        text = rest;
        if !nested {
            break;
        }
    }
    (!path.is_empty()).then(|| path.join("::"))
}

/// Text up to a length.
#[derive(Debug)]
struct Bounded {
    text: String,
    left: usize,
}

impl Default for Bounded {
    fn default() -> Self {
        Self {
            text: String::new(),
            left: DEMANGLED_BYTES,
        }
    }
}

impl Bounded {
    /// Takes room, or all that is left and fails.
    fn take(&mut self, length: usize) -> fmt::Result {
        match self.left.checked_sub(length) {
            Some(left) => self.left = left,
            None => self.left = 0,
        }
        if self.left == 0 {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.take(text.len())?;
        self.text.push_str(text);
        Ok(())
    }
}

/// Text without template arguments, which use up room all the same. Their brackets are written
/// just outside of them.
#[derive(Debug, Default)]
struct WithoutArguments {
    bounded: Bounded,
    /// Whether each of the parts that are being written is a list of template arguments.
    parts: Vec<bool>,
    /// A list has ended, but for its bracket.
    closes: bool,
}

impl DemangleWrite for WithoutArguments {
    fn push_demangle_node(&mut self, part: DemangleNodeType) {
        let arguments = part == DemangleNodeType::TemplateArgs;
        if arguments && !self.parts.contains(&true) {
            let text = &mut self.bounded.text;
            let before = text.strip_suffix('<').unwrap_or(text);
            // A space keeps the bracket from an operator's.
            text.truncate(before.trim_ascii_end().len());
        }
        self.parts.push(arguments);
    }

    fn write_string(&mut self, text: &str) -> fmt::Result {
        let closes = std::mem::take(&mut self.closes) && text == ">";
        if closes || self.parts.contains(&true) {
            self.bounded.take(text.len())
        } else {
            self.bounded.write_str(text)
        }
    }

    fn pop_demangle_node(&mut self) {
        let arguments = self.parts.pop() == Some(true);
        self.closes = arguments && !self.parts.contains(&true);
    }
}

#[cfg(test)]
mod tests;
