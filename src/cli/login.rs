//! `agentgate login` and `agentgate logout`.

use std::time::Duration;

use clap::Args;
use url::Url;

/// `agentgate login`
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  agentgate login https://mcp.example.com/mcp
  agentgate login --no-browser https://mcp.example.com/mcp

`agentgate wrap URL` logs in by itself when the server requires it. Use this
command to log in beforehand, with other scopes, or as a client registered by
hand.")]
pub struct LoginArgs {
    /// The server's URL
    #[arg(value_name = "URL", value_parser = super::remote::url)]
    pub url: Url,
    /// Log in anew even if there is a login
    #[arg(long)]
    pub again: bool,
    /// Print the address of the login page instead of opening a browser
    #[arg(long, env = "AGENTGATE_NO_BROWSER", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_browser: bool,
    /// Ask for this scope instead of those that the server names; repeat for several
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// A client registered by hand, instead of one that registers itself
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// The environment variable that holds the client's secret
    #[arg(long, value_name = "VAR", requires = "client_id")]
    pub client_secret_env: Option<String>,
    /// The authorization server that the client is registered with; no other is told of it
    #[arg(long, value_name = "URL", requires = "client_id", value_parser = super::remote::url)]
    pub issuer: Option<Url>,
    /// The https URL of a document that describes the client, for servers that accept one
    #[arg(long, value_name = "URL", conflicts_with = "client_id", value_parser = super::remote::url)]
    pub client_document: Option<Url>,
    /// The port of the redirect address, if one had to be registered [default: any]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pub callback_port: u16,
    /// How long to wait for you to log in [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub timeout: Option<Duration>,
    /// Print the login as a JSON object, without its tokens
    #[arg(long)]
    pub json: bool,
}

/// `agentgate logout`
#[derive(Debug, Clone, Args)]
pub struct LogoutArgs {
    /// The server's URL
    #[arg(value_name = "URL", value_parser = super::remote::url)]
    pub url: Url,
}
