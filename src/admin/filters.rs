//! Parameters that select rows of the log.

use jiff::Zoned;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;

use super::Admin;
use super::error::{Answer, ApiError};
use crate::store::audit::RowId;
use crate::store::read::{DECISIONS, Filter};
use crate::store::time_argument;

/// Stands for all MCP servers in the place of a provider.
pub(super) const MCP: &str = "mcp";

/// Selects rows. Names may contain the wildcards `*` and `?`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct Filters {
    /// Agent's id.
    #[serde(deserialize_with = "given")]
    agent_id: Option<String>,
    /// Agent's name.
    #[serde(deserialize_with = "given")]
    agent: Option<String>,
    /// `allow`, `deny`, `ask`; or `rate_limited` (denied by a limit) or `error` (forwarded, but
    /// failed; not supported for statistics).
    #[serde(deserialize_with = "given")]
    #[param(pattern = "^(allow|deny|ask|rate_limited|error)?$")]
    pub(super) decision: Option<String>,
    /// Provider or MCP server; `mcp` for all MCP servers.
    #[serde(deserialize_with = "given")]
    provider: Option<String>,
    /// Path, resource or tool.
    #[serde(deserialize_with = "given")]
    resource: Option<String>,
    /// Earliest time: `2026-11-22`, `2026-11-22T09:00:00Z`, or `2h` (ago).
    #[serde(deserialize_with = "given")]
    since: Option<String>,
    /// Latest time; a date is included.
    #[serde(deserialize_with = "given")]
    until: Option<String>,
}

/// Selects a page, and its format.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// Session id.
    #[serde(deserialize_with = "given")]
    pub(super) session: Option<String>,
    /// Rows per page; 50 by default.
    #[param(minimum = 1, maximum = 10_000)]
    pub(super) limit: Option<u64>,
    /// Number of newest rows to skip.
    pub(super) offset: Option<u64>,
    /// Only rows before the one with this id: `next` of the previous page.
    #[serde(deserialize_with = "given")]
    pub(super) before: Option<String>,
    /// Whether the JSON is indented.
    pub(super) pretty: bool,
}

/// Format of statistics.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct Looks {
    /// Whether the JSON is indented.
    pub(super) pretty: bool,
}

/// Extent and format of an export.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct Exported {
    /// Session id.
    #[serde(deserialize_with = "given")]
    pub(super) session: Option<String>,
    /// Number of newest rows; all by default.
    pub(super) limit: Option<u64>,
    /// Only rows before the one with this id.
    #[serde(deserialize_with = "given")]
    pub(super) before: Option<String>,
    /// `json` (the default) or `csv`.
    #[serde(deserialize_with = "given")]
    #[param(pattern = "^(json|csv)?$")]
    format: Option<String>,
}

/// Deserialises an empty parameter, as forms send it, as absent.
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(value)?.filter(|text| !text.is_empty()))
}

impl Admin {
    /// The filter for the log; `None` if nothing can match, as for an unknown agent.
    pub(super) fn filter(
        &self,
        filters: Filters,
        session: Option<String>,
        before: Option<String>,
    ) -> Answer<Option<Filter>> {
        let now = Zoned::now().with_time_zone(TimeZone::UTC);
        let Filters { agent_id, agent, decision, provider, resource, since, until } = filters;
        let mut filter = Filter {
            agent,
            mcp: provider.as_deref() == Some(MCP),
            server: provider.filter(|name| name != MCP),
            tool: resource,
            session,
            since: read(since.as_deref(), |text| time_argument::since(text, &now))?,
            until: read(until.as_deref(), |text| time_argument::until(text, &now))?,
            before: before.as_deref().map(row_id).transpose()?,
            ..Filter::default()
        };
        if let Some(name) = decision.as_deref() {
            filter = filter.decided(name).ok_or_else(|| {
                ApiError::invalid(format_args!("`{name}` is none of {}", DECISIONS.join(", ")))
            })?;
        }
        if let Some(id) = agent_id {
            let Some(agent) = self.directory.registry().find(&id)? else { return Ok(None) };
            if filter.agent.as_ref().is_some_and(|name| **name != *agent.name) {
                return Err(ApiError::invalid("agent and agent_id are two different agents"));
            }
            filter.agent = Some(agent.name.to_string());
        }
        Ok(Some(filter))
    }
}

impl Exported {
    /// Whether the format is CSV.
    pub(super) fn is_csv(&self) -> Answer<bool> {
        match self.format.as_deref() {
            None | Some("json") => Ok(false),
            Some("csv") => Ok(true),
            Some(other) => {
                Err(ApiError::invalid(format_args!("`{other}` is neither json nor csv")))
            }
        }
    }
}

fn read<T, E: std::fmt::Display>(
    text: Option<&str>,
    read: impl FnOnce(&str) -> Result<T, E>,
) -> Answer<Option<T>> {
    text.map(read).transpose().map_err(ApiError::invalid)
}

fn row_id(text: &str) -> Answer<RowId> {
    RowId::parse(text).ok_or_else(|| ApiError::invalid(format_args!("`{text}` is not a row's id")))
}
