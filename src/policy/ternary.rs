//! Three-valued logic: an operator that cannot judge a value yields unknown. A deny or ask
//! rule treats unknown as a match, an allow rule as no match, and `not` leaves it unknown,
//! so that a value of the wrong type evades no rule.

use std::ops::Not;

/// Whether something matches, as far as can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ternary {
    False,
    True,
    Unknown,
}

impl Ternary {
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::True, Self::True) => Self::True,
            _ => Self::Unknown,
        }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        !(!self).and(!other)
    }

    /// Turns true into unknown: for matches that are not certain.
    pub(crate) fn uncertain(self) -> Self {
        if self == Self::False { Self::False } else { Self::Unknown }
    }

    /// True if all are; false if there are none.
    pub(crate) fn all(answers: impl IntoIterator<Item = Self>) -> Self {
        answers.into_iter().reduce(Self::and).unwrap_or(Self::False)
    }

    /// True if any is; false if there are none.
    pub(crate) fn any(answers: impl IntoIterator<Item = Self>) -> Self {
        answers.into_iter().fold(Self::False, Self::or)
    }

    /// The common answer; unknown if they differ, false if there are none.
    pub(crate) fn unanimous(answers: impl IntoIterator<Item = Self>) -> Self {
        let together = |one, other| if one == other { one } else { Self::Unknown };
        answers.into_iter().reduce(together).unwrap_or(Self::False)
    }
}

impl Not for Ternary {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::True => Self::False,
            Self::Unknown => Self::Unknown,
        }
    }
}

impl From<bool> for Ternary {
    fn from(yes: bool) -> Self {
        if yes { Self::True } else { Self::False }
    }
}

impl From<Option<bool>> for Ternary {
    fn from(judged: Option<bool>) -> Self {
        judged.map_or(Self::Unknown, Self::from)
    }
}
