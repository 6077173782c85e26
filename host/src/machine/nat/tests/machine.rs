//! A machine of its own for each test: mounts, links and rules that end with the test's process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::machine::nat::program;

const INSIDE: &str = "DOCKSIDE_TEST_NAT";

/// Set for a process that a test starts of itself, on the same machine.
pub(super) const CHILD: &str = "DOCKSIDE_TEST_NAT_CHILD";

/// Long enough for a packet that arrives, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough to see that a packet does not arrive. Too short would not fail a test that should pass.
const SILENCE: Duration = Duration::from_millis(400);

/// Runs a test's body in a process with mount and network namespaces of its own.
pub(super) fn inside(test: &str, body: fn()) {
    if std::env::var(INSIDE).as_deref() == Ok(test) {
        if std::env::var(CHILD).is_ok() {
            return body();
        }
        sh("mount -t tmpfs none /run && ip link set lo up && mkdir /run/netns");
        // A fresh host forwards nothing, and that is the strict case for what an engine does later.
        sh("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
        return body();
    }
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: {test} needs root");
    }
    for tool in ["nft", "iptables", "ip6tables", "ip", "unshare"] {
        if program::find(tool).is_none() {
            return println!("skipped: {test} needs {tool}");
        }
    }
    let path = test.split_once("::").map_or(test, |(_, path)| path);
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([path, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Declares tests that run inside.
macro_rules! on_a_machine {
    ($($(#[$meta:meta])* fn $name:ident() $body:block)*) => {$(
        $(#[$meta])*
        #[test]
        fn $name() {
            crate::machine::nat::tests::machine::inside(
                concat!(module_path!(), "::", stringify!($name)),
                || $body,
            );
        }
    )*};
}
pub(super) use on_a_machine;

pub(super) fn sh(script: &str) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new("sh").args(["-euc", script]).output().unwrap();
    assert!(
        status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8(stdout).unwrap()
}

/// Everything of the firewall, without the counters.
pub(super) fn firewall() -> String {
    let rules =
        sh("nft list ruleset; iptables-save; ip6tables-save; find /run -name firewall.lock");
    rules
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Two networks, `ds0` with the containers `a` and `b`, and `ds1` with `c`, and a host `out` on the outer link `up0`.
pub(super) fn topology() {
    sh("for net in 0 1; do
          ip link add ds$net type bridge
          echo 0 >/proc/sys/net/ipv6/conf/ds$net/accept_dad
          ip addr add 10.9.$net.1/24 dev ds$net
          ip addr add fd09:$net::1/64 dev ds$net nodad
          ip link set ds$net up
        done");
    for (name, net, last) in [("a", 0, 2), ("b", 0, 3), ("c", 1, 2)] {
        host(
            name,
            &format!("v{name}"),
            &format!("10.9.{net}"),
            &format!("fd09:{net}:"),
            last,
        );
        sh(&format!(
            "ip link set v{name} master ds{net} && bridge link set dev v{name} hairpin on"
        ));
    }
    host("out", "up0", "192.0.2", "2001:db8:", 2);
    sh("ip addr add 192.0.2.1/24 dev up0; ip addr add 2001:db8::1/64 dev up0 nodad");
}

/// The network that an engine has from its start, with the container `d`.
pub(super) fn engines_network() {
    sh(
        "ip link add docker0 type bridge; ip addr add 172.17.0.1/24 dev docker0; ip link set docker0 up",
    );
    host("d", "vd", "172.17.0", "fd17:", 2);
    sh("ip link set vd master docker0");
    serve("d", 80);
    sh(
        "iptables -I FORWARD -i docker0 ! -o docker0 -j ACCEPT; iptables -A FORWARD -i docker0 -o docker0 -j ACCEPT",
    );
}

fn host(name: &str, link: &str, v4: &str, v6: &str, last: u8) {
    sh(&format!(
        "ip netns add {name}
         ip link add {link} type veth peer name eth0 netns {name}
         echo 0 >/proc/sys/net/ipv6/conf/{link}/accept_dad
         ip link set {link} up
         in='ip -n {name}'
         $in link set lo up
         $in addr add {v4}.{last}/24 dev eth0
         $in addr add {v6}:{last}/64 dev eth0 nodad
         $in link set eth0 up
         $in route add default via {v4}.1
         $in route add default via {v6}:1"
    ));
}

/// What an engine does to a host that did not forward before it started.
pub(super) fn engine_starts(program: &str) {
    for program in [program.to_owned(), program.replacen("ip", "ip6", 1)] {
        sh(&format!(
            "{program} -N DOCKER; {program} -N DOCKER-USER; {program} -A DOCKER-USER -j RETURN
             {program} -I FORWARD -o docker0 -j DOCKER
             {program} -I FORWARD -j DOCKER-USER
             {program} -P FORWARD DROP"
        ));
    }
    sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
}

/// Runs something in a namespace; none is the host itself.
pub(super) fn within<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if name != "host" {
                let file = File::open(format!("/run/netns/{name}")).unwrap();
                move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&file),
                    Some(LinkNameSpaceType::Network),
                )
                .unwrap();
            }
            work()
        });
        thread.join().unwrap()
    })
}

/// Starts a server that answers each connection, and each datagram, with its name and with whom it sees.
pub(super) fn serve(name: &'static str, port: u16) {
    let (listener, socket) = within(name, || {
        (
            TcpListener::bind(("::", port)).unwrap(),
            UdpSocket::bind(("::", port)).unwrap(),
        )
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap().ip().to_canonical();
            let _ = write!(stream, "{name} {peer}");
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        loop {
            let (_, peer) = socket.recv_from(&mut buffer).unwrap();
            let answer = format!("{name} {}", peer.ip().to_canonical());
            let _ = socket.send_to(answer.as_bytes(), peer);
        }
    });
}

/// What a server answers to a connection from a namespace: its name and the address it sees. None: nothing came back.
pub(super) fn tcp(from: &str, to: impl Into<IpAddr>, port: u16, expected: bool) -> Option<String> {
    let address = SocketAddr::new(to.into(), port);
    let patience = if expected { PATIENCE } else { SILENCE };
    within(from, || {
        let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
        stream.set_read_timeout(Some(patience)).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    })
}

/// The same with a datagram.
pub(super) fn udp(from: &str, to: impl Into<IpAddr>, port: u16, expected: bool) -> Option<String> {
    let address = SocketAddr::new(to.into(), port);
    let patience = if expected { PATIENCE } else { SILENCE };
    within(from, || {
        let any = if address.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(address).ok()?;
        socket.set_read_timeout(Some(patience)).unwrap();
        socket.send(b"who").ok()?;
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).ok()?;
        String::from_utf8(buffer[..length].to_vec()).ok()
    })
}
