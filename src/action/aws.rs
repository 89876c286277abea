//! Where the services of AWS are, and what requests to them are signed for. Pure.

use std::borrow::Cow;

use super::aws_hosts::HOSTS;
use super::is_label;

/// The region that services with one place for the world are signed for, and requests
/// that name none.
pub(super) const HOME: &str = "us-east-1";

/// A service's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwsPlace<'h> {
    /// What requests are signed by.
    pub service: &'h str,
    /// And for.
    pub region: &'h str,
    /// Whether that is the region of every client.
    pub is_fixed: bool,
    /// The region in the host's name, where it is a client's word.
    pub named: Option<&'h str>,
}

/// The host of the service that SDKs are told as `name`; `None` where it is none of
/// AWS's.
pub(super) fn host(name: &str, region: &str) -> Option<Cow<'static, str>> {
    match pattern(name) {
        _ if !is_label(region) => None,
        Some(pattern) => Some(match pattern.contains("{}") {
            true => pattern.replace("{}", region).into(),
            false => pattern.into(),
        }),
        None => is_label(name).then(|| format!("{name}.{region}.amazonaws.com").into()),
    }
}

/// What the hosts of the service that SDKs are told as `name` begin with, before their
/// region; `None` where that is the name.
#[must_use]
pub fn aws_front(name: &str) -> Option<&'static str> {
    pattern(name)?.split_once(".{}").map(|(front, _)| front)
}

/// The service at `host`; `None` where it may be a customer's of AWS.
#[must_use]
pub fn aws_place(host: &str) -> Option<AwsPlace<'_>> {
    let listed = HOSTS.iter().find_map(|[_, pattern, service, region]| {
        let named = match pattern.split_once("{}") {
            None => (*pattern == host).then_some(None),
            Some((front, back)) => {
                let named = host.strip_prefix(front)?.strip_suffix(back)?;
                is_label(named).then_some(Some(named))
            }
        }?;
        let own = Some(*region).filter(|region| !region.is_empty());
        let region = own.or(named).unwrap_or(HOME);
        Some(AwsPlace { service, region, is_fixed: own.is_some(), named })
    });
    listed.or_else(|| {
        let (service, region) = host.strip_suffix(".amazonaws.com")?.split_once('.')?;
        let named = Some(region).filter(|region| is_label(region))?;
        is_label(service).then_some(AwsPlace {
            service,
            region,
            is_fixed: false,
            named: Some(named),
        })
    })
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
        for other in ["evil.com", "bucket.s3", "api.s3", "api.ecr.x", "x.amazonaws.com", "", "A"] {
            assert_eq!(host(other, "eu-west-1"), None, "{other}");
        }
        assert_eq!((host("s3", "s3.x"), host("iam", "a.b")), (None, None));
    }

    #[test]
    fn what_is_signed_for_is_told_by_the_host() {
        for (host, service, region, is_fixed) in [
            ("sqs.eu-west-1.amazonaws.com", "sqs", "eu-west-1", false),
            ("api.ecr.eu-west-1.amazonaws.com", "ecr", "eu-west-1", false),
            ("email.eu-west-1.amazonaws.com", "ses", "eu-west-1", false),
            ("qbusiness.eu-west-1.api.aws", "qbusiness", "eu-west-1", false),
            ("iam.amazonaws.com", "iam", "us-east-1", true),
            ("networkmanager.us-west-2.amazonaws.com", "networkmanager", "us-west-2", true),
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
