//! How messages are delimited, and which bytes they must therefore not contain.

/// How messages are delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One per line.
    Lines,
    /// One per HTTP body.
    Bodies,
}

impl Framing {
    /// Whether `message` contains a carriage return that ends a line for readers with universal
    /// newlines (Python's text mode): these would read the rest as another message. In a body,
    /// a following line feed would have the same effect.
    pub(in crate::mcp) fn breaks(self, message: &[u8]) -> bool {
        let is_harmless = |at: usize| self == Self::Bodies && message.get(at + 1) == Some(&b'\n');
        memchr::memchr_iter(b'\r', message).any(|at| !is_harmless(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_body_may_have_lines_and_none_that_some_readers_miss() {
        for (message, lines, bodies) in [
            (&b"{}"[..], false, false),
            (b"{\r\n}", true, false),
            (b"{\r}", true, true),
            (b"{\r\r\n}", true, true),
            (b"{\r", true, true),
        ] {
            assert_eq!(Framing::Lines.breaks(message), lines, "{message:?}");
            assert_eq!(Framing::Bodies.breaks(message), bodies, "{message:?}");
        }
    }
}
