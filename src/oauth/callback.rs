//! Where the browser comes back to: one path on the loopback interface, open for
//! as long as a login takes (RFC 8252, section 7.3).

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

/// Where clients come back that were registered by hand.
pub(super) const PATH: &str = "/callback";

/// Where a client comes back that the gate registers with `issuer`, and no client of
/// another's. A page that leads to another authorization server's, in the name of the
/// client there, leads nowhere then: that one refuses the address, or the browser
/// comes to a path that nobody waits at (RFC 9700, section 4.4.2.2).
pub(super) fn path_for(issuer: &str) -> String {
    format!("{PATH}/{}", hex::encode(Sha256::digest(issuer)))
}

/// An open port, before anyone waits at it.
#[derive(Debug)]
pub(super) struct Port {
    listener: TcpListener,
    address: SocketAddr,
    path: String,
}

/// What the browser brought.
pub(super) enum Answer {
    /// A code, and who says to have made it (RFC 9207).
    Code { code: Zeroizing<String>, issuer: Option<String> },
    /// The person or the authorization server said no; their words.
    Refusal(String),
}

/// A browser that waits for the page which tells how it ended.
pub(super) struct Visit {
    pub(super) answer: Answer,
    page: oneshot::Sender<Page>,
}

/// The page that a person sees at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    LoggedIn,
    Failed,
    Denied,
}

/// A callback that is waited for.
pub(super) struct Callback {
    visits: mpsc::Receiver<Visit>,
    stop: oneshot::Sender<Infallible>,
    task: JoinHandle<()>,
}

impl Port {
    /// Opens `port`, any where it is 0, for visits to `path`.
    ///
    /// # Errors
    /// Where there is none to be had.
    pub(super) async fn open(port: u16, path: String) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, path })
    }

    /// The redirect address.
    pub(super) fn redirect(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }

    /// Waits for the one visit that knows `state`.
    pub(super) fn expect(self, state: &str) -> Callback {
        let (arrived, visits) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let host = HeaderValue::from_str(&self.address.to_string()).ok();
        let state = Zeroizing::new(state.to_owned());
        let expected = Expected { host, path: self.path, state, arrived };
        let app = Router::new().fallback(answer).with_state(Arc::new(expected));
        let stopped = async move {
            let _ = stopped.await;
        };
        let task = tokio::spawn(async move {
            let here = Workers::this_runtime();
            server::serve(self.listener, app, Limits::default(), &here, stopped).await;
        });
        Callback { visits, stop, task }
    }
}

impl Callback {
    /// The next visit; `None` where the listener is gone.
    pub(super) async fn visit(&mut self) -> Option<Visit> {
        self.visits.recv().await
    }

    /// Closes the port once the last page is delivered.
    pub(super) async fn close(self) {
        drop((self.stop, self.visits));
        let _ = self.task.await;
    }
}

impl Visit {
    /// Shows how it ended.
    pub(super) fn show(self, page: Page) {
        let _ = self.page.send(page);
    }
}

/// Whom the callback is for.
struct Expected {
    host: Option<HeaderValue>,
    path: String,
    state: Zeroizing<String>,
    arrived: mpsc::Sender<Visit>,
}

async fn answer(State(expected): State<Arc<Expected>>, request: Request<Body>) -> Response<Body> {
    let Some(answer) = expected.read(&request) else {
        return page(StatusCode::BAD_REQUEST, "This is not the login that AgentGate waits for.");
    };
    let (sender, shown) = oneshot::channel();
    if expected.arrived.send(Visit { answer, page: sender }).await.is_err() {
        return page(StatusCode::GONE, "This login is over.");
    }
    match shown.await {
        Ok(Page::LoggedIn) => page(StatusCode::OK, "You are logged in. You can close this page."),
        Ok(Page::Denied) => page(StatusCode::OK, "The login was refused. You can close this page."),
        Ok(Page::Failed) => {
            page(StatusCode::BAD_GATEWAY, "The login failed; AgentGate's output says why.")
        }
        Err(_) => page(StatusCode::GONE, "This login is over."),
    }
}

impl Expected {
    /// What a request brings; `None` for any but the one that is waited for.
    fn read(&self, request: &Request<Body>) -> Option<Answer> {
        let is_ours = request.method() == Method::GET
            && request.uri().path() == self.path
            && self.host.is_some()
            && request.headers().get(HOST) == self.host.as_ref();
        let query = request.uri().query().filter(|_| is_ours)?;
        // A name given twice is nobody's (RFC 6749, section 3.1): no value then.
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
            return Some(Answer::Refusal(words.unwrap_or_else(|| error.into_owned())));
        }
        let code = Zeroizing::new(one("code")?.into_owned());
        Some(Answer::Code { code, issuer: one("iss").map(Cow::into_owned) })
    }
}

/// A page that loads nothing, is not kept, and does not tell others its address.
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

    fn read(method: &str, host: &str, target: &str) -> Option<Answer> {
        let request = Request::builder().method(method).uri(target).header(HOST, host);
        expected().read(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn the_one_visit_that_is_waited_for_is_told_from_others() {
        let host = "127.0.0.1:8000";
        let good = read("GET", host, "/callback?code=c%20d&state=right&iss=https://i");
        assert!(matches!(good, Some(Answer::Code { code, issuer: Some(issuer) })
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
            Some(Answer::Refusal(words)) if words == "access_denied: no"));
        assert!(read("GET", host, "/callback?error=access_denied").is_none());
    }
}
