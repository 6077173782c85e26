//! JUnit's XML, as CI servers read it.

use super::{Report, Tried, Verdict};
use crate::check::Failure;

pub(super) fn of(report: &Report) -> String {
    let count = |f: &dyn Fn(&Verdict) -> bool| {
        report
            .tried
            .iter()
            .filter(|tried| f(&tried.verdict))
            .count()
    };
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{:.3}\">\n",
        escaped(&report.socket),
        report.tried.len(),
        count(&|verdict| verdict.is_fail()),
        count(&|verdict| matches!(verdict, Verdict::Skip { .. } | Verdict::Allowed { .. })),
        report.seconds
    );
    for tried in &report.tried {
        let name = format!("{} {}", tried.id, tried.title);
        xml += &format!(
            "  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
            tried.level.letter(),
            escaped(&name),
            tried.seconds
        );
        xml += &match &tried.verdict {
            Verdict::Pass => "/>\n".to_owned(),
            Verdict::Skip { reason } | Verdict::Allowed { reason, .. } => {
                format!("><skipped message=\"{}\"/></testcase>\n", escaped(reason))
            }
            Verdict::Fail(failure) => format!(
                "><failure message=\"{}\">{}</failure></testcase>\n",
                escaped(&failure.seen),
                escaped(&text(tried, failure))
            ),
        };
    }
    xml + "</testsuite>\n"
}

fn text(tried: &Tried, failure: &Failure) -> String {
    let exchange = failure
        .exchange
        .as_ref()
        .map_or_else(String::new, |exchange| {
            format!(
                "request: {}\nanswer: {}\n",
                exchange.request, exchange.answer
            )
        });
    format!("{exchange}expected: {}", tried.rule)
}

/// For text and for attributes. XML 1.0 has no way to write most control characters, so they are left out.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\n' => safe += "&#10;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => safe.push(c),
        }
    }
    safe
}
