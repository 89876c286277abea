//! Targets and agents of requests signed for AWS.

use std::sync::Arc;

use agentgate::store::agents::AgentRecord;
use http::Uri;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// The URL of a target that AWS's library signs as it is.
#[must_use]
pub fn uri(target: &str) -> Option<Uri> {
    let path = target.split('?').next().unwrap_or_default();
    let is_plain = path.starts_with('/') && !path.contains("//") && !path.contains("/.");
    let uri: Uri = is_plain.then(|| format!("http://gate{target}").parse().ok()).flatten()?;
    // The library only signs URLs in the standard's form.
    let is_written = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/?&=%+".contains(&byte);
    let is_read = percent_decode_str(target)
        .decode_utf8()
        .is_ok_and(|text| !text.to_ascii_lowercase().contains("x-amz-"));
    (target.bytes().all(is_written) && is_read).then_some(uri)
}

/// The decoded path and the decoded parameters, sorted.
#[must_use]
pub fn meant(uri: &Uri) -> (String, Vec<(String, String)>) {
    let query = uri.query().unwrap_or_default().replace('+', "%20");
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect();
    pairs.sort();
    (decoded(uri.path()), pairs)
}

/// Without escapes.
#[must_use]
pub fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The secret of every agent.
#[must_use]
pub fn secret() -> Zeroizing<String> {
    Zeroizing::new("secret".to_owned())
}

/// The agent with this name.
#[must_use]
pub fn agent(name: &str) -> Arc<AgentRecord> {
    Arc::new(AgentRecord {
        id: "1".into(),
        name: name.into(),
        description: String::new(),
        policy: None,
        provider: None,
        created_at: Timestamp::UNIX_EPOCH,
    })
}
