//! Text that others wrote, made fit to be shown: names of processes, command lines, paths.
//!
//! Anyone on the node can choose them, so they may hold line ends, quotes, escape sequences for a
//! terminal, bytes that are no text, and kilobytes of it.

/// Follows text that was cut.
const CUT: &str = "…";

/// The bytes as one line of harmless text, of at most `most` characters.
///
/// Printable characters stay as they are, a backslash is doubled, and everything else is escaped
/// as in Rust's strings: `\n`, `\u{1b}`, and `\xff` for bytes that are no text. What was cut ends
/// with `…`, and is never cut inside an escape.
///
/// # Example
///
/// ```
/// use monitoring_agent::printable::printable;
///
/// assert_eq!(printable(b"a\nb\x1b[31m\xff", 80), r"a\nb\u{1b}[31m\xff");
/// assert_eq!(printable(b"abcdef", 4), "abc…");
/// ```
pub fn printable(bytes: &[u8], most: usize) -> String {
    let mut text = String::new();
    let mut length = 0;
    // The end of what leaves room for the mark of a cut.
    let mut fits = 0;
    for piece in pieces(bytes) {
        length += piece.chars().count();
        if length > most {
            text.truncate(fits);
            text.push_str(if most == 0 { "" } else { CUT });
            return text;
        }
        text.push_str(&piece);
        if length < most {
            fits = text.len();
        }
    }
    text
}

/// What each character or stray byte becomes.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid().chars().map(escaped);
        let stray = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        valid.chain(stray)
    })
}

fn escaped(character: char) -> String {
    match character {
        // Alone, they harm no one; `escape_debug` would make them harder to read.
        '\'' | '"' => character.into(),
        _ => character.escape_debug().collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::printable;

    #[test]
    fn hostile_text_is_escaped_and_cut() {
        let check = |bytes: &[u8], most, want: &str| assert_eq!(printable(bytes, most), want);
        check(b"", 5, "");
        check(b"trainer", 7, "trainer");
        check(b"trainer", 6, "train…");
        check(b"trainer", 1, "…");
        check(b"trainer", 0, "");
        check(b"say \"hi\" & 'bye'", 80, "say \"hi\" & 'bye'");
        check(b"a\nb\tc\0d\\", 80, r"a\nb\tc\0d\\");
        check(b"\x1b]0;owned\x07", 80, r"\u{1b}]0;owned\u{7}");
        check(b"\xff\xfe", 80, r"\xff\xfe");
        check("größe 🦀".as_bytes(), 80, "größe 🦀");
        // Turns the direction of writing around.
        check("\u{202e}exe".as_bytes(), 80, r"\u{202e}exe");
        // No half of an escape is shown.
        check(b"ab\xff", 5, "ab…");
        check(&[b'x'; 4096], 80, &format!("{}…", "x".repeat(79)));
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_harmless_line(bytes: Vec<u8>, most in 0_usize..64) {
            let text = printable(&bytes, most);
            prop_assert!(text.chars().count() <= most);
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        }

        #[test]
        fn plain_text_stays(text in "[ -\\[\\]-~]{0,40}") {
            prop_assert_eq!(printable(text.as_bytes(), 40), text);
        }
    }
}
