//! What a component says of itself.

use wasmtime::Store;

use super::Exports;
use crate::protocol::describe::{
    Declaration, Description, IpamCapabilities, NetworkCapabilities, Parameter, Schedule, Scope,
    Subject, ValueType, Verb, VolumeCapabilities,
};
use crate::sandbox::bindings::{admin, options, types};

/// Asks a component what it is. The calls may run out of state and configuration: constants need neither.
///
/// # Errors
/// As for [`invoke`](super::invoke).
pub async fn describe<T: Send>(
    store: &mut Store<T>,
    exports: &Exports,
) -> wasmtime::Result<Description> {
    let mut description = Description {
        authz: exports.authz.is_some(),
        lifecycle: exports.lifecycle.is_some(),
        ..Description::default()
    };
    if let Some(kind) = &exports.volume {
        let says = kind
            .dockside_driver_volume()
            .call_capabilities(&mut *store)
            .await?;
        description.volume = Some(VolumeCapabilities {
            scope: says.scope.into(),
        });
    }
    if let Some(kind) = &exports.network {
        let says = kind
            .dockside_driver_network()
            .call_get_capabilities(&mut *store)
            .await?;
        description.network = Some(NetworkCapabilities {
            scope: says.scope.into(),
            connectivity_scope: says.connectivity_scope.map(Into::into),
            gw_alloc_checker: says.gw_alloc_checker,
        });
    }
    if let Some(kind) = &exports.ipam {
        let guest = kind.dockside_driver_ipam();
        let says = guest.call_get_capabilities(&mut *store).await?;
        let spaces = guest.call_get_default_address_spaces(&mut *store).await?;
        description.ipam = Some(IpamCapabilities {
            requires_mac_address: says.requires_mac_address,
            requires_request_replay: says.requires_request_replay,
            local_address_space: spaces.local,
            global_address_space: spaces.global,
        });
    }
    if let Some(hooks) = &exports.options {
        let declared = hooks
            .dockside_driver_options()
            .call_declare(&mut *store)
            .await?;
        description.options = declared.into_iter().map(declaration).collect();
    }
    if let Some(hooks) = &exports.timers {
        let schedules = hooks
            .dockside_driver_timers()
            .call_schedules(&mut *store)
            .await?;
        description.schedules = schedules
            .into_iter()
            .map(|schedule| Schedule {
                name: schedule.name,
                every: schedule.every,
            })
            .collect();
    }
    if let Some(hooks) = &exports.admin {
        let verbs = hooks
            .dockside_driver_admin()
            .call_verbs(&mut *store)
            .await?;
        description.verbs = verbs.into_iter().map(verb).collect();
    }
    Ok(description)
}

impl From<types::Scope> for Scope {
    fn from(scope: types::Scope) -> Scope {
        match scope {
            types::Scope::Local => Scope::Local,
            types::Scope::Global => Scope::Global,
        }
    }
}

fn declaration(option: options::OptionDeclaration) -> Declaration {
    Declaration {
        subject: match option.subject {
            options::Subject::Volume => Subject::Volume,
            options::Subject::Network => Subject::Network,
            options::Subject::Ipam => Subject::Ipam,
        },
        parameter: Parameter {
            name: option.name,
            value_type: value_type(option.value_type),
            default: option.default,
            required: option.required,
            secret: option.secret,
            help: option.help,
        },
    }
}

fn verb(verb: admin::Verb) -> Verb {
    let argument = |argument: admin::Argument| Parameter {
        name: argument.name,
        value_type: value_type(argument.value_type),
        default: argument.default,
        required: argument.required,
        secret: argument.secret,
        help: argument.help,
    };
    Verb {
        name: verb.name,
        help: verb.help,
        arguments: verb.arguments.into_iter().map(argument).collect(),
    }
}

fn value_type(of: types::ValueType) -> ValueType {
    match of {
        types::ValueType::Text => ValueType::Text,
        types::ValueType::Boolean => ValueType::Boolean,
        types::ValueType::Integer(range) => ValueType::Integer {
            min: range.min,
            max: range.max,
        },
        types::ValueType::Size => ValueType::Size,
        types::ValueType::Choice(words) => ValueType::Choice(words),
    }
}
