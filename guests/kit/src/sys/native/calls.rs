//! Every call that a driver can make of the host in memory, in one place: here they are counted, and here they fail when a test wants it.

use ipnet::IpNet;
use std::net::IpAddr;

use super::{Directory, Image, Link, Secret, faults};
use crate::{
    KeyValues, MacAddr, Result,
    blobs::BlobInfo,
    directories::{Attributes, Reason},
    files::FileInfo,
    http::{Request, Response, Target},
    images::{Extent, Filesystem, ImageInfo},
    links::{Kind, LinkInfo, Route, Settings},
    log::Level,
    mounts::{Flags, MountInfo, PathInfo, Source},
    nat::Rule,
};

macro_rules! host_calls {
    ($way:ident: $($name:literal $module:ident::$function:ident($($argument:ident: $type:ty),*) $(-> $answer:ty)?;)*) => {
        $(pub(crate) fn $function($($argument: $type),*) $(-> $answer)? {
            faults::$way($name, || super::$module::$function($($argument),*))
        })*
    };
}

host_calls! { fallible:
    "state::get" state::state_get(key: &str) -> Result<Option<Vec<u8>>>;
    "state::set" state::state_set(key: &str, value: &[u8]) -> Result<()>;
    "state::delete" state::state_delete(key: &str) -> Result<()>;
    "state::exists" state::state_exists(key: &str) -> Result<bool>;
    "state::keys" state::state_keys(cursor: Option<u64>) -> Result<(Vec<String>, Option<u64>)>;
    "state::increment" state::state_increment(key: &str, delta: u64) -> Result<u64>;
    "Table::iter" state::state_get_many(keys: Vec<String>) -> Result<Vec<(String, Vec<u8>)>>;
    "config::get" process::config_get(key: &str) -> Result<Option<String>>;
    "config::all" process::config_all() -> Result<KeyValues>;
    "directories::create" directories::create_directory(key: &str, attributes: Attributes) -> Result<Directory, Reason>;
    "directories::open" directories::open_directory(key: &str) -> Result<Directory, Reason>;
    "directories::remove" directories::remove_directory(key: &str) -> Result<(), Reason>;
    "mounts::mount" mounts::mount(key: &str, source: &Source<'_>, flags: Flags) -> Result<Directory>;
    "mounts::open" mounts::open_mount(key: &str) -> Result<Directory>;
    "mounts::unmount" mounts::unmount(key: &str) -> Result<()>;
    "mounts::make_path" mounts::make_path(key: &str, path: &str, attributes: Attributes) -> Result<PathInfo>;
    "mounts::keep_path" mounts::keep_path(key: &str) -> Result<()>;
    "mounts::remove_path" mounts::remove_path(key: &str) -> Result<()>;
    "images::create" images::create_image(key: &str, size: u64, filesystem: Filesystem, attributes: Attributes) -> Result<Image>;
    "images::open" images::open_image(key: &str) -> Result<Image>;
    "images::clone" images::clone_image(from: &str, key: &str) -> Result<Image>;
    "images::restore" images::restore_image(key: &str, from: &str) -> Result<()>;
    "images::grow" images::grow_image(key: &str, size: u64) -> Result<()>;
    "images::delete" images::delete_image(key: &str) -> Result<()>;
    "images::receive" images::receive_image(key: &str, size: u64, filesystem: Filesystem) -> Result<Image>;
    "images::write" images::write_image(key: &str, offset: u64, data: &[u8]) -> Result<()>;
    "images::seal" images::seal_image(key: &str) -> Result<()>;
    "images::read" images::read_image(key: &str, offset: u64, length: u32) -> Result<Vec<u8>>;
    "images::data" images::image_data(key: &str) -> Result<Vec<Extent>>;
    "links::create" links::create_link(key: &str, kind: &Kind, settings: Settings) -> Result<Link>;
    "links::create_pair" links::create_pair(key: &str, peer: &str, settings: Settings) -> Result<(Link, Link)>;
    "links::open" links::open_link(key: &str) -> Result<Link>;
    "links::delete" links::delete_link(key: &str) -> Result<()>;
    "Link::set_mtu" links::set_mtu(link: &Link, mtu: u32) -> Result<()>;
    "Link::set_up" links::set_up(link: &Link, up: bool) -> Result<()>;
    "Link::set_master" links::set_master(link: &Link, bridge: Option<&Link>) -> Result<()>;
    "Link::set_isolated" links::set_isolated(link: &Link, isolated: bool) -> Result<()>;
    "Link::set_hairpin" links::set_hairpin(link: &Link, hairpin: bool) -> Result<()>;
    "Link::add_address" links::add_address(link: &Link, address: IpNet) -> Result<()>;
    "Link::remove_address" links::remove_address(link: &Link, address: IpNet) -> Result<()>;
    "Link::add_route" links::add_route(link: &Link, route: Route) -> Result<()>;
    "Link::remove_route" links::remove_route(link: &Link, route: Route) -> Result<()>;
    "Link::add_fdb" links::add_fdb(link: &Link, mac: MacAddr, destination: IpAddr) -> Result<()>;
    "Link::remove_fdb" links::remove_fdb(link: &Link, mac: MacAddr, destination: IpAddr) -> Result<()>;
    "Link::add_neighbour" links::add_neighbour(link: &Link, address: IpAddr, mac: MacAddr) -> Result<()>;
    "Link::remove_neighbour" links::remove_neighbour(link: &Link, address: IpAddr) -> Result<()>;
    "nat::apply" nat::apply_rules(key: &str, rules: &[Rule<'_>]) -> Result<Vec<u16>>;
    "nat::remove" nat::remove_rules(key: &str) -> Result<()>;
    "files::list" files::list_files(set: &str) -> Result<Vec<FileInfo>>;
    "files::read" files::read_file(set: &str, name: &str) -> Result<Vec<u8>>;
    "files::stamp" files::stamp(set: &str) -> Result<u64>;
    "files::resolve_path" files::resolve_path(path: &str) -> Result<String>;
    "secrets::open" outside::open_secret(name: &str) -> Result<Secret>;
    "secrets::open_file" outside::open_secret_file(path: &str) -> Result<Secret>;
    "Secret::reveal" outside::reveal_secret(secret: &Secret) -> Result<Vec<u8>>;
    "secrets::keep" outside::keep_secret(name: &str, value: &[u8]) -> Result<Secret>;
    "secrets::kept" outside::kept_secret(name: &str) -> Result<Secret>;
    "secrets::forget" outside::forget_secret(name: &str) -> Result<()>;
    "outbox::note" outside::note(note: &[u8]) -> Result<()>;
    "blobs::get" blobs::get_blob(store: &str, name: &str) -> Result<Vec<u8>>;
    "blobs::list" blobs::list_blobs(store: &str, prefix: &str) -> Result<Vec<BlobInfo>>;
}

host_calls! { outside:
    "blobs::put" blobs::put_blob(store: &str, name: &str, data: &[u8]) -> Result<()>;
    "blobs::delete" blobs::delete_blob(store: &str, name: &str) -> Result<()>;
    "Request::send" outside::send(request: &Request, target: &Target<'_>) -> Result<Response>;
}

host_calls! { infallible:
    "log" process::log(level: Level, context: &str, message: &str);
    "time::unix_seconds" process::now() -> u64;
    "random::bytes" process::random_bytes(count: usize) -> Vec<u8>;
    "random::number" process::random_number() -> u64;
    "directories::keys" directories::directory_keys() -> Vec<String>;
    "mounts::list" mounts::mounts() -> Vec<MountInfo>;
    "images::list" images::images() -> Vec<ImageInfo>;
    "links::list" links::links() -> Vec<LinkInfo>;
    "nat::keys" nat::rule_keys() -> Vec<String>;
    "outbox::call_key" outside::call_key() -> String;
    "blobs::stores" blobs::blob_stores() -> Vec<String>;
}
