//! A login, from discovery to the token.

use std::time::Duration;

use jiff::Timestamp;
use rmcp::transport::auth::{OAuthClientConfig, OAuthTokenResponse};
use tokio::time::timeout;
use url::Url;

use super::LoginError;
use super::callback::{
    self, AuthorizationResponse, Callback, CallbackListener, CallbackRequest, ResultPage,
};
use super::discover::{Discovered, OAuthClient};
use super::error::display_url;
use super::record::{ClientRegistration, Grant, LoginDetails, Record, Secret};

/// The name that authorization servers and their users see.
const CLIENT_NAME: &str = "AgentGate";

/// The scope that asks for a refresh token (OpenID Connect Core, section 11).
const OFFLINE_ACCESS: &str = "offline_access";

/// Maximum length of a login page's URL, in bytes: systems do not open longer ones, and servers
/// may name any number of scopes.
const MAX_PAGE_URL: usize = 16 << 10;

/// How the gate identifies itself to the authorization server.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ClientConfig {
    /// The id of a client registered by hand, instead of dynamically.
    pub id: Option<String>,
    /// Its secret.
    pub secret: Option<zeroize::Zeroizing<String>>,
    /// The issuer that the client is registered with, if known: it is not used with any other.
    pub issuer: Option<String>,
    /// The URL of a client ID metadata document, for authorization servers that support
    /// them.
    pub document: Option<String>,
    /// Port of the redirect URI; 0 for any.
    pub port: u16,
}

impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, secret: _, issuer, document, port } = self;
        f.debug_struct("Who")
            .field("id", id)
            .field("issuer", issuer)
            .field("document", document)
            .field("port", port)
            .finish_non_exhaustive()
    }
}

impl ClientConfig {
    /// The client that `login` was made with.
    pub(super) fn of_login(login: &Record, port: u16) -> Self {
        let client = &login.details.client;
        Self {
            id: Some(client.id.clone()),
            secret: client.secret.as_ref().map(|it| it.expose().to_owned().into()),
            issuer: Some(login.details.issuer.clone()),
            document: None,
            port: if port == 0 { client.port } else { port },
        }
    }

    /// Whether `login` was made as this client; `true` if none is configured.
    pub(super) fn matches(&self, login: &Record) -> bool {
        let kept = login.details.client.secret.as_ref().map(Secret::expose);
        let is_same_secret = |secret: &zeroize::Zeroizing<String>| kept == Some(secret.as_str());
        self.id.as_ref().is_none_or(|id| *id == login.details.client.id)
            && self.secret.as_ref().is_none_or(is_same_secret)
            && self
                .issuer
                .as_ref()
                .is_none_or(|issuer| is_same_issuer(issuer, &login.details.issuer))
    }
}

/// Parameters of a login.
#[derive(Debug, Clone, Default)]
pub(super) struct LoginRequest {
    /// The server's challenge.
    pub(super) challenge: Option<String>,
    /// The scopes to request; if empty, those in the challenge.
    pub(super) scopes: Vec<String>,
    pub(super) client: ClientConfig,
}

/// A login that is ready to show its page.
pub(super) struct PreparedLogin<'p> {
    oauth: &'p OAuthClient,
    found: Discovered,
    client: ClientRegistration,
    scopes: Vec<String>,
    state: String,
    resource: String,
    port: CallbackListener,
    page: Url,
}

