//! `dockside:host/links`: handles of network links. The host makes none yet, so none can be named.

use wasmtime::component::Resource;

use crate::sandbox::CallContext;
use crate::sandbox::bindings::host::dockside::host::links;

/// A link that the host made. There is no way to make one yet.
#[derive(Debug)]
pub struct LinkHandle(String);

impl links::Host for CallContext {}

impl links::HostLink for CallContext {
    fn key(&mut self, link: Resource<LinkHandle>) -> wasmtime::Result<String> {
        Ok(self.table.get(&link)?.0.clone())
    }

    fn drop(&mut self, link: Resource<LinkHandle>) -> wasmtime::Result<()> {
        self.table.delete(link)?;
        Ok(())
    }
}
