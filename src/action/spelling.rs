//! Alternate spellings of a path that a provider treats as equal.

use std::borrow::Cow;

use super::Provider;

impl Provider {
    /// Other spellings that a server may treat as `path`, in lower case: the simplest form
    /// (without a trailing slash and, depending on the provider, case, OData notation and
    /// format suffixes), and documented aliases.
    pub fn loose_forms(self, path: &str) -> impl Iterator<Item = String> {
        let plain = path.trim_end_matches('/');
        let forms = self.plainest(path).into_iter().chain(self.second_names(plain));
        forms.map(|mut form| {
            form.make_ascii_lowercase();
            form
        })
    }

    fn plainest(self, path: &str) -> Option<String> {
        let plain = path.trim_end_matches('/');
        match self {
            Self::Microsoft => Some(without_odata(plain)),
            Self::Salesforce => Some(without_format(plain).to_owned()),
            Self::Github | Self::Hubspot => Some(plain.to_owned()),
            Self::Jira => Some(below_site(plain).to_owned()),
            Self::Google if plain.contains("%3A") => Some(with_verb(plain)),
            Self::Google | Self::Slack | Self::Notion | Self::Linear | Self::Aws => {
                (plain.len() < path.len()).then(|| plain.to_owned())
            }
        }
    }

    fn second_names(self, plain: &str) -> Vec<String> {
        match self {
            Self::Microsoft if plain.contains(':') => {
                vec![without_odata(&without_closing_colons(plain))]
            }
            Self::Google => without_media(plain).map(with_verb).into_iter().collect(),
            Self::Notion => {
                let forms = [with_dashes as fn(&str) -> Option<String>, without_dashes];
                forms.iter().filter_map(|form| renamed(plain, form)).collect()
            }
            Self::Salesforce => renamed(without_format(plain), other_length).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether `%3A` before `end`, the end of a path, is part of a name: Google parses what
    /// follows `:` as a verb, but not what follows `%3A` (google/api/http.proto).
    #[must_use]
    pub fn names_with_colon(self, end: &str) -> bool {
        let end = end.trim_end_matches('/');
        self == Self::Google && !end.is_empty() && end.bytes().all(|b| b.is_ascii_alphabetic())
    }
}

/// The path without the site prefix of api.atlassian.com (`/ex/jira/<cloud id>`).
#[must_use]
pub fn below_site(path: &str) -> &str {
    let start = "/ex/jira/";
    let is_site = path.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start));
    let site = is_site.then(|| path.get(start.len()..)?.find('/')).flatten();
    site.and_then(|end| path.get(start.len() + end..)).unwrap_or(path)
}

/// Removes OData notation: `users('x')/graph.user/messages` → `users/x/messages`. Keys become
/// segments, casts are removed, and so is the namespace of an action at the end.
fn without_odata(path: &str) -> String {
    let mut plain = Vec::new();
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_qualified = ["microsoft.graph.", "graph."].iter().any(|own| starts(segment, own));
        if is_qualified && segments.peek().is_some() {
            continue;
        }
        let own = segment.rsplit('.').next().filter(|_| is_qualified).unwrap_or(segment);
        match own.strip_suffix(')').and_then(|open| open.split_once('(')) {
            Some((name, key)) if !name.is_empty() => {
                plain.push(name);
                plain.extend(Some(key_of(key)).filter(|key| !key.is_empty()));
            }
            _ => plain.push(own),
        }
    }
    plain.join("/")
}

/// `root:/a/b:/children` → `root:/a/b/children`: Microsoft Graph ends path-based addressing
/// with a second colon (OneDrive, "Addressing resources in a drive").
fn without_closing_colons(path: &str) -> String {
    let mut is_open = false;
    let plain = path.split('/').map(|segment| match segment.strip_suffix(':') {
        Some(closed) if is_open => {
            is_open = false;
            closed
        }
        Some(_) => {
            is_open = true;
            segment
        }
        None => segment,
    });
    plain.collect::<Vec<_>>().join("/")
}

/// `/upload/drive/v3/files/x` → `/drive/v3/files/x`: prefixes of Google methods that transfer
/// media (`mediaUpload` and `supportsMediaDownload` in its discovery documents).
fn without_media(path: &str) -> Option<&str> {
    let prefixes = ["/resumable/upload", "/upload", "/download"];
    let below = prefixes.iter().find_map(|prefix| path.strip_prefix(prefix));
    below.filter(|below| below.starts_with('/'))
}

/// Decodes the colon of a possible custom verb.
fn with_verb(path: &str) -> String {
    path.replace("%3A", ":")
}

/// Replaces every segment that has an alias; `None` if none has.
fn renamed(path: &str, other: impl Fn(&str) -> Option<String>) -> Option<String> {
    let named = path.split('/').map(|own| other(own).map_or(Cow::Borrowed(own), Cow::Owned));
    let named: Vec<Cow<'_, str>> = named.collect();
    named.iter().any(|name| matches!(name, Cow::Owned(_))).then(|| named.join("/"))
}

/// Notion's ids are UUIDs, whose dashes are optional (API reference, "Introduction").
fn without_dashes(id: &str) -> Option<String> {
    let is_uuid = id.len() == 36 && uuid::Uuid::try_parse(id).is_ok();
    is_uuid.then(|| id.replace('-', ""))
}

