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

/// Maximum length of a string, in bytes; longer ones are truncated.
pub const MAX_STRING: usize = 512;

/// Length after which further arguments are omitted, in bytes. The result may exceed it by one
/// string and a bracket per level.
pub const MAX_TOTAL: usize = 16 << 10;

/// Replacement of a secret.
pub const REDACTED: &str = "[redacted]";

/// Maximum length of stored arguments, in bytes. Redaction stays well below it.
const MAX_ARGS: usize = 64 << 10;

/// How far beyond the truncation to look for a credential that begins before it, in bytes.
const OVERLAP: usize = 512;

/// Maximum length of a number, in bytes.
const MAX_NUMBER: usize = 64;

/// Words that mark a key as secret, alone or as the end of a word (`clientsecret`).
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

/// Words that mark a key as secret only as whole words.
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

/// Words that mark a key as secret when followed by `key`: `api_key`.
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

/// Members that name the key in a pair: `{"name": "password", "value": …}`.
const PAIR_KEYS: [&str; 5] = ["name", "key", "field", "header", "label"];

/// Words that mark a query or form parameter as secret, but not other keys.
const PARAMETER_WORDS: [&str; 5] = ["assertion", "sig", "signature", "tempauth", "verifier"];

/// Parameters that contain authorization codes.
const LOGIN_CODES: [&str; 2] = ["code", "devicecode"];

/// The redacted payload of an action, as JSON.
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

/// A tool's name or resource's path without credentials: some APIs take a token as part of the
/// URL.
#[must_use]
pub fn subject(name: &str) -> Cow<'_, str> {
    const SHORTEST_TOKEN: usize = 16;
    match name.split('/').any(|part| part.len() >= SHORTEST_TOKEN) {
        true => scrub(name),
        false => Cow::Borrowed(name),
    }
}

/// `text` without credentials, truncated to [`MAX_STRING`].
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
            // Truncated keys must stay distinct.
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

/// Whether `value` is worth hiding: booleans, null and empty values are not.
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

/// Whether `key` names a secret, in any spelling: `apiKey`, `API-KEY`, `x_api_key`, `apikey`.
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

/// Whether the query or form parameter `name` contains a secret, such as a URL's signature.
/// Unlike in other places, `code` is an authorization code here.
fn is_secret_parameter(name: &str) -> bool {
    let words = words(name);
    is_secret_key(name)
        || words.iter().any(|word| PARAMETER_WORDS.contains(&word.as_str()))
        || LOGIN_CODES.contains(&words.concat().as_str())
}

/// Splits a key into lower-case words: `maxTokens`, `max-tokens` and `MAX_TOKENS` are the same.
/// Long keys are truncated.
fn words(key: &str) -> Vec<String> {
    const MAX_KEY: usize = 256;
    let mut words = vec![String::new()];
    let mut previous = ' ';
    let mut characters = key.chars().take(MAX_KEY).peekable();
    while let Some(character) = characters.next() {
        let next_is_lower = characters.peek().is_some_and(|next| next.is_lowercase());
        // `apiKey`: a capital after a lower-case letter; `APIKey`: the last capital of a run.
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

/// Published formats of common credentials, and assignments to names of secrets.
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
    // INVARIANT (compiles): a unit test uses it. Matching bytes without Unicode classes takes a
    // tenth of the memory.
    RegexBuilder::new(&patterns.join("|")).unicode(false).build().ok()
});

/// Minimum length of a credential, in bytes.
const SHORTEST: usize = 8;

fn scrub(text: &str) -> Cow<'_, str> {
    if text.len() < SHORTEST {
        return Cow::Borrowed(text);
    }
    let Some(credentials) = CREDENTIALS.as_ref() else {
        // If in doubt, hide everything.
        return Cow::Borrowed(REDACTED);
    };
    match credentials.replace_all(text.as_bytes(), replacement) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        // Matches begin and end at ASCII characters, so the rest is valid UTF-8.
        Cow::Owned(scrubbed) => Cow::Owned(String::from_utf8_lossy(&scrubbed).into_owned()),
    }
}

/// Capture groups of the text before a credential.
const BEFORE: [&str; 9] =
    ["header", "scheme", "user", "url", "hook", "signed", "option", "flag", "name"];

/// Keeps the text before the credential, such as `password="`, to show what it was.
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

/// Redaction bounds the arguments; should they exceed [`MAX_ARGS`] all the same, stores a note
/// instead, so that the column is always valid JSON.
pub(super) fn stored_args(args: &str) -> Cow<'_, str> {
    match args.len() {
        length if length > MAX_ARGS => Cow::Owned(format!("\"[{length} bytes]\"")),
        _ => Cow::Borrowed(args),
    }
}

#[cfg(test)]
mod tests;
