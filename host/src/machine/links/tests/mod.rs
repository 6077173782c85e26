//! Each test that asks the kernel runs in a process and a network namespace of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod changes;
mod kill;
mod kinds;
mod refusals;
mod strangers;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};

use super::read::{self, Seen};
use super::socket::Kernel;
use super::*;

const PRIVATE: &str = "DOCKSIDE_LINKS_TEST";
const KILL_AT: &str = "DOCKSIDE_LINKS_KILL_AT";
const WORK: &str = "DOCKSIDE_LINKS_WORK";

/// Ends the process before its n-th request to the kernel, as `kill -9` would, if a test asks for it.
pub(super) fn instant() {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    let this = REQUESTS.fetch_add(1, Ordering::Relaxed);
    if std::env::var(KILL_AT).is_ok_and(|at| at == this.to_string()) {
        let me = rustix::process::getpid();
        rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
    }
}

/// This test program, set to run one test of this module alone.
fn rerun(program: Option<&str>, test: &str) -> Command {
    let (_, module) = module_path!().split_once("::").unwrap();
    let mine = std::env::current_exe().unwrap();
    let mut command = match program {
        None => Command::new(mine),
        Some(program) => {
            let mut words = program.split(' ');
            let mut command = Command::new(words.next().unwrap());
            command.args(words).arg(mine);
            command
        }
    };
    command
        .arg(format!("{module}::{test}"))
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .env(PRIVATE, test);
    command
}

/// Whether this process is the one in a namespace of its own. If not, runs the test there first.
fn private(test: &str) -> bool {
    if std::env::var(PRIVATE).is_ok_and(|running| running == test) {
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: {test} needs root");
        return false;
    }
    let probe = Command::new("unshare").args(["--net", "true"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        println!(
            "skipped: {test} needs the program unshare, and to be allowed a network namespace"
        );
        return false;
    }
    let mut command = rerun(Some("unshare --net --kill-child"), test);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{test}: {said}\n{failed}");
    assert!(said.contains("1 passed"), "{test} did not run: {said}");
    false
}

fn id(number: u32) -> String {
    format!("{number:010x}ffeeddccbbaa99887766")
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn bridge(number: u32) -> Link {
    let kind = LinkKind::Bridge {
        stp: false,
        multicast_snooping: false,
        vlan_filtering: false,
    };
    Link {
        up: true,
        ..Link::new(&id(number), kind)
    }
}

/// The names of the links that are here.
fn names() -> Vec<String> {
    let links = read::all(&mut Kernel::default(), None).unwrap();
    links.into_iter().map(|link| link.name).collect()
}

fn seen(name: &str) -> Seen {
    read::by_name(&mut Kernel::default(), name)
        .unwrap()
        .unwrap_or_else(|| panic!("no link {name}"))
}

fn sorted<T: std::fmt::Debug>(list: &[T]) -> Vec<String> {
    let mut list: Vec<_> = list.iter().map(|one| format!("{one:?}")).collect();
    list.sort();
    list
}

/// Everything about a link that a change could have changed.
fn snapshot(name: &str) -> String {
    let kernel = &mut Kernel::default();
    let link = seen(name);
    let mut routes = read::routes(kernel, link.index).unwrap();
    // Which of two addresses in one network is the first, and so what is sent by default, depends on their order.
    routes.iter_mut().for_each(|route| route.source = None);
    let lists = [
        sorted(&read::addresses(kernel, link.index).unwrap()),
        sorted(&routes),
        sorted(&read::neighbours(kernel, link.index).unwrap()),
        sorted(&read::fdb(kernel, link.index).unwrap()),
    ];
    format!(
        "{} {:?} {} {:?} {:?} {} {lists:?}",
        link.mtu,
        link.mac,
        link.up,
        link.master,
        link.port(),
        link.options(),
    )
}

/// Changes a link as somebody else would.
fn set(name: &str, attribute: LinkAttribute) {
    super::write::set(&mut Kernel::default(), seen(name).index, attribute).unwrap();
}

/// Makes a link as somebody else would.
fn make_foreign(name: &str, kind: InfoKind, attributes: Vec<LinkAttribute>) {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]),
    ];
    message.attributes.extend(attributes);
    let message = RouteNetlinkMessage::NewLink(message);
    Kernel::default()
        .change(message, NLM_F_CREATE | NLM_F_EXCL)
        .unwrap();
}

/// A network namespace that ends with its process.
struct Namespace(Child);

impl Namespace {
    fn new() -> Namespace {
        let mut child = Command::new("unshare")
            .args(["--net", "--kill-child", "sh", "-c", "echo there; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "there\n");
        Namespace(child)
    }

    fn take(&self, name: &str) {
        set(name, LinkAttribute::NetNsPid(self.0.id()));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
