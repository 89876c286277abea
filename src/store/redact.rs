//! Redaction of an action's arguments for the log. Pure.
//!
//! More people read the log than may know the secrets in it. So values under keys that look
//! like secrets are removed, and so is text that is plainly a credential anywhere; long
//! strings are truncated; and the total size is bounded. The row's digest proves the exact
//! arguments.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::bytes::{Captures, Regex, RegexBuilder};

use super::facet::beginning;
use crate::action::Payload;
use crate::json::{Json, Object, write_string};

/// Longest string that is kept whole, in bytes.
pub const MAX_STRING: usize = 512;

/// Size at which the rest of the arguments is left out, in bytes. The result
/// may be longer by one string, and by a bracket per level.
pub const MAX_TOTAL: usize = 16 << 10;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Longest arguments that are stored, in bytes. Redaction keeps well below it.
const MAX_ARGS: usize = 64 << 10;

/// How far behind the cut a credential is looked for that begins before it.
const OVERLAP: usize = 512;

/// Longest number that is kept, in bytes.
const MAX_NUMBER: usize = 64;

/// Words that make a key look like a secret's, alone or at the end of a word
/// (`clientsecret`).
const SECRET_ENDINGS: [&str; 9] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
];

/// Words that do only alone.
const SECRET_WORDS: [&str; 14] = [
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "cred",
    "cvc",
    "cvv",
    "jwt",
    "otp",
    "pass",
    "passcode",
    "passkey",
    "pwd",
    "ssn",
];

/// What makes a `key` a secret one when it stands before it: `api_key`.
const SECRET_KEYS: [&str; 13] = [
    "access",
    "account",
    "api",
    "decryption",
    "encryption",
    "host",
    "license",
    "master",
    "private",
    "secret",
    "shared",
    "signing",
    "ssh",
];

/// Words beside which `token` is a unit of text: `max_tokens`.
const COUNTING: [&str; 12] = [
    "avg", "budget", "count", "limit", "max", "min", "num", "number", "per", "size", "total",
    "used",
];

/// The names under which a pair carries its key: `{"name": "password", "value": …}`.
const PAIR_KEYS: [&str; 5] = ["name", "key", "field", "header", "label"];

/// Words that make the name of a parameter look like a secret's, and no other key.
const PARAMETER_WORDS: [&str; 5] = ["assertion", "sig", "signature", "tempauth", "verifier"];

/// Parameters that are codes which stand for a login.
const LOGIN_CODES: [&str; 2] = ["code", "devicecode"];

/// What an action carries as JSON text, fit for the log.
#[must_use]
pub fn payload(payload: &Payload<'_>) -> String {
    let mut out = String::with_capacity(256);
    match payload {
        Payload::Whole(args) => object(&mut out, args, is_secret_key),
        Payload::Parts(parts) => {
            out.push('{');
            for (index, (name, part)) in parts.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(&mut out, name);
                out.push(':');
                match (*name, &**part) {
                    ("query" | "form", Json::Object(parameters)) => {
                        object(&mut out, parameters, is_secret_parameter);
                    }
                    (_, part) => value(&mut out, part),
                }
            }
            out.push('}');
        }
    }
    out
}

/// The name of a tool or the path of a resource, without the credentials in it: some
/// APIs are asked about a token by its own URL.
#[must_use]
pub fn subject(name: &str) -> Cow<'_, str> {
    const SHORTEST_TOKEN: usize = 16;
    match name.split('/').any(|part| part.len() >= SHORTEST_TOKEN) {
        true => scrub(name),
        false => Cow::Borrowed(name),
    }
}

/// A text without the credentials in it, cut to [`MAX_STRING`].
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    let scrubbed = scrub(beginning(text, MAX_STRING + OVERLAP));
    if text.len() <= MAX_STRING {
        return scrubbed;
    }
    Cow::Owned(format!("{}…[{} bytes]", beginning(&scrubbed, MAX_STRING), text.len()))
}

fn value(out: &mut String, json: &Json) {
    match json {
        Json::String(string) => write_string(out, &text(string)),
        Json::Array(items) => array(out, items),
        Json::Object(members) => object(out, members, is_secret_key),
        Json::Number(number) if number.as_str().len() > MAX_NUMBER => {
            write_string(out, &format!("[{} digits]", number.as_str().len()));
        }
        Json::Number(number) => out.push_str(number.as_str()),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Null => out.push_str("null"),
    }
}

fn array(out: &mut String, items: &[Json]) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        if out.len() > MAX_TOTAL {
            write_string(out, &left_out(items.len() - index));
            break;
        }
        value(out, item);
    }
    out.push(']');
}

fn object(out: &mut String, members: &Object, is_secret: fn(&str) -> bool) {
    let pair = is_secret_pair(members);
    out.push('{');
    for (index, (key, member)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        if out.len() > MAX_TOTAL {
            write_string(out, "…");
            out.push(':');
            write_string(out, &left_out(members.len() - index));
            break;
        }
        match text(key) {
            Cow::Borrowed(key) => write_string(out, key),
            // Keys that were cut must not become equal.
            Cow::Owned(key) => write_string(out, &format!("{key}#{index}")),
        }
        out.push(':');
        let secret = is_secret(key) || (pair && key.eq_ignore_ascii_case("value"));
        if secret && could_be_secret(member) {
            write_string(out, REDACTED);
        } else {
            value(out, member);
        }
    }
    out.push('}');
}

