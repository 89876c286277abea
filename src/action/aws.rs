//! The hosts of AWS services, and the service and region that requests to them are signed for.
//! Pure.

use std::borrow::Cow;

use super::aws_hosts::{ELSEWHERE, HOSTS};
use super::is_label;

/// Domains of AWS: in general, and in China.
const DOMAINS: [[&str; 2]; 2] =
    [[".amazonaws.com", ".amazonaws.com.cn"], [".api.aws", ".api.amazonwebservices.com.cn"]];

/// The signing region of global services, and of requests without a region.
pub(super) const HOME: &str = "us-east-1";

/// A service with its region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwsPlace<'h> {
    /// Signing name of the service.
    pub service: &'h str,
    /// Signing region.
    pub region: &'h str,
    /// Whether it is the same for all clients.
    pub is_fixed: bool,
    /// The region in the host's name, if the client chooses it.
    pub named: Option<&'h str>,
}

/// The host of the service called `name` in SDKs; `None` if AWS has no such service.
pub(super) fn host(name: &str, region: &str) -> Option<Cow<'static, str>> {
    let filled = |pattern: &'static str| match pattern.contains("{}") {
        true => pattern.replace("{}", region).into(),
        false => Cow::Borrowed(pattern),
    };
    let is_it = |[area, one, ..]: &&[&str; 5]| region.starts_with(area) && *one == name;
    match (ELSEWHERE.iter().find(is_it), pattern(name)) {
        _ if !is_label(region) => None,
        (Some([_, _, pattern, ..]), _) => Some(filled(pattern)),
        (None, Some(pattern)) => Some(in_area(filled(pattern), region)),
        (None, None) if !is_label(name) => None,
        (None, None) => Some(in_area(format!("{name}.{region}.amazonaws.com").into(), region)),
    }
}

/// `host` in the partition of `region`.
fn in_area(host: Cow<'static, str>, region: &str) -> Cow<'static, str> {
    let renamed = |[usual, chinese]: &[&str; 2]| {
        host.strip_suffix(usual).map(|bare| format!("{bare}{chinese}").into())
    };
    let is_chinese = region.starts_with("cn-");
    is_chinese.then(|| DOMAINS.iter().find_map(renamed)).flatten().unwrap_or(host)
}

/// A host of AWS without its domain.
#[must_use]
pub fn aws_bare_host(host: &str) -> Option<&str> {
    DOMAINS.as_flattened().iter().find_map(|domain| host.strip_suffix(domain))
}

/// The host prefix (before the region) of the service called `name` in SDKs; `None` if it is
/// that name.
#[must_use]
pub fn aws_front(name: &str) -> Option<&'static str> {
    pattern(name)?.split_once(".{}").map(|(front, _)| front)
}

/// The service at `host`; `None` if the host may belong to a customer of AWS.
#[must_use]
pub fn aws_place(host: &str) -> Option<AwsPlace<'_>> {
    let elsewhere = ELSEWHERE.iter().map(|[_, _, row @ ..]| row);
    let usual = HOSTS.iter().map(|[_, row @ ..]| row);
    let mut all = elsewhere.chain(usual);
    all.find_map(|row| listed(row, host)).or_else(|| {
        let [usual, chinese] = DOMAINS[0];
        let bare = host.strip_suffix(usual).or_else(|| host.strip_suffix(chinese))?;
        let (service, region) = bare.split_once('.')?;
        let named = Some(region).filter(|region| is_label(region))?;
        is_label(service).then_some(AwsPlace {
            service,
            region,
            is_fixed: false,
            named: Some(named),
        })
    })
}

/// The service of a table row, if `host` is its host.
fn listed<'h>(
    [pattern, service, region]: &'static [&str; 3],
    host: &'h str,
) -> Option<AwsPlace<'h>> {
    let named = match pattern.split_once("{}") {
        None => (*pattern == host).then_some(None),
        Some((front, back)) => {
            let behind = host.strip_prefix(front)?;
            let chinese = DOMAINS.iter().find(|[usual, _]| *usual == back).map(|[_, it]| *it);
            let ends = [Some(back), chinese];
            let named = ends.into_iter().flatten().find_map(|end| behind.strip_suffix(end))?;
            is_label(named).then_some(Some(named))
        }
    }?;
    let own = Some(*region).filter(|region| !region.is_empty());
    let region = own.or(named).unwrap_or(HOME);
    Some(AwsPlace { service, region, is_fixed: own.is_some(), named })
}

