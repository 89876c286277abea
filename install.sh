#!/bin/sh
# Builds agentgate from this checkout and installs it. Run it again to update.
set -eu

usage() {
  cat <<'USAGE'
Usage: ./install.sh [--prefix DIR] [--demo]
       ./install.sh [--prefix DIR] --uninstall

Builds agentgate (release) from this checkout and installs it below DIR:
  bin/agentgate, share/man/man1/agentgate.1, and completions for bash, zsh, fish.

  --prefix DIR  where to install [default: ~/.local]
  --demo        run `agentgate demo` when it is installed
  --uninstall   remove what this script installed; configuration, policies and
                the audit log stay
  -h, --help    this text

Needs Rust (cargo) and a C compiler. Honours CARGO_TARGET_DIR.
USAGE
}

fail() {
  printf 'install.sh: %s\n' "$1" >&2
  exit "${2:-1}"
}

# The one list of what is installed, so that removing forgets nothing.
set_paths() {
  bin=$prefix/bin/agentgate
  man=$prefix/share/man/man1/agentgate.1
  bash_completion=$prefix/share/bash-completion/completions/agentgate
  zsh_completion=$prefix/share/zsh/site-functions/_agentgate
  fish_completion=$prefix/share/fish/vendor_completions.d/agentgate.fish
}

# Beside the target, then renamed over it: a running agentgate keeps its file.
put() { # put MODE TARGET, content on standard input
  mkdir -p "$(dirname "$2")"
  cat >"$2.new.$$" && chmod "$1" "$2.new.$$" && mv -f "$2.new.$$" "$2"
}

need_tools() {
  command -v cargo >/dev/null 2>&1 || fail "cargo is not on PATH.
  Rust comes from https://rustup.rs (or your system's packages); then open a new
  shell, or run '. ~/.cargo/env', and start this script again."
  command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 ||
    command -v clang >/dev/null 2>&1 || fail "no C compiler (cc) is on PATH; SQLite is built from source.
  Debian, Ubuntu: apt install build-essential    Fedora: dnf install gcc
  macOS: xcode-select --install"
}

# CARGO_TARGET_DIR is the caller's, and so is the folder that it is relative to.
keep_target() {
  case ${CARGO_TARGET_DIR:-/} in
    /*) ;;
    *) export CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR" ;;
  esac
}

# Prints the path of the binary, in cargo's own words, wherever it builds to.
build() {
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  # In the checkout: cargo takes .cargo/config.toml from the working directory.
  (cd "$source" && cargo build --release --locked --bin agentgate \
    --message-format json-render-diagnostics) >"$log" || fail "the build failed; see above"
  sed -n 's/.*"name":"agentgate".*"executable":"\([^"]*\)".*/\1/p' "$log" | tail -n 1
}

install_all() {
  need_tools
  keep_target
  printf 'Building agentgate; the first time takes some minutes.\n'
  built=$(build)
  [ -x "$built" ] || fail "cargo did not say where it put the binary"
  set_paths
  put 755 "$bin" <"$built"
  put_output "$man" man
  put_output "$bash_completion" completions bash
  put_output "$zsh_completion" completions zsh
  put_output "$fish_completion" completions fish
}

# Not a pipe from the binary: in a pipe its failure would go unseen.
put_output() { # put_output TARGET COMMAND...
  target=$1
  shift
  text=$("$bin" "$@")
  printf '%s\n' "$text" | put 644 "$target"
}

uninstall_all() {
  set_paths
  for path in "$bin" "$man" "$bash_completion" "$zsh_completion" "$fish_completion"; do
    if [ -e "$path" ]; then
      rm -f "$path"
      printf 'removed %s\n' "$path"
    fi
  done
}

# For a shell line that a person copies.
quoted() { # quoted PATH
  case $1 in
    *[!A-Za-z0-9_./-]*) printf "'%s'" "$1" ;;
    *) printf '%s' "$1" ;;
  esac
}

say_what_next() {
  printf '\nInstalled %s\n' "$("$bin" --version) as $bin"
  case ":$PATH:" in
    *":$prefix/bin:"*) ;;
    *)
      # shellcheck disable=SC2016 # $PATH is for the reader's shell to expand
      printf '\n%s is not on your PATH. Add to your shell'\''s profile:\n  export PATH="%s:$PATH"\n' \
        "$prefix/bin" "$prefix/bin"
      ;;
  esac
  cat <<NEXT

To gate every MCP server that Claude Desktop, Claude Code, Cursor and VS Code start:

  $(quoted "$bin") setup           (--dry-run shows what would change, --undo undoes it)

Or put agentgate in front of a server's command yourself. In Claude Desktop
(claude_desktop_config.json) or Cursor (~/.cursor/mcp.json):

  {
    "mcpServers": {
      "filesystem": {
        "command": "$bin",
        "args": ["wrap", "--name", "filesystem", "--",
                 "npx", "-y", "@modelcontextprotocol/server-filesystem", "$HOME/project"]
      }
    }
  }

In VS Code (.vscode/mcp.json) the outer key is "servers". In Claude Code:

  claude mcp add filesystem -- $(quoted "$bin") wrap --name filesystem -- npx -y @modelcontextprotocol/server-filesystem ~/project

Then: agentgate audit list    what was decided
      agentgate doctor        what on this machine is not gated yet
Remove it again: $(quoted "$source/install.sh") --prefix $(quoted "$prefix") --uninstall
NEXT
}

source=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
prefix=${HOME:+$HOME/.local}
demo=no
action=install

while [ $# -gt 0 ]; do
  case $1 in
    --prefix)
      [ $# -ge 2 ] || fail "--prefix needs a directory" 2
      prefix=$2
      shift
      ;;
    --prefix=*) prefix=${1#--prefix=} ;;
    --demo) demo=yes ;;
    --uninstall) action=uninstall ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      fail "unknown option: $1" 2
      ;;
  esac
  shift
done

[ -n "$prefix" ] || fail "HOME is not set; say where with --prefix DIR" 2
case $prefix in
  /*) ;;
  *) prefix=$(pwd)/$prefix ;;
esac

if [ "$action" = uninstall ]; then
  uninstall_all
  exit 0
fi

install_all
say_what_next
if [ "$demo" = yes ]; then
  printf '\n'
  exec "$bin" demo
fi
