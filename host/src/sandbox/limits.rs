//! What one instance may use.

use wasmtime::ResourceLimiter;

/// Elements that all tables of an instance may have together. Python's largest component has 12,000.
const MAX_TABLE_ELEMENTS: usize = 100_000;

/// Caps the memory of an instance as a whole. Wasmtime's own limiter caps each memory by itself, so that a component of
/// several modules would get the limit several times.
#[derive(Debug)]
pub struct InstanceLimits {
    memory: usize,
    used: usize,
    tables: usize,
    refused: bool,
}

impl InstanceLimits {
    /// A cap of `memory` bytes over all linear memories.
    pub fn new(memory: u64) -> Self {
        InstanceLimits {
            memory: usize::try_from(memory).unwrap_or(usize::MAX),
            used: 0,
            tables: 0,
            refused: false,
        }
    }

    /// Whether the guest was refused memory: what ends it afterwards is called by that name.
    pub fn ran_out(&self) -> bool {
        self.refused
    }

    /// Forgets an earlier refusal, before a kept instance serves its next call.
    pub fn begin_call(&mut self) {
        self.refused = false;
    }

    /// The cap in bytes.
    pub fn memory(&self) -> usize {
        self.memory
    }
}

impl ResourceLimiter for InstanceLimits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.used.saturating_add(desired.saturating_sub(current));
        if total > self.memory {
            self.refused = true;
            return Ok(false);
        }
        self.used = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.tables.saturating_add(desired.saturating_sub(current));
        if total > MAX_TABLE_ELEMENTS {
            return Ok(false);
        }
        self.tables = total;
        Ok(true)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_holds_over_all_memories_together() {
        let mut limits = InstanceLimits::new(100);
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(!limits.memory_growing(0, 60, None).unwrap());
        assert!(limits.ran_out());
        assert!(limits.memory_growing(60, 100, None).unwrap());
        assert!(!limits.memory_growing(100, 101, None).unwrap());
    }
}
