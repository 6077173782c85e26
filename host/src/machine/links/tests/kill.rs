use super::*;
use std::os::unix::process::ExitStatusExt;

fn records() -> Vec<Link> {
    let network = Link {
        mtu: Some(1400),
        addresses: vec![net("10.1.0.1/24"), net("fd01::1/64")],
        routes: vec![Route {
            destination: net("10.2.0.0/16"),
            gateway: Some("10.1.0.9".parse().unwrap()),
            source: None,
            metric: None,
            allow_default: false,
        }],
        ..bridge(1)
    };
    let (mut pair, mut peer) = Link::veth(&id(2), &id(3));
    pair.master = Some(network.name.clone());
    pair.port = Some(BridgePort::default());
    pair.up = true;
    peer.mac = Some([2, 0, 0, 0, 7, 7]);
    vec![network, pair, peer]
}

/// Not a test: what a process does that is killed.
#[test]
fn performs_until_killed() {
    let Ok(work) = std::env::var(WORK) else {
        return;
    };
    let records: Vec<Link> = serde_json::from_str(&work).unwrap();
    let rounds = if std::env::var(KILL_AT).is_ok() {
        1
    } else {
        100_000
    };
    for round in 0..rounds {
        for record in &records {
            println!("perform");
            perform(record).unwrap();
        }
        for record in records.iter().rev().filter(|_| round + 1 < rounds) {
            println!("undo");
            undo(record).unwrap();
        }
    }
}

fn child() -> Command {
    let mut command = rerun(None, "kill::performs_until_killed");
    command.env(WORK, serde_json::to_string(&records()).unwrap());
    command
}

fn clean_up() {
    for record in records().iter().rev() {
        undo(record).unwrap();
    }
    assert_eq!(names(), ["lo"]);
}

#[test]
fn nothing_is_left_of_a_process_killed_before_any_of_its_requests() {
    if !private("kill::nothing_is_left_of_a_process_killed_before_any_of_its_requests") {
        return;
    }
    for request in 0.. {
        let output = child().env(KILL_AT, request.to_string()).output().unwrap();
        if output.status.success() {
            assert!(request > 20, "{request}");
            assert_eq!(names().len(), 4);
            clean_up();
            return;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(9), "{request}: {said}");
        clean_up();
    }
}

#[test]
fn nothing_is_left_of_a_process_killed_by_somebody_else() {
    if !private("kill::nothing_is_left_of_a_process_killed_by_somebody_else") {
        return;
    }
    for lines in 1..24 {
        let mut child = child().stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let steps = said.lines().map(Result::unwrap);
        let steps = steps.filter(|line| line.ends_with("perform") || line.ends_with("undo"));
        assert_eq!(steps.take(lines).count(), lines);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        clean_up();
    }
}
