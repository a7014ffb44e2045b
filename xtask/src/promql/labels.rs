//! Which labels the result of an expression has, and whether those that it names are there.
//!
//! Owns the rules of the language for labels. Knows no metric: what each has is asked for.

use std::collections::BTreeSet;

use promql_parser::parser::{
    AggregateExpr, BinModifier, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality,
    VectorSelector, token,
};

/// The labels of a metric's samples, where they are known.
pub(crate) type Known<'a> = &'a dyn Fn(&str) -> Option<BTreeSet<String>>;

/// What an expression results in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Output {
    /// A number or a text.
    Scalar,
    /// Samples with these labels, some of which may be absent from some of them.
    Vector(BTreeSet<String>),
    /// Samples of which nothing is known.
    Unknown,
}

impl Output {
    fn has(&self, label: &str) -> bool {
        match self {
            Self::Scalar => false,
            Self::Vector(labels) => labels.contains(label),
            Self::Unknown => true,
        }
    }

    /// An error for the first label that is not there.
    pub(crate) fn expect<'a>(
        &self,
        mut labels: impl Iterator<Item = &'a String>,
        of: &dyn std::fmt::Display,
    ) -> Result<(), String> {
        match labels.find(|label| !self.has(label)) {
            Some(label) => Err(format!("`{of}` has no label `{label}`")),
            None => Ok(()),
        }
    }

    fn map(self, change: impl FnOnce(&mut BTreeSet<String>)) -> Self {
        match self {
            Self::Vector(mut labels) => {
                change(&mut labels);
                Self::Vector(labels)
            }
            other => other,
        }
    }
}

/// What an expression results in.
///
/// # Errors
///
/// Says which label is named that is not there, or which two sides can have no partners.
pub(crate) fn output(expr: &Expr, known: Known) -> Result<Output, String> {
    match expr {
        Expr::VectorSelector(selector) => of_selector(selector, known),
        Expr::MatrixSelector(matrix) => of_selector(&matrix.vs, known),
        Expr::Paren(inside) => output(&inside.expr, known),
        Expr::Unary(inside) => output(&inside.expr, known),
        Expr::Subquery(inside) => output(&inside.expr, known),
        Expr::Aggregate(aggregate) => of_aggregate(aggregate, known),
        Expr::Call(call) => of_call(call, known),
        Expr::Binary(binary) => of_binary(binary, known),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(Output::Scalar),
        Expr::Extension(_) => Ok(Output::Unknown),
    }
}

fn of_selector(selector: &VectorSelector, known: Known) -> Result<Output, String> {
    let name = selector.name.as_deref().unwrap_or_default();
    let Some(labels) = known(name) else {
        return Ok(Output::Unknown);
    };
    let output = Output::Vector(labels);
    let named = selector.matchers.matchers.iter();
    output.expect(named.map(|matcher| &matcher.name), &name)?;
    Ok(output)
}

fn of_aggregate(aggregate: &AggregateExpr, known: Known) -> Result<Output, String> {
    let inner = output(&aggregate.expr, known)?;
    if let Some(modifier) = &aggregate.modifier {
        inner.expect(modifier.labels().labels.iter(), &aggregate.expr)?;
    }
    let chooses = [token::T_TOPK, token::T_BOTTOMK].contains(&aggregate.op.id());
    let mut output = match &aggregate.modifier {
        _ if chooses => inner,
        Some(LabelModifier::Include(labels)) => {
            Output::Vector(labels.labels.iter().cloned().collect())
        }
        Some(LabelModifier::Exclude(labels)) => {
            inner.map(|inner| inner.retain(|label| !labels.labels.contains(label)))
        }
        None => Output::Vector(BTreeSet::new()),
    };
    if let (token::T_COUNT_VALUES, Some(Expr::StringLiteral(label))) =
        (aggregate.op.id(), aggregate.param.as_deref())
    {
        output = output.map(|labels| {
            labels.insert(label.val.clone());
        });
    }
    Ok(output)
}

fn of_call(call: &Call, known: Known) -> Result<Output, String> {
    let arguments = &call.args.args;
    let mut outputs = Vec::new();
    for argument in arguments {
        outputs.push(output(argument, known)?);
    }
    let texts: Vec<&String> = arguments
        .iter()
        .filter_map(|argument| match &**argument {
            Expr::StringLiteral(text) => Some(&text.val),
            _ => None,
        })
        .collect();
    let vector = outputs.into_iter().find(|output| *output != Output::Scalar);
    let vector = vector.unwrap_or(Output::Scalar);
    match (call.func.name, texts.as_slice()) {
        ("histogram_quantile", _) => {
            vector.expect([&"le".to_owned()].into_iter(), call)?;
            Ok(vector.map(|labels| {
                labels.remove("le");
            }))
        }
        ("label_replace", [to, _, from, _]) => {
            vector.expect([*from].into_iter(), call)?;
            Ok(vector.map(|labels| {
                labels.insert((*to).clone());
            }))
        }
        ("label_join", [to, _, from @ ..]) => {
            vector.expect(from.iter().copied(), call)?;
            Ok(vector.map(|labels| {
                labels.insert((*to).clone());
            }))
        }
        ("scalar" | "time" | "pi", _) => Ok(Output::Scalar),
        ("vector", _) => Ok(Output::Vector(BTreeSet::new())),
        ("absent" | "absent_over_time", _) => Ok(Output::Unknown),
        _ => Ok(vector),
    }
}

