//! A policy that fails: nothing is allowed because something is broken.

use super::check;
use super::lab::Lab;
use crate::Bench;
use crate::check::{Check, Level, Need, Outcome, Stop};
use crate::control::Fault;

pub(super) const CHECKS: &[Check] = &[
    Check {
        needs: &[Need::Fault],
        ..check(
            "A05",
            Level::Security,
            "a policy that fails",
            "Denied while it fails, and decided as before when it does not any more.",
            denies_while_it_fails,
        )
    },
    Check {
        needs: &[Need::Fault],
        slow: true,
        ..check(
            "A06",
            Level::Security,
            "a policy that does not return",
            "Denied within 30 s: the engine has no limit of its own, and its whole API waits.",
            denies_what_takes_too_long,
        )
    },
    check(
        "A09",
        Level::Security,
        "a policy that is not there",
        "Denied: nothing is allowed because nobody forbids it. (The profile's `remove-policy` and `restore-policy`.)",
        denies_without_a_policy,
    ),
    Check {
        needs: &[Need::Fault],
        ..check(
            "A10",
            Level::Security,
            "a disk that is full or read-only",
            "Denied or decided as before, never allowed because something could not be written.",
            denies_on_a_full_disk,
        )
    },
    Check {
        needs: &[Need::Process],
        ..check(
            "A38",
            Level::Security,
            "secrets in bodies and headers",
            "Not in the log, and not in what is answered: logs are read by more people than the engine's API.",
            keeps_secrets,
        )
    },
    check(
        "A41",
        Level::Security,
        "requests while the policy is replaced",
        "Each is judged wholly by the old or by the new one, none is left undecided. (The profile's `other-policy` and `restore-policy`.)",
        judges_by_one_policy,
    ),
    Check {
        needs: &[Need::Process],
        slow: true,
        ..check(
            "A42",
            Level::Security,
            "killed under load",
            "Nothing is allowed that the policy denies, and the first answer after the restart comes within 1 s: the engine waits with everything.",
            denies_after_a_kill,
        )
    },
];

fn under(bench: &Bench, fault: Fault) -> Outcome {
    let lab = Lab::new(bench);
    let control = bench.control()?;
    control.inject(fault).map_err(Stop::skip)?;
    let harmful = lab.judge(&lab.harmful());
    control.mend().map_err(Stop::skip)?;
    let harmful = harmful.map_err(|stop| stop.during("while it is broken"))?;
    harmful.answer.ensure(
        !harmful.allow,
        || "it is allowed while the policy is broken",
    )?;
    lab.same("afterwards", &|ask| ask)
}

fn denies_while_it_fails(bench: &Bench) -> Outcome {
    under(bench, Fault::Fail)
}

fn denies_what_takes_too_long(bench: &Bench) -> Outcome {
    under(bench, Fault::Hang)
}

fn denies_on_a_full_disk(bench: &Bench) -> Outcome {
    under(bench, Fault::Full)
}

fn denies_without_a_policy(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    if lab.own.restore_policy.is_none() {
        return Err(Stop::skip(
            "the profile has no `restore-policy` under [authz]",
        ));
    }
    lab.shell("remove-policy", lab.own.remove_policy.as_ref())?;
    let harmful = lab.denied("the harmful sample", &lab.harmful());
    lab.shell("restore-policy", lab.own.restore_policy.as_ref())?;
    harmful?;
    lab.same("with its policy again", &|ask| ask)
}

fn keeps_secrets(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let control = bench.control()?;
    let secret = format!("hunter2{}", bench.id().get(..16).unwrap_or_default());
    let mut body = lab.own.harmful.clone();
    if let Some(body) = body.as_object_mut() {
        let environment = serde_json::json!([format!("PASSWORD={secret}")]);
        body.insert("Env".into(), environment);
    }
    let ask = lab
        .sample(body.to_string())
        .with("X-Registry-Token", &secret)
        .with("X-Vault-Token", &secret);
    let broken = lab.sample(format!("{{\"Env\":[\"PASSWORD={secret}\"],"));
    for ask in [ask, broken] {
        let decision = lab.judge(&ask)?;
        let answer = &decision.answer;
        let told = &answer.exchange().answer;
        answer.ensure(!told.contains(&secret), || "the answer has the secret")?;
    }
    let log = control.log();
    match log.lines().find(|line| line.contains(&secret)) {
        Some(line) => Err(Stop::fail(format!("the log has the secret: {line}"))),
        None => Ok(()),
    }
}

fn judges_by_one_policy(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    if lab.own.restore_policy.is_none() {
        return Err(Stop::skip(
            "the profile has no `restore-policy` under [authz]",
        ));
    }
    let swaps = bench.patience().times(100).max(4);
    let ask = || -> Outcome {
        let asked = bench.at_once(4, |_| {
            (0..5).try_for_each(|_| lab.denied("both policies deny it", &lab.harmful()))
        });
        asked.into_iter().collect()
    };
    let mut judged = Ok(());
    for number in 0..swaps {
        if number % 2 == 0 {
            lab.shell("other-policy", lab.own.other_policy.as_ref())?;
        } else {
            lab.shell("restore-policy", lab.own.restore_policy.as_ref())?;
        }
        judged = ask();
        if judged.is_err() {
            break;
        }
    }
    lab.shell("restore-policy", lab.own.restore_policy.as_ref())?;
    let last = ask();
    judged
        .and(last)
        .map_err(|stop: Stop| stop.during("while the policy was replaced"))
}

fn denies_after_a_kill(bench: &Bench) -> Outcome {
    let lab = Lab::new(bench);
    let control = bench.control()?;
    for number in 0..bench.repeat() {
        std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                for _ in 0..200 {
                    // Without an answer nothing is allowed.
                    match lab.judge(&lab.harmful()) {
                        Ok(decision) if decision.allow => {
                            return Err(decision.answer.fail("it is allowed"));
                        }
                        _ => {}
                    }
                }
                Ok(())
            });
            std::thread::sleep(std::time::Duration::from_millis(u64::from(number) * 3));
            control.kill().map_err(Stop::skip)?;
            control.start().map_err(Stop::fail)?;
            let began = std::time::Instant::now();
            let first = lab.judge(&lab.harmful())?;
            let took = began.elapsed();
            first
                .answer
                .ensure(!first.allow, || "it is allowed after a restart")?;
            first.answer.ensure(took.as_secs_f64() < 1.0, || {
                format!("the first answer took {:.1} s", took.as_secs_f64())
            })?;
            load.join()
                .unwrap_or_else(|_| Err(Stop::fail("the load ended early")))
        })?;
    }
    lab.same("afterwards", &|ask| ask)
}
