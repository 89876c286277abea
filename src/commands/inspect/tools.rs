//! Lists the tools of a server, and explains failures.

use std::ffi::OsString;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use rmcp::model::{ClientCapabilities, ClientConfig, Implementation, ProtocolVersion, Tool};
use rmcp::service::{ClientInitializeError, ClientLifecycleMode, ClientServiceExt as _};
use tokio::io::AsyncReadExt as _;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

use crate::cli::InspectArgs;
use crate::commands::remote;
use crate::mcp::listing::Listed;
use crate::os::{Child, Source, Stop, Streams};
use crate::terminal;

/// How long a server may take to exit after closing its output.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum bytes of a server's standard error that are kept.
const MAX_STDERR: usize = 8 << 10;

/// Advice for a response that is not MCP.
const WRONG_PATH: &str =
    "nothing speaks MCP at this path: check its end, which is /mcp or /sse for many servers";

/// The server: a command, or a gate in front of a URL.
enum ServerSource<'a> {
    Command(&'a [OsString]),
    Url { url: &'a str, args: Vec<OsString> },
}

/// Why the server did not list its tools.
#[derive(Debug, thiserror::Error)]
enum ListError {
    /// The handshake failed.
    #[error(transparent)]
    Initialize(Box<ClientInitializeError>),
    /// It did not respond in time.
    #[error(transparent)]
    Late(#[from] Elapsed),
    /// It exited with this code.
    #[error("the server ended with exit status {0} before it listed its tools")]
    Ended(u8),
    /// Another error.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

/// Lists the server's tools.
pub(super) fn list(args: &InspectArgs) -> anyhow::Result<Vec<Listed>> {
    let source = ServerSource::of(args)?;
    let deadline = Instant::now() + args.timeout;
    // Supports both eras: servers of the older one refuse the probe.
    let either = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::LATEST],
        legacy_version: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tools = runtime.block_on(async {
        let tools = source.list_tools(either, deadline).await;
        match tools.as_ref().err().and_then(|(error, _)| era_of_late_answer(error)) {
            Some(known) => source.list_tools(known, deadline).await,
            None => tools,
        }
    });
    match tools {
        Ok(tools) => Ok(tools.iter().filter_map(listed).collect()),
        Err((error, stderr)) => {
            stderr.lines().for_each(|line| anstream::eprintln!("{}", terminal::escaped(line)));
            Err(source.to_user_error(error, args.timeout))
        }
    }
}

/// The end of the server's standard error, shown if there is no better explanation.
async fn end_of_stderr(mut errors: Source) -> String {
    let (mut stderr, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = errors.read(&mut piece).await {
        stderr.extend(piece.iter().take(read));
        stderr.drain(..stderr.len().saturating_sub(MAX_STDERR));
    }
    String::from_utf8_lossy(&stderr).into_owned()
}

/// The era of a server that responded to the probe after the timeout: its program may have had
/// to be downloaded first.
fn era_of_late_answer(error: &ListError) -> Option<ClientLifecycleMode> {
    let ListError::Initialize(error) = error else { return None };
    match **error {
        ClientInitializeError::UncorrelatedErrorResponse { .. } => {
            Some(ClientLifecycleMode::Initialize)
        }
        ClientInitializeError::ConflictInitResponseId(..) => Some(ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::LATEST],
        }),
        _ => None,
    }
}

impl<'a> ServerSource<'a> {
    fn of(options: &'a InspectArgs) -> anyhow::Result<Self> {
        let Some(url) = remote::url(&options.command, &options.remote)? else {
            return Ok(Self::Command(&options.command));
        };
        let mut args: Vec<OsString> = vec!["wrap".into()];
        args.extend(options.remote.typed().into_iter().map(OsString::from));
        for (option, value) in [
            ("--name", options.server.name.as_ref().map(OsString::from)),
            ("--config", options.decide.config.as_ref().map(OsString::from)),
        ] {
            args.extend(value.into_iter().flat_map(|value| [option.into(), value]));
        }
        args.push(url.into());
        Ok(Self::Url { url, args })
    }

    /// Starts it. A gate's standard error is shown, as it may contain a login page.
    fn spawn(&self) -> anyhow::Result<(Child, Streams, Option<Source>)> {
        match self {
            Self::Command(command) => {
                let (program, rest) = command.split_first().context("no command is given")?;
                Child::spawn_with_stderr(program, rest)
                    .with_context(|| format!("cannot start `{}`", program.display()))
            }
            Self::Url { args, .. } => {
                let (child, streams) = Child::spawn_gate(args)?;
                Ok((child, streams, None))
            }
        }
    }

    /// Starts the server, lists its tools, and stops it. On failure, also returns its standard
    /// error.
    async fn list_tools(
        &self,
        mode: ClientLifecycleMode,
        deadline: Instant,
    ) -> Result<Vec<Tool>, (ListError, String)> {
        let spawned = self.spawn().map_err(|error| (error.into(), String::new()));
        let (child, streams, errors) = spawned?;
        let stderr = errors.map(|errors| tokio::spawn(end_of_stderr(errors)));
        match list_tools_of_child(child, streams, mode, deadline).await {
            Ok(tools) => Ok(tools),
            Err(error) => {
                let stderr = match stderr {
                    Some(stderr) => timeout(EXIT_TIMEOUT, stderr).await.ok().and_then(Result::ok),
                    None => None,
                };
                Err((error, stderr.unwrap_or_default()))
            }
        }
    }

    fn to_user_error(&self, error: ListError, timeout: Duration) -> anyhow::Error {
        match (error, self) {
            (ListError::Late(_), _) => {
                let timeout = timeout.as_secs_f32();
                anyhow::anyhow!(
                    "the server did not list its tools within {timeout} seconds (--timeout)"
                )
            }
            (ListError::Initialize(error), Self::Url { url, .. })
                if error_message(&error).is_some() =>
            {
                let message = error_message(&error).unwrap_or_default();
                let help = advice(message, url).map(|advice| format!("\n   help: {advice}"));
                let message = message.strip_prefix(*url).unwrap_or(message).trim_start();
                anyhow::anyhow!("{url}: {}{}", without_html(message), help.unwrap_or_default())
            }
            (ListError::Initialize(error), _) => not_mcp(&error),
            // The gate in front of the URL has reported the reason.
            (ListError::Ended(_), Self::Url { url, .. }) => {
                anyhow::anyhow!("{url}: no tools were listed, for the reason above")
            }
            (other, _) => anyhow::anyhow!("{}", terminal::escaped(&other.to_string())),
        }
    }
}

async fn list_tools_of_child(
    mut child: Child,
    streams: Streams,
    mode: ClientLifecycleMode,
    deadline: Instant,
) -> Result<Vec<Tool>, ListError> {
    let mut listing = pin!(timeout_at(deadline, list_tools_over(streams, mode)));
    let tools = tokio::select! {
        tools = &mut listing => tools,
        // It may exit because it is told to, or before its response is read.
        code = child.wait() => match timeout(EXIT_TIMEOUT, listing).await {
            Ok(Ok(Ok(tools))) => return Ok(tools),
            _ => return Err(ListError::Ended(code.map_err(anyhow::Error::from)?)),
        },
    };
    // A server closes its output before it exits: wait for its exit code.
    if matches!(&tools, Ok(Err(ListError::Initialize(error))) if is_connection_closed(error))
        && let Ok(code) = timeout(EXIT_TIMEOUT, child.wait()).await
    {
        return Err(ListError::Ended(code.map_err(anyhow::Error::from)?));
    }
    child.stop(Stop::Terminate).await.map_err(anyhow::Error::from)?;
    tools?
}

async fn list_tools_over(
    streams: Streams,
    mode: ClientLifecycleMode,
) -> Result<Vec<Tool>, ListError> {
    let me = Implementation::new("agentgate", env!("CARGO_PKG_VERSION"));
    let me = ClientConfig::new(ClientCapabilities::default(), me);
    let client = me.serve_with_lifecycle((streams.output, streams.input), mode).await;
    let client = client.map_err(|error| ListError::Initialize(Box::new(error)))?;
    let tools = client.list_all_tools().await.context("the server does not list its tools")?;
    client.cancel().await.map_err(anyhow::Error::from)?;
    Ok(tools)
}

fn listed(tool: &Tool) -> Option<Listed> {
    Listed::read(&serde_json::to_vec(tool).ok()?)
}

fn not_mcp(error: &ClientInitializeError) -> anyhow::Error {
    let why = error_message(error).map_or_else(|| last_attempt(error).to_string(), str::to_owned);
    let why = terminal::escaped(&why);
    anyhow::anyhow!("this does not look like an MCP server: {why}")
}

/// The error of the last attempt: a server that does not know the probe is asked again in the
/// older era.
fn last_attempt(error: &ClientInitializeError) -> &ClientInitializeError {
    match error {
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => last_attempt(fallback),
        other => other,
    }
}

/// The message of an error response.
fn error_message(error: &ClientInitializeError) -> Option<&str> {
    match last_attempt(error) {
        ClientInitializeError::JsonRpcError(refusal) => Some(&refusal.message),
        _ => None,
    }
}

/// `words` without an HTML page that the server responded with.
fn without_html(words: &str) -> String {
    terminal::escaped(words.split_once(": <").map_or(words, |(before, _)| before))
}

fn is_connection_closed(error: &ClientInitializeError) -> bool {
    matches!(
        last_attempt(error),
        ClientInitializeError::ConnectionClosed(_) | ClientInitializeError::TransportError { .. }
    )
}

/// Advice for what the gate reports about the server at `url`.
fn advice(words: &str, url: &str) -> Option<String> {
    let words = words.to_lowercase();
    let says = |known: &[&str]| known.iter().any(|known| words.contains(known));
    let status = words.split_once("http ").and_then(|(_, status)| status.get(..3));
    Some(match status {
        Some("401" | "403") => format!(
            "log in with `agentgate login {url}`, or give a token with --bearer-env VARIABLE"
        ),
        Some("404" | "405") => WRONG_PATH.to_owned(),
        Some(status) if status.starts_with('5') => {
            "the server itself fails: check its own log".to_owned()
        }
        _ if says(&["<html", "<!doctype", "text/html"]) => WRONG_PATH.to_owned(),
        _ if says(&["wants a login"]) => format!(
            "give a token with --bearer-env VARIABLE, or register a client by hand: agentgate \
             login --client-id ID {url}"
        ),
        _ if says(&["connection refused"]) => {
            "nothing listens there: start the server, or check the host and the port".to_owned()
        }
        _ if says(&["dns error"]) => "the host is unknown: check its spelling".to_owned(),
        _ if says(&["certificate", "tls", "corrupt message", "handshake"]) => {
            "the secure connection fails: check whether it is http or https, and whether this \
             machine trusts the server's certificate"
                .to_owned()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_advice() {
        let url = "https://mcp.example.com/x";
        for (words, part) in [
            ("the server answered with HTTP 401 Unauthorized", "agentgate login https://mcp."),
            ("the server answered with HTTP 404 Not Found: <html>", "/mcp or /sse"),
            ("the server answers with text/html, not with a message", "/mcp or /sse"),
            ("the server answered with HTTP 502 Bad Gateway", "its own log"),
            ("cannot connect: tcp connect error: Connection refused", "nothing listens"),
            ("cannot connect: invalid peer certificate: UnknownIssuer", "certificate"),
            ("cannot connect: dns error: failed to lookup address", "spelling"),
        ] {
            assert!(advice(words, url).is_some_and(|text| text.contains(part)), "{words}");
        }
        assert_eq!(advice("the server's stream ended without an answer", url), None);
        assert_eq!(without_html("HTTP 404: <html>\n\u{1b}[2J"), "HTTP 404");
    }
}
