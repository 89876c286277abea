//! The upstream of a provider: the vendor's own hosts, or base URLs from the
//! configuration.

use std::borrow::Cow;

use http::Uri;
use http::uri::{Authority, Scheme};

use crate::action::{aws_bare_host, aws_place};
use crate::intent;

/// The base URL of an upstream: scheme, host and base path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    scheme: Scheme,
    authority: Authority,
    base: String,
}

/// Why a string is not a base URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamUrlError {
    /// Not `http://host[:port][/path]` or `https://…`.
    #[error("`{0}` is not a base URL; write https://host or https://host/path")]
    NotAUrl(String),
    /// User information, a query or a fragment.
    #[error("`{0}` must be a scheme, a host and a path, and nothing else")]
    TooMuch(String),
}

impl Upstream {
    /// Reads a base URL.
    ///
    /// # Errors
    /// See [`UpstreamUrlError`].
    pub fn parse(url: &str) -> Result<Self, UpstreamUrlError> {
        let wrong = || UpstreamUrlError::NotAUrl(url.to_owned());
        let parts = url.parse::<Uri>().map_err(|_| wrong())?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(wrong());
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(wrong());
        }
        let path = parts.path_and_query;
        let has_query = path.as_ref().is_some_and(|path| path.query().is_some());
        if has_query || authority.as_str().contains('@') || url.contains('#') {
            return Err(UpstreamUrlError::TooMuch(url.to_owned()));
        }
        let base = path.map_or(String::new(), |path| path.path().trim_end_matches('/').to_owned());
        Ok(Self { scheme, authority, base })
    }

    /// One of the vendor's own hosts; `None` if it may be a customer's.
    pub(super) fn vendor(host: &str) -> Option<Self> {
        let authority = host.parse().ok().filter(|_| !is_of_customer(host))?;
        Some(Self { scheme: Scheme::HTTPS, authority, base: String::new() })
    }

    /// The host, with the port where it is not the scheme's default.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// The host without a port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    /// Scheme, host and base path: what URLs in responses begin with.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.base)
    }

    /// Path and query of `url` relative to the base URL; `None` if it is outside.
    #[must_use]
    pub fn target<'u>(&self, url: &'u Uri) -> Option<&'u str> {
        let is_here =
            url.scheme() == Some(&self.scheme) && url.authority() == Some(&self.authority);
        let below = url.path_and_query()?.as_str().strip_prefix(&self.base)?;
        (is_here && (below.is_empty() || below.starts_with(['/', '?']))).then_some(below)
    }

    /// The URI for `path` and `query`, both already encoded.
    #[must_use]
    pub fn uri(&self, path: &str, query: Option<&str>) -> Option<Uri> {
        let target = match (self.base.is_empty(), query) {
            (true, None) => Cow::Borrowed(path),
            (_, None) => format!("{}{path}", self.base).into(),
            (_, Some(query)) => format!("{}{path}?{query}", self.base).into(),
        };
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(&*target)
            .build()
            .ok()
    }
}

/// Whether an AWS host may be a customer's machine or bucket
/// (`ec2-203-0-113-25.compute-1`, `bucket.s3`): the client chooses the region, and AWS's own
/// hosts have a valid one.
fn is_of_customer(host: &str) -> bool {
    let is_region = |named: Option<&str>| named.is_none_or(intent::is_aws_region);
    aws_bare_host(host).is_some() && !aws_place(host).is_some_and(|place| is_region(place.named))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Provider, destination};

    /// The region is what the client signed for.
    #[test]
    fn no_region_leads_to_a_host_of_a_customers() {
        let leads = |region: &str| {
            let destination = destination(Provider::Aws, "/bucket/k", Some(region));
            Upstream::vendor(destination.host.as_deref()?)
        };
        assert_eq!(leads("us-west-2").unwrap().authority(), "bucket.us-west-2.amazonaws.com");
        for region in [
            "s3",
            "s3-us-west-2",
            "s3-external-1",
            "s3-website-us-east-1",
            "s3-fips-us-west-2",
            "compute-1",
        ] {
            assert_eq!(leads(region), None, "{region}");
        }
        let chinese = leads("cn-north-1").unwrap();
        assert_eq!(chinese.authority(), "bucket.cn-north-1.amazonaws.com.cn");
        for host in ["b.s3.cn-north-1.amazonaws.com.cn", "s3.cn-s3.amazonaws.com.cn"] {
            assert_eq!(Upstream::vendor(host), None, "{host}");
        }
    }

    #[test]
    fn upstreams_are_base_urls_and_nothing_else() {
        let upstream = Upstream::parse("http://127.0.0.1:9000/api/").unwrap();
        let uri = upstream.uri("/x%2Fy", Some("a=1")).unwrap();
        assert_eq!(uri, "http://127.0.0.1:9000/api/x%2Fy?a=1");
        let plain = Upstream::parse("https://example.com").unwrap();
        assert_eq!(plain.uri("/", None).unwrap(), "https://example.com/");
        for wrong in
            ["example.com", "ftp://x", "/x", "https://u:p@x", "https://x?y", "https://x/#y", ""]
        {
            assert!(Upstream::parse(wrong).is_err(), "{wrong}");
        }
    }
}
