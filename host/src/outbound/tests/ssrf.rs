//! Requests for what was not granted, by every way around a check that is known. None may reach a server that is not granted.

use http::{Request, Uri};
use http_body_util::Full;

use super::doubles::{Names, Server, client, get, request};
use crate::outbound::HttpErrorKind::{
    self, AddressProhibited, Denied, Dns, Loop, MethodInvalid, RequestHeaders, UriInvalid,
    UriTooLong,
};
use crate::outbound::Options;

/// `{P}` is the port of the granted server, `{Q}` another port of the same address.
const RULES: &str = r#"
allow = [
    "* http://127.0.0.1:{P}/wapi/",
    "* http://open.test:{P}/wapi/",
    "GET http://*.below.test:{P}/wapi/",
    "GET https://open.test:{P}/wapi/",
    # The rules allow these hosts; their addresses must not pass.
    "* http://closed.test:{P}/", "* http://rebind.test:{P}/", "* http://mixed.test:{P}/",
    "* http://six.test:{P}/", "* http://mapped.test:{P}/", "* http://compatible.test:{P}/",
    "* http://nat64.test:{P}/", "* http://6to4.test:{P}/", "* http://teredo.test:{P}/",
    "* http://isatap.test:{P}/", "* http://zero.test:{P}/", "* http://any6.test:{P}/",
    "* http://metadata.test:{P}/", "* http://metadata6.test:{P}/", "* http://alibaba.test:{P}/",
    "* http://cgnat.test:{P}/", "* http://broadcast.test:{P}/", "* http://multicast.test:{P}/",
    "* http://nothing.test:{P}/", "* http://unknown.test:{P}/",
    "* http://169.254.169.254/", "* http://[fd00:ec2::254]/", "* http://100.100.100.200/",
    "* http://127.0.0.2:{P}/", "* http://[::1]:{P}/", "* http://[::ffff:127.0.0.2]:{P}/",
    "* http://[::127.0.0.1]:{P}/", "* http://[64:ff9b::7f00:2]:{P}/", "* http://0.0.0.0:{P}/",
    "* http://[::]:{P}/", "* http://[2002:7f00:2::1]:{P}/", "* http://10.0.0.1/",
    "* http://172.16.0.1/", "* http://192.168.1.1/", "* http://192.0.0.192/", "* http://198.18.0.1/",
    "* http://224.0.0.1/", "* http://255.255.255.255/", "* http://168.63.129.16/",
    "* http://[fe80::1]/", "* http://[fec0::1]/", "* http://[fc00::1]/", "* http://[ff02::1]/",
]
private = ["127.0.0.1/32"]
secrets = { token = ["http://open.test:{P}"] }
redirects = 3
"#;

