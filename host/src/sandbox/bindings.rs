//! What `wit/` means in Rust, generated at compile time.
//!
//! One world per exported interface, because a component may export any subset of them and a generated world insists on all
//! of its exports. The types that the interfaces share are generated once, in [`host`].
#![allow(missing_docs, clippy::all, unreachable_pub)]

/// The interfaces that the host implements, and the types that all kinds share.
pub mod host {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package dockside:bindings;
            world host {
                import wasi:keyvalue/store@0.2.0-draft;
                import wasi:keyvalue/atomics@0.2.0-draft;
                import wasi:keyvalue/batch@0.2.0-draft;
                import wasi:config/store@0.2.0-rc.1;
                import wasi:logging/logging@0.1.0-draft;
                import dockside:host/machine@0.1.0;
                import dockside:host/addresses@0.1.0;
                import dockside:host/directories@0.1.0;
                import dockside:driver/types@0.1.0;
            }
        ",
        with: {
            "wasi:keyvalue/store.bucket": crate::capability::keyvalue::Bucket,
            "dockside:host/directories.directory": crate::capability::directories::DirectoryHandle,
        },
        // Directories wait for the disk; everything else is answered from memory and needs no yield.
        imports: { "dockside:host/directories": async | trappable, default: trappable },
        additional_derives: [Clone, PartialEq, dockside_derive::Traced],
        wasmtime_crate: crate::sandbox::tap,
    });
}

/// What changes the machine. Records with handles in them can be neither copied nor compared, so these are apart.
pub mod effects {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package dockside:bindings;
            world effects {
                import dockside:host/mounts@0.1.0;
                import dockside:host/images@0.1.0;
                import dockside:host/links@0.1.0;
                import dockside:host/nat@0.1.0;
                import dockside:host/secrets@0.1.0;
                import dockside:host/outbox@0.1.0;
                import dockside:host/blobs@0.1.0;
                import dockside:host/files@0.1.0;
            }
        ",
        with: {
            "dockside:host/machine": crate::sandbox::bindings::host::dockside::host::machine,
            "dockside:host/addresses": crate::sandbox::bindings::host::dockside::host::addresses,
            "dockside:host/directories": crate::sandbox::bindings::host::dockside::host::directories,
            "dockside:host/links.link": crate::capability::links::LinkHandle,
            "dockside:host/images.image": crate::capability::images::ImageHandle,
            "dockside:host/secrets.secret": crate::capability::secrets::SecretHandle,
        },
        // Each waits for the disk or for the kernel.
        imports: { default: async | trappable },
        additional_derives: [dockside_derive::Traced],
        wasmtime_crate: crate::sandbox::tap,
    });
    pub use self::dockside::host::*;
}

/// `dockside:driver/volume`.
pub mod volume {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package dockside:bindings;
            world volume-kind { export dockside:driver/volume@0.1.0; }
        ",
        with: {
            "dockside:driver/types": crate::sandbox::bindings::host::dockside::driver::types,
            "dockside:host/addresses": crate::sandbox::bindings::host::dockside::host::addresses,
            "dockside:host/directories": crate::sandbox::bindings::host::dockside::host::directories,
        },
        exports: { default: async },
        wasmtime_crate: crate::sandbox::tap,
    });
    pub use exports::dockside::driver::volume::*;
}

/// `dockside:driver/network`.
pub mod network {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package dockside:bindings;
            world network-kind { export dockside:driver/network@0.1.0; }
        ",
        with: {
            "dockside:driver/types": crate::sandbox::bindings::host::dockside::driver::types,
            "dockside:host/addresses": crate::sandbox::bindings::host::dockside::host::addresses,
            "dockside:host/machine": crate::sandbox::bindings::host::dockside::host::machine,
            "dockside:host/links": crate::sandbox::bindings::effects::dockside::host::links,
        },
        exports: { default: async },
        wasmtime_crate: crate::sandbox::tap,
    });
    pub use exports::dockside::driver::network::*;
}

/// `dockside:driver/ipam`.
pub mod ipam {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package dockside:bindings;
            world ipam-kind { export dockside:driver/ipam@0.1.0; }
        ",
        with: {
            "dockside:driver/types": crate::sandbox::bindings::host::dockside::driver::types,
            "dockside:host/addresses": crate::sandbox::bindings::host::dockside::host::addresses,
        },
        exports: { default: async },
        wasmtime_crate: crate::sandbox::tap,
        additional_derives: [Clone, PartialEq],
    });
    pub use exports::dockside::driver::ipam::*;
}

