//! A login from the first question to the token.

use std::time::Duration;

use jiff::Timestamp;
use rmcp::transport::auth::{OAuthClientConfig, OAuthTokenResponse};
use tokio::time::timeout;
use url::Url;

use super::LoginError;
use super::callback::{self, Answer, Callback, Page, Port, Visit};
use super::discover::{Discovered, Place};
use super::error::shown;
use super::record::{About, Grant, Identity, Record, Secret};

/// The name that authorization servers and their users see.
const NAME: &str = "AgentGate";

/// The scope that asks for a refresh token (OpenID Connect Core, section 11).
const OFFLINE: &str = "offline_access";

/// The longest address of a page that is opened, in bytes: systems take no longer ones,
/// and servers may name any number of scopes.
const MAX_PAGE: usize = 16 << 10;

/// Who the gate is to be to the authorization server.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Who {
    /// A client registered by hand, instead of by the gate itself.
    pub id: Option<String>,
    /// Its secret.
    pub secret: Option<zeroize::Zeroizing<String>>,
    /// The authorization server that this client is registered with, where that is
    /// known: no other gets to see it.
    pub issuer: Option<String>,
    /// Where a document describes the client, for authorization servers that
    /// take such an address for an identity.
    pub document: Option<String>,
    /// The port of the redirect address; 0 for any.
    pub port: u16,
}

impl std::fmt::Debug for Who {
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

impl Who {
    /// The client that a login was made with before.
    pub(super) fn again(login: &Record, port: u16) -> Self {
        let client = &login.client;
        Self {
            id: Some(client.id.clone()),
            secret: client.secret.as_ref().map(|it| it.expose().to_owned().into()),
            issuer: Some(login.issuer.clone()),
            document: None,
            port: if port == 0 { client.port } else { port },
        }
    }

    /// Whether `login` was made as this client; any will do where none is given.
    pub(super) fn made(&self, login: &Record) -> bool {
        let kept = login.client.secret.as_ref().map(Secret::expose);
        let is_same_secret = |secret: &zeroize::Zeroizing<String>| kept == Some(secret.as_str());
        self.id.as_ref().is_none_or(|id| *id == login.client.id)
            && self.secret.as_ref().is_none_or(is_same_secret)
            && self.issuer.as_ref().is_none_or(|issuer| is_same(issuer, &login.issuer))
    }
}

/// What a login is made for.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    /// The server's refusal.
    pub(super) challenge: Option<String>,
    /// What to ask for; what the server says where empty.
    pub(super) scopes: Vec<String>,
    pub(super) who: Who,
}

/// A login whose page is ready to be shown.
pub(super) struct Prepared<'p> {
    place: &'p Place,
    found: Discovered,
    client: Identity,
    asked: Vec<String>,
    state: String,
    resource: String,
    port: Port,
    page: Url,
}

