//! Several requests in one body: Microsoft Graph's `$batch`, Google's
//! `multipart/mixed`, Salesforce's composite resources.
//!
//! An envelope means nothing by itself. It is taken apart into the requests
//! that the provider would carry out, and each is judged as if it had come
//! alone. What servers could take apart differently is not taken apart at all.

mod multipart;

use std::borrow::Cow;

use crate::action::{Body, HttpRequest, Provider, without_format};
use crate::fold::fold;
use crate::head::{HeadError, check_headers, check_query};
use crate::json::{Json, Object};
use crate::overrides;
use crate::path::{Path, PathError};

/// Maximum number of requests in one batch. Google allows 1,000, the others fewer.
pub const MAX_MEMBERS: usize = 1_000;

/// Why a batch cannot be split unambiguously.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The envelope differs from the provider's documentation.
    #[error("the batch is not of the form that the provider documents")]
    Malformed,
    /// A member's URL is not plain: relative, normalised, and read alike by all servers.
    #[error("a request in the batch has no plain URL")]
    Url,
    /// A member's URL contains its host, as google-cloud-storage writes them.
    #[error("a request in the batch gives a whole URL instead of a path")]
    Whole,
    /// A member's path would not be accepted on its own.
    #[error("in a request of the batch, {0}")]
    Path(PathError),
    /// A member asks some servers to read it as another request.
    #[error("a request in the batch asks to be taken for another")]
    Overridden,
    /// A member is a batch.
    #[error("a batch within a batch")]
    Nested,
    /// There are more than [`MAX_MEMBERS`].
    #[error("more than {MAX_MEMBERS} requests in one batch")]
    TooMany,
    /// There are none.
    #[error("a batch without requests")]
    Empty,
}

/// The requests that `request` contains, each as if sent on its own; `None` if it is not a
/// batch.
#[must_use]
pub fn members(request: &HttpRequest) -> Option<Result<Vec<HttpRequest>, BatchError>> {
    let form = Form::of(request)?;
    Some(form.members(request).and_then(|members| match members.len() {
        0 => Err(BatchError::Empty),
        len if len > MAX_MEMBERS => Err(BatchError::TooMany),
        _ if members.iter().any(|member| Form::of(member).is_some()) => Err(BatchError::Nested),
        _ => Ok(members),
    }))
}

/// The providers' envelope formats.
#[derive(Debug, Clone, Copy)]
enum Form<'r> {
    /// `POST /v1.0/$batch`: `{"requests": [{"id", "method", "url", …}]}`. URLs are relative to
    /// the version, which is stored here.
    Graph { version: &'r str },
    /// `POST /batch/drive/v3`: multipart with parts of type `application/http`.
    Google,
    /// `POST …/composite`: `{"compositeRequest": [{"method", "url", …}]}`.
    Composite,
    /// `POST …/composite/graph`: `{"graphs": [{"compositeRequest": […]}]}`.
    CompositeGraph,
    /// `POST …/composite/batch`: `{"batchRequests": [{"method", "url", …}]}`. URLs are relative
    /// to `/services/data`.
    CompositeBatch,
}

impl<'r> Form<'r> {
    fn of(request: &'r HttpRequest) -> Option<Self> {
        if request.is_file {
            return None;
        }
        let path = request.path.trim_end_matches('/');
        match request.provider {
            Provider::Microsoft => {
                let (version, last) = path.rsplit_once('/')?;
                let names = ["$batch", "%24batch"];
                let is_batch = names.iter().any(|name| last.eq_ignore_ascii_case(name));
                is_batch.then_some(Self::Graph { version })
            }
            Provider::Google => {
                (path == "/batch" || path.starts_with("/batch/")).then_some(Self::Google)
            }
            // A GET may be for a resource with that name.
            Provider::Salesforce if request.method != "GET" => {
                let mut back = without_format(path).rsplit('/');
                let last = [back.next()?, back.next().unwrap_or_default()];
                match last.map(str::to_ascii_lowercase).each_ref().map(String::as_str) {
                    ["composite", _] => Some(Self::Composite),
                    ["graph", "composite"] => Some(Self::CompositeGraph),
                    ["batch", "composite"] => Some(Self::CompositeBatch),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn members(self, request: &HttpRequest) -> Result<Vec<HttpRequest>, BatchError> {
        if request.method != "POST" {
            return Err(BatchError::Malformed);
        }
        let all = |key, list: &dyn Fn(&Object) -> Result<HttpRequest, BatchError>| {
            objects(json_body(request)?, key)?.map(|member| list(member?)).collect()
        };
        match self {
            Self::Google => multipart::members(request),
            Self::Graph { version } if !matches!(version, "/v1.0" | "/beta") => {
                Err(BatchError::Malformed)
            }
            Self::Graph { version } => all("requests", &|member| {
                let url = text(member, "url")?;
                let slash = if url.starts_with('/') { "" } else { "/" };
                from_json(request, member, &format!("{version}{slash}{url}"), "headers")
            }),
            Self::Composite => all("compositeRequest", &|member| composite_member(request, member)),
            Self::CompositeBatch => all("batchRequests", &|member| {
                let url = text(member, "url")?.trim_start_matches('/');
                let url = match url.starts_with("services/data/") {
                    true => format!("/{url}"),
                    // Such as `v60.0/…`.
                    false if url.starts_with('v') => format!("/services/data/{url}"),
                    false => return Err(BatchError::Url),
                };
                from_json(request, member, &url, "httpHeaders")
            }),
            Self::CompositeGraph => {
                let mut members = Vec::new();
                for graph in objects(json_body(request)?, "graphs")? {
                    for member in objects(graph?, "compositeRequest")? {
                        members.push(composite_member(request, member?)?);
                    }
                }
                Ok(members)
            }
        }
    }
}

fn composite_member(request: &HttpRequest, member: &Object) -> Result<HttpRequest, BatchError> {
    let url = text(member, "url")?;
    if !refers_to_records(url) {
        return Err(BatchError::Url);
    }
    from_json(request, member, &with_references(url), "httpHeaders")
}

/// Encodes references so that they are valid in a path.
fn with_references(url: &str) -> Cow<'_, str> {
    if !url.contains("@{") {
        return url.into();
    }
    let escapes = [('{', "%7B"), ('}', "%7D"), ('[', "%5B"), (']', "%5D")];
    escapes.iter().fold(url.to_owned(), |url, (from, to)| url.replace(*from, to)).into()
}

/// Whether references to results of other members (`@{new.id}`) occur only in the place of a
/// record's id (after the name of its object type), or in the query. Elsewhere, what is
/// requested would be known only to Salesforce.
fn refers_to_records(url: &str) -> bool {
    let path = url.split('?').next().unwrap_or_default();
    let mut behind_kind = path.split('/').skip_while(|segment| *segment != "sobjects").skip(2);
    let allowed = behind_kind.next().map_or(0, |segment| segment.matches("@{").count());
    path.matches("@{").count() == allowed
}

/// Whether lenient servers (in C# or Java, which read `Url` as `url`) take `name` for one of the
/// members `known`.
fn is_spelt_otherwise(name: &str, known: &[&str]) -> bool {
    let folded = fold(name);
    !known.contains(&name) && known.iter().any(|known| folded.eq_ignore_ascii_case(known))
}

fn json_body(request: &HttpRequest) -> Result<&Object, BatchError> {
    match &request.body {
        Body::Json(body) => body.as_object().ok_or(BatchError::Malformed),
        _ => Err(BatchError::Malformed),
    }
}

/// The objects in the array under `key`.
fn objects<'o>(
    object: &'o Object,
    key: &str,
) -> Result<impl Iterator<Item = Result<&'o Object, BatchError>>, BatchError> {
    let Some(Json::Array(list)) = object.get(key) else { return Err(BatchError::Malformed) };
    if object.iter().any(|(name, _)| is_spelt_otherwise(name, &[key])) {
        return Err(BatchError::Malformed);
    }
    if list.len() > MAX_MEMBERS {
        return Err(BatchError::TooMany);
    }
    Ok(list.iter().map(|item| item.as_object().ok_or(BatchError::Malformed)))
}

fn text<'o>(object: &'o Object, key: &str) -> Result<&'o str, BatchError> {
    object.get(key).and_then(Json::as_str).ok_or(BatchError::Malformed)
}

