use super::{daemon, plugin};

#[test]
fn errors_say_where_and_what_instead() {
    let cases = [
        (
            "drivrs = \"/d\"",
            "/etc/dockside/dockside.toml:1:1: unknown key `drivrs`: did you mean `drivers`?",
        ),
        (
            "# é\n\n[limits]\nmax_calls = 3",
            ":4:1: unknown key `max_calls`: did you mean `max-calls`?",
        ),
        (
            "[limit]\n",
            ":1:2: unknown key `limit`: did you mean `limits`?",
        ),
        (
            "[log]\nzzz = 1",
            ":2:1: unknown key `zzz`: known here are `format`, `level`",
        ),
        (
            "[log]\nformat = \"jsn\"",
            ":2:10: unknown value `jsn`: did you mean `json`?",
        ),
        (
            "[log]\nformat = \"xml\"",
            ":2:10: unknown value `xml`: known here are `text`, `json`",
        ),
        (
            "[limits]\nmax-calls = 0",
            ":2:13: 0 must be from 1 to 10000",
        ),
        ("[limits]\nmax-calls = -1", "-1 must be from 1 to 10000"),
        (
            "[limits]\nmax-calls = \"7\"",
            "invalid type: string \"7\", expected a whole number from 1 to 10000",
        ),
        (
            "[limits]\nmax-body = \"1e3\"",
            "\"1e3\": a size must be a whole number of bytes with an optional unit",
        ),
        (
            "[limits]\nmax-body = 1.5",
            "expected a size such as \"64MiB\"",
        ),
        (
            "[limits]\nmax-body = -5",
            "expected a size such as \"64MiB\"",
        ),
        (
            "[limits]\nmax-body = \"1GiB\"",
            "1GiB is too large: at most 64MiB",
        ),
        ("[limits]\nmax-body = 12", "12 is too small: at least 4KiB"),
        (
            "[limits]\nmax-body = \"20000p\"",
            "must be less than 16384 PiB",
        ),
        (
            "[limits]\nheader-deadline = 10",
            "expected a duration in quotes with its unit",
        ),
        (
            "[limits]\nheader-deadline = \"10\"",
            "expected a duration in quotes with its unit",
        ),
        (
            "[limits]\nheader-deadline = \"10h\"",
            "10h is too long: at most 5m",
        ),
        (
            "[limits]\nheader-deadline = \"1ms\"",
            "1ms is too short: at least 100ms",
        ),
        (
            "control = \"/run/docker/plugins/x.sock\"",
            "Docker takes every socket for a plugin",
        ),
        ("socket-group = \"\"", "socket-group is empty"),
        ("drivers = \"/a\"\ndrivers = \"/b\"", ":2:1: duplicate key"),
        ("drivers = ", ":1:"),
    ];
    for (text, expected) in cases {
        let error = daemon(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}\n{error}\n{expected}");
        assert!(error.starts_with("/etc/dockside/dockside.toml:"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let cases = [
        (
            "name = [\"x\"]",
            "line 1, column 1: unknown key `name`: did you mean `names`?",
        ),
        (
            "[grants]\ndirectorys = {}",
            "line 2, column 1: unknown key `directorys`: did you mean `directories`?",
        ),
        (
            "[grants]\nmounts = true",
            "expected a table: mounts = { tmpfs",
        ),
        (
            "[grants]\ndirectories = true",
            "expected a table: directories = {}",
        ),
        (
            "[grants]\ndirectories = { maximum = 3 }",
            "unknown key `maximum`: only `max` is known here",
        ),
        ("[grants]\ndirectories = { max = 0 }", "0 must be from 1 to"),
        (
            "[grants]\nstate = { max-byte = 3 }",
            "did you mean `max-bytes`?",
        ),
        (
            "[grants.mounts]\nhostpaths = []",
            "did you mean `host-paths`?",
        ),
        (
            "[grants.mounts]\nhost-paths = [\"/a\", \"srv\"]",
            "line 2, column 14: \"srv\" is no absolute path",
        ),
        (
            "[grants.mounts]\nhost-paths = [\"/srv/../etc\"]",
            "a path with .. in it can lead anywhere",
        ),
        (
            "[grants.mounts]\nnfs = [\"nas\"]",
            "\"nas\" is no export: write \"server:/path\"",
        ),
        (
            "[grants.mounts]\nnfs = [\"fd00::1:/x\"]",
            "an IPv6 address in brackets",
        ),
        (
            "[grants.mounts]\nnfs = [\"10.1:/x\"]",
            "an address in an unusual spelling",
        ),
        (
            "[grants.mounts]\nnfs = [\"*.example.com:/x\"]",
            "neither a host name nor an address",
        ),
        (
            "[grants.mounts]\ncifs = [\"\\\\\\\\server\\\\share\"]",
            "the form is \"//server/share\"",
        ),
        (
            "[grants.mounts]\ncifs = [\"//server\"]",
            "the form is \"//server/share\"",
        ),
        (
            "[grants.mounts]\nhelpers = [\"sshfs\"]",
            "expected a table: helpers = { sshfs = ",
        ),
        (
            "[grants.mounts]\nhelpers = { sshf = [] }",
            "did you mean `sshfs`?",
        ),
        (
            "[grants.mounts]\nhelpers = { rclone = [\":local:/\"] }",
            "the form is \"user@host:/path\"",
        ),
        (
            "[grants.mounts]\ntmpfs = \"1k\"",
            "1KiB is too small: at least 4KiB",
        ),
        (
            "[grants.mounts]\non-dead = \"remunt\"",
            "did you mean `remount`?",
        ),
        (
            "[grants.mounts]\nprobe-every = \"0s\"",
            "0s is too short: at least 1s",
        ),
        (
            "[grants.images]\nmax-size = \"2PiB\"",
            "2PiB is too large: at most 1PiB",
        ),
        (
            "[grants.images]\nfilesystems = [\"ext3\"]",
            "did you mean `ext4`?",
        ),
        (
            "[grants.links]\nkinds = [\"vlan\"]",
            "unknown value `vlan`: did you mean `vxlan`?",
        ),
        (
            "[grants.links]\nparents = [\"eth0/1\"]",
            "cannot be the name of a link",
        ),
        (
            "[grants.links]\nroutes = [\"10.0.0.1/8\"]",
            "write \"10.0.0.0/8\" for the network, or \"10.0.0.1/32\"",
        ),
        (
            "[grants.links]\nroutes = [\"10.0.0.1\"]",
            "is no network: write an address and the length of its prefix",
        ),
        (
            "[grants.nat]\npublish = [\"80-79\"]",
            "the first port of a range is not above the last",
        ),
        (
            "[grants.nat]\npublish = [\"0-79\"]",
            "ports are from 1 to 65535",
        ),
        ("[grants.nat]\npublish = [-1]", "ports are from 1 to 65535"),
        (
            "[grants.nat]\npublish = [\"80/tcp\"]",
            "ports are from 1 to 65535",
        ),
        (
            "[grants.http]\nallow = [\"get https://x/\"]",
            "\"get\" is no method such as GET or POST",
        ),
        (
            "[grants.http]\nallow = [\"GET ftp://x/\"]",
            "is no place such as \"https://api.example.com/path/\"",
        ),
        (
            "[grants.http]\nallow = [\"https://x/\"]",
            "needs a method, or * for any, and a place",
        ),
        (
            "[grants.http]\nsecrets = [\"a b\"]",
            "the name of a secret has 1 to 128",
        ),
        (
            "[grants.http]\nsecrets = [\"token\"]",
            "grants.http.secrets: there is no secret token: say where it is, with token = { file",
        ),
        (
            "[grants.http]\nsecrets = { token = [\"https://x/\"] }",
            "grants.http.secrets: there is no secret token: say where it is, with token = { file",
        ),
        (
            "[grants.http]\nsecrets = { token = [\"x\"] }",
            "is no place such as \"https://api.example.com/path/\"",
        ),
        (
            "[grants.http]\nsecrets = \"token\"",
            "names of secrets such as [\"api-token\"], or a table of where each may be sent",
        ),
        (
            "[grants.secrets]\nuse = [\"tokn\"]\n[secrets]\ntoken.env = \"T\"",
            "grants.secrets.use: unknown secret `tokn`: did you mean `token`?",
        ),
        (
            "[grants.http]\nclient-certificate = \"c.pem\"",
            "client-certificate and client-key go together",
        ),
        ("[grants.outbox]\nmax = 0", "0 must be from 1 to"),
        (
            "[grants.blobs.\"a/b\"]\ndirectory = \"/srv\"",
            "the name of a blob store has 1 to 64",
        ),
        (
            "[grants.blobs.a]\ndirectory = \"srv\"",
            "an absolute path is needed",
        ),
        ("[grants.blobs.a]", "either a directory or s3"),
        (
            "[grants.blobs.a]\ndirectry = \"/srv\"",
            "unknown key `directry`",
        ),
        (
            "[grants.blobs.a.s3]\nurl = \"ftp://x\"",
            "is no place such as",
        ),
        (
            "[grants.blobs.a.s3]\nurl = \"https://*.example.com\"",
            "it is one server, without *",
        ),
        (
            "[grants.blobs.a.s3]\nbucket = \"../b\"",
            "the name of a bucket has 3 to 255",
        ),
        (
            "[grants.blobs.a.s3]\nprefix = \"a/../b\"",
            "no part begins with a dot",
        ),
        (
            "[grants.blobs.a.s3]\nurl = \"https://x\"\nbucket = \"bbb\"\naccess-key = \"k\"\nsecret-key = \"k\"",
            "grants.blobs.*.s3.access-key: there is no secret k",
        ),
        (
            "[secrets]\nx = { fil = \"/x\" }",
            "unknown key `fil`: did you mean `file`?",
        ),
        ("[secrets]\nx = {}", "a secret needs { file"),
        (
            "[secrets]\nx = { file = \"a\", env = \"B\" }",
            "a secret comes from one place",
        ),
        (
            "[secrets]\nx = { credential = \"../a\" }",
            "is no name of a credential",
        ),
        (
            "[secrets]\n\"a b\" = { env = \"A\" }",
            "the name of a secret has 1 to 128",
        ),
        (
            "[limits]\nbackground = \"500ms\"",
            "500ms is too short: at least 1s",
        ),
        (
            "[limits]\nbackground = \"25h\"",
            "1day 1h is too long: at most 1day",
        ),
        (
            "[config]\nx = [1]",
            "expected text, a number, true, false, { file = \"PATH\" }",
        ),
        (
            "[config]\nx = { fil = \"/x\" }",
            "unknown key `fil`: did you mean `file`?",
        ),
        ("[config]\nx = {}", "a value needs { file"),
        (
            "[config]\nx = { file = \"a\", env = \"B\" }",
            "not from both",
        ),
        (
            "[config]\nx = { file = \"\" }",
            "the name of the file is empty",
        ),
        (
            "[config]\nx = { env = \"A=B\" }",
            "no name of an environment variable",
        ),
        ("[config]\nx = 2026-01-01", "a date must be in quotes"),
        ("[config]\n\"\" = 1", "a key under [config] is empty"),
        (
            "names = [\"a\", \"../b\"]",
            "line 1, column 9: \"../b\" is no plugin name",
        ),
        ("names = [\"a\", \"a\"]", "the name a is given twice"),
        ("names = \"a\"", "expected a sequence"),
        ("driver = \"a/b\"", "cannot be the name of a driver"),
        ("driver = \"a@1.2.3.wasm\"", "driver = \"a\""),
        ("version = \"one\"", "neither a version such as"),
        ("[instances]\nreuse = 0", "0 must be from 1 to"),
        (
            "[limits]\nmemory = \"2GiB\"",
            "2GiB is too large: at most 1GiB",
        ),
        (
            "[limits]\ndeadline = \"2m\"",
            "2m is too long: at most 1m 50s",
        ),
        (
            "[limits]\ndeadline = \"1ms\"",
            "1ms is too short: at least 10ms",
        ),
        (
            "[limits.deadlines]\n\"VolumeDriver.Crate\" = \"1s\"",
            "unknown method `VolumeDriver.Crate`: did you mean `VolumeDriver.Create`?",
        ),
        (
            "[limits.deadlines]\nVolumDriver = \"1s\"",
            "did you mean `VolumeDriver`?",
        ),
        (
            "[limits.deadlines]\nfoo = \"1s\"",
            "unknown method `foo`: the keys are Docker's methods",
        ),
        (
            "[limits.deadlines]\n\"VolumeDriver.Get\" = \"60s\"",
            "VolumeDriver.Get: 1m is too long: at most 55s",
        ),
        (
            "[limits.deadlines]\nVolumeDriver.Get = \"60s\"",
            "VolumeDriver.Get: 1m is too long: at most 55s",
        ),
        (
            "[limits.deadlines]\nVolumeDriver = 3",
            "expected a duration in quotes",
        ),
    ];
    for (text, expected) in cases {
        let error = plugin(text).unwrap_err();
        let text_of = error.to_string();
        assert!(text_of.contains(expected), "{text}\n{text_of}\n{expected}");
        assert!(
            !text_of.contains('\n') && !text_of.contains("$__"),
            "{text_of}"
        );
        assert_eq!(error.file(), None);
        assert!(text_of.ends_with(error.message()));
    }
}

#[test]
fn places_are_counted_in_lines_and_characters() {
    let error = plugin("\n\n[config]\n\"ü\" = { fil = 1 }").unwrap_err();
    assert_eq!(error.place(), Some((4, 7)));
}