/// What is asked for.
enum Ask {
    /// This URI.
    Uri(&'static str),
    /// The granted server, which redirects here.
    Via(&'static str),
}
use Ask::{Uri as U, Via as V};

const CASES: &[(Ask, HttpErrorKind)] = &[
    // Other hosts, ports, schemes and paths.
    (U("http://127.0.0.1:{Q}/wapi/"), Denied),
    (U("http://127.0.0.1/wapi/"), Denied),
    (U("https://127.0.0.1:{P}/wapi/"), Denied),
    (U("http://other.test:{P}/wapi/"), Denied),
    (U("http://localhost:{P}/wapi/"), Denied),
    (U("http://xopen.test:{P}/wapi/"), Denied),
    (U("http://open.test.evil.test:{P}/wapi/"), Denied),
    (U("http://below.test:{P}/wapi/"), Denied),
    (U("http://xbelow.test:{P}/wapi/"), Denied),
    (U("http://.below.test:{P}/wapi/"), UriInvalid),
    (U("http://127.0.0.1:{P}/"), Denied),
    (U("http://127.0.0.1:{P}"), Denied),
    (U("http://127.0.0.1:{P}/admin"), Denied),
    (U("http://127.0.0.1:{P}/wapix"), Denied),
    (U("http://127.0.0.1:{P}/WAPI/"), Denied),
    (U("http://127.0.0.1:{P}/wapi%2Fadmin"), Denied),
    (U("http://127.0.0.1:{P}/wapi;/admin"), Denied),
    (U("http://127.0.0.1:{P}/?/wapi/"), Denied),
    (U("ftp://127.0.0.1:{P}/wapi/"), UriInvalid),
    (U("file:///etc/passwd"), UriInvalid),
    (U("gopher://127.0.0.1:{P}/wapi/"), UriInvalid),
    (U("/wapi/"), UriInvalid),
    (U("127.0.0.1:{P}"), UriInvalid),
    // Ways out of the path.
    (U("http://127.0.0.1:{P}/wapi/../admin"), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/./../admin"), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/.."), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/%2e%2e/admin"), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/%2E./admin"), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/.%2e/admin"), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/%252e%252e/admin"), UriInvalid),
    (
        U("http://127.0.0.1:{P}/wapi/%25252e%25252e/admin"),
        UriInvalid,
    ),
    (
        U("http://127.0.0.1:{P}/wapi/%25252525252525252e/admin"),
        UriInvalid,
    ),
    (U("http://127.0.0.1:{P}/wapi/..%2fadmin"), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/%2e%2e%2fadmin"), UriInvalid),
    (
        U("http://127.0.0.1:{P}/wapi/x%2f..%2f..%2fadmin"),
        UriInvalid,
    ),
    (U("http://127.0.0.1:{P}/wapi/..%5cadmin"), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/x%5cadmin"), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/..\\admin"), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/..;/admin"), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/..;x=1/admin"), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/%2e%2e;/admin"), UriInvalid),
    (
        U("http://127.0.0.1:{P}/wapi/%c0%ae%c0%ae/admin"),
        UriInvalid,
    ),
    (U("http://127.0.0.1:{P}/wapi/x%00"), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/x%0d%0aHost:evil"), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/x%2500"), UriInvalid),
    (U("http://127.0.0.1:{P}//evil.test/wapi/"), UriInvalid),
    (U("http://127.0.0.1:{P}//wapi/"), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/ü"), UriInvalid),
    (U("http://127.0.0.1:{P}/wapi/x HTTP/1.1"), UriInvalid),
    // Other ways to write 127.0.0.1 and 127.0.0.2.
    (U("http://2130706433:{P}/wapi/"), UriInvalid),
    (U("http://0x7f000001:{P}/wapi/"), UriInvalid),
    (U("http://0x7f.1:{P}/wapi/"), UriInvalid),
    (U("http://0X7F.0X1:{P}/wapi/"), UriInvalid),
    (U("http://127.1:{P}/wapi/"), UriInvalid),
    (U("http://127.0.1:{P}/wapi/"), UriInvalid),
    (U("http://0177.0.0.1:{P}/wapi/"), UriInvalid),
    (U("http://127.0.0.01:{P}/wapi/"), UriInvalid),
    (U("http://127.000.000.001:{P}/wapi/"), UriInvalid),
    (U("http://017700000001:{P}/wapi/"), UriInvalid),
    (U("http://127.0.0.1.:{P}/wapi/"), UriInvalid),
    (U("http://127.0.0.256:{P}/wapi/"), UriInvalid),
    (U("http://4429185025:{P}/wapi/"), UriInvalid),
    (U("http://0:{P}/wapi/"), UriInvalid),
    (U("http://0x:{P}/wapi/"), UriInvalid),
    (U("http://[::ffff:127.0.0.1]:{P}/wapi/"), Denied),
    (U("http://[::ffff:7f00:1]:{P}/wapi/"), Denied),
    (U("http://[::1%25lo]:{P}/wapi/"), UriInvalid),
    (U("http://[127.0.0.1]:{P}/wapi/"), UriInvalid),
    (U("http://[::1/wapi/"), UriInvalid),
    (U("http://::1:{P}/wapi/"), UriInvalid),
    (U("http://①②⑦.⓪.⓪.①:{P}/wapi/"), UriInvalid),
    // Names that look like the granted one.
    (U("http://open.test.:{P}/wapi/"), UriInvalid),
    (U("http://open。test:{P}/wapi/"), UriInvalid),
    (U("http://оpen.test:{P}/wapi/"), UriInvalid),
    (U("http://xn--pen-cze.test:{P}/wapi/"), Denied),
    (U("http://open..test:{P}/wapi/"), UriInvalid),
    (U("http://-open.test:{P}/wapi/"), UriInvalid),
    (U("http://open%2etest:{P}/wapi/"), UriInvalid),
    (U("http://open.test%00.evil.test:{P}/wapi/"), UriInvalid),
    (U("http://*.below.test:{P}/wapi/"), UriInvalid),
    // User names, and what makes one program see another host than the next.
    (U("http://open.test:{P}@closed.test:{P}/wapi/"), UriInvalid),
    (U("http://open.test@closed.test:{P}/wapi/"), UriInvalid),
    (U("http://user:password@open.test:{P}/wapi/"), UriInvalid),
    (U("http://@open.test:{P}/wapi/"), UriInvalid),
    (U("http://closed.test#@open.test:{P}/wapi/"), Denied),
    (U("http://closed.test:{Q}?@open.test:{P}/wapi/"), Denied),
    (U("http://closed.test\\@open.test:{P}/wapi/"), UriInvalid),
    (U("http://open.test:{P}\\@closed.test/wapi/"), UriInvalid),
    (U("http:\\\\open.test:{P}/wapi/"), UriInvalid),
    (U("http:///open.test:{P}/wapi/"), UriInvalid),
    (U("http:open.test:{P}/wapi/"), UriInvalid),
    (U("http://open.test:{P}:80/wapi/"), UriInvalid),
    (U("http://open.test:/wapi/"), UriInvalid),
    (U("http://open.test:0/wapi/"), UriInvalid),
    (U("http://open.test:0{P}/wapi/"), UriInvalid),
    (U("http://open.test:+{P}/wapi/"), UriInvalid),
    (U("http://open.test:70000/wapi/"), UriInvalid),
    (U("http://open.test\t:{P}/wapi/"), UriInvalid),
    (U("http://open.test\r\nHost: closed.test/wapi/"), UriInvalid),
    // Addresses that no rule makes good.
    (
        U("http://169.254.169.254/latest/meta-data/"),
        AddressProhibited,
    ),
    (U("http://[fd00:ec2::254]/latest/"), AddressProhibited),
    (U("http://100.100.100.200/latest/"), AddressProhibited),
    (U("http://192.0.0.192/latest/"), AddressProhibited),
    (U("http://168.63.129.16/machine"), AddressProhibited),
    (U("http://127.0.0.2:{P}/wapi/"), AddressProhibited),
    (U("http://[::1]:{P}/wapi/"), AddressProhibited),
    (U("http://[::ffff:127.0.0.2]:{P}/"), AddressProhibited),
    (U("http://[::ffff:7f00:2]:{P}/"), AddressProhibited),
    (U("http://[0:0:0:0:0:0:0:1]:{P}/"), AddressProhibited),
    (U("http://[::127.0.0.1]:{P}/"), AddressProhibited),
    (U("http://[64:ff9b::127.0.0.2]:{P}/"), AddressProhibited),
    (U("http://[2002:7f00:2::1]:{P}/"), AddressProhibited),
    (U("http://0.0.0.0:{P}/wapi/"), AddressProhibited),
    (U("http://[::]:{P}/wapi/"), AddressProhibited),
    (U("http://10.0.0.1/"), AddressProhibited),
    (U("http://172.16.0.1/"), AddressProhibited),
    (U("http://192.168.1.1/"), AddressProhibited),
    (U("http://198.18.0.1/"), AddressProhibited),
    (U("http://224.0.0.1/"), AddressProhibited),
    (U("http://255.255.255.255/"), AddressProhibited),
    (U("http://[fe80::1]/"), AddressProhibited),
    (U("http://[fec0::1]/"), AddressProhibited),
    (U("http://[fc00::1]/"), AddressProhibited),
    (U("http://[ff02::1]/"), AddressProhibited),
    // Names that lead to such addresses.
    (U("http://closed.test:{P}/wapi/"), AddressProhibited),
    (U("http://mixed.test:{P}/wapi/"), AddressProhibited),
    (U("http://six.test:{P}/wapi/"), AddressProhibited),
    (U("http://mapped.test:{P}/wapi/"), AddressProhibited),
    (U("http://compatible.test:{P}/wapi/"), AddressProhibited),
    (U("http://nat64.test:{P}/wapi/"), AddressProhibited),
    (U("http://6to4.test:{P}/wapi/"), AddressProhibited),
    (U("http://teredo.test:{P}/wapi/"), AddressProhibited),
    (U("http://isatap.test:{P}/wapi/"), AddressProhibited),
    (U("http://zero.test:{P}/wapi/"), AddressProhibited),
    (U("http://any6.test:{P}/wapi/"), AddressProhibited),
    (U("http://metadata.test:{P}/wapi/"), AddressProhibited),
    (U("http://metadata6.test:{P}/wapi/"), AddressProhibited),
    (U("http://alibaba.test:{P}/wapi/"), AddressProhibited),
    (U("http://cgnat.test:{P}/wapi/"), AddressProhibited),
    (U("http://broadcast.test:{P}/wapi/"), AddressProhibited),
    (U("http://multicast.test:{P}/wapi/"), AddressProhibited),
    (U("http://nothing.test:{P}/wapi/"), Dns),
    (U("http://unknown.test:{P}/wapi/"), Dns),
    // Redirects.
    (V("http://127.0.0.2:{P}/wapi/"), AddressProhibited),
    (V("http://closed.test:{P}/wapi/"), AddressProhibited),
    (V("http://mixed.test:{P}/wapi/"), AddressProhibited),
    (
        V("http://169.254.169.254/latest/meta-data/"),
        AddressProhibited,
    ),
    (V("http://[::1]:{P}/"), AddressProhibited),
    (V("http://[::ffff:127.0.0.2]:{P}/"), AddressProhibited),
    (V("http://127.0.0.1:{Q}/wapi/"), Denied),
    (V("http://other.test/"), Denied),
    (V("//127.0.0.1:{Q}/wapi/"), Denied),
    (V("//closed.test:{P}/wapi/"), AddressProhibited),
    (V("/admin"), Denied),
    (V("/wapix"), Denied),
    (V("../admin"), Denied),
    (V("../../../../admin"), Denied),
    (V("x/../../admin"), Denied),
    (V("/wapi/../admin"), UriInvalid),
    (V("/wapi/%2e%2e/admin"), UriInvalid),
    (V("%2e%2e/admin"), UriInvalid),
    (V("..%2fadmin"), UriInvalid),
    (V("..\\admin"), UriInvalid),
    (V("\\\\closed.test\\wapi"), UriInvalid),
    (V("/\\closed.test:{P}/wapi"), UriInvalid),
    (V("http:\\\\closed.test:{P}/"), UriInvalid),
    (V("http:closed.test:{P}/"), UriInvalid),
    (V("http:///closed.test:{P}/"), UriInvalid),
    (V("HTTP://127.0.0.1:{Q}/wapi/"), Denied),
    (V("https://127.0.0.1:{P}/wapi/"), Denied),
    (V("file:///etc/passwd"), UriInvalid),
    (V("gopher://127.0.0.1:{P}/"), UriInvalid),
    (V("javascript:alert(1)"), UriInvalid),
    (V("http://2130706434:{P}/"), UriInvalid),
    (V("http://0x7f.2:{P}/"), UriInvalid),
    (V("http://127.2:{P}/"), UriInvalid),
    (V("http://open.test:{P}@127.0.0.2:{P}/"), UriInvalid),
    (
        V("http://127.0.0.2:{P}#@open.test:{P}/wapi/"),
        AddressProhibited,
    ),
    (V("http://open.test:{P}/wapi/\u{a0}"), UriInvalid),
    (V(" http://127.0.0.2:{P}/"), AddressProhibited),
    (V("http://open.test:{P}/wapi/ x"), UriInvalid),
    (V("http://open.test:{P}/wapi/\tx"), UriInvalid),
    (
        V("http://open.test:{P}/wapi/302?http://127.0.0.2:{P}/"),
        AddressProhibited,
    ),
    (V("302?302?302?302?302?302?x"), Loop),
];

