//! Names to addresses.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

/// The future of [`Resolver::addresses`].
pub type Addresses<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Who knows the addresses of names.
pub trait Resolver: Send + Sync {
    /// All addresses of a name, in the order in which they are to be tried.
    fn addresses<'a>(&'a self, name: &'a str) -> Addresses<'a>;
}

/// What the machine itself uses (`getaddrinfo`): `/etc/hosts`, DNS and whatever `nsswitch.conf` says.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Resolver for System {
    fn addresses<'a>(&'a self, name: &'a str) -> Addresses<'a> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}
