//! A command behind a listener: a child for each session, one for all of the
//! stateless era, and none when it is over.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::support::{
    Gate, call, eventually, initialize, installed, over_pipes, stateless_call, whole,
};

/// The processes of `gate`, itself aside.
fn descendants(gate: &Gate) -> HashSet<u32> {
    let mut found = HashSet::from([gate.process.0.id()]);
    loop {
        let mut more = found.clone();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let rest = stat.rsplit(')').next().unwrap_or_default();
            let mut fields = rest.split_whitespace();
            let (state, parent) = (fields.next(), fields.next().and_then(|it| it.parse().ok()));
            if state != Some("Z") && parent.is_some_and(|parent: u32| found.contains(&parent)) {
                more.insert(pid);
            }
        }
        if more == found {
            found.remove(&gate.process.0.id());
            return found;
        }
        found = more;
    }
}

#[test]
#[cfg(target_os = "linux")]
fn each_session_has_a_child_and_takes_it_along() {
    let Some(installed) = installed() else { return };
    let gate =
        Gate::listen(&["--policy", "allow_all", "--max-sessions", "2"], &over_pipes(&installed));
    let (one, other) = (gate.session(""), gate.session(""));
    assert_ne!(one, other);
    let two = descendants(&gate).len();
    assert!(two >= 2);
    let session = |id: &str| format!("Mcp-Session-Id: {id}\r\n");
    assert!(gate.request("DELETE", &session(&one), "").status < 300);
    eventually("the child is gone", || descendants(&gate).len() == two / 2);
    let third = gate.session("");
    let answer = gate.post(&session(&third), &call(1, "test_simple_text", json!({})));
    assert_eq!(answer.message()["id"], 1);
    // SIGTERM takes all of them along.
    let pid = Pid::from_raw(gate.process.0.id().try_into().unwrap()).unwrap();
    let all = descendants(&gate);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let gone = |pid: &u32| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists();
    eventually("all are gone", || all.iter().all(gone));
}

