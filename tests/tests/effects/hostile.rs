//! Names and options that are meant to become something else: paths, options, commands, lines of a script.

use anyhow::{Result, ensure};
use dockside_tests::world::Program;
use serde_json::{Value, json};

use crate::{PLUGIN, create, serve, world};

/// Texts that somebody could mistake for something else, `{}` being the directory outside of the data directory.
fn texts(outside: &str) -> Vec<String> {
    let long = "x".repeat(5_000);
    let deep = "../".repeat(60);
    [
        "",
        ".",
        "..",
        "/",
        "//",
        "../x",
        "../../etc/passwd",
        "/etc/passwd",
        "/etc",
        "a/../../b",
        "./a",
        "a/",
        "a//b",
        "{}",
        "{}/../..",
        "..\\..\\x",
        "%2e%2e%2f",
        "..%00/",
        "a\u{0}b",
        "\u{0}",
        "a\nb",
        "\n",
        "\r\n",
        "a\tb",
        " ",
        "a b",
        "'",
        "\"",
        "`id`",
        "$(id)",
        "${IFS}",
        "a;id",
        "a|id",
        "a&id",
        "a>b",
        "a<b",
        "*",
        "?",
        "[a]",
        "~",
        "~root",
        "-",
        "--",
        "-o",
        "-oProxyCommand=id",
        "--help",
        "-rf",
        "--bind",
        ",suid",
        "x,suid",
        "x,dev,exec",
        "rw,suid=1",
        "size=1g",
        "a=b",
        "a=b,c=d",
        "upperdir=/etc",
        "lowerdir=/etc:upperdir=/",
        "a:b",
        ":",
        "user@host:/x",
        "-x@host:/x",
        "host -o",
        "eth0",
        "lo",
        "eth0;id",
        "dk0000000000",
        "0/0",
        "0.0.0.0/0",
        "::/0",
        "255.255.255.255",
        "10.0.0.1/33",
        "http://x",
        "file:///etc/passwd",
        "\u{202e}x",
        "ａ",
        "💥",
        "\u{feff}",
        "\u{7f}",
        "\u{1b}[31m",
        "a\u{301}",
        "CON",
        "a\u{85}b",
        "\u{2028}",
        "NaN",
        "-1",
        "99999999999999999999",
        "0x10",
        "1e9",
        "true",
        "null",
        "{}{{}}",
        "%s%n",
        "\\x00",
        "\\",
        "\\\\",
        "/proc/self/root",
        "/proc/self/fd/3",
        "/dev/sda",
        "/run/docker.sock",
        "/var/run/docker.sock",
        "mounts/x",
        "image/x",
        "link/x",
        "object",
        "'; DROP TABLE object; --",
    ]
    .into_iter()
    .map(|text| text.replace("{}", outside))
    .chain([
        long.clone(),
        format!("../{long}"),
        deep.clone(),
        format!("{deep}etc"),
    ])
    .collect()
}

/// Operations with the text in each place where one can stand.
fn operations(text: &str) -> Vec<String> {
    let word = Value::from(text).to_string();
    [
        "mkdir @",
        "tmpfs @ 1m",
        "tmpfs k @",
        "hostpath k @",
        "image @ 8m @",
        "bridge @",
        "pair @ q@",
        "vxlan k @",
        "macvlan k @",
        "bridge b; addr b @",
        "bridge b; route b @",
        "bridge b; neigh b @ @",
        "vxlan v 7; fdb v @ @",
        "bridge b; nat @ forward@b",
        "bridge b; nat n publish=@:@:@:@@b",
        "helper k @ root@127.0.0.1:/x",
        "helper k sshfs @",
        "helper k sshfs root@127.0.0.1:/x @=1",
        "helper k s3fs @",
        "helper k rclone @",
        "nfs k @ /x",
        "nfs k 127.0.0.1 @",
        "cifs k @ share",
        "cifs k 127.0.0.1 @",
        "secret @",
        "secretin @",
        "keep @ value",
        "http GET @",
        "note @",
    ]
    .into_iter()
    .map(|operation| {
        // A word of the script that holds the text, whatever that is.
        let mut script = String::new();
        for part in operation.split_inclusive(' ') {
            let (bare, space) = match part.strip_suffix(' ') {
                Some(bare) => (bare, " "),
                None => (part, ""),
            };
            if bare == "@" {
                script.push_str(&word);
            } else if bare == "q@" {
                script.push_str(&Value::from(format!("q{text}")).to_string());
            } else if bare == "@=1" {
                script.push_str(&Value::from(format!("{text}=1")).to_string());
            } else {
                script.push_str(bare);
            }
            script.push_str(space);
        }
        script
    })
    .collect()
}

#[test]
fn no_text_leads_out_of_the_data_directory() -> Result<()> {
    let test = "no_text_leads_out_of_the_data_directory";
    let Some(world) = world(test, "machine", "")? else {
        return Ok(());
    };
    let mut daemon = serve(&world, Program::Plain)?;
    let before = world.settled()?;
    let mut cases = 0;
    let mut made = 0;
    for text in texts(&world.outside.display().to_string()) {
        let mut names = Vec::new();
        for (number, operation) in operations(&text).into_iter().enumerate() {
            cases += 1;
            let name = format!("v{number}");
            let answer = create(&world, &name, &[("do", &operation)])?;
            let said = answer.at("/Err");
            let said = said.as_str().unwrap_or_default();
            // One line that can be printed, whatever was asked for.
            ensure!(
                !said.contains(char::is_control) && said.len() < 16_384,
                "{operation}: {said:?}"
            );
            if answer.is_success() {
                made += 1;
                names.push(name);
                // What is mounted or made lies below the data directory, or is the directory that the operator granted.
                let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", world.holder()))?;
                let data = world.site.data.canonicalize()?.display().to_string();
                let base = world
                    .outside
                    .parent()
                    .map(|base| base.display().to_string());
                for line in table.lines() {
                    let point = line.split(' ').nth(4).unwrap_or_default();
                    let of_the_world = base.as_deref().is_some_and(|base| point.starts_with(base));
                    ensure!(
                        !of_the_world || point.starts_with(&data),
                        "{operation}: mounted on {point}"
                    );
                }
            }
        }
        let mut caller = world.site.caller(PLUGIN);
        for name in names {
            let gone = caller.call_once("VolumeDriver.Remove", &json!({ "Name": name }))?;
            ensure!(gone.is_success(), "{text:?}: {gone:?}");
        }
    }
    let left = before.difference(&world.settled()?);
    ensure!(left.is_empty(), "left behind:\n{left}");
    ensure!(daemon.is_running()?, "{}", world.site.log_end());
    ensure!(cases > 200, "{cases} cases");
    println!("{cases} cases, {made} of them made something");
    Ok(())
}
