//! What the configuration file says to `serve`.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use serde::Deserialize;

use super::ConfigError;
use crate::action::Provider;
use crate::rest::credentials::{Credential, Source};
use crate::rest::hosts::Hosts;
use crate::rest::proxy::Site;
use crate::rest::route::Upstream;

/// What holds for one provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderFile {
    /// A base URL in place of the vendor's hosts.
    pub upstream: Option<String>,
    /// Base URLs in place of single hosts of the vendor's, or of services of
    /// Google's and AWS's; they come before `upstream`.
    pub hosts: BTreeMap<String, String>,
    /// The credential that the gate puts in: `{env: NAME}` or `{file: PATH}`.
    pub credential: Option<Source>,
    /// A listener of its own, without a prefix.
    pub listen: Option<SocketAddr>,
    /// Where clients see that listener, where something stands in front of it.
    pub public_url: Option<String>,
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
        let mut base_url = |key: &str, url: Option<&str>| match url.map(Upstream::parse).transpose()
        {
            Ok(upstream) => upstream,
            Err(fault) => {
                wrong.push(format!("providers.{name}.{key}: {fault}"));
                None
            }
        };
        let upstream = base_url("upstream", file.upstream.as_deref());
        let public_url = base_url("public_url", file.public_url.as_deref());
        let hosts = Hosts::parse(provider, &file.hosts).unwrap_or_else(|faults| {
            let faults = faults.into_iter();
            wrong.extend(
                faults.map(|(host, fault)| format!("providers.{name}.hosts.{host}: {fault}")),
            );
            Hosts::default()
        });
        let credential = file.credential.clone().map(|source| Credential::new(provider, source));
        sites.insert(provider, Site { upstream, hosts, public_url, credential });
    }
    if wrong.is_empty() { Ok(sites) } else { Err(ConfigError::Wrong(wrong.join("\n"))) }
}

/// Where clients see the gate.
///
/// # Errors
/// Where it is no base URL.
pub fn public_url(url: Option<&str>) -> Result<Option<Upstream>, ConfigError> {
    let url = url.map(Upstream::parse).transpose();
    url.map_err(|fault| ConfigError::Wrong(format!("public_url: {fault}")))
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
        let bad = read(
            "gitlab: {}\njira: {upstream: nonsense}\n\
             google: {hosts: {gmail: 'http://127.0.0.1:1', docs: nonsense, evil.com: 'http://x'}}\n",
        );
        let error = sites(&bad).unwrap_err().to_string();
        for wrong in ["gitlab", "jira.upstream", "google.hosts.docs", "google.hosts.evil.com"] {
            assert!(error.contains(wrong), "{wrong}: {error}");
        }
        assert!(!error.contains("gmail:"), "{error}");
    }
}
