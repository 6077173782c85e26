use super::*;

const CREATE: &str = "/v1.41/containers/create";
const VOLUME: &str = "/v1.41/volumes/create";

#[test]
fn keys_of_docker_s_structs_get_docker_s_spelling_and_data_stays() {
    let rows: &[(&str, &str, &str)] = &[
        (
            CREATE,
            r#"{"hostconfig":{"privILEGED":true}}"#,
            r#"{"HostConfig":{"Privileged":true}}"#,
        ),
        (
            CREATE,
            r#"{"HO\u017fTCONFIG":{"PRIVILEGED":true}}"#,
            r#"{"HostConfig":{"Privileged":true}}"#,
        ),
        (
            CREATE,
            "{\"Ho\u{17f}tConfig\":{\"Line\u{212a}s\":1}}",
            "{\"HostConfig\":{\"Line\u{212a}s\":1}}",
        ),
        (
            CREATE,
            "{\"HostConfig\":{\"Lin\u{212a}s\":[\"a\"]}}",
            r#"{"HostConfig":{"Links":["a"]}}"#,
        ),
        (CREATE, r#"{"\u0048ostConfig":{}}"#, r#"{"HostConfig":{}}"#),
        (
            CREATE,
            r#"{"labels":{"A":"1","a":"2"}}"#,
            r#"{"Labels":{"A":"1","a":"2"}}"#,
        ),
        (
            CREATE,
            r#"{"labels":{"hostconfig":"x"}}"#,
            r#"{"Labels":{"hostconfig":"x"}}"#,
        ),
        (
            CREATE,
            r#"{"cmd":"sh","ENTRYPOINT":["a","b"],"shell":null}"#,
            r#"{"Cmd":["sh"],"Entrypoint":["a","b"],"Shell":null}"#,
        ),
        (
            CREATE,
            r#"{"HostConfig":{"capadd":"ALL","CAPDROP":["x"]}}"#,
            r#"{"HostConfig":{"CapAdd":["ALL"],"CapDrop":["x"]}}"#,
        ),
        (CREATE, r#"{"env":"sh"}"#, r#"{"Env":"sh"}"#),
        (
            CREATE,
            r#"{"exposedports":{"80/TCP":{}},"VOLUMES":{"/A":{},"/a":{}}}"#,
            r#"{"ExposedPorts":{"80/TCP":{}},"Volumes":{"/A":{},"/a":{}}}"#,
        ),
        (
            CREATE,
            r#"{"HostConfig":{"portbindings":{"80/tcp":[{"hostip":"0.0.0.0","HOSTPORT":"1"}]}}}"#,
            r#"{"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"1"}]}}}"#,
        ),
        (
            CREATE,
            r#"{"HostConfig":{"mounts":[{"type":"bind","SOURCE":"/","bindoptions":{"propagation":"shared"},"volumeoptions":{"driverconfig":{"name":"x","options":{"O":"1"}}}}]}}"#,
            r#"{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/","BindOptions":{"Propagation":"shared"},"VolumeOptions":{"DriverConfig":{"Name":"x","Options":{"O":"1"}}}}]}}"#,
        ),
        (
            CREATE,
            r#"{"hostconfig":{"devices":[{"pathonhost":"/dev/sda","cgrouppermissions":"rwm"}],"ulimits":[{"name":"nofile","hard":1}]}}"#,
            r#"{"HostConfig":{"Devices":[{"PathOnHost":"/dev/sda","CgroupPermissions":"rwm"}],"Ulimits":[{"Name":"nofile","Hard":1}]}}"#,
        ),
        (
            CREATE,
            r#"{"networkingconfig":{"endpointsconfig":{"netA":{"ipamconfig":{"ipv4address":"1.2.3.4"},"driveropts":{"a":"b"}}}}}"#,
            r#"{"NetworkingConfig":{"EndpointsConfig":{"netA":{"IPAMConfig":{"IPv4Address":"1.2.3.4"},"DriverOpts":{"a":"b"}}}}}"#,
        ),
        (
            CREATE,
            r#"{"HostConfig":{"logconfig":{"type":"x","config":{"Tag":"1","tag":"2"}}}}"#,
            r#"{"HostConfig":{"LogConfig":{"Type":"x","Config":{"Tag":"1","tag":"2"}}}}"#,
        ),
        (
            CREATE,
            r#"{"Future":{"a":1},"X":[{"b":2}]}"#,
            r#"{"Future":{"a":1},"X":[{"b":2}]}"#,
        ),
        (CREATE, r#"{"HostConfig":null}"#, r#"{"HostConfig":null}"#),
        (
            CREATE,
            r#"{"HostConfig":"text"}"#,
            r#"{"HostConfig":"text"}"#,
        ),
        (
            CREATE,
            r#"{"Memory":0,"memoryswap":0,"cpuset":"","CpuShares":0,"volumedriver":""}"#,
            r#"{"Memory":0,"MemorySwap":0,"Cpuset":"","CpuShares":0,"VolumeDriver":""}"#,
        ),
        (
            CREATE,
            r#"{"Privileged":null,"Binds":null}"#,
            r#"{"Privileged":null,"Binds":null}"#,
        ),
        ("/v1.41/containers/a/kill", "[]", "[]"),
        (
            CREATE,
            " \t\r\n{ \"Image\" :\n\"a\" } \n",
            r#"{"Image":"a"}"#,
        ),
        (
            CREATE,
            r#"{"StopTimeout":10000000000000000000001,"X":1.50e+3,"Y":-0}"#,
            r#"{"StopTimeout":10000000000000000000001,"X":1.50e+3,"Y":-0}"#,
        ),
        (
            CREATE,
            r#"{"Image":"\ud83d\ude00\u0000\/\"\\"}"#,
            "{\"Image\":\"😀\\u0000/\\\"\\\\\"}",
        ),
        (
            "/commit?container=a",
            r#"{"cmd":"sh","ENV":["a=b"],"Privileged":true}"#,
            r#"{"Cmd":["sh"],"Env":["a=b"],"Privileged":true}"#,
        ),
        (
            "/containers/a/exec",
            r#"{"privileged":true,"CMD":["sh"],"user":"root"}"#,
            r#"{"Privileged":true,"Cmd":["sh"],"User":"root"}"#,
        ),
        (
            "/containers/a/b/exec",
            r#"{"privileged":true}"#,
            r#"{"Privileged":true}"#,
        ),
        (
            "/exec/abc/start",
            r#"{"detach":false,"TTY":true}"#,
            r#"{"Detach":false,"Tty":true}"#,
        ),
        (
            "/containers/a/update",
            r#"{"memory":1,"restartpolicy":{"NAME":"always"}}"#,
            r#"{"Memory":1,"RestartPolicy":{"Name":"always"}}"#,
        ),
        (
            "/v1.23/containers/a/start",
            r#"{"privileged":true,"binds":["/:/x"]}"#,
            r#"{"Privileged":true,"Binds":["/:/x"]}"#,
        ),
        (
            "/v1.23/containers/a/start",
            r#"{"hostconfig":{"privileged":true}}"#,
            r#"{"HostConfig":{"Privileged":true}}"#,
        ),
        (
            "/containers/a/copy",
            r#"{"resource":"/etc"}"#,
            r#"{"Resource":"/etc"}"#,
        ),
        (
            "/containers/a/checkpoints",
            r#"{"checkpointid":"x","EXIT":true}"#,
            r#"{"CheckpointID":"x","Exit":true}"#,
        ),
        (
            VOLUME,
            r#"{"name":"a","DRIVEROPTS":{"Type":"nfs"},"Label\u017f":{"K":"v"}}"#,
            r#"{"Name":"a","DriverOpts":{"Type":"nfs"},"Labels":{"K":"v"}}"#,
        ),
        (
            VOLUME,
            r#"{"clustervolumespec":{"accessmode":{"mountvolume":{"fstype":"x"}}}}"#,
            r#"{"ClusterVolumeSpec":{"AccessMode":{"MountVolume":{"FsType":"x"}}}}"#,
        ),
        (
            "/networks/create",
            r#"{"name":"n","ipam":{"config":[{"SUBNET":"10.0.0.0/8","auxiliaryaddresses":{"H":"1"}}]},"enableipv6":true}"#,
            r#"{"Name":"n","IPAM":{"Config":[{"Subnet":"10.0.0.0/8","AuxiliaryAddresses":{"H":"1"}}]},"EnableIPv6":true}"#,
        ),
        (
            "/networks/n/connect",
            r#"{"container":"c","endpointconfig":{"aliases":["x"]}}"#,
            r#"{"Container":"c","EndpointConfig":{"Aliases":["x"]}}"#,
        ),
        (
            "/networks/n/disconnect",
            r#"{"container":"c","FORCE":true}"#,
            r#"{"Container":"c","Force":true}"#,
        ),
        (
            "/services/create",
            r#"{"name":"s","tasktemplate":{"containerspec":{"image":"i","privileges":{"selinuxcontext":{"disable":true}},"mounts":[{"type":"bind"}]}}}"#,
            r#"{"Name":"s","TaskTemplate":{"ContainerSpec":{"Image":"i","Privileges":{"SELinuxContext":{"Disable":true}},"Mounts":[{"Type":"bind"}]}}}"#,
        ),
        (
            "/services/s/update?version=1",
            r#"{"mode":{"replicated":{"replicas":3}}}"#,
            r#"{"Mode":{"Replicated":{"Replicas":3}}}"#,
        ),
        (
            "/secrets/create",
            r#"{"name":"s","DATA":"eA=="}"#,
            r#"{"Name":"s","Data":"eA=="}"#,
        ),
        (
            "/configs/c/update",
            r#"{"labels":{"a":"b"},"templating":{"NAME":"golang"}}"#,
            r#"{"Labels":{"a":"b"},"Templating":{"Name":"golang"}}"#,
        ),
        (
            "/nodes/n/update",
            r#"{"role":"manager"}"#,
            r#"{"Role":"manager"}"#,
        ),
        (
            "/swarm/init",
            r#"{"forcenewcluster":true,"spec":{"caconfig":{"signingcakey":"x"}}}"#,
            r#"{"ForceNewCluster":true,"Spec":{"CAConfig":{"SigningCAKey":"x"}}}"#,
        ),
        (
            "/swarm/join",
            r#"{"jointoken":"x","remoteaddrs":["a"]}"#,
            r#"{"JoinToken":"x","RemoteAddrs":["a"]}"#,
        ),
        (
            "/swarm/update?version=1",
            r#"{"raft":{"snapshotinterval":1}}"#,
            r#"{"Raft":{"SnapshotInterval":1}}"#,
        ),
        (
            "/swarm/unlock",
            r#"{"unlockkey":"x"}"#,
            r#"{"UnlockKey":"x"}"#,
        ),
        (
            "/plugins/pull?remote=a",
            r#"[{"name":"network","value":["host"]}]"#,
            r#"[{"Name":"network","Value":["host"]}]"#,
        ),
        (
            "/plugins/a/b/upgrade?remote=a",
            r#"[{"NAME":"mount"}]"#,
            r#"[{"Name":"mount"}]"#,
        ),
        ("/plugins/a/set", r#"["DEBUG=1"]"#, r#"["DEBUG=1"]"#),
        (
            "/auth",
            r#"{"UserName":"u","ServerAddress":"x"}"#,
            r#"{"username":"u","serveraddress":"x"}"#,
        ),
        ("/images/a/b/push", r#"{"Auth":"x"}"#, r#"{"auth":"x"}"#),
        (
            "/future/thing",
            r#"{"Some":{"Key":[1]},"other":2}"#,
            r#"{"Some":{"Key":[1]},"other":2}"#,
        ),
    ];
    for (uri, body, expected) in rows {
        match judge(&post(uri, *body)) {
            Ok(request) => assert_eq!(
                request.body,
                Body::Json((*expected).to_owned()),
                "{uri} {body}"
            ),
            Err(denial) => panic!("{uri} {body}: {denial}"),
        }
    }
}

#[test]
fn bodies_with_two_readings_are_denied() {
    let rows: &[(&str, &str, &str)] = &[
        (CREATE, r#"{"Image":"a","Image":"a"}"#, "twice"),
        (CREATE, r#"{"Image":"a","image":"b"}"#, "takes for one"),
        (
            CREATE,
            r#"{"HostConfig":{},"hostconfig":{"Privileged":true}}"#,
            "takes for one",
        ),
        (
            CREATE,
            r#"{"HostConfig":{"Privileged":false,"privileged":true}}"#,
            "takes for one",
        ),
        (
            CREATE,
            r#"{"HostConfig":{"Privileged":true},"HostConfig":null}"#,
            "twice",
        ),
        (
            CREATE,
            "{\"HostConfig\":{},\"Ho\u{17f}tConfig\":{}}",
            "takes for one",
        ),
        (
            CREATE,
            "{\"HostConfig\":{\"Links\":[],\"Lin\u{212a}s\":[]}}",
            "takes for one",
        ),
        (CREATE, r#"{"H\u006fstConfig":{},"HostConfig":{}}"#, "twice"),
        (CREATE, r#"{"Labels":{"a":"1","a":"2"}}"#, "twice"),
        (CREATE, r#"{"Future":1,"FUTURE":2}"#, "takes for one"),
        (CREATE, r#"{"Future":{"a":1,"A":2}}"#, "takes for one"),
        (
            CREATE,
            r#"{"HostConfig":{"Mounts":[{"Source":"/a","source":"/b"}]}}"#,
            "takes for one",
        ),
        (CREATE, r#"{"HostConfig":[{"a":1,"A":2}]}"#, "takes for one"),
        (CREATE, r#"{"Image":{"a":1,"A":2}}"#, "takes for one"),
        ("/future/thing", r#"{"a":1,"A":2}"#, "takes for one"),
        (
            "/plugins/pull",
            r#"[{"Name":"a","name":"b"}]"#,
            "takes for one",
        ),
        (CREATE, r#"{"Privileged":true}"#, "outside of HostConfig"),
        (
            CREATE,
            r#"{"privileged":true,"Image":"a"}"#,
            "outside of HostConfig",
        ),
        (
            CREATE,
            r#"{"Binds":["/:/x"],"HostConfig":{}}"#,
            "outside of HostConfig",
        ),
        (CREATE, r#"{"MaskedPaths":[]}"#, "outside of HostConfig"),
        (
            CREATE,
            r#"{"Memory":5,"HostConfig":{}}"#,
            "outside of HostConfig",
        ),
        (
            CREATE,
            r#"{"VolumeDriver":"x","HostConfig":{}}"#,
            "outside of HostConfig",
        ),
        (
            CREATE,
            r#"{"Cpuset":"0","HostConfig":{}}"#,
            "outside of HostConfig",
        ),
        (CREATE, r#"{"PidMode":""}"#, "outside of HostConfig"),
        (CREATE, r#"{"Memory":-0}"#, "outside of HostConfig"),
        (
            "/v1.23/containers/a/start",
            r#"{"Privileged":true,"HostConfig":{}}"#,
            "outside of HostConfig",
        ),
        (CREATE, r#"{"Image":"a"}{"Image":"b"}"#, "more text after"),
        (CREATE, r#"{"Image":"a"}x"#, "more text after"),
        (CREATE, "{}\0", "more text after"),
        (CREATE, "null,", "more text after"),
        (CREATE, "null", "no JSON object"),
        (CREATE, "[]", "no JSON object"),
        (CREATE, "\"{}\"", "no JSON object"),
        (CREATE, "\u{feff}{}", "byte-order mark"),
        (CREATE, "  ", "not JSON"),
        (CREATE, "{", "not JSON"),
        (CREATE, "[1,]", "not JSON"),
        (CREATE, r#"{"a":1,}"#, "not JSON"),
        (CREATE, r#"{"a" 1}"#, "not JSON"),
        (CREATE, "{a:1}", "not JSON"),
        (CREATE, "{'a':1}", "not JSON"),
        (CREATE, r#"{"a":01}"#, "malformed number"),
        (CREATE, r#"{"a":+1}"#, "not JSON"),
        (CREATE, r#"{"a":1.}"#, "malformed number"),
        (CREATE, r#"{"a":.5}"#, "not JSON"),
        (CREATE, r#"{"a":NaN}"#, "not JSON"),
        (CREATE, r#"{"a":0x1}"#, "not JSON"),
        (CREATE, r#"{"a":"#, "not JSON"),
        (CREATE, r#"{"a":"x"#, "ends inside"),
        (CREATE, r#"{"a":"\"#, "ends inside"),
        (CREATE, r#"{"a":"\x"}"#, "not valid"),
        (CREATE, r#"{"a":"\ud800"}"#, "not valid"),
        (CREATE, r#"{"a":"\ud800\ud800"}"#, "not valid"),
        (CREATE, r#"{"a":"\udc00x"}"#, "not valid"),
        (CREATE, r#"{"\ud800":1}"#, "not valid"),
        (CREATE, "{\"a\":\"\n\"}", "not valid"),
        (CREATE, "{\"a\":1/**/}", "not JSON"),
        (CREATE, "tru", "not JSON"),
        (CREATE, "TRUE", "not JSON"),
        (CREATE, "a=b&c=d", "not JSON"),
        ("/containers/a/kill", "x", "not JSON"),
    ];
    for (uri, body, part) in rows {
        denied(&post(uri, *body), part, &format!("{uri} {body:?}"));
    }
    for (body, part) in [
        (&b"{\"a\":\"\xff\"}"[..], "not valid"),
        (b"{\"\xc3\":1}", "not valid"),
        (b"{\"a\":\"\xed\xa0\x80\"}", "not valid"),
        (b"\xff\xfe{\x00}\x00", "not JSON"),
        (b"{\"a\":1}\xff", "more text after"),
    ] {
        denied(&post(CREATE, body), part, &format!("{body:?}"));
    }
}

#[test]
fn a_commit_without_a_configuration_is_one_without_a_body() {
    let read = judge(&post("/v1.40/commit?container=a", "null")).unwrap();
    assert_eq!(read.body, Body::None);
}

#[test]
fn nesting_is_bounded_and_large_bodies_are_read() {
    let nested = |levels: usize| {
        let lists = levels - 1;
        format!("{{\"a\":{}{}}}", "[".repeat(lists), "]".repeat(lists))
    };
    assert!(judge(&post(CREATE, nested(json::MAX_DEPTH))).is_ok());
    denied(
        &post(CREATE, nested(json::MAX_DEPTH + 2)),
        "nests more",
        "102 levels",
    );
    denied(
        &post(CREATE, nested(1_000_000)),
        "nests more",
        "a million levels",
    );
    denied(
        &post(CREATE, "{\"a\":".repeat(500_000)),
        "nests more",
        "half a million levels",
    );
    let large = format!(r#"{{"Image":"{}"}}"#, "a".repeat(4 << 20));
    assert_eq!(
        judge(&post(CREATE, large.clone())).unwrap().body,
        Body::Json(large)
    );
    let many = format!(
        "{{{}}}",
        (0..200_000)
            .map(|n| format!("\"k{n}\":1,"))
            .collect::<String>()
            + "\"z\":1"
    );
    assert_eq!(
        judge(&post(CREATE, many.clone())).unwrap().body,
        Body::Json(many)
    );
}