impl OAuthClient {
    /// Runs discovery, and determines the client and the login page.
    pub(super) async fn prepare(
        &self,
        request: &LoginRequest,
    ) -> Result<PreparedLogin<'_>, LoginError> {
        let mut found = self.discover(request.challenge.as_deref()).await?;
        let issuer = request.client.issuer.as_ref();
        if let Some(issuer) = issuer.filter(|issuer| !is_same_issuer(issuer, &found.issuer)) {
            return Err(self.issuer_changed(issuer, &found.issuer));
        }
        let path = match preregistered_client(&found, &request.client) {
            Some(_) => callback::PATH.to_owned(),
            None => callback::path_for(&found.issuer),
        };
        let port = CallbackListener::open(request.client.port, path).await;
        let port = port.map_err(|error| {
            LoginError::failed(&self.server, format!("no port for the callback: {error}"))
        })?;
        let mut scopes = request.scopes.clone();
        if scopes.is_empty() {
            scopes = found.manager.select_initial_scopes(&[]).await;
        } else if offers_offline(&found) && !scopes.iter().any(|scope| scope == OFFLINE_ACCESS) {
            scopes.push(OFFLINE_ACCESS.to_owned());
        }
        let client =
            self.select_client(&mut found, &request.client, port.redirect(), &scopes).await?;
        let scope_names: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let page = found.manager.get_authorization_url(&scope_names).await;
        let page = page.map_err(|error| self.login_error(&error))?;
        let mut page = self.trust.parse(&page).ok_or_else(|| {
            LoginError::untrusted(&self.server, "its login page has an address not to be opened")
        })?;
        if scopes.iter().any(|scope| scope == OFFLINE_ACCESS) {
            // Without it, OpenID providers omit the refresh token.
            page.query_pairs_mut().append_pair("prompt", "consent");
        }
        if page.as_str().len() > MAX_PAGE_URL {
            let why = "the address of its login page is too long to be opened";
            return Err(LoginError::untrusted(&self.server, why));
        }
        let (Some(state), Some(resource)) =
            (last_parameter(&page, "state"), last_parameter(&page, "resource"))
        else {
            return Err(LoginError::failed(&self.server, "the login page lacks its state"));
        };
        Ok(PreparedLogin { oauth: self, found, client, scopes, state, resource, port, page })
    }

    /// Selects the client, in the order of MCP's specification: registered by hand, described
    /// by a metadata document, or registered dynamically now.
    async fn select_client(
        &self,
        found: &mut Discovered,
        who: &ClientConfig,
        redirect: String,
        scopes: &[String],
    ) -> Result<ClientRegistration, LoginError> {
        let Some((id, secret)) = preregistered_client(found, who) else {
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            let registered = found.manager.register_client(CLIENT_NAME, &redirect, &scopes).await;
            let registered = registered.map_err(|error| self.login_error(&error))?;
            let secret = registered.client_secret.map(Secret::new);
            return Ok(ClientRegistration {
                id: registered.client_id,
                secret,
                redirect,
                port: 0,
                given: false,
            });
        };
        let secret = secret.map(|secret| Secret::new(secret.to_string()));
        let (id, port) = (id.clone(), who.port);
        let client = ClientRegistration { id, secret, redirect, port, given: true };
        self.configure_client(found, &client)?;
        Ok(client)
    }

    /// Uses `client` for the following requests.
    pub(super) fn configure_client(
        &self,
        found: &mut Discovered,
        client: &ClientRegistration,
    ) -> Result<(), LoginError> {
        let mut config = OAuthClientConfig::new(&client.id, &client.redirect);
        if let Some(secret) = &client.secret {
            config = config.with_client_secret(secret.expose());
        }
        found.manager.configure_client(config).map_err(|error| self.login_error(&error))
    }

    /// Parses a token response.
    pub(super) fn grant(&self, response: &OAuthTokenResponse) -> Result<Grant, LoginError> {
        let grant = serde_json::to_value(response).and_then(serde_json::from_value::<Grant>);
        // serde's message may quote secrets.
        let grant = grant.map_err(|_| {
            LoginError::failed(&self.server, "the authorization server's answer cannot be read")
        })?;
        if !grant.token_type.eq_ignore_ascii_case("bearer") {
            let why = format!("the token is of the type `{}`, not Bearer", grant.token_type);
            return Err(LoginError::untrusted(&self.server, why));
        }
        if !is_printable(grant.access_token.expose()) {
            return Err(LoginError::untrusted(&self.server, "what it gave as a token is not one"));
        }
        Ok(grant)
    }
}

