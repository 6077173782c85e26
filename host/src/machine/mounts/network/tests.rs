use super::*;

fn owned(options: &[(&str, &str)]) -> Vec<(String, String)> {
    options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn nfs(server: &str, path: &str, version: &str, options: &[(&str, &str)]) -> Source {
    Source::Nfs {
        server: server.to_owned(),
        path: path.to_owned(),
        version: version.to_owned(),
        options: owned(options),
    }
}

fn cifs(server: &str, share: &str, username: Option<&str>, options: &[(&str, &str)]) -> Source {
    Source::Cifs {
        server: server.to_owned(),
        share: share.to_owned(),
        username: username.map(str::to_owned),
        domain: None,
        password: username.map(|_| "name".to_owned()),
        options: owned(options),
    }
}

/// What the kernel is told, as one line.
fn line(source: &Source, address: &str, from: &str, secret: Option<&[u8]>) -> String {
    check(source).unwrap();
    let told = told(
        source,
        address.parse().unwrap(),
        from.parse().unwrap(),
        secret,
    )
    .unwrap();
    let mut line = told.filesystem.to_owned();
    for (name, value) in &told.options {
        line.push(' ');
        line.push_str(name);
        if !value.is_empty() {
            line.push('=');
            line.push_str(std::str::from_utf8(value).unwrap());
        }
    }
    line
}

#[test]
fn tells_the_kernel_what_an_export_needs() {
    for (source, address, expected) in [
        (
            nfs("nas", "/e", "", &[]),
            "10.0.0.1",
            "nfs source=nas:/e vers=4.2 addr=10.0.0.1 clientaddr=10.0.0.9 proto=tcp",
        ),
        (
            nfs("nas", "/e", "4.1", &[("port", "12049"), ("soft", "")]),
            "10.0.0.1",
            "nfs source=nas:/e vers=4.1 addr=10.0.0.1 clientaddr=10.0.0.9 proto=tcp port=12049 soft",
        ),
        (
            nfs("nas", "/e", "", &[("nfsvers", "4.0")]),
            "10.0.0.1",
            "nfs source=nas:/e vers=4.0 addr=10.0.0.1 clientaddr=10.0.0.9 proto=tcp",
        ),
        (
            nfs("nas", "/e", "3", &[("nolock", ""), ("proto", "udp")]),
            "10.0.0.1",
            "nfs source=nas:/e vers=3 addr=10.0.0.1 mountproto=tcp mountaddr=10.0.0.1 nolock proto=udp",
        ),
    ] {
        assert_eq!(line(&source, address, "10.0.0.9", None), expected);
    }
    let source = nfs("[2001:db8::1]", "/e", "4", &[]);
    assert_eq!(
        line(&source, "2001:db8::1", "2001:db8::9", None),
        "nfs source=[2001:db8::1]:/e vers=4 addr=2001:db8::1 clientaddr=2001:db8::9 proto=tcp6"
    );
}

#[test]
fn tells_the_kernel_what_a_share_needs() {
    for (source, secret, expected) in [
        (
            cifs("nas", "s", Some("u"), &[("vers", "3.1.1"), ("seal", "")]),
            Some(&b"p,a=\\s s\n"[..]),
            "cifs source=//nas/s ip=10.0.0.1 username=u vers=3.1.1 seal password=p,a=\\s s",
        ),
        (
            cifs("nas", "s/deep", None, &[]),
            None,
            "cifs source=//nas/s/deep ip=10.0.0.1 sec=none",
        ),
        (
            cifs("2001:db8::1", "s", None, &[("sec", "ntlmssp")]),
            None,
            "cifs source=//2001:db8::1/s ip=10.0.0.1 sec=ntlmssp",
        ),
    ] {
        assert_eq!(line(&source, "10.0.0.1", "10.0.0.9", secret), expected);
    }
}

#[test]
fn refuses_hostile_exports() {
    let long = format!("/{}", "a".repeat(5000));
    for (server, path, version) in [
        ("nas", "", ""),
        ("nas", "e", ""),
        ("nas", "/e,suid", ""),
        ("nas", "/e\n", ""),
        ("nas", "/e\0", ""),
        ("nas", "/../e", ""),
        ("nas", "/e/..", ""),
        ("nas", long.as_str(), ""),
        ("nas:/other", "/e", ""),
        ("-o", "/e", ""),
        ("", "/e", ""),
        ("nas", "/e", "2"),
        ("nas", "/e", "4.2,suid"),
        ("nas", "/e", " 4"),
        (&"n".repeat(200), &format!("/{}", "a".repeat(100)), ""),
    ] {
        let error = check(&nfs(server, path, version, &[])).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{server} {path} {version}");
        assert!(error.message.len() < 400, "{error}");
    }
    for (version, name) in [("4.1", "vers"), ("4.1", "nfsvers")] {
        let error = check(&nfs("nas", "/e", version, &[(name, "3")])).unwrap_err();
        assert!(error.message.contains("more than once"), "{error}");
    }
    for name in [
        "addr",
        "clientaddr",
        "source",
        "mountaddr",
        "mounthost",
        "suid",
        "dev",
        "exec",
        "fsc",
        "bg",
        "retry",
        "context",
        "user",
        "sloppy",
        "minorversion",
        "tcp",
        "intr",
        "rdma",
    ] {
        let error = check(&nfs("nas", "/e", "", &[(name, "")])).unwrap_err();
        assert!(error.message.contains("is not allowed"), "{error}");
    }
}

#[test]
fn refuses_hostile_shares() {
    let long = "a".repeat(5000);
    for share in [
        "", "/s", "s/", "s//t", "s/../t", "..", ".", "s\\t", "s,suid", "s\nt", "s\0", &long,
    ] {
        let error = check(&cifs("nas", share, None, &[])).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{share}");
    }
    for name in ["", "u,suid", "u\n", "u\0", &long] {
        assert!(check(&cifs("nas", "s", Some(name), &[])).is_err(), "{name}");
    }
    for name in [
        "ip",
        "addr",
        "unc",
        "source",
        "user",
        "username",
        "pass",
        "password",
        "password2",
        "credentials",
        "domain",
        "prefixpath",
        "suid",
        "dev",
        "cruid",
        "snapshot",
        "guest",
    ] {
        let error = check(&cifs("nas", "s", None, &[(name, "")])).unwrap_err();
        assert!(error.message.contains("is not allowed"), "{error}");
    }
    let nobody = Source::Cifs {
        server: "nas".into(),
        share: "s".into(),
        username: None,
        domain: None,
        password: Some("name".into()),
        options: Vec::new(),
    };
    assert!(check(&nobody).unwrap_err().message.contains("user name"));
}

#[test]
fn refuses_passwords_that_the_kernel_would_cut_and_does_not_repeat_them() {
    let source = cifs("nas", "s", Some("u"), &[]);
    let address = "10.0.0.1".parse().unwrap();
    let long = vec![b'a'; 256];
    for secret in [&b""[..], b"\n", b"hidden\0x", &long] {
        let error = told(&source, address, address, Some(secret)).unwrap_err();
        assert!(!error.message.contains("hidden") && !error.message.contains("aaaa"));
    }
    let error = MachineError::new(ErrorKind::Other, "bad value `hidden`");
    let error = without(error, Some(b"hidden\n"));
    assert_eq!(error.message, "bad value `***`");
}

#[test]
fn a_server_that_does_not_exist_is_unreachable() {
    let server = Server::parse("no-such-host.invalid").unwrap();
    let error = addresses(&server).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.contains("no-such-host.invalid"), "{error}");
}

#[test]
fn knows_its_mounts_in_the_table() {
    let info = |filesystem: &str, source: &str| MountInfo {
        id: 1,
        parent: 0,
        device: "0:1".into(),
        root: "/".into(),
        point: "/p".into(),
        options: Vec::new(),
        propagation: Vec::new(),
        filesystem: filesystem.into(),
        source: source.into(),
        super_options: String::new(),
    };
    let export = nfs("nas", "/e", "", &[]);
    let share = cifs("nas", "s", None, &[]);
    for (found, source, same) in [
        (info("nfs4", "nas:/e"), &export, true),
        (info("nfs", "nas:/e/"), &export, true),
        (info("nfs4", "nas:/other"), &export, false),
        (info("cifs", "nas:/e"), &export, false),
        (info("cifs", "//nas/s"), &share, true),
        (info("cifs", "//nas/t"), &share, false),
    ] {
        let difference = difference(&found, source).unwrap();
        assert_eq!(difference.is_none(), same, "{difference:?}");
    }
}