impl Place {
    /// Finds out where to log in, and who we are there.
    pub(super) async fn prepare(&self, wish: &Wish) -> Result<Prepared<'_>, LoginError> {
        let mut found = self.discover(wish.challenge.as_deref()).await?;
        let issuer = wish.who.issuer.as_ref();
        if let Some(issuer) = issuer.filter(|issuer| !is_same(issuer, &found.issuer)) {
            return Err(self.moved(issuer, &found.issuer));
        }
        let path = match known(&found, &wish.who) {
            Some(_) => callback::PATH.to_owned(),
            None => callback::path_for(&found.issuer),
        };
        let port = Port::open(wish.who.port, path).await;
        let port = port.map_err(|error| {
            LoginError::failed(&self.server, format!("no port for the callback: {error}"))
        })?;
        let mut asked = wish.scopes.clone();
        if asked.is_empty() {
            asked = found.manager.select_initial_scopes(&[]).await;
        } else if offers_offline(&found) && !asked.iter().any(|scope| scope == OFFLINE) {
            asked.push(OFFLINE.to_owned());
        }
        let client = self.identify(&mut found, &wish.who, port.redirect(), &asked).await?;
        let scopes: Vec<&str> = asked.iter().map(String::as_str).collect();
        let page = found.manager.get_authorization_url(&scopes).await;
        let page = page.map_err(|error| self.blame(&error))?;
        let mut page = self.trust.parse(&page).ok_or_else(|| {
            LoginError::untrusted(&self.server, "its login page has an address not to be opened")
        })?;
        if asked.iter().any(|scope| scope == OFFLINE) {
            // Without it OpenID providers leave the refresh token out.
            page.query_pairs_mut().append_pair("prompt", "consent");
        }
        if page.as_str().len() > MAX_PAGE {
            let why = "the address of its login page is too long to be opened";
            return Err(LoginError::untrusted(&self.server, why));
        }
        let (Some(state), Some(resource)) = (last(&page, "state"), last(&page, "resource")) else {
            return Err(LoginError::failed(&self.server, "the login page lacks its state"));
        };
        Ok(Prepared { place: self, found, client, asked, state, resource, port, page })
    }

    /// Settles on a client, in the order of MCP's specification: one registered
    /// by hand, one described by a document, one registered now.
    async fn identify(
        &self,
        found: &mut Discovered,
        who: &Who,
        redirect: String,
        scopes: &[String],
    ) -> Result<Identity, LoginError> {
        let Some((id, secret)) = known(found, who) else {
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            let registered = found.manager.register_client(NAME, &redirect, &scopes).await;
            let registered = registered.map_err(|error| self.blame(&error))?;
            let secret = registered.client_secret.map(Secret::new);
            return Ok(Identity {
                id: registered.client_id,
                secret,
                redirect,
                port: 0,
                given: false,
            });
        };
        let secret = secret.map(|secret| Secret::new(secret.to_string()));
        let (id, port) = (id.clone(), who.port);
        let client = Identity { id, secret, redirect, port, given: true };
        self.become_client(found, &client)?;
        Ok(client)
    }

    /// Makes what follows go out in `client`'s name.
    pub(super) fn become_client(
        &self,
        found: &mut Discovered,
        client: &Identity,
    ) -> Result<(), LoginError> {
        let mut config = OAuthClientConfig::new(&client.id, &client.redirect);
        if let Some(secret) = &client.secret {
            config = config.with_client_secret(secret.expose());
        }
        found.manager.configure_client(config).map_err(|error| self.blame(&error))
    }

    /// Reads what an authorization server gave.
    pub(super) fn grant(&self, response: &OAuthTokenResponse) -> Result<Grant, LoginError> {
        let grant = serde_json::to_value(response).and_then(serde_json::from_value::<Grant>);
        // What serde says may quote what it read.
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

impl Prepared<'_> {
    /// The page that the person has to see.
    pub(super) fn page(&self) -> &Url {
        &self.page
    }

    /// Waits for the person, `patience` at most, and takes the token.
    pub(super) async fn finish(self, patience: Duration) -> Result<Record, LoginError> {
        let Self { place, found, client, asked, state, resource, port, page: _ } = self;
        let mut callback = port.expect(&state);
        let visit = wait(place, &mut callback, patience).await;
        let ended = match visit {
            Ok(visit) => {
                let ended = redeem(place, &found, &visit, &state).await;
                visit.show(match &ended {
                    Ok(_) => Page::LoggedIn,
                    Err(LoginError::Denied { .. }) => Page::Denied,
                    Err(_) => Page::Failed,
                });
                ended
            }
            Err(error) => Err(error),
        };
        callback.close().await;
        let grant = ended?;
        let about = About {
            server: place.server.to_string(),
            resource,
            issuer: found.issuer,
            client,
            // They are told and shown.
            scopes: {
                let mut scopes = found.manager.get_current_scopes().await;
                scopes.retain(|scope| is_printable(scope));
                scopes
            },
            asked,
            revocation: found.revocation,
            challenge: found.challenge,
        };
        Ok(Record::new(about, grant, Timestamp::now().as_second()))
    }
}

/// The client that needs not be registered, and its secret: registered by hand, or
/// described by a document.
fn known<'w>(
    found: &Discovered,
    who: &'w Who,
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

async fn wait(
    place: &Place,
    callback: &mut Callback,
    patience: Duration,
) -> Result<Visit, LoginError> {
    match timeout(patience, callback.visit()).await {
        Ok(Some(visit)) => Ok(visit),
        Ok(None) => Err(LoginError::failed(&place.server, "the callback's listener broke")),
        Err(_) => Err(LoginError::TimedOut {
            server: shown(&place.server),
            minutes: patience.as_secs().div_ceil(60),
        }),
    }
}

/// Exchanges the code that a visit brought, the issuer's word about itself checked.
async fn redeem(
    place: &Place,
    found: &Discovered,
    visit: &Visit,
    state: &str,
) -> Result<Grant, LoginError> {
    match &visit.answer {
        Answer::Refusal(why) => Err(LoginError::denied(&place.server, why)),
        Answer::Code { code, issuer } => {
            let manager = &found.manager;
            let given = manager.exchange_code_for_token_with_issuer(code, state, issuer.as_deref());
            place.grant(&given.await.map_err(|error| place.blame(&error))?)
        }
    }
}

/// Whether two texts name one issuer: as they are written, but for the slash of a
/// root, which nobody types.
fn is_same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// Whether it is a word of ASCII, as tokens and scopes are (RFC 6749, appendix A).
fn is_printable(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic())
}

fn offers_offline(found: &Discovered) -> bool {
    let offered = found.metadata.scopes_supported.as_deref().unwrap_or_default();
    offered.iter().any(|scope| scope == OFFLINE)
}

/// The last value of `name` in the query: the endpoint's own query comes first.
fn last(page: &Url, name: &str) -> Option<String> {
    page.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned()).last()
}
