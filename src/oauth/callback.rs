//! The redirect URI: one path on the loopback interface, open while a login is in progress
//! (RFC 8252, section 7.3).

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::net::Body;
use crate::net::server::{self, Limits};
use crate::net::workers::Workers;

/// The path of the redirect URI of clients registered by hand.
pub(super) const PATH: &str = "/callback";

/// The path for a client that the gate registers with `issuer`: each issuer has its own,
/// which defeats mix-up attacks (RFC 9700, section 4.4.2.2). A login page that sends the
/// browser to another authorization server fails: that server refuses the redirect URI, or
/// the browser comes back to a path that is not served.
pub(super) fn path_for(issuer: &str) -> String {
    format!("{PATH}/{}", hex::encode(Sha256::digest(issuer)))
}

/// The listener, before a callback is expected.
#[derive(Debug)]
pub(super) struct CallbackListener {
    listener: TcpListener,
    address: SocketAddr,
    path: String,
}

/// The authorization response (RFC 6749, sections 4.1.2 and 4.1.2.1).
pub(super) enum AuthorizationResponse {
    /// A code, and the issuer that claims to have made it (RFC 9207).
    Code { code: Zeroizing<String>, issuer: Option<String> },
    /// An error: the user or the authorization server refused.
    Refusal(String),
}

/// A browser's request to the redirect URI, which waits for the page to show.
pub(super) struct CallbackRequest {
    pub(super) response: AuthorizationResponse,
    page: oneshot::Sender<ResultPage>,
}

/// The page that the user sees at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResultPage {
    LoggedIn,
    Failed,
    Denied,
}

/// The expected callback.
pub(super) struct Callback {
    requests: mpsc::Receiver<CallbackRequest>,
    stop: oneshot::Sender<Infallible>,
    task: JoinHandle<()>,
}

impl CallbackListener {
    /// Listens on `port` (0: any) for requests to `path`.
    ///
    /// # Errors
    /// If the port cannot be bound.
    pub(super) async fn open(port: u16, path: String) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, path })
    }

    /// The redirect URI.
    pub(super) fn redirect(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }

    /// Starts serving; accepts only a callback with `state`.
    pub(super) fn expect(self, state: &str) -> Callback {
        let (arrived, requests) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let host = HeaderValue::from_str(&self.address.to_string()).ok();
        let state = Zeroizing::new(state.to_owned());
        let expected = Expected { host, path: self.path, state, arrived };
        let app = Router::new().fallback(handle).with_state(Arc::new(expected));
        let stopped = async move {
            let _ = stopped.await;
        };
        let task = tokio::spawn(async move {
            let here = Workers::this_runtime();
            server::serve(self.listener, app, Limits::default(), &here, stopped).await;
        });
        Callback { requests, stop, task }
    }
}

impl Callback {
    /// The next callback; `None` once the listener is closed.
    pub(super) async fn request(&mut self) -> Option<CallbackRequest> {
        self.requests.recv().await
    }

    /// Closes the port after the last page is delivered.
    pub(super) async fn close(self) {
        drop((self.stop, self.requests));
        let _ = self.task.await;
    }
}

impl CallbackRequest {
    /// Sends the browser the result.
    pub(super) fn show(self, page: ResultPage) {
        let _ = self.page.send(page);
    }
}

/// What the callback must contain.
struct Expected {
    host: Option<HeaderValue>,
    path: String,
    state: Zeroizing<String>,
    arrived: mpsc::Sender<CallbackRequest>,
}

