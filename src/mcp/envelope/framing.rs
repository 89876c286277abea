//! How one message is told from the next, and what may therefore not stand in one.

/// How messages are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Each is a line.
    Lines,
    /// Each comes by itself, as a body of HTTP does.
    Bodies,
}

impl Framing {
    /// Whether a carriage return breaks `message` up: readers with universal newlines
    /// (Python's text mode) end a line there, and would see the rest as messages of their
    /// own. In a body, the line feed behind it would do so anyway.
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
