//! Where a provider's requests go: the vendor's own hosts, or what the
//! configuration names in their place.

use std::borrow::Cow;

use http::Uri;
use http::uri::{Authority, Scheme};

use crate::action::{aws_bare_host, aws_place};
use crate::intent;

/// A provider's upstream: scheme, host and a path that everything stands below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    scheme: Scheme,
    authority: Authority,
    base: String,
}

/// Why a text is no upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
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
    /// See [`UpstreamFault`].
    pub fn parse(url: &str) -> Result<Self, UpstreamFault> {
        let wrong = || UpstreamFault::NotAUrl(url.to_owned());
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
            return Err(UpstreamFault::TooMuch(url.to_owned()));
        }
        let base = path.map_or(String::new(), |path| path.path().trim_end_matches('/').to_owned());
        Ok(Self { scheme, authority, base })
    }

    /// One of a vendor's own hosts; `None` where it may be a customer's of the vendor.
    pub(super) fn vendor(host: &str) -> Option<Self> {
        let authority = host.parse().ok().filter(|_| !is_of_customer(host))?;
        Some(Self { scheme: Scheme::HTTPS, authority, base: String::new() })
    }

    /// The host, with a port where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// The host without a port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    /// Scheme, host and base path, as URLs in answers begin.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.base)
    }

    /// Path and query of `url` below it; `None` where it stands elsewhere.
    #[must_use]
    pub fn target<'u>(&self, url: &'u Uri) -> Option<&'u str> {
        let is_here =
            url.scheme() == Some(&self.scheme) && url.authority() == Some(&self.authority);
        let below = url.path_and_query()?.as_str().strip_prefix(&self.base)?;
        (is_here && (below.is_empty() || below.starts_with(['/', '?']))).then_some(below)
    }

    /// The URI of `path` and `query`, both as they are to be sent.
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

/// Whether a host of AWS's may be a machine or a bucket of somebody's
/// (`ec2-203-0-113-25.compute-1`, `bucket.s3`): the region is a client's word, and
/// its own hosts have one of the regions' form.
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
