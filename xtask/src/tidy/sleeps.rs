//! Tests wait for what they wait for, up to a deadline, and not for a time that somebody guessed.

use syn::{Expr, ExprCall, ImplItemFn, ItemFn, visit::Visit};

use super::tree::{Finding, Tree};

/// Functions so named poll a condition, and may pause between two looks.
const PAUSING: [&str; 2] = ["poll", "wait"];

/// In files of a `tests` folder, no sleep of a literal duration outside of such functions.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _, syntax) in tree.rust() {
        if path.split('/').any(|part| part == "tests") {
            let mut sleeps = Sleeps {
                path,
                may_pause: false,
                findings: &mut findings,
            };
            sleeps.visit_file(&syntax);
        }
    }
    findings
}

struct Sleeps<'a> {
    path: &'a str,
    may_pause: bool,
    findings: &'a mut Vec<Finding>,
}

impl Sleeps<'_> {
    fn within(&mut self, name: &syn::Ident, visit: impl FnOnce(&mut Self)) {
        let outside = self.may_pause;
        let name = name.to_string();
        self.may_pause |= PAUSING.iter().any(|prefix| name.starts_with(prefix));
        visit(self);
        self.may_pause = outside;
    }
}

impl<'ast> Visit<'ast> for Sleeps<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.within(&function.sig.ident, |all| {
            syn::visit::visit_item_fn(all, function);
        });
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.within(&function.sig.ident, |all| {
            syn::visit::visit_impl_item_fn(all, function);
        });
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(function) = &*call.func
            && let Some(last) = function.path.segments.last()
            && last.ident == "sleep"
            && !self.may_pause
            && call.args.iter().any(has_literal)
        {
            let what = "sleeps for a guessed time: poll for the condition up to a deadline, in a \
                        function named `wait_until` or `poll…`";
            self.findings.push(Finding::new(
                self.path,
                last.ident.span().start().line,
                what,
            ));
        }
        syn::visit::visit_expr_call(self, call);
    }
}

fn has_literal(expression: &Expr) -> bool {
    struct Literals(bool);
    impl Visit<'_> for Literals {
        fn visit_lit(&mut self, _literal: &syn::Lit) {
            self.0 = true;
        }
    }
    let mut literals = Literals(false);
    literals.visit_expr(expression);
    literals.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::expect;

    #[test]
    fn tests_do_not_sleep() {
        let case = |path: &str, text: &str, want: &[&str]| {
            expect(&check(&Tree::of(&[(path, text)])), want);
        };
        let sleep = "thread::sleep(Duration::from_millis(30))";
        let in_function = |name: &str| format!("//! a\nfn {name}() {{ loop {{\n{sleep};\n}} }}");
        let found = &["a/tests/a.rs:3"][..];
        case("a/tests/a.rs", &in_function("counts"), found);
        case("a/tests/a.rs", &in_function("wait_until"), &[]);
        case("a/tests/a.rs", &in_function("poll_for"), &[]);
        case("a/src/a.rs", &in_function("counts"), &[]);
        let paused =
            "//! a\nasync fn f() {\n    tokio::time::sleep(Duration::from_secs(1)).await;\n}";
        case("a/tests/a.rs", paused, found);
        case(
            "a/tests/a.rs",
            "fn f() { Command::new(\"sleep\").arg(\"1\"); }",
            &[],
        );
        case(
            "a/tests/a.rs",
            "fn f(given: Duration) { sleep(given) }",
            &[],
        );
    }
}
