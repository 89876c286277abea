//! The spellings of a path that a provider takes for one another.

use super::Provider;

impl Provider {
    /// `path` in the plainest form that a server may take it for: without a slash at
    /// its end and, by the provider, whatever its case (ASCII), OData's ways to write
    /// it, the suffix that names a format. `None` where there is no other.
    #[must_use]
    pub fn loose_form(self, path: &str) -> Option<String> {
        let plain = path.trim_end_matches('/');
        match self {
            Self::Microsoft => Some(without_odata(plain).to_ascii_lowercase()),
            Self::Salesforce => Some(without_format(plain).to_ascii_lowercase()),
            Self::Github | Self::Hubspot => Some(plain.to_ascii_lowercase()),
            Self::Jira => Some(below_site(plain).to_ascii_lowercase()),
            Self::Google if plain.contains("%3A") => {
                Some(plain.replace("%3A", ":").to_ascii_lowercase())
            }
            Self::Google | Self::Slack | Self::Notion | Self::Linear | Self::Aws => {
                (plain.len() < path.len()).then(|| plain.to_ascii_lowercase())
            }
        }
    }

    /// Whether `%3A` in front of `end`, the end of a path, is a part of a name: Google
    /// takes what follows a `:` there for a verb, and what follows `%3A` not
    /// (google/api/http.proto).
    #[must_use]
    pub fn names_with_colon(self, end: &str) -> bool {
        let end = end.trim_end_matches('/');
        self == Self::Google && !end.is_empty() && end.bytes().all(|b| b.is_ascii_alphabetic())
    }
}

/// The path without the site that api.atlassian.com has in front
/// (`/ex/jira/<cloud id>`).
#[must_use]
pub fn below_site(path: &str) -> &str {
    let start = "/ex/jira/";
    let is_site = path.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start));
    let site = is_site.then(|| path.get(start.len()..)?.find('/')).flatten();
    site.and_then(|end| path.get(start.len() + end..)).unwrap_or(path)
}

/// `users('x')/graph.user/messages` → `users/x/messages`: OData's keys as segments,
/// its casts left out, and of the name of an action at the end no namespace.
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

/// `'x'`, `id='x'` → `x`; several keys stay as they are.
fn key_of(written: &str) -> &str {
    if written.contains(',') {
        return written;
    }
    let value = written.split_once('=').map_or(written, |(_, value)| value);
    value.trim().trim_matches('\'')
}

/// `/services/data/v60.0/sobjects/Account.json` is the same without its end, which
/// names the format of the answer (Connect REST API, "Request and response formats").
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
            assert_eq!(provider.loose_form(written).as_deref(), Some(plain));
        }
        for provider in [Provider::Google, Provider::Slack, Provider::Notion, Provider::Aws] {
            assert_eq!(provider.loose_form("/a/B"), None);
            assert_eq!(provider.loose_form("/a/B/").as_deref(), Some("/a/b"));
        }
    }
}
