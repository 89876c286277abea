//! Three answers: a value that an operator cannot judge is neither a match nor
//! none. A deny or ask rule takes it for a match, an allow rule for none, and
//! `not` keeps it what it is, so nobody slips past by sending the wrong type.

use std::ops::Not;

/// Whether something matches, as far as can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    No,
    Yes,
    Unjudged,
}

impl Truth {
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Unjudged,
        }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        !(!self).and(!other)
    }

    /// What holds, but not for certain.
    pub(crate) fn in_doubt(self) -> Self {
        if self == Self::No { Self::No } else { Self::Unjudged }
    }

    /// All of some; no where there is none.
    pub(crate) fn all(answers: impl IntoIterator<Item = Self>) -> Self {
        answers.into_iter().reduce(Self::and).unwrap_or(Self::No)
    }

    /// Any of some; no where there is none.
    pub(crate) fn any(answers: impl IntoIterator<Item = Self>) -> Self {
        answers.into_iter().fold(Self::No, Self::or)
    }

    /// What all say alike; unjudged where they differ, no where there is none.
    pub(crate) fn unanimous(answers: impl IntoIterator<Item = Self>) -> Self {
        let together = |one, other| if one == other { one } else { Self::Unjudged };
        answers.into_iter().reduce(together).unwrap_or(Self::No)
    }
}

impl Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Yes => Self::No,
            Self::Unjudged => Self::Unjudged,
        }
    }
}

impl From<bool> for Truth {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

impl From<Option<bool>> for Truth {
    fn from(judged: Option<bool>) -> Self {
        judged.map_or(Self::Unjudged, Self::from)
    }
}
