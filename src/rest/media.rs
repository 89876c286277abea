//! Bodies that are files: they pass unread in either direction. Method and path say what a
//! request does to a file, and a file that happens to be JSON is not a response of the API.

use http::{HeaderMap, Method, Uri};

use crate::action::Provider;

/// Whether the request's body is a file of any size and type, and upstream reads it as nothing
/// else.
#[must_use]
pub fn is_upload(
    provider: Provider,
    method: &Method,
    host: Option<&str>,
    path: &str,
    query: &str,
) -> bool {
    match provider {
        // Release assets.
        Provider::Github => host == Some("uploads.github.com"),
        // The rows of a Bulk API 2.0 job.
        Provider::Salesforce => {
            let mut ends = path.rsplit('/');
            let is_job = (ends.next(), ends.nth(1), ends.next())
                == (Some("batches"), Some("ingest"), Some("jobs"));
            *method == Method::PUT && is_job
        }
        // "Upload small files": `…/content`, `…:/content`.
        Provider::Microsoft => *method == Method::PUT && path.ends_with("/content"),
        Provider::Google => {
            let is_upload = path.starts_with("/upload/") || path.starts_with("/resumable/upload/");
            let all = |name: &str| -> Vec<String> {
                let pairs = form_urlencoded::parse(query.as_bytes());
                pairs.filter(|(other, _)| other == name).map(|(_, value)| value.into()).collect()
            };
            // The request that starts a resumable upload is JSON, which policies may inspect.
            let goes_on = *method == Method::PUT && !all("upload_id").is_empty();
            is_upload && (goes_on || all("uploadType") == ["media"])
        }
        _ => false,
    }
}

/// Path segments of Jira's attachments.
const JIRAS: [&str; 4] =
    ["/attachment/content/", "/attachment/thumbnail/", "/secure/attachment/", "/secure/thumbnail/"];

/// The kind of response body that a request expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedBody {
    /// A response of the API.
    Api,
    /// A file, or the API's response about a folder.
    FileOrApi,
    /// A file.
    File,
}

/// The kind of body that this request expects.
#[must_use]
pub fn answer(
    provider: Provider,
    method: &Method,
    path: &str,
    uri: &Uri,
    headers: &HeaderMap,
) -> ExpectedBody {
    match provider {
        _ if is_download(provider, method, path, uri, headers) => ExpectedBody::File,
        Provider::Github if accepts(headers, "raw") => ExpectedBody::FileOrApi,
        _ => ExpectedBody::Api,
    }
}

fn is_download(
    provider: Provider,
    method: &Method,
    path: &str,
    uri: &Uri,
    headers: &HeaderMap,
) -> bool {
    let query = uri.query().unwrap_or_default();
    match provider {
        // The response to an upload is the API's.
        _ if !method.is_safe() => false,
        _ if provider.file_at(path).is_some() => true,
        Provider::Google => {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            path.starts_with("/download/")
                || pairs.any(|(name, value)| name == "alt" && value == "media")
        }
        Provider::Github => is_asset(path) && accepts(headers, "octet-stream"),
        // `root:/a:/content` is a file's content; `root:/a/content` is the metadata of a file
        // with that name.
        Provider::Microsoft => {
            let names_file = path.matches(':').count() % 2 == 1;
            (path.ends_with("/content") || path.ends_with("/$value")) && !names_file
        }
        // The metadata of an attachment (`/attachment/1`) is JSON.
        Provider::Jira => JIRAS.iter().any(|folder| path.contains(folder)),
        _ => false,
    }
}

/// Whether the path is `/repos/{owner}/{repo}/releases/assets/{id}`. Folders may have the same
/// names.
fn is_asset(path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    let fixed = [parts.next(), parts.nth(2), parts.next()];
    fixed == [Some("repos"), Some("releases"), Some("assets")] && parts.count() == 1
}

