//! One JSON object a line in, one a line out, in order.

use std::io::{self, BufRead, Read as _, Write};

use crate::terminal;

/// Maximum length of a line, in bytes; a longer one is answered with an error.
pub(super) const MAX_LINE: usize = 64 << 20;

/// Writes a line for each line of `input` that `answer` has a result for: that, or
/// `{"error": …}`. Returns whether there were no errors.
///
/// # Errors
/// If reading `input` or writing `output` fails.
pub(super) fn answer_each<T: serde::Serialize, E: std::fmt::Display>(
    input: &mut dyn BufRead,
    output: &mut dyn Write,
    mut answer: impl FnMut(&[u8]) -> Result<Option<T>, E>,
) -> io::Result<bool> {
    let mut all = true;
    let mut line = Vec::new();
    while let Some(whole) = next_line(input, &mut line)? {
        let answered = if whole {
            answer(&line).map_err(|error| error.to_string())
        } else {
            Err(format!("the line is longer than {MAX_LINE} bytes"))
        };
        match answered {
            Ok(Some(answer)) => terminal::json_line(&mut *output, &answer)?,
            Ok(None) => continue,
            Err(error) => {
                all = false;
                terminal::json_line(&mut *output, &serde_json::json!({ "error": error }))?;
            }
        }
        // The caller may wait for this response before sending the next line.
        output.flush()?;
    }
    Ok(all)
}

/// Reads a line without its end; `None` at the end of the input, `Some(false)` for a line that
/// is too long, which is skipped.
fn next_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let limit = MAX_LINE as u64 + 1;
    if input.take(limit).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(true));
    }
    let whole = line.len() <= MAX_LINE;
    if !whole {
        input.skip_until(b'\n')?;
    }
    Ok(Some(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(mut input: &[u8]) -> (bool, String) {
        let mut output = Vec::new();
        let length = |line: &[u8]| match line {
            b"" => Err("empty"),
            b"?" => Ok(None),
            line => Ok(Some(line.len())),
        };
        let all = answer_each(&mut input, &mut output, length).unwrap();
        (all, String::from_utf8(output).unwrap())
    }

    #[test]
    fn each_line_gets_one_answer_in_order() {
        assert_eq!(answers(b""), (true, String::new()));
        assert_eq!(answers(b"a\nbcd"), (true, "1\n3\n".to_owned()));
        assert_eq!(answers(b"a\n\nbc\n"), (false, "1\n{\"error\":\"empty\"}\n2\n".to_owned()));
    }

    #[test]
    fn a_line_too_long_to_hold_is_refused_and_the_next_one_read() {
        let mut input = vec![b'x'; MAX_LINE + 2];
        input.extend(b"\nab\n");
        let (all, output) = answers(&input);
        assert!(!all && output.ends_with("}\n2\n"), "{output}");
    }
}