/// As the kernel does where memory runs out.
#[test]
#[cfg(target_os = "linux")]
fn a_supervisor_that_is_killed_takes_its_own_server_along_and_no_other() {
    let Some(installed) = installed() else { return };
    let gate = Gate::listen(&["--policy", "allow_all"], &over_pipes(&installed));
    let _one = gate.session("");
    let ones = descendants(&gate);
    let other = gate.session("");
    let parent = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse::<u32>().unwrap()
    };
    let supervisor = ones.iter().find(|pid| parent(pid) == gate.process.0.id()).unwrap();
    let pid = Pid::from_raw((*supervisor).try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    eventually("all of its own are gone", || descendants(&gate).is_disjoint(&ones));
    let session = format!("Mcp-Session-Id: {other}\r\n");
    let answer = gate.post(&session, &call(1, "test_simple_text", json!({})));
    assert_eq!(answer.message()["id"], 1, "{answer:?}");
    assert!(answer.message()["result"].is_object(), "{answer:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn idle_session_is_ended() {
    let Some(installed) = installed() else { return };
    let gate = Gate::listen(&["--session-idle", "1s"], &over_pipes(&installed));
    let session = format!("Mcp-Session-Id: {}\r\n", gate.session(""));
    eventually("no child is left", || descendants(&gate).is_empty());
    assert_eq!(gate.post(&session, &call(1, "wait", json!({}))).status, 404);
}

/// Clients that never end a session must not lock themselves out.
#[test]
fn idle_session_is_ended_for_a_new_one() {
    let Some(installed) = installed() else { return };
    let arguments = ["--policy", "allow_all", "--max-sessions", "2", "--session-idle", "15s"];
    let gate = Gate::listen(&arguments, &over_pipes(&installed));
    let session = |id: &str| format!("Mcp-Session-Id: {id}\r\n");
    let answers =
        |id: &str| gate.post(&session(id), &call(1, "test_simple_text", json!({}))).status == 200;
    let (older, newer) = (gate.session(""), gate.session(""));
    assert!(answers(&older) && answers(&newer));
    let third = gate.session("");
    assert!(!answers(&older) && answers(&newer) && answers(&third));
}

/// Clients that listen on each of their sessions use them all; who has none must get one
/// all the same.
#[test]
fn principal_with_the_most_sessions_loses_one_to_a_newcomer() {
    let Some(installed) = installed() else { return };
    let arguments = ["--policy", "allow_all", "--max-sessions", "3"];
    let gate = Gate::listen(&arguments, &over_pipes(&installed));
    let one = "Authorization: Bearer one\r\n";
    let session = |id: &str| format!("{one}Mcp-Session-Id: {id}\r\n");
    let listened: Vec<_> = (0..3)
        .map(|_| {
            let id = gate.session(one);
            let headers = format!("{}Accept: text/event-stream\r\n", session(&id));
            let mut stream = TcpStream::connect(gate.address).unwrap();
            stream.write_all(&whole(gate.address, "GET", "/mcp", &headers, "")).unwrap();
            stream.read_exact(&mut [0; 12]).unwrap();
            (id, stream)
        })
        .collect();
    let newcomer = gate.session("Authorization: Bearer other\r\n");
    let ask = |headers: &str| gate.post(headers, &call(1, "test_simple_text", json!({}))).status;
    let others = format!("Authorization: Bearer other\r\nMcp-Session-Id: {newcomer}\r\n");
    assert_eq!(ask(&others), 200);
    let left: Vec<_> = listened.iter().map(|(id, _)| ask(&session(id))).collect();
    assert_eq!(left, [404, 200, 200], "the one that was asked longest ago");
    // Two of three are no more than one more than one.
    let third = gate.post("Authorization: Bearer other\r\n", &initialize());
    assert_eq!(third.status, 503, "{third:?}");
}

/// As `curl` does.
#[test]
fn clients_without_accept_header_get_one_message() {
    let Some(installed) = installed() else { return };
    let gate = Gate::listen(&["--policy", "allow_all"], &over_pipes(&installed));
    let (headers, mut call) = stateless_call(1, "test_tool_with_progress", json!({}));
    call["params"]["_meta"]["progressToken"] = json!("a");
    let asked = gate.post(&headers, &call);
    assert_eq!(asked.messages().len(), 4, "{asked:?}");
    let headers = format!("Content-Type: application/json\r\n{headers}");
    let asked = gate.request("POST", &headers, &call.to_string());
    assert_eq!(asked.header("content-type"), Some("application/json"), "{asked:?}");
    assert_eq!(asked.message()["result"]["content"][0]["text"], "done", "{asked:?}");
}

/// Clients number from 0, all of them: ids must not meet.
#[test]
fn clients_of_the_stateless_era_share_a_child_and_not_their_answers() {
    let Some(installed) = installed() else { return };
    let gate = Gate::listen(&["--policy", "allow_all"], &over_pipes(&installed));
    let lengths: Vec<usize> = (0..32).map(|n| 10 + n).collect();
    std::thread::scope(|scope| {
        for length in &lengths {
            let gate = &gate;
            scope.spawn(move || {
                for _ in 0..10 {
                    let (headers, mut message) =
                        stateless_call(1, "long_text", json!({"length": length}));
                    message["params"]["_meta"]["progressToken"] = json!(1);
                    let answer = gate.post(&headers, &message).message();
                    assert_eq!(answer["id"], 1, "{answer}");
                    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
                    assert_eq!(text.len(), *length);
                }
            });
        }
    });
    let (headers, mut message) = stateless_call(5, "test_tool_with_progress", json!({}));
    message["params"]["_meta"]["progressToken"] = json!("mine");
    let messages = gate.post(&headers, &message).messages();
    let is_progress = |message: &&Value| message["method"] == "notifications/progress";
    let progress: Vec<_> = messages.iter().filter(is_progress).collect();
    assert!(!progress.is_empty(), "{messages:?}");
    assert!(progress.iter().all(|it| it["params"]["progressToken"] == "mine"), "{messages:?}");
    assert_eq!(gate.log().len(), 321);
}

/// In the stateless era a client that hangs up has cancelled.
#[test]
fn disconnected_client_does_not_block_others() {
    let Some(installed) = installed() else { return };
    let gate = Gate::listen(&["--policy", "allow_all"], &over_pipes(&installed));
    for _ in 0..3 {
        let (headers, message) = stateless_call(1, "wait", json!({"seconds": 600}));
        let headers = format!(
            "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{headers}"
        );
        let mut stream = TcpStream::connect(gate.address).unwrap();
        let bytes = whole(gate.address, "POST", "/mcp", &headers, &message.to_string());
        stream.write_all(&bytes).unwrap();
        eventually("the call is under way", || {
            let is_wait = |row: &&Value| row["tool"] == "wait";
            gate.log().iter().filter(is_wait).count() >= 1
        });
    }
    let (headers, message) = stateless_call(1, "test_simple_text", json!({}));
    assert_eq!(gate.post(&headers, &message).status, 200);
}

/// What the server says by itself goes to the stream that is open for it.
#[test]
fn a_server_asks_its_client_over_the_stream() {
    let Some(installed) = installed() else { return };
    let gate = Gate::listen(&["--policy", "allow_all"], &over_pipes(&installed));
    let mut opening = initialize();
    opening["params"]["capabilities"] = json!({"sampling": {}});
    let opened = gate.post("", &opening);
    let session = format!("Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap());
    gate.post(&session, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let ask = call(1, "test_sampling", json!({"prompt": "hello"}));
    let headers = format!(
        "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{session}"
    );
    let mut stream = TcpStream::connect(gate.address).unwrap();
    stream.set_read_timeout(Some(crate::support::TIMEOUT)).unwrap();
    stream.write_all(&whole(gate.address, "POST", "/mcp", &headers, &ask.to_string())).unwrap();
    let mut said = String::new();
    let mut buffer = [0; 4096];
    let question = eventually("the server asks", || {
        let read = stream.read(&mut buffer).unwrap();
        said.push_str(&String::from_utf8_lossy(&buffer[..read]));
        let data = said.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter_map(|data| serde_json::from_str::<Value>(data).ok())
            .find(|message| message["method"] == "sampling/createMessage")
    });
    let reply = json!({"jsonrpc": "2.0", "id": question["id"], "result": {
        "role": "assistant", "model": "none", "content": {"type": "text", "text": "sampled"}}});
    assert_eq!(gate.post(&session, &reply).status, 202);
    let _ = stream.read_to_string(&mut said);
    assert!(said.contains("LLM response: sampled"), "{said}");
}

/// The token opens this very door: it is none of the child's business.
#[test]
fn a_child_is_not_given_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let environment = folder.path().join("environment");
    let script = format!("env > '{}'; cat > /dev/null", environment.display());
    let command = ["sh".into(), "-c".into(), script.into()];
    let gate = Gate::listen_with(&["--token-env", "THE_TOKEN"], &command, |command| {
        command.envs([("THE_TOKEN", "a-secret-token"), ("MASTER_API_KEY", "a-secret-key")]);
        command.env("OTHER", "is passed on");
    });
    let body = initialize().to_string();
    let headers = "Content-Type: application/json\r\nAuthorization: Bearer a-secret-token\r\n";
    let mut stream = TcpStream::connect(gate.address).unwrap();
    stream.write_all(&whole(gate.address, "POST", "/mcp", headers, &body)).unwrap();
    let given = eventually("the child has an environment", || {
        let given = std::fs::read_to_string(&environment).ok()?;
        given.contains("is passed on").then_some(given)
    });
    assert!(!given.contains("a-secret"), "{given}");
}

/// A client that gives up while its session begins leaves no child behind.
#[test]
#[cfg(target_os = "linux")]
fn a_client_that_gives_up_at_the_start_leaves_no_child() {
    let command = ["sh".into(), "-c".into(), "cat > /dev/null".into()];
    let gate = Gate::listen(&["--max-sessions", "1"], &command);
    for _ in 0..3 {
        let headers = "Content-Type: application/json\r\n";
        let bytes = whole(gate.address, "POST", "/mcp", headers, &initialize().to_string());
        let mut stream = TcpStream::connect(gate.address).unwrap();
        stream.write_all(&bytes).unwrap();
        eventually("a child is there", || !descendants(&gate).is_empty());
        drop(stream);
        eventually("no child is left", || descendants(&gate).is_empty());
    }
}

/// Answers the handshake and the list, and each call with an error that poses as the
/// gate's.
const POSER: &str = r#"while read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\("[^"]*"\|[0-9]*\).*/\1/p')
  case $line in
    *'"initialize"'*) said='"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}' ;;
    *'"tools/list"'*) said='"result":{"tools":[{"name":"look","inputSchema":{"type":"object"}}]}' ;;
    *'"tools/call"'*) said='"error":{"code":-32600,"message":"no","data":{"agentgate/decision":{"request_id":"forged"}}}' ;;
    *) continue ;;
  esac
  printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$said"