fn names() -> std::sync::Arc<Names> {
    Names::new(&[
        ("open.test", &[&["127.0.0.1"]]),
        ("closed.test", &[&["127.0.0.2"]]),
        ("a.below.test", &[&["127.0.0.1"]]),
        ("mixed.test", &[&["127.0.0.1", "127.0.0.2"]]),
        ("six.test", &[&["::1"]]),
        ("mapped.test", &[&["::ffff:127.0.0.2"]]),
        ("compatible.test", &[&["::127.0.0.1"]]),
        ("nat64.test", &[&["64:ff9b::127.0.0.2"]]),
        ("6to4.test", &[&["2002:7f00:2::1"]]),
        ("teredo.test", &[&["2001:0:808:808::80ff:fffd"]]),
        ("isatap.test", &[&["2600::5efe:127.0.0.2"]]),
        ("zero.test", &[&["0.0.0.0"]]),
        ("any6.test", &[&["::"]]),
        ("metadata.test", &[&["169.254.169.254"]]),
        ("metadata6.test", &[&["fd00:ec2::254"]]),
        ("alibaba.test", &[&["100.100.100.200"]]),
        ("cgnat.test", &[&["100.64.0.1"]]),
        ("broadcast.test", &[&["255.255.255.255"]]),
        ("multicast.test", &[&["239.1.1.1"]]),
        ("nothing.test", &[&[]]),
        ("rebind.test", &[&["127.0.0.1"], &["127.0.0.2"]]),
    ])
}

