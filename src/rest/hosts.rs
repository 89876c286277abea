//! Overrides for single hosts of a provider, from the configuration:
//! `hosts: {gmail: "http://127.0.0.1:9001", files.slack.com: …}`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::preauthenticated_urls;
use super::route::{Upstream, UpstreamUrlError};
use crate::action::{Provider, aws_bare_host, aws_front, is_label};

/// Upstreams that replace single hosts of a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostOverrides {
    /// By pattern, the longest first: the most specific one applies.
    overrides: Vec<(String, Upstream)>,
}

/// Why an override is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The host is not one of the provider's.
    #[error("`{name}` is not a host of {provider};  {known}")]
    NotItsOwn {
        /// The host as configured.
        name: String,
        /// The provider.
        provider: &'static str,
        /// What could be configured.
        known: String,
    },
    /// See [`UpstreamUrlError`].
    #[error("{0}")]
    Upstream(#[from] UpstreamUrlError),
}

impl HostOverrides {
    /// Reads `named`: hosts of `provider`, `*.` and what hosts end in, or for
    /// Google and AWS the name of a service, and base URLs.
    ///
    /// # Errors
    /// Every [`HostError`], with the name it is about.
    pub fn parse(
        provider: Provider,
        named: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<(String, HostError)>> {
        let (mut overrides, mut faults) = (Vec::new(), Vec::new());
        for (name, url) in named {
            let entry = full_name(provider, name)
                .and_then(|full| Ok((full, Upstream::parse(url)?)))
                .map_err(|fault| (name.clone(), fault));
            match entry {
                Ok(entry) => overrides.push(entry),
                Err(fault) => faults.push(fault),
            }
        }
        overrides.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        if faults.is_empty() { Ok(Self { overrides }) } else { Err(faults) }
    }

    /// The upstream that replaces `host`, if any.
    #[must_use]
    pub fn upstream_for(&self, host: &str) -> Option<&Upstream> {
        let meant = |name: &str| match name.strip_suffix('.') {
            // A service of AWS, in any region.
            Some(service) => host.strip_prefix(service).is_some_and(|rest| rest.starts_with('.')),
            None => preauthenticated_urls::host_matches(name, host),
        };
        self.overrides.iter().find(|(name, _)| meant(name)).map(|(_, upstream)| upstream)
    }

    /// Every host pattern, and its upstream.
    pub fn overrides(&self) -> impl Iterator<Item = (&str, &Upstream)> {
        self.overrides.iter().map(|(name, upstream)| (name.as_str(), upstream))
    }
}

/// Whether a configured `upstream` replaces every host of the provider; for the others it
/// is the customer's own site.
#[must_use]
pub fn are_all_in_one(provider: Provider) -> bool {
    !matches!(provider, Provider::Jira | Provider::Salesforce)
}

/// The hosts of a provider's API; none for Google and AWS, where each service has its own.
#[must_use]
pub fn of_api(provider: Provider) -> &'static [&'static str] {
    match provider {
        Provider::Github => &["api.github.com", "uploads.github.com"],
        Provider::Microsoft => &["graph.microsoft.com"],
        Provider::Slack => &["slack.com"],
        Provider::Notion => &["api.notion.com"],
        Provider::Linear => &["api.linear.app"],
        // By where the account's data are.
        Provider::Hubspot => &[
            "api.hubapi.com",
            "api-na1.hubapi.com",
            "api-na2.hubapi.com",
            "api-na3.hubapi.com",
            "api-eu1.hubapi.com",
            "api-ap1.hubapi.com",
        ],
        Provider::Google | Provider::Aws | Provider::Jira | Provider::Salesforce => &[],
    }
}

