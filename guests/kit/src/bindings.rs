//! What `wit-bindgen` makes of the WIT contract. One module for what the kit imports and one for each interface that a driver can
//! export, so that a component carries the type of those exports only that its author listed in `export!`.
//!
//! Clocks and standard output are not here: they come with Rust's own library.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::restriction
)]

/// What the kit can import.
pub mod imports {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package dockside:kit;
            world kit {
                import wasi:keyvalue/store@0.2.0-draft;
                import wasi:keyvalue/atomics@0.2.0-draft;
                import wasi:keyvalue/batch@0.2.0-draft;
                import wasi:config/store@0.2.0-rc.1;
                import wasi:logging/logging@0.1.0-draft;
                import wasi:random/random@0.2.6;
                import dockside:host/addresses@0.1.0;
                import dockside:host/machine@0.1.0;
                import dockside:host/directories@0.1.0;
                import dockside:host/mounts@0.1.0;
                import dockside:host/images@0.1.0;
                import dockside:host/links@0.1.0;
                import dockside:host/nat@0.1.0;
                import dockside:host/secrets@0.1.0;
                import dockside:host/outbox@0.1.0;
                import dockside:host/files@0.1.0;
                import dockside:host/blobs@0.1.0;
                import dockside:driver/types@0.1.0;
            }
        ",
        world: "dockside:kit/kit",
        generate_all,
    });
}

/// Outgoing HTTP. Its version of WASI is that of Rust's own library, so that a component has one version of each interface.
#[cfg(target_family = "wasm")]
pub mod http {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package dockside:kit;
            world http-kit {
                import wasi:http/outgoing-handler@0.2.6;
            }
        ",
        world: "dockside:kit/http-kit",
        generate_all,
    });
}

macro_rules! export {
    ($module:ident: $wit:literal, $world:literal, $export:literal, $path:literal, $($import:literal => $($at:ident)::+),+) => {
        pub mod $module {
            wit_bindgen::generate!({
                path: "wit",
                inline: $wit,
                // The name becomes part of a macro's name, so each has to have another.
                world: $world,
                pub_export_macro: true,
                export_macro_name: $export,
                default_bindings_module: $path,
                with: { $($import: crate::bindings::imports::dockside::$($at)::+,)+ },
            });
        }
    };
}

export!(volume:
    "package dockside:kit; world volume-kit { export dockside:driver/volume@0.1.0; }", "dockside:kit/volume-kit",
    "export_volume", "dockside_driver::bindings::volume",
    "dockside:host/addresses@0.1.0" => host::addresses,
    "dockside:driver/types@0.1.0" => driver::types,
    "dockside:host/directories@0.1.0" => host::directories
);

export!(network:
    "package dockside:kit; world network-kit { export dockside:driver/network@0.1.0; }", "dockside:kit/network-kit",
    "export_network", "dockside_driver::bindings::network",
    "dockside:host/addresses@0.1.0" => host::addresses,
    "dockside:driver/types@0.1.0" => driver::types,
    "dockside:host/machine@0.1.0" => host::machine,
    "dockside:host/links@0.1.0" => host::links
);

export!(ipam:
    "package dockside:kit; world ipam-kit { export dockside:driver/ipam@0.1.0; }", "dockside:kit/ipam-kit",
    "export_ipam", "dockside_driver::bindings::ipam",
    "dockside:host/addresses@0.1.0" => host::addresses,
    "dockside:driver/types@0.1.0" => driver::types
);

export!(authz:
    "package dockside:kit; world authz-kit { export dockside:driver/authz@0.1.0; }", "dockside:kit/authz-kit",
    "export_authz", "dockside_driver::bindings::authz",
    "dockside:host/addresses@0.1.0" => host::addresses,
    "dockside:driver/types@0.1.0" => driver::types
);

export!(lifecycle:
    "package dockside:kit; world lifecycle-kit { export dockside:driver/lifecycle@0.1.0; }", "dockside:kit/lifecycle-kit",
    "export_lifecycle", "dockside_driver::bindings::lifecycle",
    "dockside:host/addresses@0.1.0" => host::addresses,
    "dockside:driver/types@0.1.0" => driver::types
);

export!(options:
    "package dockside:kit; world options-kit { export dockside:driver/options@0.1.0; }", "dockside:kit/options-kit",
    "export_options", "dockside_driver::bindings::options",
    "dockside:host/addresses@0.1.0" => host::addresses,
    "dockside:driver/types@0.1.0" => driver::types
);

export!(timers:
    "package dockside:kit; world timers-kit { export dockside:driver/timers@0.1.0; }", "dockside:kit/timers-kit",
    "export_timers", "dockside_driver::bindings::timers",
    "dockside:host/addresses@0.1.0" => host::addresses,
    "dockside:driver/types@0.1.0" => driver::types
);

export!(reconcile:
    "package dockside:kit; world reconcile-kit { export dockside:driver/reconcile@0.1.0; }", "dockside:kit/reconcile-kit",
    "export_reconcile", "dockside_driver::bindings::reconcile",
    "dockside:host/addresses@0.1.0" => host::addresses,
    "dockside:driver/types@0.1.0" => driver::types
);

export!(settlement:
    "package dockside:kit; world settlement-kit { export dockside:driver/settlement@0.1.0; }", "dockside:kit/settlement-kit",
    "export_settlement", "dockside_driver::bindings::settlement",
    "dockside:host/addresses@0.1.0" => host::addresses,
    "dockside:driver/types@0.1.0" => driver::types
);

export!(admin:
    "package dockside:kit; world admin-kit { export dockside:driver/admin@0.1.0; }", "dockside:kit/admin-kit",
    "export_admin", "dockside_driver::bindings::admin",
    "dockside:host/addresses@0.1.0" => host::addresses,
    "dockside:driver/types@0.1.0" => driver::types
);
