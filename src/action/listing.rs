//! What a server's list says of the name of a tool.

use std::sync::Arc;

/// Whether a server lists a tool under the name that is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Listing {
    /// Not as far as anybody knows, nor under a spelling like it.
    #[default]
    Unknown,
    /// Not under this name, but under one that lenient servers take for it.
    Alike(Arc<str>),
    /// It does, with these arguments in its schema.
    Exact(Arc<[String]>),
}

impl Listing {
    /// The arguments that the schema declares, as far as is known.
    #[must_use]
    pub fn declared(&self) -> &[String] {
        match self {
            Self::Exact(arguments) => arguments,
            Self::Unknown | Self::Alike(_) => &[],
        }
    }

    /// Whether the schema declares an argument of exactly this name.
    #[must_use]
    pub fn declares(&self, argument: &str) -> bool {
        self.declared().iter().any(|declared| declared == argument)
    }
}
