//! `dockside:driver/types` has types only, and still wants its traits.

use crate::sandbox::CallContext;
use crate::sandbox::bindings::{addresses, machine, types};

impl types::Host for CallContext {}

impl addresses::Host for CallContext {}

impl machine::Host for CallContext {}
