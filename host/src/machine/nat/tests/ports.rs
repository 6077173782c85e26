//! Which ports count as free.

use std::net::{IpAddr, TcpListener, UdpSocket};

use super::machine::on_a_machine;
use crate::machine::nat::{Rule, RuleSet, Transport, first_free, perform, port_free};

fn publish(host: Option<&str>, host_port: u16, to: &str) -> Rule {
    Rule::Publish {
        transport: Transport::Tcp,
        host: host.map(|host| host.parse().unwrap()),
        host_port,
        to: to.parse().unwrap(),
        to_port: 80,
        link: "ds0".to_owned(),
        loopback: false,
    }
}

on_a_machine! {
    fn a_port_is_free_if_nobody_listens_and_nobody_publishes_it() {
        super::machine::sh("ip addr add 192.0.2.1/24 dev lo; ip addr add 2001:db8::1/64 dev lo nodad");
        let _tcp = TcpListener::bind("192.0.2.1:1001").unwrap();
        let _udp = UdpSocket::bind("[2001:db8::1]:1002").unwrap();
        perform(&RuleSet {
            id: "ab".to_owned(),
            rules: vec![
                publish(None, 1003, "10.9.0.2"),
                publish(Some("192.0.2.1"), 1004, "10.9.0.2"),
                publish(Some("2001:db8::1"), 1005, "fd09::2"),
            ],
        })
        .unwrap();
        use Transport::{Sctp, Tcp, Udp};
        for (transport, host, port, free) in [
            (Tcp, "", 1000, true),
            (Udp, "", 1000, true),
            (Sctp, "", 1000, true),
            (Tcp, "", 1001, false),
            (Tcp, "0.0.0.0", 1001, false),
            (Tcp, "192.0.2.1", 1001, false),
            (Tcp, "127.0.0.1", 1001, true),
            (Udp, "", 1001, true),
            (Udp, "", 1002, false),
            (Udp, "::", 1002, false),
            (Udp, "2001:db8::1", 1002, false),
            (Udp, "192.0.2.1", 1002, true),
            (Tcp, "", 1003, false),
            (Tcp, "192.0.2.1", 1003, false),
            (Tcp, "2001:db8::1", 1003, true),
            (Udp, "", 1003, true),
            (Tcp, "", 1004, false),
            (Tcp, "192.0.2.1", 1004, false),
            (Tcp, "127.0.0.1", 1004, true),
            (Tcp, "", 1005, false),
            (Tcp, "2001:db8::1", 1005, false),
            (Tcp, "::1", 1005, true),
            // Not an address of the host.
            (Tcp, "198.51.100.1", 1000, false),
        ] {
            let address: Option<IpAddr> = host.parse().ok();
            assert_eq!(port_free(transport, address, port), free, "{transport:?} {host:?} {port}");
        }
        assert_eq!(first_free(Tcp, None, 1001..2000), Some(1002));
        assert_eq!(first_free(Tcp, None, 1003..2000), Some(1006));
        assert_eq!(first_free(Tcp, None, 1003..1005), None);
    }
}