impl PreparedLogin<'_> {
    /// The page that the user has to open.
    pub(super) fn page(&self) -> &Url {
        &self.page
    }

    /// Waits up to `login_timeout` for the callback, and exchanges the code.
    pub(super) async fn finish(self, login_timeout: Duration) -> Result<Record, LoginError> {
        let Self { oauth, found, client, scopes, state, resource, port, page: _ } = self;
        let mut callback = port.expect(&state);
        let request = wait_for_callback(oauth, &mut callback, login_timeout).await;
        let ended = match request {
            Ok(request) => {
                let ended = exchange_code(oauth, &found, &request, &state).await;
                request.show(match &ended {
                    Ok(_) => ResultPage::LoggedIn,
                    Err(LoginError::Denied { .. }) => ResultPage::Denied,
                    Err(_) => ResultPage::Failed,
                });
                ended
            }
            Err(error) => Err(error),
        };
        callback.close().await;
        let grant = ended?;
        let details = LoginDetails {
            server: oauth.server.to_string(),
            resource,
            issuer: found.issuer,
            client,
            // They are displayed.
            granted_scopes: {
                let mut scopes = found.manager.get_current_scopes().await;
                scopes.retain(|scope| is_printable(scope));
                scopes
            },
            requested_scopes: scopes,
            revocation: found.revocation,
            challenge: found.challenge,
        };
        Ok(Record::new(details, grant, Timestamp::now().as_second()))
    }
}

/// The client that needs no dynamic registration, and its secret: registered by hand, or
/// described by a metadata document.
fn preregistered_client<'w>(
    found: &Discovered,
    who: &'w ClientConfig,
) -> Option<(&'w String, Option<&'w zeroize::Zeroizing<String>>)> {
    let takes_documents = found
        .metadata
        .additional_fields
        .get("client_id_metadata_document_supported")
        .is_some_and(|offered| offered == true);
    let document = who.document.as_ref().filter(|_| takes_documents);
    let by_hand = who.id.as_ref().map(|id| (id, who.secret.as_ref()));
    by_hand.or_else(|| document.map(|url| (url, None)))
}

async fn wait_for_callback(
    oauth: &OAuthClient,
    callback: &mut Callback,
    login_timeout: Duration,
) -> Result<CallbackRequest, LoginError> {
    match timeout(login_timeout, callback.request()).await {
        Ok(Some(request)) => Ok(request),
        Ok(None) => Err(LoginError::failed(&oauth.server, "the callback's listener broke")),
        Err(_) => Err(LoginError::TimedOut {
            server: display_url(&oauth.server),
            minutes: login_timeout.as_secs().div_ceil(60),
        }),
    }
}

/// Checks the issuer of a callback, and exchanges its code.
async fn exchange_code(
    oauth: &OAuthClient,
    found: &Discovered,
    request: &CallbackRequest,
    state: &str,
) -> Result<Grant, LoginError> {
    match &request.response {
        AuthorizationResponse::Refusal(why) => Err(LoginError::denied(&oauth.server, why)),
        AuthorizationResponse::Code { code, issuer } => {
            let manager = &found.manager;
            let given = manager.exchange_code_for_token_with_issuer(code, state, issuer.as_deref());
            oauth.grant(&given.await.map_err(|error| oauth.login_error(&error))?)
        }
    }
}

/// Whether two strings name one issuer, ignoring the slash of a root, which users omit.
fn is_same_issuer(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// Whether `word` is printable ASCII without spaces, as tokens and scopes must be (RFC 6749,
/// appendix A).
fn is_printable(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic())
}

fn offers_offline(found: &Discovered) -> bool {
    let offered = found.metadata.scopes_supported.as_deref().unwrap_or_default();
    offered.iter().any(|scope| scope == OFFLINE_ACCESS)
}

/// The last value of `name` in the query: the endpoint's own query comes first.
fn last_parameter(page: &Url, name: &str) -> Option<String> {
    page.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).last()
}
