//! Accessors that all kinds of targets have.

use std::sync::Arc;

use super::{HttpRequest, Target, ToolCall};
use crate::json::Object;

impl Target {
    /// The MCP server; `None` for a request to a provider.
    #[must_use]
    pub fn server(&self) -> Option<&Arc<str>> {
        match self {
            Self::Tool(call) => Some(&call.server),
            Self::Method(request) => Some(&request.server),
            Self::Malformed(malformed) => Some(&malformed.server),
            Self::Http(_) => None,
        }
    }

    /// The name of the MCP server or the provider.
    #[must_use]
    pub fn server_or_provider(&self) -> &str {
        match self {
            Self::Http(request) => request.provider.as_str(),
            _ => self.server().map_or("", |server| server),
        }
    }

    /// The MCP method, or the HTTP one.
    #[must_use]
    pub fn method(&self) -> &str {
        match self {
            Self::Tool(_) => "tools/call",
            Self::Method(request) => &request.method,
            Self::Http(request) => &request.method,
            Self::Malformed(malformed) => &malformed.method,
        }
    }

    /// The tool, the path, or whatever else the method is about; empty for malformed requests.
    #[must_use]
    pub fn subject(&self) -> &str {
        match self {
            Self::Tool(call) => &call.tool,
            Self::Method(request) => request.subject(),
            Self::Http(request) => &request.path,
            Self::Malformed(_) => "",
        }
    }

    /// The arguments of a call, or the parameters of another MCP request.
    #[must_use]
    pub fn args(&self) -> Option<&Object> {
        match self {
            Self::Tool(call) => Some(&call.args),
            Self::Method(request) => Some(&request.params),
            Self::Http(_) | Self::Malformed(_) => None,
        }
    }

    /// As [`Target::args`], mutable.
    pub(crate) fn args_mut(&mut self) -> Option<&mut Object> {
        match self {
            Self::Tool(call) => Some(&mut call.args),
            Self::Method(request) => Some(&mut request.params),
            Self::Http(_) | Self::Malformed(_) => None,
        }
    }

    /// The content of a `tools/call`.
    #[must_use]
    pub fn call(&self) -> Option<&ToolCall> {
        match self {
            Self::Tool(call) => Some(call),
            _ => None,
        }
    }

    /// The REST request.
    #[must_use]
    pub fn http(&self) -> Option<&HttpRequest> {
        match self {
            Self::Http(request) => Some(request),
            _ => None,
        }
    }
}
