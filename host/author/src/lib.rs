//! What authors of drivers need: new projects, bindings, components.

pub mod bindings;
pub mod component;
pub mod new;
mod world;