/// The granted server, and those at the same port of other addresses and at another port of the same address.
struct World {
    open: Server,
    closed: Vec<Server>,
}

impl World {
    async fn new() -> World {
        loop {
            let open = Server::start("127.0.0.1:0").await;
            let port = open.port();
            let mut closed = vec![Server::start("127.0.0.1:0").await];
            // The port may be taken on the other address.
            let Ok(other) = Server::try_start(&format!("127.0.0.2:{port}"), None).await else {
                continue;
            };
            closed.push(other);
            // Machines without IPv6 have no loopback there.
            match Server::try_start(&format!("[::1]:{port}"), None).await {
                Ok(six) => closed.push(six),
                Err(error) => eprintln!("skipped: no server on ::1: {error}"),
            }
            return World { open, closed };
        }
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{P}", &self.open.port().to_string())
            .replace("{Q}", &self.closed[0].port().to_string())
    }

    fn reached(&self) -> usize {
        self.closed.iter().map(Server::connections).sum()
    }
}

#[tokio::test]
async fn nothing_that_is_not_granted_is_reached_in_any_known_way() {
    let world = World::new().await;
    let client = client(&world.fill(RULES), &names());
    for (ask, kind) in CASES {
        let uri = match ask {
            U(uri) => world.fill(uri),
            V(location) => {
                let location = world.fill(location);
                let location = percent_encoding::utf8_percent_encode(
                    &location,
                    percent_encoding::NON_ALPHANUMERIC,
                );
                world.fill(&format!("http://open.test:{{P}}/wapi/302?{location}"))
            }
        };
        let granted = matches!(ask, V(_));
        // What is no URI at all does not come this far.
        if uri.parse::<Uri>().is_err() {
            assert!(!granted && *kind == UriInvalid, "{uri} is no URI");
            continue;
        }
        let result = get(&client, &uri).await;
        let error = result.expect_err(&uri);
        assert_eq!(error.kind, *kind, "{uri}: {error}");
        assert_eq!(world.reached(), 0, "{uri} reached a server: {error}");
        let seen = world.open.seen();
        assert_eq!(!seen.is_empty(), granted, "{uri} came to {seen:?}");
        for seen in seen {
            assert!(seen.target.starts_with("/wapi/"), "{uri} came to {seen:?}");
        }
    }
    assert!(CASES.len() >= 60, "{}", CASES.len());
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_judged_anew_each_time() {
    let world = World::new().await;
    let names = names();
    let client = client(&world.fill(RULES), &names);
    let rebind = world.fill("http://rebind.test:{P}/wapi/");
    for round in 1..=10 {
        let asked = names.questions();
        assert!(get(&client, &rebind).await.is_ok());
        assert_eq!(names.questions(), asked + 1, "judged and connected differ");
        let error = get(&client, &rebind).await.unwrap_err();
        assert_eq!(error.kind, AddressProhibited);
        assert_eq!(names.questions(), asked + 2);
        assert_eq!(world.open.seen().len(), 1, "in round {round}");
    }
    // The first hop gets the good address, the second one the bad.
    let chain = format!("{rebind}302?{rebind}x");
    let error = get(&client, &chain).await.unwrap_err();
    assert_eq!(error.kind, AddressProhibited, "{error}");
    assert_eq!(world.open.seen().len(), 1);
    assert_eq!(world.reached(), 0);
}

#[tokio::test]
async fn a_request_cannot_be_smuggled_by_its_method_or_its_headers() {
    let world = World::new().await;
    let client = client(&world.fill(RULES), &names());
    let uri = world.fill("http://open.test:{P}/wapi/x");
    let send = async |method: &str, headers: &[(&str, &str)], body: &'static str| {
        let mut request = Request::builder().method(method).uri(&uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body)).unwrap();
        client.send(request, Options::default()).await
    };
    for (method, headers, body, kind) in [
        ("CONNECT", &[][..], "", MethodInvalid),
        ("TRACE", &[], "", MethodInvalid),
        (
            "POST",
            &[("content-length", "1"), ("content-length", "2")],
            "ab",
            RequestHeaders,
        ),
        ("POST", &[("content-length", "+2")], "ab", RequestHeaders),
        ("POST", &[("content-length", "0x2")], "ab", RequestHeaders),
        ("POST", &[("content-length", "2, 2")], "ab", RequestHeaders),
        (
            "POST",
            &[("content-length", "1")],
            "ab",
            HttpErrorKind::RequestBody(Some(2)),
        ),
        (
            "POST",
            &[("content-length", "3")],
            "ab",
            HttpErrorKind::RequestBody(Some(2)),
        ),
        (
            "GET",
            &[("content-length", "40")],
            "",
            HttpErrorKind::RequestBody(Some(0)),
        ),
        ("GET", &[("x", "{{secret broken}}")], "", Denied),
        ("GET", &[("x", "{{secret }}")], "", RequestHeaders),
    ] {
        let error = send(method, headers, body).await.unwrap_err();
        assert_eq!(error.kind, kind, "{method} {headers:?}: {error}");
        assert_eq!(world.open.connections(), 0);
    }
    let mut many = Vec::new();
    let header_names: Vec<String> = (0..200).map(|index| format!("x-{index}")).collect();
    many.extend(header_names.iter().map(|name| (name.as_str(), "v")));
    assert_eq!(
        send("GET", &many, "").await.unwrap_err().kind,
        RequestHeaders
    );
    let large = "v".repeat(40 << 10);
    let error = send("GET", &[("x", &large)], "").await.unwrap_err();
    assert_eq!(error.kind, RequestHeaders);
    let long = format!("{uri}?{}", "q".repeat(9 << 10));
    assert_eq!(get(&client, &long).await.unwrap_err().kind, UriTooLong);
    assert_eq!(world.open.connections(), 0);

    // What is about the connection or the host is the host's own.
    let hostile = [
        ("host", "closed.test"),
        ("connection", "keep-alive, x-named"),
        ("x-named", "a"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("expect", "100-continue"),
        ("proxy-authorization", "Basic eDp5"),
        ("proxy-connection", "keep-alive"),
        ("http2-settings", "x"),
        ("content-length", "2"),
        ("x-mine", "b"),
    ];
    send("POST", &hostile, "ab").await.unwrap();
    let seen = world.open.seen().remove(0);
    let mut headers: Vec<&str> = seen.headers.keys().map(|name| name.as_str()).collect();
    headers.sort_unstable();
    assert_eq!(headers, ["content-length", "host", "user-agent", "x-mine"]);
    let host = world.fill("open.test:{P}");
    assert_eq!(seen.header("host"), Some(host.as_str()));
    assert_eq!(seen.header("content-length"), Some("2"));
    assert_eq!(seen.body, "ab");
}

