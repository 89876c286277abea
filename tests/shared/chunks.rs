//! Answers whose bodies came in chunks.

use crate::raw::Answer;

/// The answer without what chunks add to its body, as far as that goes.
pub(crate) fn unchunked(answer: Answer) -> Answer {
    if !answer.head.contains("transfer-encoding: chunked") {
        return answer;
    }
    let (mut body, mut rest) = (String::new(), &*answer.body);
    while let Some((size, after)) = rest.split_once("\r\n")
        && let Ok(size @ 1..) = usize::from_str_radix(size, 16)
    {
        let size = size.min(after.len());
        body.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    Answer { body, ..answer }
}
