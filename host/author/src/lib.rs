//! What authors of drivers need: new projects, bindings, components.

pub mod bindings;
pub mod component;
pub mod new;
pub mod pages;
mod world;
