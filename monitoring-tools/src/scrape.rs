//! A node's metrics as tools see them: fetched over HTTP, read from Prometheus' text format, as data.
//!
//! Whoever answers may be anybody: what is fetched and read is bounded, and text in it is harmless
//! only once it has gone through [`printable`].

pub mod client;
pub mod family;
mod lines;
pub mod text;

/// One line of harmless text: what a terminal would take for a command, and what turns the
/// direction of writing around, is escaped as in Rust's strings.
///
/// # Example
///
/// ```
/// use monitoring_tools::scrape::printable;
///
/// assert_eq!(printable("a\x1b]0;b\n"), r"a\u{1b}]0;b\n");
/// assert_eq!(printable("größe 'x' \\"), "größe 'x' \\");
/// ```
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            // Alone, they harm no one; escapes of them would make them harder to read.
            '\'' | '"' | '\\' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}