/// The host pattern for `name`; AWS services end in `.`, since their hosts continue with a
/// region.
fn full_name(provider: Provider, name: &str) -> Result<String, HostError> {
    let refused = |known: String| {
        let (name, provider) = (name.to_owned(), provider.as_str());
        Err(HostError::NotItsOwn { name, provider, known })
    };
    let beside =
        || preauthenticated_urls::hosts(provider).chain(provider.file_hosts().iter().copied());
    let is_known =
        |pattern: &str| pattern == name || preauthenticated_urls::host_matches(pattern, name);
    match provider {
        _ if beside().any(is_known) => Ok(name.to_owned()),
        Provider::Google => {
            let service = name.strip_suffix(".googleapis.com").unwrap_or(name);
            match is_label(service) {
                true => Ok(format!("{service}.googleapis.com")),
                false => refused("name a service, such as `gmail`".to_owned()),
            }
        }
        Provider::Aws => match name.split('.').all(is_label) {
            true if aws_bare_host(name).is_some() => Ok(name.to_owned()),
            true => Ok(format!("{}.", with_front(name))),
            false => refused("name a service, such as `s3` or `sqs.eu-west-1`".to_owned()),
        },
        Provider::Salesforce => refused("it has one host, which `upstream` names".to_owned()),
        _ if of_api(provider).contains(&name) => Ok(name.to_owned()),
        _ => {
            let known: BTreeSet<&str> = of_api(provider).iter().copied().chain(beside()).collect();
            let known: Vec<&str> = known.into_iter().collect();
            refused(format!("known are {}", known.join(", ")))
        }
    }
}

/// The host prefix of an AWS service, in one region or in all.
fn with_front(name: &str) -> Cow<'_, str> {
    let in_region = || {
        let (service, region) = name.rsplit_once('.')?;
        Some(format!("{}.{region}", aws_front(service)?).into())
    };
    aws_front(name).map(Cow::Borrowed).or_else(in_region).unwrap_or(Cow::Borrowed(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(
        provider: Provider,
        names: &[&str],
    ) -> Result<HostOverrides, Vec<(String, HostError)>> {
        let named = names.iter().enumerate();
        let named = named.map(|(at, name)| ((*name).to_owned(), format!("http://127.0.0.1:{at}")));
        HostOverrides::parse(provider, &named.collect())
    }

    #[test]
    fn the_most_exact_name_holds() {
        let aws =
            hosts(Provider::Aws, &["s3", "sqs", "sqs.eu-west-1", "iam.amazonaws.com"]).unwrap();
        let upstream =
            |host: &str| aws.upstream_for(host).map(|upstream| upstream.authority().to_owned());
        assert_eq!(upstream("s3.eu-west-1.amazonaws.com").as_deref(), Some("127.0.0.1:0"));
        assert_eq!(upstream("sqs.us-east-1.amazonaws.com").as_deref(), Some("127.0.0.1:1"));
        assert_eq!(upstream("sqs.eu-west-1.amazonaws.com").as_deref(), Some("127.0.0.1:2"));
        assert_eq!(upstream("iam.amazonaws.com").as_deref(), Some("127.0.0.1:3"));
        for name in ["ecr", "api.ecr", "ecr.eu-west-1"] {
            let registry = hosts(Provider::Aws, &[name]).unwrap();
            assert!(registry.upstream_for("api.ecr.eu-west-1.amazonaws.com").is_some(), "{name}");
        }
        assert_eq!(upstream("s3x.eu-west-1.amazonaws.com"), None);
        let google = hosts(Provider::Google, &["gmail", "www.googleapis.com"]).unwrap();
        assert!(google.upstream_for("gmail.googleapis.com").is_some());
        assert!(google.upstream_for("www.googleapis.com").is_some());
        assert!(google.upstream_for("docs.googleapis.com").is_none());
        for (provider, name) in [
            (Provider::Google, "lh3.googleusercontent.com"),
            (Provider::Jira, "api.media.atlassian.com"),
            (Provider::Linear, "storage.googleapis.com"),
            (Provider::Slack, "files-origin.slack.com"),
            (Provider::Notion, "prod-files-secure.s3.us-west-2.amazonaws.com"),
        ] {
            assert!(hosts(provider, &[name]).unwrap().upstream_for(name).is_some(), "{name}");
        }
        let graph = hosts(Provider::Microsoft, &["*.sharepoint.com", "a.1drv.com"]).unwrap();
        assert!(graph.upstream_for("acme.sharepoint.com").is_some());
        assert!(graph.upstream_for("b.1drv.com").is_none());
    }

    #[test]
    fn only_a_providers_own_hosts_can_be_overridden() {
        for (provider, name) in [
            (Provider::Slack, "files.example.com"),
            (Provider::Google, "evil.com"),
            (Provider::Aws, "s3/x"),
            (Provider::Jira, "acme.atlassian.net"),
            (Provider::Microsoft, "*.com"),
        ] {
            let [(of, fault)] = <[_; 1]>::try_from(hosts(provider, &[name]).unwrap_err()).unwrap();
            assert_eq!(of, name);
            assert!(matches!(fault, HostError::NotItsOwn { .. }), "{fault}");
        }
    }
}