fn of_binary(binary: &BinaryExpr, known: Known) -> Result<Output, String> {
    let (left, right) = (output(&binary.lhs, known)?, output(&binary.rhs, known)?);
    match (&left, &right) {
        (Output::Scalar, _) => return Ok(right),
        (_, Output::Scalar) => return Ok(left),
        _ => {}
    }
    let matching = binary.modifier.as_ref().and_then(|it| it.matching.as_ref());
    if let Some(LabelModifier::Include(labels)) = matching {
        left.expect(labels.labels.iter(), &binary.lhs)?;
        right.expect(labels.labels.iter(), &binary.rhs)?;
    } else if binary.op.id() != token::T_LOR {
        have_partners(binary, &left, &right, matching)?;
    }
    match binary.op.id() {
        token::T_LAND | token::T_LUNLESS => Ok(left),
        token::T_LOR => Ok(match (left, right) {
            (Output::Vector(left), Output::Vector(right)) => {
                Output::Vector(left.union(&right).cloned().collect())
            }
            _ => Output::Unknown,
        }),
        _ => matched(binary, left, right, binary.modifier.as_ref()),
    }
}

/// Samples find a partner by all labels but those that are ignored, so both sides must have the same.
fn have_partners(
    binary: &BinaryExpr,
    left: &Output,
    right: &Output,
    matching: Option<&LabelModifier>,
) -> Result<(), String> {
    let (Output::Vector(left), Output::Vector(right)) = (left, right) else {
        return Ok(());
    };
    let ignored = matching.map_or(&[][..], |ignoring| &ignoring.labels().labels);
    let mut differ = left.symmetric_difference(right);
    match differ.find(|label| !ignored.contains(label)) {
        Some(label) => Err(format!(
            "only one side of `{binary}` has the label `{label}`: say by which labels they match"
        )),
        None => Ok(()),
    }
}

/// What arithmetic and comparisons of two vectors result in.
fn matched(
    binary: &BinaryExpr,
    left: Output,
    right: Output,
    modifier: Option<&BinModifier>,
) -> Result<Output, String> {
    let Some(modifier) = modifier else {
        return Ok(left);
    };
    let extended = |many: Output, one: &Output, side: &Expr, more: &[String]| {
        one.expect(more.iter(), side)?;
        Ok(many.map(|labels| labels.extend(more.iter().cloned())))
    };
    match (&modifier.card, &modifier.matching) {
        (VectorMatchCardinality::ManyToOne(more), _) => {
            extended(left, &right, &binary.rhs, &more.labels)
        }
        (VectorMatchCardinality::OneToMany(more), _) => {
            extended(right, &left, &binary.lhs, &more.labels)
        }
        (_, Some(LabelModifier::Include(on))) => {
            Ok(Output::Vector(on.labels.iter().cloned().collect()))
        }
        (_, Some(LabelModifier::Exclude(ignored))) => {
            Ok(left.map(|labels| labels.retain(|label| !ignored.labels.contains(label))))
        }
        (_, None) => Ok(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;

    fn of(expression: &str) -> Result<Vec<String>, String> {
        let known = |metric: &str| {
            let labels: &[&str] = match metric {
                "a" => &["agent", "x"],
                "h_bucket" => &["agent", "le"],
                "i" => &["name", "x"],
                _ => return None,
            };
            Some(labels.iter().copied().map(str::to_owned).collect())
        };
        match output(&parse(expression).unwrap(), &known)? {
            Output::Scalar => Ok(vec!["(scalar)".to_owned()]),
            Output::Unknown => Ok(vec!["(unknown)".to_owned()]),
            Output::Vector(labels) => Ok(labels.into_iter().collect()),
        }
    }

    #[test]
    fn says_which_labels_are_left() {
        let check = |expression: &str, want: &[&str]| {
            assert_eq!(of(expression).unwrap(), want, "{expression}");
        };
        check("1 + 2", &["(scalar)"]);
        check("up", &["(unknown)"]);
        check("rate(a{x=\"1\"}[5m]) > 2", &["agent", "x"]);
        check("sum(a)", &[]);
        check("sum by (agent) (a)", &["agent"]);
        check("max without (x) (a)", &["agent"]);
        check("topk(3, a)", &["agent", "x"]);
        check("count_values(\"v\", a)", &["v"]);
        check("histogram_quantile(0.9, h_bucket)", &["agent"]);
        check(
            "label_replace(a, \"y\", \"$1\", \"x\", \"(.*)\")",
            &["agent", "x", "y"],
        );
        check("a / on (x) i", &["x"]);
        check("a > on (x) i", &["x"]);
        check("a * on (x) group_left (name) i", &["agent", "name", "x"]);
        check("a and on (x) i", &["agent", "x"]);
        check("a or i", &["agent", "name", "x"]);
        check("sum by (x) (a) - ignoring (name) i", &["x"]);
        check("sum by (x) (a) / sum by (x) (i)", &["x"]);
    }

    #[test]
    fn names_labels_that_are_not_there() {
        for wrong in [
            "a{y=\"1\"}",
            "sum by (y) (a)",
            "sum without (y) (rate(a[5m]))",
            "sum by (x) (sum by (agent) (a))",
            "histogram_quantile(0.9, sum by (agent) (h_bucket))",
            "a / i",
            "a / on (name) i",
            "a * on (x) group_left (agent) i",
            "label_replace(a, \"z\", \"$1\", \"y\", \"(.*)\")",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
