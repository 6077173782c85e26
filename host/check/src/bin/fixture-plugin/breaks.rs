//! What is broken on purpose.

/// The check that the plugin is to fail, or none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Breaks(Option<String>);

impl Breaks {
    pub(crate) fn new(id: &str) -> Self {
        Self(Some(id.to_ascii_uppercase()))
    }

    /// Whether this check is to fail. Each place that asks does the one thing that the check looks for.
    pub(crate) fn on(&self, id: &str) -> bool {
        self.0
            .as_deref()
            .is_some_and(|own| own.eq_ignore_ascii_case(id))
    }

    /// The check's ID, for a command line.
    pub(crate) fn id(&self) -> Option<&str> {
        self.0.as_deref()
    }
}
