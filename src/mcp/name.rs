//! The name of a server, made from its command.
//!
//! `npx -y @modelcontextprotocol/server-filesystem@1.2 /srv` and
//! `node /opt/mcp-server-filesystem/dist/index.js` are both `filesystem`.

use std::ffi::OsString;

/// Name of a server whose command contains no usable name.
const FALLBACK: &str = "server";

/// Programs that launch another one, which then determines the name.
const LAUNCHERS: &[&str] = &[
    "npx", "npm", "pnpm", "pnpx", "yarn", "bunx", "bun", "node", "deno", "tsx", "ts-node", "uvx",
    "uv", "pipx", "python", "python3", "py", "docker", "podman", "cmd", "env", "sh", "bash",
];

/// Arguments of launchers before the name.
const SUBCOMMANDS: &[&str] = &["dlx", "exec", "run", "x", "tool", "/c", "start"];

/// Options of launchers with a value.
const VALUED: &[&str] = &[
    "--from",
    "--with",
    "--package",
    "-p",
    "--python",
    "--directory",
    "--project",
    "--env-file",
    "-e",
    "--env",
    "-v",
    "--volume",
    "--mount",
    "--name",
    "--network",
    "--net",
    "-u",
    "--user",
    "-w",
    "--workdir",
    "-c",
    "--cache",
    "--registry",
    "--prefix",
    "-r",
    "--require",
    "--import",
];

/// File and folder names that do not identify a server.
const GENERIC: &[&str] = &[
    "index", "main", "server", "app", "cli", "mcp", "run", "start", "__main__", "dist", "build",
    "src", "bin", "lib", "out", "target", "debug", "release", "stdio",
];

/// Common affixes of servers' names.
const PREFIXES: &[&str] = &["mcp-server-", "server-", "mcp-", "mcp_server_", "server_", "mcp_"];
const SUFFIXES: &[&str] = &["-mcp-server", "-mcp", "-server", "_mcp_server", "_mcp", "_server"];

/// Derives a server's name from `command`: lower case, of `[a-z0-9._-]`.
#[must_use]
pub fn server_name(command: &[OsString]) -> String {
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    let name = launched(&words).and_then(speaking_part);
    name.unwrap_or_else(|| FALLBACK.to_owned())
}

/// The word that names the program: the first that is not a launcher or one of its subcommands
/// or options.
fn launched<'w>(words: &'w [std::borrow::Cow<'_, str>]) -> Option<&'w str> {
    let mut launched = false;
    let mut words = words.iter().map(AsRef::as_ref);
    while let Some(word) = words.next() {
        let stem = program(word);
        if LAUNCHERS.contains(&stem.as_str()) || stem.starts_with("python3.") {
            launched = true;
        } else if !launched {
            return Some(word);
        } else if VALUED.contains(&word) {
            words.next();
        } else if !(word.starts_with('-') || SUBCOMMANDS.contains(&word) || word.contains('=')) {
            return Some(word);
        }
    }
    None
}

fn program(word: &str) -> String {
    let base = word.rsplit(['/', '\\']).next().unwrap_or(word).to_ascii_lowercase();
    let stem = base.strip_suffix(".exe").or_else(|| base.strip_suffix(".cmd"));
    stem.unwrap_or(&base).to_owned()
}

/// The last part of a path or package name that identifies the server.
fn speaking_part(word: &str) -> Option<String> {
    let parts = word.rsplit(['/', '\\']).map(bare);
    parts.filter(|part| !part.is_empty()).find(|part| !GENERIC.contains(&part.as_str()))
}

/// `part` without version, extension, scope and common affixes.
fn bare(part: &str) -> String {
    let part = part.trim_start_matches('@').to_ascii_lowercase();
    let part = part.split(['@', '=', '[', ':', '<', '>', '~']).next().unwrap_or_default();
    let part = match part.rsplit_once('.') {
        Some((
            stem,
            "js" | "mjs" | "cjs" | "ts" | "py" | "pyz" | "exe" | "cmd" | "bat" | "sh" | "jar",
        )) => stem,
        _ => part,
    };
    let part = PREFIXES.iter().find_map(|prefix| part.strip_prefix(prefix)).unwrap_or(part);
    let part = SUFFIXES.iter().find_map(|suffix| part.strip_suffix(suffix)).unwrap_or(part);
    let allowed =
        |character: &char| character.is_ascii_alphanumeric() || "._-".contains(*character);
    part.chars().filter(allowed).collect::<String>().trim_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_name_is_derived_from_the_command() {
        for (command, name) in [
            ("npx -y @modelcontextprotocol/server-filesystem /srv", "filesystem"),
            ("npx -y @modelcontextprotocol/server-filesystem@2026.8.31 /srv", "filesystem"),
            ("npx @playwright/mcp@latest --headless", "playwright"),
            ("npx -y @notionhq/notion-mcp-server", "notion"),
            ("uvx mcp-server-git --repository /x", "git"),
            ("uvx --from git+https://x/y mcp-server-time", "time"),
            ("uv run --directory /srv/weather weather.py", "weather"),
            ("python -m mcp_server_sqlite --db x", "sqlite"),
            ("/usr/bin/python3.12 /opt/tools/notes.py", "notes"),
            ("node /opt/mcp-server-foo/dist/index.js", "foo"),
            ("node_modules/.bin/mcp-server-everything stdio", "everything"),
            ("docker run -i --rm -e TOKEN=x -v /a:/b mcp/github:1.2", "github"),
            ("cmd /c npx -y foo-mcp", "foo"),
            ("C:\\Tools\\Acme-MCP.exe", "acme"),
            ("env A=b ./server.sh", "server"),
            ("./target/debug/my_server", "my"),
            ("npx", "server"),
        ] {
            let words: Vec<OsString> = command.split(' ').map(Into::into).collect();
            assert_eq!(server_name(&words), name, "{command}");
        }
        assert_eq!(server_name(&[]), "server");
    }
}
