use super::*;

fn load(text: &str) -> Result<File, ConfigError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, text).expect("written");
    let home = Home { config: folder.path().to_owned(), data: folder.path().to_owned() };
    File::load(None, &home)
}

#[test]
fn missing_or_empty_file_sets_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home { config: folder.path().to_owned(), data: folder.path().to_owned() };
    let blank = || File { is_blank: true, ..File::default() };
    assert_eq!(File::load(None, &home).expect("no file"), blank());
    assert_eq!(load("").expect("empty"), blank());
    assert_eq!(load("# nothing yet\n").expect("a comment"), blank());
    assert!(!load("{}").expect("nothing, and meant so").is_blank);
}

#[test]
fn a_named_file_must_exist() {
    let home = Home { config: PathBuf::from("/"), data: PathBuf::from("/") };
    let missing = Path::new("/nonexistent/config.yaml");
    assert!(matches!(File::load(Some(missing), &home), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn unknown_and_duplicate_keys_are_errors_with_their_line() {
    let error = load("mode: enforce\npolcy: [x]\n").expect_err("a typo").to_string();
    assert!(error.contains("polcy") && error.contains('2'), "{error}");
    load("mode: enforce\nmode: observe\n").expect_err("twice");
    load("mode: sometimes\n").expect_err("no such mode");
    load("agent: ''\n").expect_err("a name that is none");
    assert!(load("ask_timeout: 2d\n").expect("a duration").ask_timeout.is_some());
}

#[test]
fn all_mistakes_come_at_once_each_with_its_place_and_advice() {
    let error = load(
        "lisen: 127.0.0.1:1\nmax_body: lots\nservers: {git: {polcy: [git]}}\n\
             providers:\n  gitlab: {}\n  githib: {}\n  jira: {upstream: nonsense, listen: here}\n\
             \u{20} slack: {credential: xoxb-secret}\n  notion: {credential: {env: A, file: b}}\n\
             cors_origins: ['*', 'https://x.example/']\nretention_days: -1\nupstream_timeout: 0s\n",
    )
    .expect_err("wrong")
    .to_string();
    for part in [
        "config.yaml:1:1: error: unknown key `lisen`",
        "did you mean `listen`?",
        "config.yaml:2:11: error: `max_body`: `lots` is not a size",
        "config.yaml:3:17: error: unknown key `polcy` in a server",
        "did you mean `policy`?",
        "no provider `gitlab`",
        "did you mean `github`?",
        "config.yaml:7:20: error: `upstream`",
        "`here` is not an address",
        "never the secret itself",
        "config.yaml:9:24: error: a credential is",
        "`*` is not an origin",
        "`https://x.example/` is not an origin",
        "`retention_days`",
        "`upstream_timeout`",
    ] {
        assert!(error.contains(part), "`{part}` is missing in\n{error}");
    }
    assert!(!error.contains("xoxb-secret"), "{error}");
    let error = load("providers: {jira: {token: 'a secret of ours'}}\n").expect_err("a key");
    let error = error.to_string();
    assert!(error.contains("did you mean `credential`?"), "{error}");
    assert!(error.contains("{token: …") && !error.contains("of ours"), "{error}");
    assert!(load("- a list\n").is_err() && load("a: [1\n").is_err());
}

#[test]
fn a_server_of_the_file_is_found_by_what_leads_to_it() {
    let file = load(
        "servers:\n  a: {url: 'https://mcp.example.com/mcp'}\n  b: {command: [npx, x]}\n  \
         c: {url: 'HTTPS://mcp.example.com:443/mcp'}\n  d: {policy: git}\n",
    );
    let home = Home { config: PathBuf::new(), data: PathBuf::new() };
    let file = file.expect("a file");
    let (agent, policies) = (Agent::default(), Vec::new());
    let settings = Settings { home, policies, policy_dir: None, agent, mode: None, file };
    let found = |words: &[&str], name: Option<&str>| {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let found = settings.server_at(&words, name).map_err(|error| error.to_string())?;
        Ok::<_, String>(found.map(|(name, _)| name.to_owned()))
    };
    let url = "https://mcp.example.com/mcp";
    let several = found(&[url], None).expect_err("two of them");
    assert!(several.contains("`a` and `c`") && several.contains("--name"), "{several}");
    for (words, name, expected) in [
        (&[url][..], Some("a"), Some("a")),
        (&[url], Some("d"), None),
        (&[url], Some("other"), None),
        (&["https://mcp.example.com/mcp/"], None, None),
        (&["https://mcp.example.com.evil.example/mcp"], Some("a"), None),
        (&["npx", "x"], None, Some("b")),
        (&["npx", "x", "y"], None, None),
        (&["npx"], None, None),
    ] {
        assert_eq!(found(words, name), Ok(expected.map(str::to_owned)), "{words:?} {name:?}");
    }
}

#[test]
fn a_server_is_behind_a_url_or_is_a_command() {
    let endpoint = |yaml: &str| {
        let file = load(&format!("servers:\n  git: {{{yaml}}}\n"))?;
        let server = file.servers.get("git").expect("git");
        Ok::<_, ConfigError>(server.endpoint.clone())
    };
    let url = || "https://mcp.example.com/mcp".to_owned();
    let (command, env) = (vec!["git-mcp".to_owned()], vec!["TOKEN".to_owned()]);
    assert_eq!(endpoint("policy: git").expect("neither"), None);
    let read = endpoint(&format!("url: '{}'", url())).expect("a URL");
    assert_eq!(read, Some(Endpoint::Url(url())));
    let read = endpoint("command: [git-mcp], env: [TOKEN]").expect("a command");
    assert_eq!(read, Some(Endpoint::Command { command, env }));
    for (yaml, wrong) in [
        ("command: npx -y @x/y", r#"write ["npx", "-y", "@x/y"]"#),
        ("url: 'https://a.example/', command: [x]", ":2:14: error: a server has a `url` or"),
        ("url: 'https://a.example/', env: [X]", ":2:41: error: `env` is for"),
        ("env: [X]", ":2:14: error: `env` is for"),
    ] {
        let error = endpoint(yaml).expect_err(yaml).to_string();
        assert!(error.contains(wrong), "{error}");
    }
}

#[test]
fn keys_hold_for_all_servers_or_for_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = || Home { config: folder.path().to_owned(), data: folder.path().to_owned() };
    let settings = |text: &str| {
        std::fs::write(folder.path().join("config.yaml"), text).expect("written");
        Settings::resolve_in(home(), &DecideArgs::default()).expect("valid")
    };
    let one = settings("servers: {a: {allow_http: true, hide_denied: true}}\n");
    assert!(one.allow_http("a", false) && one.hide_denied("a", false));
    assert!(!one.allow_http("b", false) && !one.hide_denied("b", false));
    assert!(one.allow_http("b", true) && one.bridge(None) == Bridge::Auto);
    let all = settings("allow_http: true\nhide_denied: true\nbridge: never\nmax_sessions: 2\n");
    assert!(all.allow_http("b", false) && all.hide_denied("b", false));
    assert_eq!(all.bridge(None), Bridge::Never);
    assert_eq!(all.bridge(Some(Bridge::Always)), Bridge::Always);
    assert_eq!(all.sessions(&ListenArgs::default()), (2, SESSION_IDLE));
    let nameless = DecideArgs { policies: vec![String::new()], ..DecideArgs::default() };
    let wrong = Settings::resolve_in(home(), &nameless).expect_err("no name").to_string();
    assert!(wrong.contains("AGENTGATE_POLICY"), "{wrong}");
}

#[test]
fn every_key_is_read() {
    let file = load(
            "policy: [default, ./team.yaml]\npolicy_dir: pol\nagent: ci\nmode: observe\ndb: /d\n\
         bridge: never\nallow_http: true\nhide_denied: true\nmax_sessions: 8\nsession_idle: 5m\n\
         shutdown_timeout: 20s\n\
         max_message: 1000\nmax_body: 2MiB\nupstream_timeout: 90s\nlisten: '[::1]:8100'\naudit_failure: allow\naudit_sync: full\n\
         cors_origins: ['https://console.example']\nretention_days: 30\n\
         servers:\n  git: {trust: none, policy: [git]}\n",
        )
        .expect("valid");
    assert_eq!(file.mode, Some(Mode::Observe));
    assert_eq!((file.cors_origins.len(), file.retention_days), (1, Some(30)));
    assert_eq!(file.audit_sync, Some(AuditSync::Full));
    assert_eq!((file.max_message, file.max_body), (Some(1000), Some(2 << 20)));
    assert_eq!(file.upstream_timeout, Some(Duration::from_secs(90)));
    assert_eq!((file.bridge, file.max_sessions), (Some(Bridge::Never), Some(8)));
    assert_eq!(file.session_idle, Some(Duration::from_secs(300)));
    assert_eq!(file.shutdown_timeout, Some(Duration::from_secs(20)));
    assert!(file.allow_http && file.hide_denied);
    // A relative path is one beside the file.
    assert!(file.policy_dir.is_some_and(|dir| dir.is_absolute() && dir.ends_with("pol")));
    assert_eq!(file.policy.first().map(String::as_str), Some("default"));
    assert!(file.policy.get(1).is_some_and(|path| path.starts_with('/')));
    let git = file.servers.get("git").expect("git");
    assert_eq!((git.trust, git.policy.len()), (Some(Trust::None), 1));
}