fn with_dashes(id: &str) -> Option<String> {
    let id = uuid::Uuid::try_parse(id).ok().filter(|_| id.len() == 32)?;
    Some(id.hyphenated().to_string())
}

/// Salesforce's ids have 15 case-sensitive characters, optionally followed by three that encode
/// the case: each is a number of five bits, the lowest for the first character ("SOAP API
/// Developer Guide", ID Field Type).
fn other_length(id: &str) -> Option<String> {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let is_id =
        id.bytes().all(|b| b.is_ascii_alphanumeric()) && id.bytes().any(|b| b.is_ascii_digit());
    match id.len() {
        18 if is_id => id.get(..15).map(str::to_owned),
        15 if is_id => {
            let capitals = |five: &[u8]| {
                let bits = five.iter().rev().map(|b| usize::from(b.is_ascii_uppercase()));
                bits.fold(0, |number, bit| number << 1 | bit)
            };
            let digits = id.as_bytes().chunks(5).filter_map(|five| DIGITS.get(capitals(five)));
            Some(id.chars().chain(digits.map(|digit| char::from(*digit))).collect())
        }
        _ => None,
    }
}

/// `'x'` and `id='x'` → `x`; composite keys are unchanged.
fn key_of(written: &str) -> &str {
    if written.contains(',') {
        return written;
    }
    let value = written.split_once('=').map_or(written, |(_, value)| value);
    value.trim().trim_matches('\'')
}

/// Removes the format suffix: `/services/data/v60.0/sobjects/Account.json` (Connect REST API,
/// "Request and response formats").
#[must_use]
pub fn without_format(path: &str) -> &str {
    let Some((plain, format)) = path.rsplit_once('.') else { return path };
    match ["json", "xml"].iter().any(|known| format.eq_ignore_ascii_case(known)) {
        true => plain,
        false => path,
    }
}

fn starts(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_of_a_path_have_one_plain_form() {
        for (provider, written, plain) in [
            (Provider::Microsoft, "/beta/Users('X')/messages/", "/beta/users/x/messages"),
            (Provider::Microsoft, "/beta/users(id='X')/messages", "/beta/users/x/messages"),
            (Provider::Microsoft, "/beta/users( 'x' )", "/beta/users/x"),
            (Provider::Microsoft, "/v1.0/a()/microsoft.graph.b/c()", "/v1.0/a/c"),
            (Provider::Microsoft, "/v1.0/a(x='1',y='2')", "/v1.0/a/x='1',y='2'"),
            (Provider::Salesforce, "/services/data/v60.0/Query.JSON", "/services/data/v60.0/query"),
            (Provider::Jira, "/rest/api/3/issue/X-1/", "/rest/api/3/issue/x-1"),
            (Provider::Jira, "/ex/jira/1-a/rest/api/3/field", "/rest/api/3/field"),
            (Provider::Google, "/v1/topics/x%3Asearch", "/v1/topics/x:search"),
        ] {
            assert_eq!(provider.loose_forms(written).next().as_deref(), Some(plain));
        }
        for provider in [Provider::Google, Provider::Slack, Provider::Notion, Provider::Aws] {
            assert_eq!(provider.loose_forms("/a/B").next(), None);
            assert_eq!(provider.loose_forms("/a/B/").next().as_deref(), Some("/a/b"));
        }
    }

    #[test]
    fn second_names_of_the_same() {
        let (plain, dashed) = (
            "/v1/pages/598337872cf94fdf87829bb80ffb5bd6",
            "/v1/pages/59833787-2cf9-4fdf-8782-9bb80ffb5bd6",
        );
        for (provider, written, second) in [
            (
                Provider::Microsoft,
                "/v1.0/me/drive/root:/A/b:/children",
                "/v1.0/me/drive/root:/a/b/children",
            ),
            (Provider::Microsoft, "/v1.0/me/drive/root:/a:", "/v1.0/me/drive/root:/a"),
            (
                Provider::Microsoft,
                "/v1.0/sites/h:/s:/drive/root:/a:/x",
                "/v1.0/sites/h:/s/drive/root:/a/x",
            ),
            (Provider::Google, "/upload/drive/v3/files/X", "/drive/v3/files/x"),
            (Provider::Google, "/resumable/upload/drive/v3/files/x/", "/drive/v3/files/x"),
            (Provider::Google, "/download/storage/v1/b/b/o/x", "/storage/v1/b/b/o/x"),
            (Provider::Notion, plain, dashed),
            (Provider::Notion, dashed, plain),
            (
                Provider::Salesforce,
                "/services/data/v60.0/sobjects/Account/001D000000IRFma",
                "/services/data/v60.0/sobjects/account/001d000000irfmaiah",
            ),
            (
                Provider::Salesforce,
                "/services/data/v60.0/sobjects/Account/001D000000IRFmaIAH.json",
                "/services/data/v60.0/sobjects/account/001d000000irfma",
            ),
        ] {
            let forms: Vec<String> = provider.loose_forms(written).collect();
            assert!(forms.iter().any(|form| form == second), "{written}: {forms:?}");
        }
        for (provider, written) in [
            (Provider::Google, "/uploads/x"),
            (Provider::Google, "/drive/v3/files/upload"),
            (Provider::Notion, "/v1/pages/5983"),
        ] {
            assert_eq!(provider.loose_forms(written).next(), None, "{written}");
        }
    }
}
