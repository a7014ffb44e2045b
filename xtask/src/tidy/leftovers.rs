//! What was meant to be gone before a commit.

use proc_macro2::{TokenStream, TokenTree};

use super::tree::{Finding, Tree};

const MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Spelled so that this file does not find itself.
const WORDS: [&str; 2] = [concat!("FIX", "ME"), concat!("X", "XX")];

/// No unfinished code, and no note that says so.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in tree.paths().filter(|path| !path.ends_with("Cargo.lock")) {
        let text = tree.text(path).unwrap_or_default();
        for (index, line) in text.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if let Some(word) = words.find(|word| WORDS.contains(word)) {
                let what = format!("`{word}`: do it, or write down what is so and why");
                findings.push(Finding::new(path, index + 1, what));
            }
        }
    }
    for (path, text) in tree.with_extension(&["rs"]) {
        if let Ok(tokens) = text.parse() {
            macros(tokens, path, &mut findings);
        }
    }
    findings
}

fn macros(tokens: TokenStream, path: &str, findings: &mut Vec<Finding>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match (token, tokens.get(at + 1)) {
            (TokenTree::Ident(ident), Some(TokenTree::Punct(punct)))
                if punct.as_char() == '!' && MACROS.iter().any(|name| ident == name) =>
            {
                let what = format!("`{ident}!`: finish it, or take it out");
                findings.push(Finding::new(path, ident.span().start().line, what));
            }
            (TokenTree::Group(group), _) => macros(group.stream(), path, findings),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::expect;

    #[test]
    fn finds_unfinished_code() {
        let case = |text: &str, want: &[&str]| {
            expect(&check(&Tree::of(&[("a.rs", text)])), want);
        };
        case(
            "//! Says todo!() in a comment.\nfn todo() -> &str { \"dbg!\" }",
            &[],
        );
        for name in MACROS {
            case(&format!("fn f() {{\n{name}!()\n}}"), &["a.rs:2"]);
            case(
                &format!("fn f() {{ assert!(\n{name}!(1) == 1) }}"),
                &["a.rs:2"],
            );
        }
    }

    #[test]
    fn finds_notes() {
        let case = |path: &str, text: &str, want: &[&str]| {
            expect(&check(&Tree::of(&[(path, text)])), want);
        };
        for word in WORDS {
            case("a.sh", &format!("true\n# {word}: later\n"), &["a.sh:2"]);
            case("a.rs", &format!("//! {word}\n"), &["a.rs:1"]);
            case("a.sh", &format!("mktemp /tmp/a.{word}{word}\n"), &[]);
            case("Cargo.lock", word, &[]);
        }
    }
}
