//! What authors of drivers need: new projects, bindings, components.
