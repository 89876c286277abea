//! Hosts of one provider that the configuration puts elsewhere, one by one:
//! `hosts: {gmail: "http://127.0.0.1:9001", files.slack.com: …}`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::preauthenticated_urls;
use super::route::{Upstream, UpstreamFault};
use crate::action::{Provider, aws_bare_host, aws_front, is_label};

/// Where single hosts of a provider are, in place of the vendor's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// The longest name first: the more exact one holds.
    places: Vec<(String, Upstream)>,
}

/// Why a host cannot be put elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostFault {
    /// Not one of the provider's.
    #[error("`{name}` is not a host of {provider};  {known}")]
    NotItsOwn {
        /// What was named.
        name: String,
        /// Whose it should be.
        provider: &'static str,
        /// What could be named.
        known: String,
    },
    /// See [`UpstreamFault`].
    #[error("{0}")]
    Upstream(#[from] UpstreamFault),
}

impl Hosts {
    /// Reads `named`: hosts of `provider`, `*.` and what hosts end in, or for
    /// Google and AWS the name of a service, and base URLs.
    ///
    /// # Errors
    /// Every [`HostFault`] with the name that it is about.
    pub fn parse(
        provider: Provider,
        named: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<(String, HostFault)>> {
        let (mut places, mut faults) = (Vec::new(), Vec::new());
        for (name, url) in named {
            let place = full_name(provider, name)
                .and_then(|full| Ok((full, Upstream::parse(url)?)))
                .map_err(|fault| (name.clone(), fault));
            match place {
                Ok(place) => places.push(place),
                Err(fault) => faults.push(fault),
            }
        }
        places.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        if faults.is_empty() { Ok(Self { places }) } else { Err(faults) }
    }

    /// Where `host` is instead.
    #[must_use]
    pub fn place_of(&self, host: &str) -> Option<&Upstream> {
        let meant = |name: &str| match name.strip_suffix('.') {
            // A service of AWS, in any region.
            Some(service) => host.strip_prefix(service).is_some_and(|rest| rest.starts_with('.')),
            None => preauthenticated_urls::fits(name, host),
        };
        self.places.iter().find(|(name, _)| meant(name)).map(|(_, place)| place)
    }

    /// Every name, as hosts are matched with, and the place.
    pub fn places(&self) -> impl Iterator<Item = (&str, &Upstream)> {
        self.places.iter().map(|(name, place)| (name.as_str(), place))
    }
}

/// Whether an `upstream` stands for every host of the provider's; elsewhere it is
/// the one site of a customer.
#[must_use]
pub fn are_all_in_one(provider: Provider) -> bool {
    !matches!(provider, Provider::Jira | Provider::Salesforce)
}

/// The hosts of a provider's API itself, but for Google and AWS, where each
/// service has its own.
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

/// The host that `name` stands for; services of AWS, whose hosts go on with a
/// region, end in `.`.
fn full_name(provider: Provider, name: &str) -> Result<String, HostFault> {
    let refused = |known: String| {
        let (name, provider) = (name.to_owned(), provider.as_str());
        Err(HostFault::NotItsOwn { name, provider, known })
    };
    let beside =
        || preauthenticated_urls::hosts(provider).chain(provider.file_hosts().iter().copied());
    let is_known = |pattern: &str| pattern == name || preauthenticated_urls::fits(pattern, name);
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

/// A service of AWS's, in a region or in all, as its hosts begin.
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

    fn hosts(provider: Provider, names: &[&str]) -> Result<Hosts, Vec<(String, HostFault)>> {
        let named = names.iter().enumerate();
        let named = named.map(|(at, name)| ((*name).to_owned(), format!("http://127.0.0.1:{at}")));
        Hosts::parse(provider, &named.collect())
    }

    #[test]
    fn the_most_exact_name_holds() {
        let aws =
            hosts(Provider::Aws, &["s3", "sqs", "sqs.eu-west-1", "iam.amazonaws.com"]).unwrap();
        let place = |host: &str| aws.place_of(host).map(|place| place.authority().to_owned());
        assert_eq!(place("s3.eu-west-1.amazonaws.com").as_deref(), Some("127.0.0.1:0"));
        assert_eq!(place("sqs.us-east-1.amazonaws.com").as_deref(), Some("127.0.0.1:1"));
        assert_eq!(place("sqs.eu-west-1.amazonaws.com").as_deref(), Some("127.0.0.1:2"));
        assert_eq!(place("iam.amazonaws.com").as_deref(), Some("127.0.0.1:3"));
        for name in ["ecr", "api.ecr", "ecr.eu-west-1"] {
            let registry = hosts(Provider::Aws, &[name]).unwrap();
            assert!(registry.place_of("api.ecr.eu-west-1.amazonaws.com").is_some(), "{name}");
        }
        assert_eq!(place("s3x.eu-west-1.amazonaws.com"), None);
        let google = hosts(Provider::Google, &["gmail", "www.googleapis.com"]).unwrap();
        assert!(google.place_of("gmail.googleapis.com").is_some());
        assert!(google.place_of("www.googleapis.com").is_some());
        assert!(google.place_of("docs.googleapis.com").is_none());
        for (provider, name) in [
            (Provider::Google, "lh3.googleusercontent.com"),
            (Provider::Jira, "api.media.atlassian.com"),
            (Provider::Linear, "storage.googleapis.com"),
            (Provider::Slack, "files-origin.slack.com"),
            (Provider::Notion, "prod-files-secure.s3.us-west-2.amazonaws.com"),
        ] {
            assert!(hosts(provider, &[name]).unwrap().place_of(name).is_some(), "{name}");
        }
        let graph = hosts(Provider::Microsoft, &["*.sharepoint.com", "a.1drv.com"]).unwrap();
        assert!(graph.place_of("acme.sharepoint.com").is_some());
        assert!(graph.place_of("b.1drv.com").is_none());
    }

    #[test]
    fn only_a_providers_own_hosts_can_be_put_elsewhere() {
        for (provider, name) in [
            (Provider::Slack, "files.example.com"),
            (Provider::Google, "evil.com"),
            (Provider::Aws, "s3/x"),
            (Provider::Jira, "acme.atlassian.net"),
            (Provider::Microsoft, "*.com"),
        ] {
            let [(of, fault)] = <[_; 1]>::try_from(hosts(provider, &[name]).unwrap_err()).unwrap();
            assert_eq!(of, name);
            assert!(matches!(fault, HostFault::NotItsOwn { .. }), "{fault}");
        }
    }
}
