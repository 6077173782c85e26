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
            "[grants]\nmounts = {}",
            "unknown key `mounts`: known here are `directories`, `state`",
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