#[tokio::test]
async fn what_is_granted_is_reached() {
    let world = World::new().await;
    let client = client(&world.fill(RULES), &names());
    for (method, uri) in [
        ("GET", "http://127.0.0.1:{P}/wapi/"),
        ("GET", "http://127.0.0.1:{P}/wapi"),
        (
            "GET",
            "http://127.0.0.1:{P}/wapi?query=..%2f..&x=http://closed.test",
        ),
        ("POST", "http://open.test:{P}/wapi/x/y"),
        ("DELETE", "http://OPEN.test:{P}/wapi/x/y/"),
        ("GET", "http://a.below.test:{P}/wapi/x"),
        ("HEAD", "http://a.below.test:{P}/wapi/x"),
        ("GET", "http://open.test:{P}/w%61pi/x"),
        (
            "GET",
            "http://open.test:{P}/wapi/group%2Fproject/100%25/...",
        ),
        ("GET", "http://open.test:{P}/wapi/%C3%BC/x;y=z//x"),
        ("PROPFIND", "http://open.test:{P}/wapi/x"),
    ] {
        let uri = world.fill(uri);
        let answer = client.send(request(method, &uri), Options::default()).await;
        assert!(answer.is_ok(), "{method} {uri}: {answer:?}");
        let seen = world.open.seen().remove(0);
        assert_eq!(seen.method, method);
        assert!(uri.ends_with(&seen.target), "{uri} came as {}", seen.target);
    }
    let uri = world.fill("http://a.below.test:{P}/wapi/x");
    let error = client
        .send(request("POST", &uri), Options::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind, Denied, "only GET was granted");
}
