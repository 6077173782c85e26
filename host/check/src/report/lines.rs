//! Lines for people.

use super::{Report, Tried, Verdict};
use crate::check::{Failure, Level};

pub(super) fn of(tried: &Tried) -> String {
    let head = |word: &str| {
        format!(
            "{word} {} {} {}",
            tried.id,
            tried.level.letter(),
            tried.title
        )
    };
    match &tried.verdict {
        Verdict::Pass => head("PASS"),
        Verdict::Skip { reason } => format!("{}: {reason}", head("SKIP")),
        Verdict::Allowed { failure, reason } => {
            format!("{}: {reason} (seen: {})", head("KNOWN"), failure.seen)
        }
        Verdict::Fail(failure) => head("FAIL") + &details(tried, failure),
    }
}

fn details(tried: &Tried, failure: &Failure) -> String {
    let mut text = format!("\n     seen:     {}", failure.seen);
    if let Some(exchange) = &failure.exchange {
        text += &format!(
            "\n     request:  {}\n     answer:   {}",
            exchange.request, exchange.answer
        );
    }
    text + &format!("\n     expected: {}", tried.rule)
}

pub(super) fn summary(report: &Report) -> String {
    let count = |f: &dyn Fn(&Tried) -> bool| report.tried.iter().filter(|tried| f(tried)).count();
    let failed = |level| count(&|tried| tried.verdict.is_fail() && tried.level == level);
    let known = count(&|tried| matches!(tried.verdict, Verdict::Allowed { .. }));
    format!(
        "{} passed, {} failed (E {}, S {}, R {}), {}{} skipped, in {:.1} s; seed {}",
        count(&|tried| tried.verdict.is_pass()),
        count(&|tried| tried.verdict.is_fail()),
        failed(Level::Engine),
        failed(Level::Security),
        failed(Level::Robustness),
        if known > 0 {
            format!("{known} known, ")
        } else {
            String::new()
        },
        count(&|tried| matches!(tried.verdict, Verdict::Skip { .. })),
        report.seconds,
        report.seed,
    )
}
