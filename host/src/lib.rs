//! dockside: one daemon that serves many Docker plugins, each a sandboxed WebAssembly component.
//!
//! A call walks through the rooms in this order, and each knows only the next: [`endpoint`] (bytes), [`protocol`] (Docker's JSON),
//! [`plugin`] (which version, which limits), [`call`] (one transaction), [`sandbox`] (one instance), [`capability`] (what the guest can
//! reach), [`ledger`] (what is made and has to be undone), [`machine`] (how), [`store`] (what lasts). [`catalog`] decides what should run,
//! [`admin`] and [`cli`] let people look, and [`relay`] makes plugins into what Docker's own plugin commands install.

pub mod admin;
pub mod blobs;
pub mod call;
pub mod capability;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod endpoint;
pub mod failpoint;
pub mod ledger;
pub mod machine;
pub mod outbound;
pub mod plugin;
pub mod protocol;
pub mod relay;
pub mod sandbox;
pub mod store;
pub mod trace;
pub mod upkeep;
