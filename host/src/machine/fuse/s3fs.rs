//! s3fs: a bucket of a server that speaks S3.

use super::FuseMount;
use super::helper::{Helper, KeyPair, Plan, Request, key_pair};
use super::options::{Chosen, Takes, invalid, known, remote_path, shown, value};
use crate::machine::MachineError;

pub(super) const HELPER: Helper = Helper {
    program: "s3fs",
    package: "s3fs",
    needs: &[],
    options: &[
        known("url", Takes::Url),
        known("endpoint", Takes::Word),
        known("use_path_request_style", Takes::Switch),
        known("public_bucket", Takes::Switch),
        known("allow_other", Takes::Switch),
        known("uid", Takes::Number(0..=4_294_967_294)),
        known("gid", Takes::Number(0..=4_294_967_294)),
        known("umask", Takes::Mode),
        known("mp_umask", Takes::Mode),
        known("retries", Takes::Number(0..=100)),
        known("connect_timeout", Takes::Number(1..=3600)),
        known("readwrite_timeout", Takes::Number(1..=3600)),
        known("max_stat_cache_size", Takes::Number(0..=10_000_000)),
        known("stat_cache_expire", Takes::Number(0..=86_400)),
        known("enable_noobj_cache", Takes::Switch),
        known("list_object_max_keys", Takes::Number(1000..=100_000)),
        known("multireq_max", Takes::Number(1..=500)),
        known("parallel_count", Takes::Number(1..=100)),
        known("multipart_size", Takes::Number(5..=5120)),
        known("multipart_copy_size", Takes::Number(5..=5120)),
        known("max_dirty_data", Takes::Number(50..=1_000_000)),
        known("ensure_diskfree", Takes::Number(0..=1_000_000_000)),
        known("nomultipart", Takes::Switch),
        known("nomixupload", Takes::Switch),
        known("nocopyapi", Takes::Switch),
        known("norenameapi", Takes::Switch),
        known("enable_content_md5", Takes::Switch),
        known("use_xattr", Takes::Switch),
        known("compat_dir", Takes::Switch),
        known("complement_stat", Takes::Switch),
        known("notsup_compat_dir", Takes::Switch),
        known("listobjectsv2", Takes::Switch),
        known("sigv2", Takes::Switch),
        known("sigv4", Takes::Switch),
        known("nodnscache", Takes::Switch),
        known("nosscache", Takes::Switch),
        known("no_check_certificate", Takes::Switch),
        known(
            "storage_class",
            Takes::OneOf(&[
                "standard",
                "standard_ia",
                "onezone_ia",
                "reduced_redundancy",
                "intelligent_tiering",
                "glacier",
                "deep_archive",
            ]),
        ),
        known(
            "default_acl",
            Takes::OneOf(&[
                "private",
                "public-read",
                "public-read-write",
                "authenticated-read",
                "aws-exec-read",
                "bucket-owner-read",
                "bucket-owner-full-control",
            ]),
        ),
    ],
    roles: &["credentials"],
    texts: &[],
    caches: true,
    check,
    server,
    // Closing a file waits until the server has it.
    returns_to: |_, _| None,
    unwritten: |_| None,
    plan,
};

/// Bucket, and path with its slash, of `bucket` or `bucket:/path`.
fn parse(remote: &str) -> Result<(&str, &str), MachineError> {
    let (bucket, path) = remote.split_once(':').unwrap_or((remote, "/"));
    let fits = (3..=63).contains(&bucket.len())
        && bucket.starts_with(|first: char| first.is_ascii_alphanumeric())
        && bucket
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !fits || !path.starts_with('/') {
        return Err(invalid(format!(
            "s3fs: {} does not have the form bucket or bucket:/path",
            shown(remote)
        )));
    }
    remote_path("s3fs", path)?;
    Ok((bucket, path))
}

fn check(mount: &FuseMount, chosen: &[Chosen]) -> Result<(), MachineError> {
    parse(&mount.remote)?;
    let public = value(chosen, "public_bucket").is_some();
    match (mount.secrets.is_empty(), public) {
        (true, false) => Err(invalid(
            "s3fs needs the secret credentials (ACCESS-KEY:SECRET-KEY), or the option public_bucket",
        )),
        (false, true) => Err(invalid(
            "s3fs: the secret credentials and the option public_bucket contradict each other",
        )),
        _ => Ok(()),
    }
}

fn server(_: &FuseMount, chosen: &[Chosen]) -> Result<Option<String>, MachineError> {
    Ok(Some(
        value(chosen, "url")
            .unwrap_or("https://s3.amazonaws.com")
            .to_owned(),
    ))
}

fn plan(request: &Request<'_>) -> Result<Plan, MachineError> {
    let mount = request.mount;
    let (bucket, path) = parse(&mount.remote)?;
    let mut plan = Plan::default();
    let mut settings = Vec::new();
    if let Some(KeyPair { access, secret }) = key_pair(request)? {
        let line = format!("{}:{}\n", *access, *secret);
        let path = plan.file(request, "credentials", line.into_bytes().into());
        settings.push(format!("passwd_file={}", path.display()));
        plan.hidden.extend([access, secret]);
    }
    settings.push(format!("tmpdir={}", request.cache.display()));
    let connect = request.connect.to_string();
    let defaults = [
        // Its own are 300 s, 120 s and 5 times.
        ("connect_timeout", connect.as_str()),
        ("readwrite_timeout", "30"),
        ("retries", "2"),
    ];
    for (name, usual) in defaults {
        if value(&request.chosen, name).is_none() {
            settings.push(format!("{name}={usual}"));
        }
    }
    for option in &request.chosen {
        settings.push(match (option.name, option.value.as_str()) {
            ("public_bucket", _) => "public_bucket=1".to_owned(),
            (name, "") => name.to_owned(),
            (name, value) => format!("{name}={value}"),
        });
    }
    settings.push(format!("fsname={}", mount.source()));
    settings.push("subtype=s3fs".to_owned());
    if mount.flags.read_only {
        settings.push("ro".to_owned());
    }
    plan.arguments.push(format!("{bucket}:{path}").into());
    plan.arguments.push(request.point.into());
    plan.arguments.push("-f".into());
    for setting in settings {
        plan.arguments.push("-o".into());
        plan.arguments.push(setting.into());
    }
    Ok(plan)
}