fn left_out(count: usize) -> String {
    format!("[{count} more]")
}

/// Flags and emptiness give nothing away.
fn could_be_secret(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(_) => false,
        Json::String(text) => !text.is_empty(),
        _ => true,
    }
}

fn is_secret_pair(members: &Object) -> bool {
    members.iter().any(|(key, value)| {
        PAIR_KEYS.iter().any(|name| key.eq_ignore_ascii_case(name))
            && value.as_str().is_some_and(is_secret_key)
    })
}

/// Whether values under `key` are taken for secrets, however it is spelt:
/// `apiKey`, `API-KEY`, `x_api_key`, `apikey`.
#[must_use]
pub fn is_secret_key(key: &str) -> bool {
    let words = words(key);
    let counts = words.iter().any(|word| COUNTING.contains(&word.as_str()));
    let mut before = "";
    for word in &words {
        let singular = word.strip_suffix('s').unwrap_or(word);
        let ends = SECRET_ENDINGS.iter().any(|ending| singular.ends_with(ending));
        if ends && !(singular == "token" && counts) {
            return true;
        }
        if [word.as_str(), singular].iter().any(|form| SECRET_WORDS.contains(form)) {
            return true;
        }
        if singular == "key" && SECRET_KEYS.contains(&before) {
            return true;
        }
        before = word;
    }
    false
}

/// Whether values of the parameter `name`, of a query or a form, are taken for
/// secrets: what signs a URL is one, and `code` is no source text there.
fn is_secret_parameter(name: &str) -> bool {
    let words = words(name);
    is_secret_key(name)
        || words.iter().any(|word| PARAMETER_WORDS.contains(&word.as_str()))
        || LOGIN_CODES.contains(&words.concat().as_str())
}