done"#;

#[test]
fn response_names_its_row_and_quota_and_servers_cannot_forge_them() {
    let policy = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let rules = "name: p\nrules: [{tool: look, effect: allow}]\ndefault_effect: deny\n\
                 rate_limit: {requests_per_minute: 2}\n";
    std::fs::write(policy.path(), rules).unwrap();
    let arguments = ["--policy", policy.path().to_str().unwrap()];
    let gate = Gate::listen(&arguments, &["sh", "-c", POSER].map(Into::into));
    let session = format!("Mcp-Session-Id: {}\r\n", gate.session(""));
    let refused = gate.post(&session, &call(1, "remove", json!({})));
    assert_eq!(refused.status, 200, "{refused:?}");
    assert_eq!(refused.message()["result"]["isError"], true, "{refused:?}");
    let row = gate.log().pop().unwrap();
    assert_eq!(row["decision"], "deny");
    assert_eq!(refused.header("x-agentgate-decision"), row["id"].as_str());
    assert_eq!(refused.header("ratelimit-remaining"), Some("1"));
    let disguised = gate.post(&session, &call(2, "Look", json!({})));
    assert_eq!(disguised.status, 400, "{disguised:?}");
    assert!(disguised.header("x-agentgate-decision").is_some(), "{disguised:?}");
    let posing = gate.post(&session, &call(3, "look", json!({})));
    assert_eq!(posing.message()["error"]["code"], -32_600, "{posing:?}");
    assert_eq!(posing.status, 200, "an error of the server's is an answer: {posing:?}");
    let row = gate.log().pop().unwrap();
    assert_eq!((&row["decision"], &row["tool"]), (&json!("allow"), &json!("look")));
    assert_eq!(posing.header("x-agentgate-decision"), row["id"].as_str(), "{posing:?}");
    assert_eq!(posing.header("ratelimit-remaining"), Some("0"));
    let late = gate.post(&session, &call(4, "look", json!({})));
    assert_eq!(late.message()["result"]["isError"], true, "{late:?}");
    assert_eq!(late.header("ratelimit-remaining"), Some("0"));
    assert_eq!(late.header("ratelimit-policy"), Some("2;w=60"));
}

/// It hears nothing any more, whatever it is sent: as good as dead.
#[test]
#[cfg(target_os = "linux")]
fn a_child_that_closes_its_input_and_lives_on_is_ended() {
    let opened = json!({"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": "2025-11-25",
        "capabilities": {}, "serverInfo": {"name": "deaf", "version": "1"}}});
    let script = format!("read line; exec <&-; echo '{opened}'; exec sleep 1000");
    let command = ["sh".into(), "-c".into(), script.into()];
    let gate = Gate::listen(&["--policy", "allow_all"], &command);
    let opened = gate.post("", &initialize());
    let session = format!("Mcp-Session-Id: {}\r\n", opened.header("mcp-session-id").unwrap());
    let answer = gate.post(&session, &call(1, "look", json!({})));
    assert_eq!((answer.status, &answer.message()["id"]), (502, &json!(1)), "{answer:?}");
    eventually("the child is gone", || descendants(&gate).is_empty());
    let is_complete = |rows: &Vec<Value>| rows.len() == 1 && rows[0]["outcome"] == "error";
    eventually("its row says so", || Some(gate.log()).filter(is_complete));
    assert_eq!(gate.post(&session, &call(2, "look", json!({}))).status, 404);
}