async fn handle(State(expected): State<Arc<Expected>>, request: Request<Body>) -> Response<Body> {
    let Some(response) = expected.read(&request) else {
        return page(StatusCode::BAD_REQUEST, "This is not the login that AgentGate waits for.");
    };
    let (sender, shown) = oneshot::channel();
    if expected.arrived.send(CallbackRequest { response, page: sender }).await.is_err() {
        return page(StatusCode::GONE, "This login is over.");
    }
    match shown.await {
        Ok(ResultPage::LoggedIn) => {
            page(StatusCode::OK, "You are logged in. You can close this page.")
        }
        Ok(ResultPage::Denied) => {
            page(StatusCode::OK, "The login was refused. You can close this page.")
        }
        Ok(ResultPage::Failed) => {
            page(StatusCode::BAD_GATEWAY, "The login failed; AgentGate's output says why.")
        }
        Err(_) => page(StatusCode::GONE, "This login is over."),
    }
}

impl Expected {
    /// Parses a request; `None` for any but the expected callback.
    fn read(&self, request: &Request<Body>) -> Option<AuthorizationResponse> {
        let is_ours = request.method() == Method::GET
            && request.uri().path() == self.path
            && self.host.is_some()
            && request.headers().get(HOST) == self.host.as_ref();
        let query = request.uri().query().filter(|_| is_ours)?;
        // A repeated parameter is invalid (RFC 6749, section 3.1): no value then.
        let one = |name: &str| -> Option<Cow<'_, str>> {
            let mut values =
                form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
            values.next().map(|(_, value)| value).filter(|_| values.next().is_none())
        };
        let state = one("state")?;
        if !bool::from(state.as_bytes().ct_eq(self.state.as_bytes())) {
            return None;
        }
        if let Some(error) = one("error") {
            let words = one("error_description").map(|words| format!("{error}: {words}"));
            return Some(AuthorizationResponse::Refusal(
                words.unwrap_or_else(|| error.into_owned()),
            ));
        }
        let code = Zeroizing::new(one("code")?.into_owned());
        Some(AuthorizationResponse::Code { code, issuer: one("iss").map(Cow::into_owned) })
    }
}

/// A page that loads nothing, is not cached, and sends no referrer.
fn page(status: StatusCode, words: &str) -> Response<Body> {
    let text = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>AgentGate</title>\
         <p>{words}</p></html>\n"
    );
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        let host = Some(HeaderValue::from_static("127.0.0.1:8000"));
        let (arrived, _) = mpsc::channel(1);
        Expected { host, path: PATH.to_owned(), state: Zeroizing::new("right".into()), arrived }
    }

    fn read(method: &str, host: &str, target: &str) -> Option<AuthorizationResponse> {
        let request = Request::builder().method(method).uri(target).header(HOST, host);
        expected().read(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn only_the_expected_callback_is_accepted() {
        let host = "127.0.0.1:8000";
        let good = read("GET", host, "/callback?code=c%20d&state=right&iss=https://i");
        assert!(matches!(good, Some(AuthorizationResponse::Code { code, issuer: Some(issuer) })
            if *code == "c d" && issuer == "https://i"));
        for (method, host, target) in [
            ("HEAD", host, "/callback?code=c&state=right"),
            ("POST", host, "/callback?code=c&state=right"),
            ("GET", "evil.example.com", "/callback?code=c&state=right"),
            ("GET", host, "/callback?code=c&state=wrong"),
            ("GET", host, "/callback?code=c&state=right&state=right"),
            ("GET", host, "/callback?code=c&code=d&state=right"),
            ("GET", host, "/callback?code=c"),
            ("GET", host, "/callback?state=right"),
            ("GET", host, "/callback"),
            ("GET", host, "/?code=c&state=right"),
            ("GET", host, "/callback/?code=c&state=right"),
        ] {
            assert!(read(method, host, target).is_none(), "{method} {host} {target}");
        }
    }

    #[test]
    fn a_refusal_needs_the_state_too() {
        let host = "127.0.0.1:8000";
        let target = "/callback?error=access_denied&error_description=no&state=right";
        assert!(matches!(read("GET", host, target),
            Some(AuthorizationResponse::Refusal(words)) if words == "access_denied: no"));
        assert!(read("GET", host, "/callback?error=access_denied").is_none());
    }
}