/// The words of a key, in lower case: `maxTokens`, `max-tokens` and `MAX_TOKENS`
/// are the same two. A key is looked at up to a bound.
fn words(key: &str) -> Vec<String> {
    const MAX_KEY: usize = 256;
    let mut words = vec![String::new()];
    let mut previous = ' ';
    let mut characters = key.chars().take(MAX_KEY).peekable();
    while let Some(character) = characters.next() {
        let next_is_lower = characters.peek().is_some_and(|next| next.is_lowercase());
        // `apiKey`: a capital after none; `APIKey`: the last capital of a run.
        let begins = character.is_uppercase()
            && (!previous.is_uppercase() || next_is_lower)
            && previous.is_alphanumeric();
        if !character.is_alphanumeric() || begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| character.is_alphanumeric()) {
            word.extend(character.to_lowercase());
        }
        previous = character;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What is plainly a credential: the published formats of those that people
/// paste most, and assignments to names that look like secrets'.
static CREDENTIALS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let patterns = [
        r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
        r"\bPuTTY-User-Key-File-(?s:.*)|\bAGE-SECRET-KEY-1[A-Z0-9]{40,}",
        r#"(?P<header>\b(?i:authorization|cookie|x-api-key|private-token)[\\"']{0,4}[ \t]*:[ \t]*[\\"']{0,4}(?:(?i:basic|bearer|token|bot)[ \t]+)?)[^\s"'\\][^\r\n"'\\]{3,}"#,
        r"(?P<scheme>\b(?i:bearer|basic)[ \t]+)[A-Za-z0-9._~+/=-]{8,}",
        r#"(?P<user>[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,256}:)[^\s/"'<>]{1,256}@"#,
        r#"(?P<url>[a-z][a-z0-9+.-]{1,20}://)[^\s/:@"'<>]{20,256}@"#,
        r"(?P<hook>\b(?:hooks\.slack\.com/[a-z]{1,10}|discord(?:app)?\.com/api/webhooks/[0-9]{1,20})/)[A-Za-z0-9_/-]{20,}",
        r#"(?P<signed>[?&](?i:sig|signature|x-amz-signature|x-goog-signature|x-amz-security-token)=)[^\s&"']{8,}"#,
        r"\bgh[oprsu]_[A-Za-z0-9_.-]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}",
        r"\bgl(?:pat|dt|rt|rtr|cbt|ptt|ft|imt|agent|oas|soat|ffct|wt)-[A-Za-z0-9_.-]{16,}",
        r"\b[sr]k[-_][A-Za-z0-9_-]{16,}|\bwhsec_[A-Za-z0-9+/=]{20,}",
        r"\bxox[a-z](?:\.xox[a-z])?-[A-Za-z0-9%-]{10,}|\bx(?:app|wfp)-[A-Za-z0-9-]{10,}",
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bABSK[A-Za-z0-9+/]{60,}={0,2}|\bbedrock-api-key-[A-Za-z0-9+/=]{20,}",
        r"\bAIza[A-Za-z0-9_-]{35}|\bya29\.[A-Za-z0-9_-]{20,}|\b1//0[A-Za-z0-9_-]{20,}|\bGOCSPX-[A-Za-z0-9_-]{20,}|\bAQ\.A[A-Za-z0-9_-]{30,}",
        r"\bnpm_[A-Za-z0-9]{30,}|\bpypi-[A-Za-z0-9_-]{30,}|\bhf_[A-Za-z0-9]{30,}|\bagm?_[0-9a-f]{48,}|\bdckr_[op]at_[A-Za-z0-9_-]{20,}",
        r"\blin_api_[A-Za-z0-9]{20,}|\bntn_[A-Za-z0-9]{20,}|\bsecret_[A-Za-z0-9]{43}\b|\bshp(?:at|ss|ca|pa)_[a-fA-F0-9]{32}|\bfigd_[A-Za-z0-9_-]{20,}",
        r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|\bdo[opr]_v1_[0-9a-f]{64}|\bhv[bsr]\.[A-Za-z0-9_-]{20,}|\bdapi[0-9a-f]{32}|\bAT[AC]TT3[A-Za-z0-9_=-]{20,}",
        r"\bpat[A-Za-z0-9]{14}\.[0-9a-f]{64}|\bpat-[a-z]{2,3}[0-9]-[0-9a-f-]{36}|\bNRAK-[A-Z0-9]{27}|\bgl(?:sa|c)_[A-Za-z0-9_+/=]{30,}|\bPMAK-[0-9a-f]{24}-[0-9a-f]{34}",
        r"\bsb(?:p|_secret)_[A-Za-z0-9_-]{20,}|\bpplx-[A-Za-z0-9]{40,}|\bgsk_[A-Za-z0-9]{40,}|\bxai-[A-Za-z0-9]{60,}|\br8_[A-Za-z0-9]{30,}|\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}",
        r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        r#"(?P<option>\B(?:-u|--user)[ \t=]+["']?[^\s:"']{1,64}:)[^\s"']{4,}"#,
        r#"(?P<flag>\B--?(?i:[a-z0-9-]{0,40}(?:password|passwd|passphrase|secret|token|api-?key|access-?key|private-?key))[ \t]+)(?:["'][^"'\r\n]{4,}|[^\s"'&,;-][^\s"'&,;]{3,})"#,
        r#"(?P<name>(?i:[a-z0-9_-]{0,40}(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|account[_-]?key|private[_-]?key)[a-z0-9_-]{0,40})\\{0,3}["']?[ \t]*[=:][ \t]*)(?:\\{0,3}["'][^"'\r\n\\]{4,}|[^\s"'&,;\\][^\s"'&,;]{3,})"#,
    ];
    // INVARIANT (compiles): a test of this module scrubs with it. Over bytes, and
    // without Unicode's classes, the automaton takes a tenth of the memory.
    RegexBuilder::new(&patterns.join("|")).unicode(false).build().ok()
});

/// No credential that is looked for is shorter, in bytes; most keys are.
const SHORTEST: usize = 8;

fn scrub(text: &str) -> Cow<'_, str> {
    if text.len() < SHORTEST {
        return Cow::Borrowed(text);
    }
    let Some(credentials) = CREDENTIALS.as_ref() else {
        // Rather nothing than a secret.
        return Cow::Borrowed(REDACTED);
    };
    match credentials.replace_all(text.as_bytes(), replacement) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        // Every match begins and ends at an ASCII character, so what is left is text.
        Cow::Owned(scrubbed) => Cow::Owned(String::from_utf8_lossy(&scrubbed).into_owned()),
    }
}

/// The groups that lead up to a credential.
const BEFORE: [&str; 9] =
    ["header", "scheme", "user", "url", "hook", "signed", "option", "flag", "name"];

/// What leads up to the credential stays, with its quotation mark, to tell what it was.
fn replacement(found: &Captures<'_>) -> Vec<u8> {
    let before = BEFORE.iter().find_map(|name| found.name(name)).map(|before| before.as_bytes());
    let before = before.unwrap_or_default();
    let credential = found.get_match().as_bytes().get(before.len()..).unwrap_or_default();
    let quotes = credential.iter().take_while(|byte| b"\\\"'".contains(byte)).count();
    let quotes = credential.get(..quotes).unwrap_or_default();
    let is_user = found.name("user").or(found.name("url")).is_some();
    let at: &[u8] = if is_user { b"@" } else { b"" };
    [before, quotes, REDACTED.as_bytes(), at].concat()
}

/// Redaction bounds what is stored; what comes unbounded all the same is
/// replaced by a note, so that the column always holds JSON.
pub(super) fn stored_args(args: &str) -> Cow<'_, str> {
    match args.len() {
        length if length > MAX_ARGS => Cow::Owned(format!("\"[{length} bytes]\"")),
        _ => Cow::Borrowed(args),
    }
}

#[cfg(test)]
mod tests;
