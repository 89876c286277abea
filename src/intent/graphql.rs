//! GraphQL over POST: the operation that would run decides, not the first one
//! that is seen.
//!
//! A document is read by its tokens (GraphQL, October 2021, section 2.1), far
//! enough to tell the operations and their root fields apart. Comments,
//! strings, fragments and aliases may spell anything; whatever does not fit the
//! grammar, names no operation or more than one, is not a read.

use super::{Intent, Judgement, tool};
use crate::action::{Body, HttpRequest};
use crate::json::{Json, Object};

pub(super) fn judge(request: &HttpRequest) -> Judgement {
    let in_url = |name: &str| request.query.iter().any(|(key, _)| key == name);
    if request.method != "POST" || ["query", "operationName", "extensions"].into_iter().any(in_url)
    {
        return Judgement::UNSURE;
    }
    match &request.body {
        Body::Json(Json::Object(body)) => judge_one(body),
        // Several at once are what the worst of them is.
        Body::Json(Json::Array(bodies)) if !bodies.is_empty() => {
            let each = bodies.iter().map(|body| body.as_object().map(judge_one));
            let each = each.map(|judged| judged.unwrap_or(Judgement::UNSURE));
            each.max_by_key(|judged| weight(judged.intent)).unwrap_or(Judgement::UNSURE)
        }
        _ => Judgement::UNSURE,
    }
}

/// `mutation.issueDelete`: the kind and the first root field of what would run.
pub(super) fn operation(request: &HttpRequest) -> Option<String> {
    let Body::Json(Json::Object(body)) = &request.body else { return None };
    let executed = executed(body)?;
    let field = executed.root_fields().next()??;
    Some(format!("{}.{field}", executed.kind))
}

fn judge_one(body: &Object) -> Judgement {
    match executed(body) {
        Some(Operation { kind: "query", .. }) => Judgement::l2(Intent::Query),
        Some(operation @ Operation { kind: "mutation", .. }) => {
            let named = |field: Option<&str>| field.map_or(Judgement::UNSURE, tool::by_name);
            let written = operation.root_fields().map(named).map(|judged| match judged {
                // A mutation writes, whatever its name says.
                judged if judged.intent.is_read() => Judgement::UNSURE,
                judged => judged,
            });
            written.max_by_key(|judged| weight(judged.intent)).unwrap_or(Judgement::UNSURE)
        }
        _ => Judgement::UNSURE,
    }
}

/// Which of several intents stands for all.
fn weight(intent: Intent) -> u8 {
    match intent {
        Intent::Read => 0,
        Intent::Query => 1,
        Intent::Create => 2,
        Intent::Update => 3,
        Intent::Execute => 4,
        Intent::Send => 5,
        Intent::Unknown => 6,
        Intent::Delete => 7,
        Intent::Admin => 8,
    }
}

/// The one operation that a server would execute (section 6.1).
fn executed(body: &Object) -> Option<Operation<'_>> {
    let document = body.get("query")?.as_str()?;
    let wanted = match body.get("operationName") {
        None | Some(Json::Null) => None,
        Some(name) => Some(name.as_str()?),
    };
    let mut definitions = Definitions { tokens: Tokens { rest: document } };
    let mut found = None;
    // Read to the end: a document that breaks off later is none.
    while let Some(definition) = definitions.next_definition()? {
        let Definition::Operation(operation) = definition else { continue };
        if wanted.is_none() || wanted == operation.name {
            match found {
                None => found = Some(operation),
                Some(_) => return None,
            }
        }
    }
    found
}

struct Operation<'d> {
    kind: &'static str,
    name: Option<&'d str>,
    /// The tokens of the selection set, its closing brace included.
    selection: Tokens<'d>,
}

impl<'d> Operation<'d> {
    /// The fields at the root; `None` for a fragment, which could hold any.
    fn root_fields(&self) -> impl Iterator<Item = Option<&'d str>> {
        let mut tokens = self.selection.clone();
        let mut depth = 0_usize;
        std::iter::from_fn(move || {
            loop {
                match tokens.next()? {
                    Token::Open | Token::Brace => depth += 1,
                    Token::Close => depth = depth.checked_sub(1)?,
                    Token::Spread if depth == 0 => return Some(None),
                    // `@include(if: $x)`: its name is no field.
                    Token::Other('@') => drop(tokens.next()?),
                    Token::Name(name) if depth == 0 => {
                        let mut ahead = tokens.clone();
                        if let (Some(Token::Other(':')), Some(Token::Name(field))) =
                            (ahead.next(), ahead.next())
                        {
                            tokens = ahead;
                            return Some(Some(field));
                        }
                        return Some(Some(name));
                    }
                    _ => {}
                }
            }
        })
    }
}

