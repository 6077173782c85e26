//! `dockside:driver/types` has types only, and still wants its traits.

use crate::sandbox::CallContext;
use crate::sandbox::bindings::types;

impl types::Host for CallContext {}
