//! Files and functions stay small enough to be read at once.

use syn::{Block, ImplItemFn, ItemFn, Signature, TraitItemFn, visit::Visit};

use super::tree::{Finding, Tree};

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;

/// No Rust file over 400 lines, no function over 70.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text, syntax) in tree.rust() {
        let lines = text.lines().count();
        if lines > FILE_LINES {
            let what = format!("{lines} lines, at most {FILE_LINES}: split the file by concept");
            findings.push(Finding::new(path, FILE_LINES + 1, what));
        }
        let mut functions = Functions {
            path,
            findings: &mut findings,
        };
        functions.visit_file(&syntax);
    }
    findings
}

struct Functions<'a> {
    path: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &Signature, block: &Block) {
        let first = signature.fn_token.span.start().line;
        let lines = block.brace_token.span.close().end().line - first + 1;
        if lines > FUNCTION_LINES {
            let name = &signature.ident;
            let what = format!(
                "function `{name}` has {lines} lines, at most {FUNCTION_LINES}: split it by step"
            );
            self.findings.push(Finding::new(self.path, first, what));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.measure(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.measure(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(block) = &function.default {
            self.measure(&function.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::expect;

    #[test]
    fn measures_files() {
        let case = |lines: usize, want: &[&str]| {
            let text = "//\n".repeat(lines);
            expect(&check(&Tree::of(&[("a.rs", &text)])), want);
        };
        case(400, &[]);
        case(401, &["a.rs:401"]);
    }

    #[test]
    fn measures_functions_wherever_they_stand() {
        let case = |before: &str, after: &str, body: usize, want: &[&str]| {
            // A brace in a string is no brace.
            let body = "let _ = \"}\";\n".repeat(body);
            let text = format!("//! a\n{before}fn f() {{\n{body}}}{after}\n");
            expect(&check(&Tree::of(&[("a.rs", &text)])), want);
        };
        for (before, after) in [
            ("", ""),
            ("impl A {\n", "}"),
            ("trait A {\n", "}"),
            ("mod a {\n", "}"),
        ] {
            let line = 2 + before.lines().count();
            case(before, after, 68, &[]);
            case(before, after, 69, &[&format!("a.rs:{line}")]);
        }
    }
}