enum Definition<'d> {
    Operation(Operation<'d>),
    Fragment,
}

struct Definitions<'d> {
    tokens: Tokens<'d>,
}

impl<'d> Definitions<'d> {
    /// The next definition, `Some(None)` at the end, `None` where there is
    /// something else.
    fn next_definition(&mut self) -> Option<Option<Definition<'d>>> {
        let kind = match self.tokens.next() {
            None => return Some(None),
            Some(Token::Brace) => {
                let selection = self.selection()?;
                let operation = Operation { kind: "query", name: None, selection };
                return Some(Some(Definition::Operation(operation)));
            }
            Some(Token::Name("query")) => "query",
            Some(Token::Name("mutation")) => "mutation",
            Some(Token::Name("subscription")) => "subscription",
            Some(Token::Name("fragment")) => {
                self.skip_to_selection()?;
                self.selection()?;
                return Some(Some(Definition::Fragment));
            }
            Some(_) => return None,
        };
        let name = self.skip_to_selection()?;
        let selection = self.selection()?;
        Some(Some(Definition::Operation(Operation { kind, name, selection })))
    }

    /// Goes behind the brace that opens the selection set; the first token on
    /// the way, where it is a name.
    fn skip_to_selection(&mut self) -> Option<Option<&'d str>> {
        let mut name = None;
        let mut first = true;
        let mut depth = 0_usize;
        loop {
            match self.tokens.next()? {
                Token::Name(found) if first => name = Some(found),
                Token::Brace if depth == 0 => return Some(name),
                Token::Open | Token::Brace => depth += 1,
                Token::Close => depth = depth.checked_sub(1)?,
                Token::Bad => return None,
                _ => {}
            }
            first = false;
        }
    }

    /// Goes behind the brace that closes the selection set.
    fn selection(&mut self) -> Option<Tokens<'d>> {
        let start = self.tokens.clone();
        let mut depth = 1_usize;
        while depth > 0 {
            match self.tokens.next()? {
                Token::Open | Token::Brace => depth += 1,
                Token::Close => depth -= 1,
                Token::Bad => return None,
                _ => {}
            }
        }
        Some(start)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'d> {
    Name(&'d str),
    /// `{`
    Brace,
    /// `(` or `[`
    Open,
    /// `}`, `)` or `]`
    Close,
    /// `...`
    Spread,
    /// Any other punctuator, the first letter of a number or of a string.
    Other(char),
    /// Nothing that GraphQL knows.
    Bad,
}

#[derive(Debug, Clone)]
struct Tokens<'d> {
    rest: &'d str,
}

impl<'d> Iterator for Tokens<'d> {
    type Item = Token<'d>;

    fn next(&mut self) -> Option<Token<'d>> {
        self.skip_ignored();
        let first = self.rest.chars().next()?;
        let token = match first {
            '{' => Token::Brace,
            '(' | '[' => Token::Open,
            '}' | ')' | ']' => Token::Close,
            '"' => return Some(self.string()),
            '.' if self.rest.starts_with("...") => {
                self.take(3);
                return Some(Token::Spread);
            }
            '_' | 'a'..='z' | 'A'..='Z' => {
                return Some(Token::Name(
                    self.take_while(|c| c == '_' || c.is_ascii_alphanumeric()),
                ));
            }
            '-' | '0'..='9' => {
                self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
                return Some(Token::Other('0'));
            }
            '!' | '$' | '&' | ':' | '=' | '@' | '|' => Token::Other(first),
            _ => {
                // Nothing behind it can be relied on.
                self.rest = "";
                return Some(Token::Bad);
            }
        };
        self.take(1);
        Some(token)
    }
}

impl<'d> Tokens<'d> {
    fn take(&mut self, length: usize) -> &'d str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'d str {
        let length = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        self.take(length)
    }

