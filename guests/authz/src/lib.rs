//! What authorization drivers share.

pub mod ask;
mod binds;
pub mod break_glass;
pub mod decision;
pub mod last_good;
pub mod mask;
pub mod place;
pub mod routes;

pub use binds::{Bind, binds};
pub use place::Place;
