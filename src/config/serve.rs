//! What the configuration file says to `serve`.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use serde::Deserialize;

use super::ConfigError;
use crate::action::Provider;
use crate::rest::credentials::{Credential, Source};
use crate::rest::proxy::Site;
use crate::rest::route::Upstream;

/// What holds for one provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderFile {
    /// A base URL in place of the vendor's hosts.
    pub upstream: Option<String>,
    /// The credential that the gate puts in: `{env: NAME}` or `{file: PATH}`.
    pub credential: Option<Source>,
    /// A listener of its own, without a prefix.
    pub listen: Option<SocketAddr>,
}

/// The providers by their names, checked.
///
/// # Errors
/// Everything that is wrong with any of them, together.
pub fn sites(
    providers: &BTreeMap<String, ProviderFile>,
) -> Result<HashMap<Provider, Site>, ConfigError> {
    let mut sites = HashMap::new();
    let mut wrong = Vec::new();
    for (name, file) in providers {
        let Some(provider) = Provider::from_name(name) else {
            let known = Provider::ALL.map(Provider::as_str).join(", ");
            wrong.push(format!("providers.{name}: there is no such provider; known are {known}"));
            continue;
        };
        let upstream = match file.upstream.as_deref().map(Upstream::parse).transpose() {
            Ok(upstream) => upstream,
            Err(fault) => {
                wrong.push(format!("providers.{name}.upstream: {fault}"));
                None
            }
        };
        let credential = file.credential.clone().map(|source| Credential::new(provider, source));
        sites.insert(provider, Site { upstream, credential });
    }
    if wrong.is_empty() { Ok(sites) } else { Err(ConfigError::Wrong(wrong.join("\n"))) }
}

/// The providers that have a listener of their own.
#[must_use]
pub fn listeners(providers: &BTreeMap<String, ProviderFile>) -> Vec<(Provider, SocketAddr)> {
    let named = providers
        .iter()
        .filter_map(|(name, file)| Some((Provider::from_name(name)?, file.listen?)));
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> BTreeMap<String, ProviderFile> {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn providers_are_checked_all_at_once() {
        let good = read(
            "jira: {upstream: 'https://x.atlassian.net', credential: {env: JIRA}}\n\
             github: {credential: {file: /run/github}, listen: '127.0.0.1:8201'}\n",
        );
        assert_eq!(sites(&good).unwrap().len(), 2);
        assert_eq!(listeners(&good).len(), 1);
        let bad = read("gitlab: {}\njira: {upstream: nonsense}\n");
        let error = sites(&bad).unwrap_err().to_string();
        assert!(error.contains("gitlab") && error.contains("jira.upstream"), "{error}");
    }
}