/// A member in JSON, for `url`.
fn from_json(
    outer: &HttpRequest,
    member: &Object,
    url: &str,
    headers: &str,
) -> Result<HttpRequest, BatchError> {
    let known = ["method", "url", "body", "richInput", headers];
    if member.iter().any(|(name, _)| is_spelt_otherwise(name, &known)) {
        return Err(BatchError::Malformed);
    }
    // Each provider takes one of them and leaves the other.
    let body = match (member.get("body"), member.get("richInput")) {
        (Some(_), Some(_)) => return Err(BatchError::Malformed),
        (body, rich) => body.or(rich),
    };
    if body.and_then(overrides::member_in).is_some() {
        return Err(BatchError::Overridden);
    }
    Ok(HttpRequest {
        headers: pairs(member.get(headers))?,
        body: body.map_or(Body::Empty, |body| Body::Json(body.clone())),
        ..bare(outer, text(member, "method")?, url)?
    })
}

fn pairs(headers: Option<&Json>) -> Result<Vec<(String, String)>, BatchError> {
    let pair = |(name, value): (&str, &Json)| {
        let value = value.as_str().ok_or(BatchError::Malformed)?;
        Ok((name.to_ascii_lowercase(), value.to_owned()))
    };
    match headers {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Object(headers)) => checked(headers.iter().map(pair).collect::<Result<_, _>>()?),
        Some(_) => Err(BatchError::Malformed),
    }
}

/// Checks the headers of a member, with names in lower case, as those of a request that comes
/// alone.
fn checked(headers: Vec<(String, String)>) -> Result<Vec<(String, String)>, BatchError> {
    if headers.iter().any(|(name, _)| overrides::is_header_to_some(name)) {
        return Err(BatchError::Overridden);
    }
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_plain);
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    match headers.iter().all(|(name, _)| is_name(name)) && check_headers(pairs).is_ok() {
        true => Ok(headers),
        false => Err(BatchError::Malformed),
    }
}

/// A member without headers and body.
fn bare(outer: &HttpRequest, method: &str, url: &str) -> Result<HttpRequest, BatchError> {
    if ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(BatchError::Whole);
    }
    let (path, query) = url.trim_end().split_once('?').unwrap_or((url.trim_end(), ""));
    let read = Path::parse(outer.provider, path).map_err(BatchError::Path)?;
    // The path is forwarded as sent, so it must be in normal form.
    if !read.forwarded().eq_ignore_ascii_case(path) {
        return Err(BatchError::Url);
    }
    // An implementation may write it into the head of a request.
    if query.contains(|c: char| c.is_control() || c == '#') {
        return Err(BatchError::Url);
    }
    check_query(query).map_err(|error| match error {
        HeadError::Override(_) => BatchError::Overridden,
        _ => BatchError::Url,
    })?;
    Ok(HttpRequest {
        provider: outer.provider,
        method: method.to_ascii_uppercase(),
        path: read.judged().to_owned(),
        host: outer.host.clone(),
        is_file: false,
        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: Vec::new(),
        body: Body::Empty,
    })
}

#[cfg(test)]
mod tests;