    /// White space, commas, comments and the byte order mark (section 2.1).
    fn skip_ignored(&mut self) {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | ',' | '\u{feff}'));
            if !self.rest.starts_with('#') {
                return;
            }
            self.take_while(|c| !matches!(c, '\n' | '\r'));
        }
    }

    /// A string or a block string (section 2.9.4).
    fn string(&mut self) -> Token<'d> {
        let block = self.rest.starts_with("\"\"\"");
        let (quote, escape) = if block { ("\"\"\"", "\\\"\"\"") } else { ("\"", "\\") };
        self.take(quote.len());
        while let Some(next) = self.rest.find(['"', '\\', '\n', '\r']) {
            self.take(next);
            if self.rest.starts_with(escape) {
                // Outside a block the letter behind the backslash goes with it.
                self.take(escape.len());
                if !block {
                    let escaped = self.rest.chars().next().map_or(0, char::len_utf8);
                    self.take(escaped);
                }
            } else if self.rest.starts_with(quote) {
                self.take(quote.len());
                return Token::Other('"');
            } else if !block && self.rest.starts_with(['\n', '\r']) {
                break;
            } else {
                self.take(1);
            }
        }
        self.rest = "";
        Token::Bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn judged(body: &str) -> Intent {
        let Json::Object(body) = json::parse(body.as_bytes()).unwrap() else { panic!("{body}") };
        judge_one(&body).intent
    }

    fn document(query: &str) -> Intent {
        judged(&serde_json::json!({ "query": query }).to_string())
    }

    #[test]
    fn queries_are_reads_and_mutations_what_their_fields_say() {
        assert_eq!(document("{ viewer { id } }"), Intent::Query);
        assert_eq!(document("query Q($a: [Int!] = [1], $b: X = {c: 1}) @d { a }"), Intent::Query);
        assert_eq!(document("mutation { issueDelete(id: 1) { ok } }"), Intent::Delete);
        assert_eq!(
            document("mutation { a: issueCreate { ok } b: issueDelete { ok } }"),
            Intent::Delete
        );
        assert_eq!(document("mutation { getThings { ok } }"), Intent::Unknown);
        assert_eq!(
            document("mutation { ...F } fragment F on M { issueDelete { ok } }"),
            Intent::Unknown
        );
        assert_eq!(document("subscription { a }"), Intent::Unknown);
    }

    #[test]
    fn the_operation_that_is_named_decides() {
        let two = r#""query": "query A { a } mutation B { issueDelete { ok } }""#;
        assert_eq!(judged(&format!("{{{two}, \"operationName\": \"A\"}}")), Intent::Query);
        assert_eq!(judged(&format!("{{{two}, \"operationName\": \"B\"}}")), Intent::Delete);
        for unclear in ["\"C\"", "null", "\"\"", "1"] {
            let body = format!("{{{two}, \"operationName\": {unclear}}}");
            assert_eq!(judged(&body), Intent::Unknown, "{unclear}");
        }
    }

    #[test]
    fn comments_strings_and_aliases_hide_nothing() {
        assert_eq!(
            document("\u{feff}#{\n mutation#query\n{ query: issueDelete { ok } }"),
            Intent::Delete
        );
        assert_eq!(
            document(r#"mutation($a: S = "} query {") { issueDelete { ok } }"#),
            Intent::Delete
        );
        assert_eq!(document("query { a(b: \"\"\"\\\"\"\" } mutation { x\"\"\") }"), Intent::Query);
        assert_eq!(document(r#"query { a(b: "\"") { mutation } }"#), Intent::Query);
    }

    #[test]
    fn what_is_no_document_is_no_read() {
        for broken in [
            "",
            "query",
            "{ a",
            "{ a }}",
            "{ a } x",
            "type A { b: C }",
            "{ \u{1} }",
            "{ a(b: \"x) }",
            "{ a } query { b }",
        ] {
            assert_eq!(document(broken), Intent::Unknown, "{broken:?}");
        }
        assert_eq!(judged(r#"{"id": "x"}"#), Intent::Unknown);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_judged(query in "[{}()\"\\\\#. \\na-z:@$!]{0,60}") {
            let _ = document(&query);
        }

        #[test]
        fn a_lone_mutation_is_never_a_read(before in "([ ,\\n]|#[a-z{}\"]*\\n){0,4}", name in "[a-z]{0,5}") {
            let query = format!("{before}mutation {name}{{ x }}");
            proptest::prop_assert!(!document(&query).is_read(), "{}", query);
        }
    }
}