fn pattern(name: &str) -> Option<&'static str> {
    let at = HOSTS.binary_search_by(|[one, ..]| (*one).cmp(name)).ok()?;
    HOSTS.get(at).map(|[_, pattern, ..]| *pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(HOSTS.is_sorted_by(|[one, ..], [next, ..]| one < next));
    }

    #[test]
    fn services_are_found_by_prefix_and_by_client() {
        for (name, expected) in [
            ("s3", "s3.eu-west-1.amazonaws.com"),
            ("api.ecr", "api.ecr.eu-west-1.amazonaws.com"),
            ("ecr", "api.ecr.eu-west-1.amazonaws.com"),
            ("runtime.sagemaker", "runtime.sagemaker.eu-west-1.amazonaws.com"),
            ("sagemaker-runtime", "runtime.sagemaker.eu-west-1.amazonaws.com"),
            ("dynamodbstreams", "streams.dynamodb.eu-west-1.amazonaws.com"),
            ("sesv2", "email.eu-west-1.amazonaws.com"),
            ("cloudwatch", "monitoring.eu-west-1.amazonaws.com"),
            ("qbusiness", "qbusiness.eu-west-1.api.aws"),
            ("budgets", "budgets.amazonaws.com"),
            ("ce", "ce.us-east-1.amazonaws.com"),
        ] {
            assert_eq!(host(name, "eu-west-1").as_deref(), Some(expected), "{name}");
        }
        for (name, region, expected) in [
            ("sqs", "cn-north-1", "sqs.cn-north-1.amazonaws.com.cn"),
            ("ecr", "cn-northwest-1", "api.ecr.cn-northwest-1.amazonaws.com.cn"),
            ("qbusiness", "us-gov-west-1", "qbusiness.us-gov-west-1.api.aws"),
            ("iam", "cn-northwest-1", "iam.cn-north-1.amazonaws.com.cn"),
            ("iam", "us-gov-east-1", "iam.us-gov.amazonaws.com"),
            ("organizations", "us-gov-east-1", "organizations.us-gov-west-1.amazonaws.com"),
            ("s3", "us-gov-west-1", "s3.us-gov-west-1.amazonaws.com"),
        ] {
            assert_eq!(host(name, region).as_deref(), Some(expected), "{name} {region}");
        }
        for other in ["evil.com", "bucket.s3", "api.s3", "api.ecr.x", "x.amazonaws.com", "", "A"] {
            assert_eq!(host(other, "eu-west-1"), None, "{other}");
        }
        assert_eq!((host("s3", "s3.x"), host("iam", "a.b")), (None, None));
    }

    #[test]
    fn signing_scope_is_derived_from_the_host() {
        for (host, service, region, is_fixed) in [
            ("sqs.eu-west-1.amazonaws.com", "sqs", "eu-west-1", false),
            ("api.ecr.eu-west-1.amazonaws.com", "ecr", "eu-west-1", false),
            ("email.eu-west-1.amazonaws.com", "ses", "eu-west-1", false),
            ("qbusiness.eu-west-1.api.aws", "qbusiness", "eu-west-1", false),
            ("iam.amazonaws.com", "iam", "us-east-1", true),
            ("networkmanager.us-west-2.amazonaws.com", "networkmanager", "us-west-2", true),
            ("sqs.cn-north-1.amazonaws.com.cn", "sqs", "cn-north-1", false),
            ("api.ecr.cn-north-1.amazonaws.com.cn", "ecr", "cn-north-1", false),
            ("iam.cn-north-1.amazonaws.com.cn", "iam", "cn-north-1", true),
            ("iam.us-gov.amazonaws.com", "iam", "us-gov-west-1", true),
            ("codecatalyst.global.api.aws", "codecatalyst", "us-east-1", false),
        ] {
            let place = aws_place(host).unwrap();
            assert_eq!((place.service, place.region, place.is_fixed), (service, region, is_fixed));
        }
        for others in
            ["bucket.s3.eu-west-1.amazonaws.com", "x.amazonaws.com", "evil.com", "x.eu.api.aws"]
        {
            assert_eq!(aws_place(others), None, "{others}");
        }
    }
}