/// `dockside:driver/authz`.
pub mod authz {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package dockside:bindings;
            world authz-kind { export dockside:driver/authz@0.1.0; }
        ",
        with: {
            "dockside:driver/types": crate::sandbox::bindings::host::dockside::driver::types,
            "dockside:host/addresses": crate::sandbox::bindings::host::dockside::host::addresses,
        },
        exports: { default: async },
        wasmtime_crate: crate::sandbox::tap,
        additional_derives: [Clone, PartialEq],
    });
    pub use exports::dockside::driver::authz::*;
}

/// `dockside:driver/lifecycle`.
pub mod lifecycle {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package dockside:bindings;
            world lifecycle-hooks { export dockside:driver/lifecycle@0.1.0; }
        ",
        additional_derives: [dockside_derive::Traced],
        with: {
            "dockside:driver/types": crate::sandbox::bindings::host::dockside::driver::types,
            "dockside:host/addresses": crate::sandbox::bindings::host::dockside::host::addresses,
        },
        exports: { default: async },
        wasmtime_crate: crate::sandbox::tap,
    });
    pub use exports::dockside::driver::lifecycle::*;
}

/// `dockside:driver/options`.
pub mod options {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package dockside:bindings;
            world option-declarations { export dockside:driver/options@0.1.0; }
        ",
        with: {
            "dockside:driver/types": crate::sandbox::bindings::host::dockside::driver::types,
            "dockside:host/addresses": crate::sandbox::bindings::host::dockside::host::addresses,
        },
        exports: { default: async },
        wasmtime_crate: crate::sandbox::tap,
    });
    pub use exports::dockside::driver::options::*;
}

/// `dockside:driver/timers`.
pub mod timers {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package dockside:bindings;
            world timer-hooks { export dockside:driver/timers@0.1.0; }
        ",
        with: {
            "dockside:driver/types": crate::sandbox::bindings::host::dockside::driver::types,
            "dockside:host/addresses": crate::sandbox::bindings::host::dockside::host::addresses,
        },
        exports: { default: async },
        wasmtime_crate: crate::sandbox::tap,
        additional_derives: [Clone, PartialEq],
    });
    pub use exports::dockside::driver::timers::*;
}

/// `dockside:driver/reconcile`.
pub mod reconcile {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package dockside:bindings;
            world reconcile-hook { export dockside:driver/reconcile@0.1.0; }
        ",
        with: {
            "dockside:driver/types": crate::sandbox::bindings::host::dockside::driver::types,
            "dockside:host/addresses": crate::sandbox::bindings::host::dockside::host::addresses,
        },
        exports: { default: async },
        wasmtime_crate: crate::sandbox::tap,
        additional_derives: [Clone, PartialEq, dockside_derive::Traced],
    });
    pub use exports::dockside::driver::reconcile::*;
}

/// `dockside:driver/settlement`.
pub mod settlement {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package dockside:bindings;
            world settlement-hook { export dockside:driver/settlement@0.1.0; }
        ",
        with: {
            "dockside:driver/types": crate::sandbox::bindings::host::dockside::driver::types,
            "dockside:host/addresses": crate::sandbox::bindings::host::dockside::host::addresses,
        },
        exports: { default: async },
        wasmtime_crate: crate::sandbox::tap,
        additional_derives: [Clone, PartialEq],
    });
    pub use exports::dockside::driver::settlement::*;
}

/// `dockside:driver/admin`.
pub mod admin {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package dockside:bindings;
            world admin-verbs { export dockside:driver/admin@0.1.0; }
        ",
        with: {
            "dockside:driver/types": crate::sandbox::bindings::host::dockside::driver::types,
            "dockside:host/addresses": crate::sandbox::bindings::host::dockside::host::addresses,
        },
        exports: { default: async },
        wasmtime_crate: crate::sandbox::tap,
        additional_derives: [Clone, PartialEq],
    });
    pub use exports::dockside::driver::admin::*;
}

pub use host::dockside::driver::types;
pub use host::dockside::host::{addresses, machine};
