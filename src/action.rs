//! The action: what an agent is about to do, independent of the transport.

mod aws;
mod aws_hosts;
mod destination;
mod listing;
mod payload;
mod spelling;
mod target;

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;

use crate::json::{Json, Object};

pub use aws::{AwsPlace, aws_bare_host, aws_front, aws_place};
pub use destination::{Destination, destination, is_label};
pub use listing::Listing;
pub use payload::Payload;
pub use spelling::{below_site, without_format};

/// A request of an agent: who wants to do what, where and when.
#[derive(Debug, Clone)]
pub struct Action {
    /// When the gate read it.
    pub at: Timestamp,
    /// The agent.
    pub agent: Agent,
    /// Id of the connection or run.
    pub session: Arc<str>,
    /// How it arrived.
    pub transport: Transport,
    /// What it acts on.
    pub target: Target,
}

/// An agent. Those without a name are called `default`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The name that policies and the log use.
    pub name: Arc<str>,
    /// The one provider it may use; `None` for all.
    pub bound_to: Option<Provider>,
}

impl Agent {
    /// The name of unidentified agents in the log.
    pub const UNIDENTIFIED: &str = "unidentified";

    /// An unidentified agent.
    #[must_use]
    pub fn unidentified() -> Self {
        Self::named(Self::UNIDENTIFIED)
    }

    /// An agent of that name, bound to no provider.
    #[must_use]
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), bound_to: None }
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self::named("default")
    }
}

/// Transport by which an action arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// MCP over a pair of pipes.
    Stdio,
    /// MCP over Streamable HTTP or HTTP+SSE.
    Http,
    /// A provider's REST API.
    Rest,
}

impl Transport {
    /// The name in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http => "http",
            Self::Rest => "rest",
        }
    }
}

/// The object of an action.
#[derive(Debug, Clone)]
pub enum Target {
    /// MCP `tools/call`.
    Tool(ToolCall),
    /// Any other MCP request that a rule names (`resources/read`, …).
    Method(McpRequest),
    /// A REST request to one of the providers.
    Http(HttpRequest),
    /// An ambiguous message. It is an action like any other, so that the same pipeline refuses
    /// and records it.
    Malformed(Malformed),
}

/// A request that is ambiguous, or whose sender is unidentified.
#[derive(Debug, Clone)]
pub struct Malformed {
    /// Which of these.
    pub flaw: Flaw,
    /// The server or provider it was meant for.
    pub server: Arc<str>,
    /// The method, if it could be read.
    pub method: String,
    /// Description of the error, for the sender.
    pub what: String,
}

impl Malformed {
    /// A request for `server` that parsers could read in several ways.
    #[must_use]
    pub fn ambiguous(server: &str, method: &str, what: impl Into<String>) -> Self {
        let (server, method) = (server.into(), method.to_owned());
        Self { flaw: Flaw::Ambiguous, server, method, what: what.into() }
    }

    /// A request over HTTP for `server` by an unidentified sender.
    #[must_use]
    pub fn unidentified(server: &str, what: impl Into<String>) -> Self {
        Self { flaw: Flaw::Unidentified, ..Self::ambiguous(server, "HTTP", what) }
    }
}

/// What is wrong with a malformed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Parsers could read it in several ways.
    Ambiguous,
    /// It has no key, or an unknown one.
    Unidentified,
}

/// A `tools/call`, read from the bytes that will be forwarded.
#[derive(Debug, Clone)]
pub struct ToolCall {
    /// The server's name in policies and the log.
    pub server: Arc<str>,
    /// The tool's name, exactly as sent.
    pub tool: String,
    /// The arguments; empty if there are none.
    pub args: Object,
    /// The effective hints; `None` if the tool was never listed, or without annotations.
    pub annotations: Option<Hints>,
    /// How the server's list refers to that name.
    pub listing: Listing,
}

impl ToolCall {
    /// The effective hints; the worst case if there are none.
    #[must_use]
    pub fn hints(&self) -> Hints {
        self.annotations.unwrap_or_default()
    }
}

/// An MCP request other than `tools/call`.
#[derive(Debug, Clone)]
pub struct McpRequest {
    /// The server's name in policies and the log.
    pub server: Arc<str>,
    /// `resources/read`, `prompts/get`, …
    pub method: String,
    /// The parameters; empty if there are none.
    pub params: Object,
}

impl McpRequest {
    /// The method of a tool call.
    pub const CALL: &str = "tools/call";

