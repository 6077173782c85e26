//! Plugins that listen at an address.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use dockside_tests::certificates::{Authority, Pair};
use dockside_tests::daemon::{Daemon, Site, until};
use dockside_tests::{files, skip};
use serde_json::{Value, json};

use crate::DIRECTORIES;

/// A site whose files for Docker are in a directory of its own.
fn site(settings: &str) -> Result<Site> {
    let site = Site::new()?;
    fs::write(
        &site.config,
        format!("spec-directory = {:?}\n{settings}", specs(&site)),
    )?;
    Ok(site)
}

fn specs(site: &Site) -> PathBuf {
    site.data.with_file_name("specs")
}

/// The driver `local` as plugin `files`.
fn install(site: &Site, endpoint: &str) -> Result<()> {
    site.configure("files", &format!("[endpoint]\n{endpoint}\n{DIRECTORIES}"))?;
    site.drop_in(&files::driver("local")?, "files")
}

const PLAIN: &str = "listen = \"tcp://127.0.0.1:0\"";

/// What Docker reads of a plugin.
fn announced(site: &Site, file: &str) -> Option<String> {
    let text = fs::read_to_string(specs(site).join(file)).ok()?;
    Some(text.trim().to_owned())
}

fn authority_of(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

/// A request from this process, as the engine writes it.
fn call(url: &str, method: &str, body: &Value) -> Result<Value> {
    let mut stream = TcpStream::connect(authority_of(url))?;
    let body = format!("{body}\n");
    write!(
        stream,
        "POST /{method} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        authority_of(url),
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    Ok(serde_json::from_str(body)?)
}

fn curl(program: &[&str], arguments: &[&str]) -> Result<Output> {
    let (first, rest) = program.split_first().context("no program")?;
    Ok(Command::new(first)
        .args(rest)
        .args(["-sS", "--max-time", "60", "-X", "POST"])
        .args(arguments)
        .output()?)
}

fn curl_says(arguments: &[&str]) -> Result<String> {
    let output = curl(&["curl"], arguments)?;
    ensure!(
        output.status.success(),
        "curl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

const HANDSHAKE: &str = "{\"Implements\":[\"VolumeDriver\"]}";

#[test]
fn a_plugin_at_an_address_is_announced_as_long_as_it_is_there() -> Result<()> {
    let site = site("")?;
    install(&site, PLAIN)?;
    let mut daemon = site.serve()?;
    let url = announced(&site, "files.spec").context("no files.spec")?;
    assert!(url.starts_with("tcp://127.0.0.1:"), "{url}");
    assert!(!site.socket("files").exists());
    let detail = site.ask("/v1/plugin?name=files")?;
    assert_eq!(detail["socket"], *url);
    assert_eq!(
        detail["discovery"],
        *specs(&site).join("files.spec").to_string_lossy()
    );
    assert_eq!(
        call(&url, "Plugin.Activate", &json!({}))?["Implements"],
        json!(["VolumeDriver"])
    );
    daemon.terminate()?;
    assert_eq!(announced(&site, "files.spec"), None);

    // Engines remember the address.
    let mut daemon = site.serve()?;
    assert_eq!(announced(&site, "files.spec").as_deref(), Some(&*url));
    daemon.kill()?;
    assert_eq!(announced(&site, "files.spec").as_deref(), Some(&*url));
    site.configure("files", DIRECTORIES)?;
    let _daemon = site.serve()?;
    assert_eq!(announced(&site, "files.spec"), None);
    assert!(site.socket("files").exists());
    Ok(())
}

#[test]
fn a_plugin_moves_when_its_file_says_so() -> Result<()> {
    let site = site("")?;
    site.configure("files", DIRECTORIES)?;
    site.drop_in(&files::driver("local")?, "files")?;
    let _daemon = site.serve()?;
    assert!(site.socket("files").exists());
    install(&site, PLAIN)?;
    until("the address", || announced(&site, "files.spec").is_some())?;
    assert!(!site.socket("files").exists());
    let url = announced(&site, "files.spec").context("no files.spec")?;
    call(&url, "VolumeDriver.Create", &json!({ "Name": "v" }))?;

    let other = site.data.with_file_name("other.sock");
    install(&site, &format!("listen = \"unix://{}\"", other.display()))?;
    let wanted = format!("unix://{}", other.display());
    until("the other socket", || {
        announced(&site, "files.spec").as_deref() == Some(&*wanted)
    })?;
    assert!(TcpStream::connect(authority_of(&url)).is_err());
    let mut caller = dockside_tests::client::Caller::new(&other);
    assert_eq!(crate::listed(&mut caller)?, ["v"]);

    site.remove("files.toml")?;
    site.remove("files.wasm")?;
    until("the file for Docker to go", || {
        announced(&site, "files.spec").is_none()
    })
}

#[test]
fn the_process_behind_a_connection_is_the_engine() -> Result<()> {
    let site = site("")?;
    install(&site, PLAIN)?;
    let _daemon = site.serve()?;
    let url = announced(&site, "files.spec").context("no files.spec")?;
    let volume = json!({ "Name": "v" });
    call(&url, "VolumeDriver.Create", &volume)?;
    call(
        &url,
        "VolumeDriver.Mount",
        &json!({ "Name": "v", "ID": "1" }),
    )?;
    let said = call(&url, "VolumeDriver.Remove", &volume)?;
    assert!(
        said["Err"]
            .as_str()
            .unwrap()
            .contains("is in use by 1 mount"),
        "{said}"
    );
    // To another process that is a use which was never ended.
    let target = format!("http://{}/VolumeDriver.Remove", authority_of(&url));
    let said = curl_says(&["-d", "{\"Name\":\"v\"}", &target])?;
    assert_eq!(serde_json::from_str::<Value>(&said)?["Err"], "");
    Ok(())
}

#[test]
fn other_users_of_the_machine_are_strangers() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        skip::skipped("other_users_of_the_machine_are_strangers", "it needs root");
        return Ok(());
    }
    let site = site("")?;
    install(&site, PLAIN)?;
    let _daemon = site.serve()?;
    let nobody = ["setpriv", "--reuid", "65534", "--clear-groups", "curl"];
    let url = announced(&site, "files.spec").context("no files.spec")?;
    let target = format!("http://{}/Plugin.Activate", authority_of(&url));
    let said = curl(&nobody, &[&target])?;
    assert!(!said.status.success(), "{said:?}");
    until("the log to say so", || {
        site.log_end().contains("a process of user 65534 called")
    })?;
    assert_eq!(curl_says(&[&target])?, HANDSHAKE);
    install(&site, &format!("{PLAIN}\ninsecure = true"))?;
    until("strangers to be let in", || {
        let url = announced(&site, "files.spec").unwrap_or_default();
        let target = format!("http://{}/Plugin.Activate", authority_of(&url));
        curl(&nobody, &[&target])
            .is_ok_and(|said| String::from_utf8_lossy(&said.stdout) == HANDSHAKE)
    })
}

#[test]
fn what_others_put_into_the_directory_stays() -> Result<()> {
    let site = site("")?;
    fs::create_dir(specs(&site))?;
    fs::write(specs(&site).join("files.spec"), "tcp://192.0.2.1:1\n")?;
    install(&site, PLAIN)?;
    let mut daemon = site.serve()?;
    let problems = site.ask("/v1/status")?["problems"].to_string();
    assert!(
        problems.contains("dockside has not written it"),
        "{problems}"
    );
    daemon.terminate()?;
    assert_eq!(
        announced(&site, "files.spec").as_deref(),
        Some("tcp://192.0.2.1:1")
    );
    Ok(())
}

/// A plugin that asks for certificates.
struct Tls {
    site: Site,
    daemon: Daemon,
    ours: Authority,
    theirs: Authority,
    client: Pair,
    url: String,
}

impl Tls {
    fn new(settings: &str) -> Result<Tls> {
        let site = site(settings)?;
        let base = site.data.parent().context("no parent")?.to_owned();
        let ours = Authority::new("servers")?;
        let theirs = Authority::new("clients")?;
        ours.write(&base.join("server-ca.pem"))?;
        theirs.write(&base.join("client-ca.pem"))?;
        ours.issue(&base, "server", &["127.0.0.1", "localhost"])?;
        let client = theirs.issue(&base, "client", &[])?;
        install(
            &site,
            &format!(
                "{PLAIN}\ntls = {{ certificate = {:?}, key = {{ file = {:?} }}, client-ca = {:?} }}\n\
                 client = {{ ca-file = {:?}, cert-file = {:?}, key-file = {:?} }}",
                base.join("server.pem"),
                base.join("server.key"),
                base.join("client-ca.pem"),
                base.join("server-ca.pem"),
                client.certificate,
                client.key,
            ),
        )?;
        let daemon = site.serve()?;
        let text = announced(&site, "files.json").context("no files.json")?;
        let value: Value = serde_json::from_str(&text)?;
        let url = value["Addr"].as_str().context("no Addr")?.to_owned();
        assert!(url.starts_with("https://127.0.0.1:"), "{value}");
        Ok(Tls {
            site,
            daemon,
            ours,
            theirs,
            client,
            url,
        })
    }

    fn base(&self) -> PathBuf {
        self.site.data.with_file_name("")
    }

    /// What the engine says to the plugin with the files of the `.json`, or with other certificates.
    fn ask(&self, pair: Option<&Pair>) -> Result<Output> {
        let ca = self.base().join("server-ca.pem");
        let target = format!("{}/Plugin.Activate", self.url);
        let mut arguments = vec!["--cacert", ca.to_str().unwrap()];
        if let Some(pair) = pair {
            arguments.extend(["--cert", pair.certificate.to_str().unwrap()]);
            arguments.extend(["--key", pair.key.to_str().unwrap()]);
        }
        arguments.push(&target);
        curl(&["curl"], &arguments)
    }

    fn is_let_in(&self, pair: Option<&Pair>) -> Result<bool> {
        let said = self.ask(pair)?;
        Ok(said.status.success() && String::from_utf8_lossy(&said.stdout) == HANDSHAKE)
    }
}

#[test]
fn only_who_shows_the_right_certificate_is_answered() -> Result<()> {
    let mut tls = Tls::new("")?;
    assert!(tls.is_let_in(Some(&tls.client))?, "{}", tls.site.log_end());
    let stranger = Authority::new("clients")?.issue(&tls.base(), "stranger", &[])?;
    assert!(!tls.is_let_in(None)?);
    assert!(!tls.is_let_in(Some(&stranger))?);
    let plain = format!("http://{}/Plugin.Activate", authority_of(&tls.url));
    assert_ne!(
        String::from_utf8_lossy(&curl(&["curl"], &[&plain])?.stdout),
        HANDSHAKE
    );
    assert!(tls.is_let_in(Some(&tls.client))?);
    assert!(announced(&tls.site, "files.spec").is_none());
    tls.daemon.terminate()?;
    assert!(announced(&tls.site, "files.json").is_none());
    Ok(())
}

#[test]
fn certificates_are_read_again_when_they_change() -> Result<()> {
    let tls = Tls::new("")?;
    let other = Authority::new("others")?;
    let newcomer = other.issue(&tls.base(), "newcomer", &[])?;
    assert!(!tls.is_let_in(Some(&newcomer))?);
    other.write(&tls.base().join("client-ca.pem"))?;
    until("the new authority to count", || {
        tls.is_let_in(Some(&newcomer)).unwrap_or(false)
    })?;
    assert!(!tls.is_let_in(Some(&tls.client))?);

    // What cannot be read changes nothing, and is said.
    fs::write(tls.base().join("client-ca.pem"), "nonsense")?;
    until("the complaint", || {
        let status = tls.site.ask("/v1/status").unwrap_or_default();
        status["problems"]
            .to_string()
            .contains("endpoint.tls.client-ca")
    })?;
    assert!(tls.is_let_in(Some(&newcomer))?);
    tls.theirs.write(&tls.base().join("client-ca.pem"))?;
    until("the old authority to count again", || {
        tls.is_let_in(Some(&tls.client)).unwrap_or(false)
    })?;

    // A certificate for another name is one that the engine does not take.
    tls.ours
        .issue(&tls.base(), "server", &["elsewhere.example"])?;
    until("the new certificate to be shown", || {
        tls.is_let_in(Some(&tls.client)).is_ok_and(|is| !is)
    })
}

#[test]
fn a_handshake_that_does_not_go_on_gives_its_place_back() -> Result<()> {
    let tls = Tls::new("[limits]\nmax-connections = 2\nheader-deadline = \"200ms\"\n")?;
    let silent: Vec<TcpStream> = (0..2)
        .map(|_| TcpStream::connect(authority_of(&tls.url)))
        .collect::<Result<_, _>>()?;
    assert!(tls.is_let_in(Some(&tls.client))?, "{}", tls.site.log_end());
    for mut stream in silent {
        assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
    until("the log to say so", || {
        tls.site.log_end().contains("the TLS handshake took longer")
    })
}
