//! What a function is shown as: demangled, whole, harmless. Knows no files.

use std::fmt::{self, Write};

use crate::printable::printable;

/// Longest name that is shown, in characters.
const NAME_CHARS: usize = 2048;

/// Most text that a demangler may write for one name. A name of a kilobyte can stand for text of any
/// length, because it may refer to its own parts.
const DEMANGLED_BYTES: usize = 64 * 1024;

/// The name that a programmer knows a symbol by: of Rust's without the hash, of C++'s with parameters.
pub(super) fn demangled(symbol: &[u8]) -> String {
    let text = std::str::from_utf8(symbol).ok();
    match text.and_then(|text| rust(text).or_else(|| cpp(text))) {
        Some(name) => printable(name.as_bytes(), NAME_CHARS),
        None => printable(symbol, NAME_CHARS),
    }
}

fn rust(symbol: &str) -> Option<String> {
    let name = rustc_demangle::try_demangle(symbol).ok()?;
    let mut text = Bounded::default();
    // An error means that there is no more room: what was written is the beginning.
    let _ = write!(text, "{name:#}");
    Some(text.text)
}

fn cpp(symbol: &str) -> Option<String> {
    if !symbol.starts_with("_Z") {
        return None;
    }
    let name = cpp_demangle::Symbol::new(symbol).ok()?;
    let mut text = Bounded::default();
    let written = name.structured_demangle(&mut text, &cpp_demangle::DemangleOptions::new());
    (written.is_ok() || text.is_full).then_some(text.text)
}

/// Text of bounded length.
#[derive(Default)]
struct Bounded {
    text: String,
    is_full: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.len() + text.len() > DEMANGLED_BYTES {
            self.is_full = true;
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_that_programmers_know() {
        let check = |symbol: &str, want: &str| assert_eq!(demangled(symbol.as_bytes()), want);
        check("main", "main");
        check(
            "_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE",
            "core::fmt::Write::write_fmt",
        );
        check("_RNvNtCs4fqI2P2rA04_7mycrate3foo3bar", "mycrate::foo::bar");
        check(
            "_ZNSt6vectorIiSaIiEE9push_backEOi",
            "std::vector<int, std::allocator<int> >::push_back(int&&)",
        );
        check("_Z6matmulIfEvPT_i", "void matmul<float>(float*, int)");
        check("_Znot_mangled", "_Znot_mangled");
        check("a\nb", r"a\nb");
    }

    #[test]
    fn names_that_stand_for_much_text_are_cut() {
        // Each pair is of the one before it, twice: text of 2 to the power of 30.
        let mut symbol = "_Z1fISt4pairIiiE".to_owned();
        for place in [
            "S1_", "S2_", "S3_", "S4_", "S5_", "S6_", "S7_", "S8_", "S9_",
        ] {
            symbol.extend(["St4pairI", place, place, "E"]);
        }
        for place in b'A'..=b'Z' {
            let place = char::from(place);
            symbol.extend(["St4pairIS".to_owned(), format!("{place}_S{place}_E")]);
        }
        symbol.push_str("EvT_");
        let name = demangled(symbol.as_bytes());
        assert_eq!(name.chars().count(), NAME_CHARS, "{name}");
        assert!(name.contains("std::pair<"), "{name}");
    }

    proptest! {
        #[test]
        fn any_symbol_has_a_name_on_one_line(symbol: Vec<u8>, mangled in "(_Z|_R)[A-Za-z0-9_]{0,60}") {
            for symbol in [symbol, mangled.into_bytes()] {
                let name = demangled(&symbol);
                prop_assert!(!name.contains('\n'));
                prop_assert!(name.chars().count() <= NAME_CHARS);
            }
        }
    }
}
