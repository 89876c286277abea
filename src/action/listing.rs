//! Whether a server's list contains a tool's name, or only a lookalike of it.

use std::sync::Arc;

/// Whether the server's list contains the called tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Listing {
    /// Not as far as is known, and under no name that lenient servers treat as equal.
    #[default]
    Unknown,
    /// It does not: the list is complete. With the most similar name, if any is similar.
    Absent(Option<Arc<str>>),
    /// Not under this name, but under one that lenient servers treat as equal.
    Alike(Arc<str>),
    /// It does; its schema has these arguments.
    Exact(Arc<[String]>),
}

impl Listing {
    /// Arguments declared by the schema, if known.
    #[must_use]
    pub fn declared(&self) -> &[String] {
        match self {
            Self::Exact(arguments) => arguments,
            Self::Unknown | Self::Absent(_) | Self::Alike(_) => &[],
        }
    }

    /// Whether the schema declares an argument of exactly this name.
    #[must_use]
    pub fn declares(&self, argument: &str) -> bool {
        self.declared().iter().any(|declared| declared == argument)
    }
}
