#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::*;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn addresses_of_every_special_range_are_refused_and_those_beside_them_are_not() {
    for refused_address in [
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "168.63.129.16",
        "169.254.0.0",
        "169.254.169.254",
        "169.254.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.0",
        "192.0.0.9",
        "192.0.0.192",
        "192.0.2.1",
        "192.31.196.1",
        "192.52.193.1",
        "192.88.99.1",
        "192.168.0.0",
        "192.168.255.255",
        "192.175.48.1",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::2",
        // IPv4-compatible, also of a public address.
        "::10.0.0.1",
        "::8.8.8.8",
        // IPv4-mapped.
        "::ffff:127.0.0.1",
        "::ffff:a9fe:a9fe",
        "::ffff:10.0.0.1",
        "::ffff:0.0.0.0",
        // SIIT.
        "::ffff:0:127.0.0.1",
        "::ffff:0:8.8.8.8",
        // NAT64.
        "64:ff9b::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b::10.1.2.3",
        "64:ff9b:1::8.8.8.8",
        "64:ff9b:1:2:3:4:808:808",
        "100::1",
        "100:0:0:1::1",
        // Teredo, with a private server or client or without.
        "2001::1",
        "2001:0:a00:1:0:0:f7f7:f7f7",
        "2001:0:808:808:0:0:f5ff:fffe",
        "2001:0:808:808:0:0:f7f7:f7f7",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:1ff:ffff::1",
        "2001:db8::1",
        // 6to4.
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        "2002:808:808::1",
        "2620:4f:8000::1",
        "3fff:fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fdff::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        // ISATAP.
        "2600::5efe:10.0.0.1",
        "2600::200:5efe:192.168.0.1",
    ] {
        assert!(
            refused(refused_address.parse().unwrap(), &[]).is_some(),
            "{refused_address} passes"
        );
    }
    for public in [
        "1.0.0.0",
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2003::1",
        "2606:4700::1111",
        "2a00:1450::1",
        "2600::5efe:8.8.8.8",
    ] {
        assert_eq!(
            refused(public.parse().unwrap(), &[]),
            None,
            "{public} is refused"
        );
    }
}

#[test]
fn an_entry_allows_what_it_covers_and_nothing_that_hides_behind_it() {
    for (address, private, allowed) in [
        ("10.1.2.3", &["10.0.0.0/8"][..], true),
        ("10.1.2.3", &["10.1.2.3/32"], true),
        ("10.1.2.4", &["10.1.2.3/32"], false),
        ("::1", &["127.0.0.0/8"], false),
        ("::1", &["::1/128"], true),
        // A mapped address is the IPv4 address.
        ("::ffff:10.1.2.3", &["10.0.0.0/8"], true),
        ("::ffff:10.1.2.3", &["::/0"], false),
        // Both the tunnel and what it leads to must be allowed.
        ("2002:a01:203::1", &["10.0.0.0/8"], false),
        ("2002:a01:203::1", &["2002::/16"], false),
        ("2002:a01:203::1", &["2002::/16", "10.0.0.0/8"], true),
        ("2002:808:808::1", &["2002::/16"], true),
        ("64:ff9b::a01:203", &["10.0.0.0/8"], true),
        ("64:ff9b::a01:203", &["64:ff9b::/96"], false),
        (
            "2001:0:808:808:0:0:f5fe:fdfc",
            &["2001::/32", "10.0.0.0/8"],
            true,
        ),
        ("2001:0:808:808:0:0:f5fe:fdfc", &["2001::/32"], false),
        // Metadata services only by their own address.
        ("169.254.169.254", &["169.254.0.0/16", "0.0.0.0/0"], false),
        ("169.254.169.254", &["169.254.169.254/32"], true),
        ("169.254.1.1", &["169.254.0.0/16"], true),
        ("fd00:ec2::254", &["fd00::/8"], false),
        ("fd00:ec2::254", &["fd00:ec2::254/128"], true),
        ("fd00:ec2::1", &["fd00::/8"], true),
        ("64:ff9b::a9fe:a9fe", &["0.0.0.0/0", "::/0"], false),
        ("100.100.100.200", &["100.64.0.0/10"], false),
        ("168.63.129.16", &["168.63.0.0/16"], false),
    ] {
        let special = refused(address.parse().unwrap(), &nets(private));
        assert_eq!(special.is_none(), allowed, "{address} with {private:?}");
        // What the refusal proposes is enough, together with what else it proposes.
        let mut entries = nets(private);
        while let Some(special) = refused(address.parse().unwrap(), &entries) {
            assert!(!entries.contains(&special.entry));
            entries.push(special.entry);
        }
    }
}