    /// Requests that clients may send, in all revisions.
    pub const METHODS: &[&str] = &[
        "tools/call",
        "tools/list",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "resources/subscribe",
        "resources/unsubscribe",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "logging/setLevel",
        "ping",
        "initialize",
        "server/discover",
        "subscriptions/listen",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tasks/update",
        "tasks/cancel",
    ];

    /// Notifications that clients may send.
    pub const NOTIFICATIONS: &[&str] = &[
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/progress",
        "notifications/roots/list_changed",
    ];

    /// Messages that only servers send, in all revisions.
    pub const OF_SERVERS: &[&str] = &[
        "sampling/createMessage",
        "elicitation/create",
        "roots/list",
        "notifications/message",
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/subscriptions/acknowledged",
        "notifications/elicitation/complete",
        "notifications/tasks",
        "notifications/tasks/status",
    ];

    /// Whether clients may send `method`. Some of these, servers may send, too.
    #[must_use]
    pub fn is_of_clients(method: &str) -> bool {
        Self::METHODS.contains(&method) || Self::NOTIFICATIONS.contains(&method)
    }

    /// The URI of the resource, or the name of the prompt.
    #[must_use]
    pub fn subject(&self) -> &str {
        let named = self.params.get("uri").or_else(|| self.params.get("name"));
        named.and_then(Json::as_str).unwrap_or_default()
    }
}

/// A REST request with a normalised path.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// One of the ten providers.
    pub provider: Provider,
    /// The HTTP method, upper case.
    pub method: String,
    /// The normalised path, without the query.
    pub path: String,
    /// The requested host, if it matters.
    pub host: Option<String>,
    /// Whether it is for a file outside of the API, so that the HTTP method alone determines
    /// what it does.
    pub is_file: bool,
    /// Query parameters in order, decoded.
    pub query: Vec<(String, String)>,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, if it was read.
    pub body: Body,
}

impl HttpRequest {
    /// The values of `Content-Type`, of which there should be one at most.
    pub fn content_types(&self) -> impl Iterator<Item = &str> {
        let types = self.headers.iter().filter(|(name, _)| name == "content-type");
        types.map(|(_, value)| value.as_str())
    }
}

/// Whether a `Content-Type` has the media type `kind`, with any parameters.
#[must_use]
pub fn is_of_type(content_type: &str, kind: &str) -> bool {
    content_type.split(';').next().is_some_and(|own| own.trim().eq_ignore_ascii_case(kind))
}

/// Media type of a form that is not split into parts.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// A request's body.
#[derive(Debug, Clone, Default)]
pub enum Body {
    /// Empty.
    #[default]
    Empty,
    /// Strictly parsed JSON.
    Json(Json),
    /// Other text.
    Text(String),
    /// Anything else. Not available to matchers, so none can match it.
    Opaque,
}