fn accepts(headers: &HeaderMap, what: &str) -> bool {
    let accept = headers.get(http::header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.to_ascii_lowercase().contains(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_requests_are_detected_by_host_and_path() {
        let uploads =
            |provider, method, host, path, query| is_upload(provider, &method, host, path, query);
        use Provider::*;
        let files = "/upload/drive/v3/files";
        assert!(uploads(Google, Method::POST, None, files, "uploadType=media"));
        assert!(uploads(Google, Method::PUT, None, files, "uploadType=resumable&upload_id=x"));
        assert!(!uploads(Google, Method::POST, None, files, "uploadType=resumable"));
        assert!(!uploads(
            Google,
            Method::POST,
            None,
            files,
            "uploadType=media&uploadType=multipart"
        ));
        assert!(!uploads(Google, Method::POST, None, "/drive/v3/files", "uploadType=media"));
        assert!(uploads(Github, Method::POST, Some("uploads.github.com"), "/x", ""));
        assert!(!uploads(Github, Method::POST, Some("api.github.com"), "/x", ""));
        assert!(uploads(Microsoft, Method::PUT, None, "/v1.0/me/drive/root:/a.json:/content", ""));
        assert!(!uploads(Microsoft, Method::POST, None, "/v1.0/me/content", ""));
        let job = "/services/data/v59.0/jobs/ingest/750R/batches";
        assert!(uploads(Salesforce, Method::PUT, None, job, ""));
        assert!(!uploads(Salesforce, Method::POST, None, job, ""));
        assert!(!uploads(Salesforce, Method::PUT, None, "/services/data/v59.0/batches", ""));
        let downloads = |provider, path: &str, accept: &'static str| {
            let headers = [(http::header::ACCEPT, http::HeaderValue::from_static(accept))];
            let uri: Uri = path.parse().unwrap();
            let headers = headers.into_iter().collect();
            answer(provider, &Method::GET, uri.path(), &uri, &headers) == ExpectedBody::File
        };
        assert!(downloads(Google, "/drive/v3/files/x?alt=media", "*/*"));
        assert!(!downloads(Google, "/drive/v3/files/x?alt=json", "*/*"));
        let octets = "application/octet-stream";
        assert!(downloads(Github, "/repos/a/b/releases/assets/1", octets));
        assert!(!downloads(Github, "/repos/a/b/contents/releases/assets/1", octets));
        assert!(!downloads(Github, "/repos/a/b/contents/c", "application/json, octet-stream"));
        assert!(downloads(Microsoft, "/v1.0/me/drive/root:/a:/content", "*/*"));
        assert!(downloads(Microsoft, "/v1.0/me/messages/1/$value", "*/*"));
        assert!(!downloads(Microsoft, "/v1.0/me/drive/root:/a/content", "*/*"));
        assert!(!downloads(Microsoft, "/v1.0/me/drive/root:/content", "*/*"));
        assert!(!downloads(Github, "/repos/a/b/contents/c", "application/vnd.github.raw+json"));
        assert!(downloads(Slack, "/files.slack.com/files-pri/T-F/a.json", "*/*"));
        assert!(downloads(Jira, "/rest/api/3/attachment/content/1", "*/*"));
        assert!(!downloads(Jira, "/rest/api/3/attachment/1", "*/*"));
        let raw = [(http::header::ACCEPT, "application/vnd.github.raw+json".parse().unwrap())];
        let (raw, contents) =
            (raw.into_iter().collect(), Uri::from_static("/repos/a/b/contents/c"));
        let expected = answer(Github, &Method::GET, contents.path(), &contents, &raw);
        assert_eq!(expected, ExpectedBody::FileOrApi);
        let content: Uri = "/v1.0/me/drive/items/1/content".parse().unwrap();
        let may_be_file =
            |method| is_download(Microsoft, &method, content.path(), &content, &HeaderMap::new());
        assert!(may_be_file(Method::GET) && !may_be_file(Method::PUT));
    }
}
