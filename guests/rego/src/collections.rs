//! `some x in COLLECTION` over what is no collection.
//!
//! In OPA it finds nothing. In `regorus` it is an error, which would deny nearly everything: Docker's client sends `null` for
//! each list that it has nothing for. So references in that place are wrapped in a function that has no value for what is no
//! collection.

use dockside_driver::{Error, Result};
use regorus::{
    Engine, Value,
    unstable::{Expr, Literal, Query, Rule, RuleAssign, RuleHead},
};

/// The wrapping function.
const FUNCTION: &str = "dockside.collection";

/// Makes the function known.
pub(crate) fn define(engine: &mut Engine) -> Result<()> {
    let collection = |mut arguments: Vec<Value>| {
        Ok(match arguments.pop() {
            Some(value @ (Value::Array(_) | Value::Set(_) | Value::Object(_))) => value,
            _ => Value::Undefined,
        })
    };
    engine
        .add_extension(FUNCTION.to_owned(), 1, Box::new(collection))
        .map_err(|error| Error::other(error.to_string()))
}

/// The policy's text with the references wrapped; none if there are none. `engine` has parsed this one policy.
pub(crate) fn wrapped(engine: &mut Engine, text: &str) -> Option<String> {
    let mut found = Vec::new();
    for module in engine.get_modules() {
        for rule in &module.policy {
            of_rule(rule, &mut found);
        }
    }
    found.sort_unstable();
    found.dedup();
    let mut wrapped = String::with_capacity(text.len());
    let mut rest = 0;
    for (start, end) in found {
        wrapped += text.get(rest..start)?;
        wrapped += &format!("{FUNCTION}({})", text.get(start..end)?);
        rest = end;
    }
    wrapped += text.get(rest..)?;
    (rest > 0).then_some(wrapped)
}

/// Where references stand in the text, as offsets of their first byte and of the one behind their last.
type Places = Vec<(usize, usize)>;

fn of_rule(rule: &Rule, found: &mut Places) {
    match rule {
        Rule::Default { value, .. } => of_expr(value, found),
        Rule::Spec { head, bodies, .. } => {
            match head {
                RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => {
                    of_assign(assign.as_ref(), found);
                }
                RuleHead::Set { key, .. } => {
                    if let Some(key) = key {
                        of_expr(key, found);
                    }
                }
            }
            for body in bodies {
                of_assign(body.assign.as_ref(), found);
                of_query(&body.query, found);
            }
        }
    }
}

fn of_assign(assign: Option<&RuleAssign>, found: &mut Places) {
    if let Some(assign) = assign {
        of_expr(&assign.value, found);
    }
}

fn of_query(query: &Query, found: &mut Places) {
    for statement in &query.stmts {
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => of_expr(expr, found),
            Literal::Every { domain, query, .. } => {
                of_expr(domain, found);
                of_query(query, found);
            }
            Literal::SomeIn { collection, .. } => match &**collection {
                Expr::Var { span, .. }
                | Expr::RefDot { span, .. }
                | Expr::RefBrack { span, .. } => {
                    found.push((span.start as usize, span.end as usize));
                }
                other => of_expr(other, found),
            },
        }
        for modifier in &statement.with_mods {
            of_expr(&modifier.r#as, found);
        }
    }
}

/// Looks for queries inside an expression.
fn of_expr(expr: &Expr, found: &mut Places) {
    match expr {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. } => {}
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().for_each(|item| of_expr(item, found));
        }
        Expr::Object { fields, .. } => fields.iter().for_each(|(_, key, value)| {
            of_expr(key, found);
            of_expr(value, found);
        }),
        Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
            of_expr(term, found);
            of_query(query, found);
        }
        Expr::ObjectCompr {
            key, value, query, ..
        } => {
            of_expr(key, found);
            of_expr(value, found);
            of_query(query, found);
        }
        Expr::Call { params, .. } => params.iter().for_each(|param| of_expr(param, found)),
        Expr::UnaryExpr { expr, .. } => of_expr(expr, found),
        Expr::RefDot { refr, .. } => of_expr(refr, found),
        Expr::RefBrack { refr, index, .. } => {
            of_expr(refr, found);
            of_expr(index, found);
        }
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => {
            of_expr(lhs, found);
            of_expr(rhs, found);
        }
        Expr::Membership {
            key,
            value,
            collection,
            ..
        } => {
            if let Some(key) = key {
                of_expr(key, found);
            }
            of_expr(value, found);
            of_expr(collection, found);
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use super::*;

    fn wrap(text: &str) -> Option<String> {
        let mut engine = Engine::new();
        engine.add_policy("policy".into(), text.into()).unwrap();
        wrapped(&mut engine, text)
    }

    #[test]
    fn references_are_wrapped_wherever_some_stands() {
        for (body, expected) in [
            ("a if some x in input.a", "a if some x in @input.a#"),
            (
                "a if some k, v in input[\"é\"][_].b",
                "a if some k, v in @input[\"é\"][_].b#",
            ),
            (
                "a if { some x in input.a\n\tsome y in x }",
                "a if { some x in @input.a#\n\tsome y in @x# }",
            ),
            (
                "a if { some x in f(input).b }\nf(x) := x",
                "a if { some x in @f(input).b# }\nf(x) := x",
            ),
            (
                "a contains x if some x in input.a",
                "a contains x if some x in @input.a#",
            ),
            (
                "a := [x | some x in input.a]",
                "a := [x | some x in @input.a#]",
            ),
            (
                "a := {k: v | some k, v in input.a}",
                "a := {k: v | some k, v in @input.a#}",
            ),
            (
                "a if count({x | some x in input.a}) > 0",
                "a if count({x | some x in @input.a#}) > 0",
            ),
            (
                "a if not b({x | some x in input.a})\nb(x) := x",
                "a if not b({x | some x in @input.a#})\nb(x) := x",
            ),
            (
                "a if every x in input.b { some y in x }",
                "a if every x in input.b { some y in @x# }",
            ),
            (
                "a if true else := 1 if some x in input.a",
                "a if true else := 1 if some x in @input.a#",
            ),
            (
                "a if some x in [y | some y in input.b]",
                "a if some x in [y | some y in @input.b#]",
            ),
            (
                "a if 1 in [y | some y in input.b]",
                "a if 1 in [y | some y in @input.b#]",
            ),
            (
                "a if b with input as [y | some y in input.b]\nb := true",
                "a if b with input as [y | some y in @input.b#]\nb := true",
            ),
        ] {
            let expected = expected
                .replace('@', "dockside.collection(")
                .replace('#', ")");
            let prefix = "package p # some x in input.a\n";
            assert_eq!(
                wrap(&format!("{prefix}{body}")),
                Some(format!("{prefix}{expected}"))
            );
        }
    }

    #[test]
    fn everything_else_stays() {
        for body in [
            "a if \"some x in input.a\" == input.b",
            "a if some x in [1, 2]",
            "a if some x in object.get(input, \"a\", {})",
            "a if { some x; input.a[x] }",
            "a if 1 in input.a",
            "a if every x in input.a { x }",
        ] {
            assert_eq!(wrap(&format!("package p\n{body}")), None, "{body}");
        }
    }
}