/// Declares [`Provider`] with the name that each has everywhere.
macro_rules! providers {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// The supported SaaS APIs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Provider {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
        }

        impl Provider {
            /// All providers, in the order of the documentation.
            pub const ALL: [Self; 10] = [$(Self::$variant),+];

            /// The name in paths, policies and the log.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

providers! {
    Google = "google", Microsoft = "microsoft", Slack = "slack", Github = "github",
    Jira = "jira", Notion = "notion", Linear = "linear", Hubspot = "hubspot",
    Salesforce = "salesforce", Aws = "aws",
}

impl Provider {
    /// The provider called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == name)
    }

    /// The path prefix of the API, which existing scripts may omit, and the prefixes of paths
    /// that are complete already.
    fn prefix(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Google => ("/calendar/v3", &[]),
            Self::Microsoft => ("/v1.0", &["/v1.0", "/beta"]),
            Self::Slack => ("/api", &["/api"]),
            Self::Jira => ("/rest/api/3", &["/rest", "/wiki", "/gateway", "/ex", "/secure"]),
            Self::Notion => ("/v1", &["/v1"]),
            Self::Salesforce => ("/services/data/v59.0", &["/services"]),
            Self::Github | Self::Linear | Self::Hubspot | Self::Aws => ("", &[]),
        }
    }

    /// The host of the API; `None` if each service or customer has its own.
    #[must_use]
    pub fn main_host(self) -> Option<&'static str> {
        match self {
            Self::Google => Some("www.googleapis.com"),
            Self::Microsoft => Some("graph.microsoft.com"),
            Self::Slack => Some("slack.com"),
            Self::Github => Some("api.github.com"),
            Self::Notion => Some("api.notion.com"),
            Self::Linear => Some("api.linear.app"),
            Self::Hubspot => Some("api.hubapi.com"),
            Self::Jira | Self::Salesforce | Self::Aws => None,
        }
    }

    /// Hosts outside of the API that serve files to clients with the API's credential (Slack,
    /// "File object"; Linear, "File storage authentication"). The first segment of a path names
    /// one.
    #[must_use]
    pub fn file_hosts(self) -> &'static [&'static str] {
        match self {
            // The first redirects to the second.
            Self::Slack => &["files.slack.com", "files-origin.slack.com"],
            Self::Linear => &["uploads.linear.app"],
            _ => &[],
        }
    }

    /// The file host that `path` names, and the path there.
    #[must_use]
    pub fn file_at(self, path: &str) -> Option<(&'static str, &str)> {
        let path = path.strip_prefix('/')?;
        let below = |host: &&'static str| {
            let rest = path.strip_prefix(*host)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((*host, rest))
        };
        self.file_hosts().iter().find_map(below)
    }

    /// `path` with the prefix of the provider's API, which existing scripts may omit:
    /// `/chat.postMessage` is `/api/chat.postMessage`.
    #[must_use]
    pub fn full_form(self, path: &str) -> Cow<'_, str> {
        let (prefix, full) = self.prefix();
        let is_short = match self {
            // Its services share a host; only the calendar's paths were ever short.
            Self::Google => is_short_calendar(path),
            _ if self.file_at(path).is_some() => false,
            _ => !full.iter().any(|start| below(path, start).is_some()),
        };
        match is_short && !prefix.is_empty() {
            true => format!("{prefix}{path}").into(),
            false => path.into(),
        }
    }

    /// `path`, which is complete, without the prefix; `None` if it has none.
    #[must_use]
    pub fn short_form(self, path: &str) -> Option<&str> {
        let short = match self {
            Self::Microsoft => below(path, "/v1.0").or_else(|| below(path, "/beta")),
            Self::Jira => ["3", "2", "latest"]
                .iter()
                .find_map(|version| below(path.strip_prefix("/rest/api/")?, version)),
            Self::Salesforce => {
                let (version, _) = path.strip_prefix("/services/data/")?.split_once('/')?;
                path.get("/services/data/".len() + version.len()..)
            }
            Self::Google => below(path, "/calendar/v3"),
            _ => below(path, self.prefix().0),
        };
        short.filter(|short| short.len() > 1 && short.len() < path.len())
    }
}

/// The rest of `path` after `prefix`, if that ends at a segment.
fn below<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether it is a path of the only Google service of the original product.
fn is_short_calendar(path: &str) -> bool {
    const STARTS: [&str; 5] =
        ["/calendars", "/freeBusy", "/colors", "/users/me/calendarList", "/users/me/settings"];
    STARTS.iter().any(|start| below(path, start).is_some())
}

/// A tool's effective hints, with defaults filled in (MCP, `ToolAnnotations`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hints {
    /// It does not change its environment.
    pub read_only: bool,
    /// It may destroy something; never if `read_only`.
    pub destructive: bool,
    /// Repeating it has no further effect.
    pub idempotent: bool,
    /// It interacts with external entities.
    pub open_world: bool,
}

/// The worst case, the specification's default.
impl Default for Hints {
    fn default() -> Self {
        Self { read_only: false, destructive: true, idempotent: false, open_world: true }
    }
}

/// A tool's hints as declared by its server; `None` if not declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeclaredHints {
    /// `readOnlyHint`
    pub read_only: Option<bool>,
    /// `destructiveHint`
    pub destructive: Option<bool>,
    /// `idempotentHint`
    pub idempotent: Option<bool>,
    /// `openWorldHint`
    pub open_world: Option<bool>,
}

impl DeclaredHints {
    /// Whether nothing is declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The hints as declared, with defaults filled in.
    #[must_use]
    pub fn filled_in(&self) -> Hints {
        let worst = Hints::default();
        let read_only = self.read_only.unwrap_or(worst.read_only);
        Hints {
            read_only,
            destructive: !read_only && self.destructive.unwrap_or(worst.destructive),
            idempotent: self.idempotent.unwrap_or(worst.idempotent),
            open_world: self.open_world.unwrap_or(worst.open_world),
        }
    }
}

#[cfg(test)]
mod tests;
