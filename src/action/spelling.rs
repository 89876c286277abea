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
            Self::Github | Self::Jira | Self::Hubspot => Some(plain.to_ascii_lowercase()),
            Self::Google | Self::Slack | Self::Notion | Self::Linear | Self::Aws => {
                (plain.len() < path.len()).then(|| plain.to_ascii_lowercase())
            }
        }
    }
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
        ] {
            assert_eq!(provider.loose_form(written).as_deref(), Some(plain));
        }
        for provider in [Provider::Google, Provider::Slack, Provider::Notion, Provider::Aws] {
            assert_eq!(provider.loose_form("/a/B"), None);
            assert_eq!(provider.loose_form("/a/B/").as_deref(), Some("/a/b"));
        }
    }
}
