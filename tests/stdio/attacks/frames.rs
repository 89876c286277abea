//! The frames: a denied call, disguised in every way that is known to have
//! worked on somebody, and things that are no messages at all.

use serde_json::{Value, json};

/// One thing to send.
pub(super) struct Frame {
    /// What it tries.
    pub(super) label: String,
    /// The line, without its end.
    pub(super) bytes: Vec<u8>,
    /// The id that a refusal bears, where the frame's id can be read.
    pub(super) id: Value,
    /// Whether the gate owes an answer: not to notifications and responses.
    pub(super) answered: bool,
}

/// The call that must never arrive, as the parameters of `tools/call`.
const DENIED: &str = r#"{"name":"delete_note","arguments":{}}"#;

/// A call that may arrive.
const HARMLESS: &str = r#"{"name":"read_note","arguments":{}}"#;

/// The id that the frames bear. All the same: each is answered before the next.
const ID: &str = "attack";

/// A call that every policy here allows, under an id of its own.
pub(super) fn allowed_call(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"tools/call","params":{HARMLESS}}}"#)
}

/// Every frame in which some parser reads a denied call.
pub(super) fn forbidden() -> Vec<Frame> {
    let mut frames = honest();
    frames.extend(disguised_values());
    frames.extend(disguised_keys());
    frames.extend(duplicates());
    frames.extend(shapes());
    frames.extend(framing());
    frames.extend(encodings());
    frames
}

/// Frames that are refused for what they are, whatever they call.
pub(super) fn malformed() -> Vec<Frame> {
    let ping = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    let deep = |depth: usize, open: &str, close: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":"attack","method":"tools/call","params":{{"name":"read_note","arguments":{{"x":{}1{}}}}}}}"#,
            open.repeat(depth),
            close.repeat(depth)
        )
    };
    [
        ("not JSON", "hello".to_owned()),
        ("a bare word", "null".to_owned()),
        ("an unfinished object", r#"{"jsonrpc":"2.0","id":"attack","method":"tools/call""#.to_owned()),
        ("a null id", ping("null")),
        ("a fractional id", ping("1.5")),
        ("an id that is a float only by its spelling", ping("1.0")),
        ("an id in exponent form", ping("1e3")),
        ("a boolean id", ping("true")),
        ("an object for an id", ping("{}")),
        ("a list for an id", ping("[1]")),
        ("an id of more than a kilobyte", ping(&format!("\"{}\"", "x".repeat(1_100)))),
        (
            "a key that nobody keeps",
            ping("\"attack\"").replacen('{', &format!("{{\"{}\":1,", "x".repeat(1_100)), 1),
        ),
        ("two values in a line", format!("{}{}", ping("\"attack\""), ping("2"))),
        ("a value and a word behind it", format!("{} x", ping("\"attack\""))),
        ("an empty batch", "[]".to_owned()),
        ("a batch where there are none", format!("[{}]", ping("\"attack\""))),
        ("a byte order mark", format!("\u{feff}{}", ping("\"attack\""))),
        ("a list bomb", deep(100_000, "[", "]")),
        ("an object bomb", deep(100_000, r#"{"a":"#, "}")),
        ("a bomb left open", "[".repeat(200_000)),
        (
            "duplicate keys deep in the arguments of an allowed call",
            deep(0, "", "").replace(r#""x":1"#, r#""x":[{"y":1,"y":2}]"#),
        ),
        (
            "a lone surrogate in the arguments of an allowed call",
            deep(0, "", "").replace(r#""x":1"#, r#""x":"\ud800""#),
        ),
        (
            "a lone surrogate for a key",
            deep(0, "", "").replace(r#""x":1"#, r#""\udfff":1"#),
        ),
    ]
    .into_iter()
    .map(|(label, line)| frame(label, line.into_bytes()))
    .chain([
        frame("invalid UTF-8 in the arguments of an allowed call", {
            let mut line = br#"{"jsonrpc":"2.0","id":"attack","method":"tools/call","params":{"name":"read_note","arguments":{"x":""#.to_vec();
            line.extend(b"\xc3\x28\xff");
            line.extend(br#""}}}"#);
            line
        }),
    ])
    .collect()
}

/// Each text as a tool's name, as an argument, as a key, and as a line.
pub(super) fn from_strings<'t>(texts: impl Iterator<Item = &'t str>) -> Vec<Frame> {
    let call = |params: Value| {
        json!({"jsonrpc": "2.0", "id": ID, "method": "tools/call", "params": params}).to_string()
    };
    texts
        .flat_map(|text| {
            [
                call(json!({"name": text, "arguments": {}})),
                call(json!({"name": "read_note", "arguments": {"text": text}})),
                call(json!({"name": "read_note", "arguments": {text: 1}})),
                call(json!({"name": "read_note", text: "delete_note"})),
                json!({"jsonrpc": "2.0", "id": ID, "method": text}).to_string(),
                text.to_owned(),
            ]
        })
        .map(|line| unanswered("a naughty string", line.into_bytes()))
        .collect()
}

/// Each document as a line, as parameters, as arguments, as a name, and before
/// a denied call.
pub(super) fn from_documents(documents: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<Frame> {
    let around = |before: &str, document: &[u8], after: &str| {
        [before.as_bytes(), document, after.as_bytes()].concat()
    };
    let call = r#"{"jsonrpc":"2.0","id":"attack","method":"tools/call","params":"#;
    documents
        .flat_map(|(label, document)| {
            [
                document.clone(),
                around(call, &document, "}"),
                around(&format!(r#"{call}{{"name":"read_note","arguments":"#), &document, "}}"),
                around(&format!(r#"{call}{{"name":"#), &document, r#","arguments":{}}}"#),
                around(
                    &format!(r#"{call}{{"name":"read_note","arguments":"#),
                    &document,
                    r#","name":"delete_note"}}"#,
                ),
                around("", &document, &request("tools/call", DENIED)),
            ]
            .map(|bytes| unanswered(&label, bytes))
        })
        .collect()
}

/// Denied calls without a disguise.
fn honest() -> Vec<Frame> {
    let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    [
        ("a plain call", request("tools/call", DENIED)),
        ("no arguments", request("tools/call", r#"{"name":"delete_note"}"#)),
        (
            "as a task",
            request("tools/call", r#"{"name":"delete_note","arguments":{},"task":{"ttl":1}}"#),
        ),
        (
            "stateless",
            request("tools/call", &format!(r#"{{"name":"delete_note","_meta":{meta}}}"#)),
        ),
        ("an escaped name", request("tools/call", r#"{"name":"\u0064elete\u005fnote"}"#)),
        ("an escaped key", request("tools/call", r#"{"na\u006de":"delete_note"}"#)),
        ("an escaped method", request(r"tools\/call", DENIED)),
        ("a denied method", request("resources/read", r#"{"uri":"note:1"}"#)),
        ("a denied argument", guarded(r#""arguments":{"path":"/etc/shadow"}"#)),
        ("an escaped argument", guarded(r#""arguments":{"p\u0061th":"\/etc\/shadow"}"#)),
        ("ended in CR LF", format!("{}\r", request("tools/call", DENIED))),
        ("white space", format!(" \t {} ", request("tools/call", DENIED).replace(':', " :\t"))),
        ("no version", request("tools/call", DENIED).replace(r#""jsonrpc":"2.0","#, "")),
        ("version 1", request("tools/call", DENIED).replace("2.0", "1.0")),
        ("a result too", request("tools/call", DENIED).replace(r#""id""#, r#""result":{},"id""#)),
        ("an error too", request("tools/call", DENIED).replace(r#""id""#, r#""error":{},"id""#)),
    ]
    .into_iter()
    .map(|(label, line)| frame(label, line.into_bytes()))
    .chain([
        unanswered(
            "a call that wants no answer",
            format!(r#"{{"jsonrpc":"2.0","method":"tools/call","params":{DENIED}}}"#).into_bytes(),
        ),
        frame(
            "a call with a null id",
            format!(r#"{{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{DENIED}}}"#)
                .into_bytes(),
        ),
    ])
    .collect()
}

/// The method or the tool, spelt so that it is the denied one only after
/// somebody tidied it up.
fn disguised_values() -> Vec<Frame> {
    let mut frames = Vec::new();
    for (disguise, method) in disguises("resources/read") {
        let line = request(&method, r#"{"uri":"note:1"}"#);
        frames.push(frame(format!("denied method {disguise}"), line.into_bytes()));
    }
    for (disguise, method) in disguises("tools/call") {
        frames.push(frame(format!("method {disguise}"), request(&method, DENIED).into_bytes()));
    }
    for (disguise, tool) in disguises("delete_note") {
        let params = format!(r#"{{"name":"{tool}","arguments":{{}}}}"#);
        frames.push(frame(format!("tool {disguise}"), request("tools/call", &params).into_bytes()));
    }
    frames
}

/// A key spelt so that it is one that counts only after somebody tidied it up:
/// alone, and on either side of the honest key with a harmless value.
fn disguised_keys() -> Vec<Frame> {
    let mut frames = Vec::new();
    for slot in SLOTS {
        for (disguise, key) in disguises(slot.key) {
            for (place, line) in slot.occupied_by(&key) {
                frames.push(frame(
                    format!("key `{}` {disguise}, {place}", slot.key),
                    line.into_bytes(),
                ));
            }
        }
    }
    frames
}

/// Keys given twice, and three times.
fn duplicates() -> Vec<Frame> {
    let mut frames: Vec<_> = SLOTS
        .iter()
        .flat_map(|slot| {
            slot.occupied_by(slot.key).into_iter().skip(1).map(|(place, line)| {
                frame(format!("`{}` twice, {place}", slot.key), line.into_bytes())
            })
        })
        .collect();
    let arguments = [
        r#""arguments":{"path":"/tmp/x","path":"/etc/shadow"}"#,
        r#""arguments":{"path":"/etc/shadow","path":"/tmp/x"}"#,
        r#""arguments":{"path":"/tmp/x","p\u0061th":"/etc/shadow"}"#,
        r#""arguments":{"path":"/tmp/x","path":"/etc/shadow","path":"/tmp/x"}"#,
    ];
    frames.extend(
        arguments.map(|arguments| frame("an argument twice", guarded(arguments).into_bytes())),
    );
    frames
}

/// Lists, strings and lists of one where objects and strings belong.
fn shapes() -> Vec<Frame> {
    let plain = request("tools/call", DENIED);
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    [
        ("a batch of one", format!("[{plain}]")),
        ("a batch in a batch", format!("[[{plain}]]")),
        ("second in a batch", format!("[{ping},{plain}]")),
        ("first in a batch", format!("[{plain},{ping}]")),
        ("a message as a list", format!(r#"["2.0","attack","tools/call",{DENIED}]"#)),
        ("parameters as a list", request("tools/call", r#"["delete_note",{}]"#)),
        ("the tool as a list", request("tools/call", r#"{"name":["delete_note"]}"#)),
        ("the method as a list", plain.replace(r#""tools/call""#, r#"["tools/call"]"#)),
        ("parameters encoded twice", request("tools/call", &json!(DENIED).to_string())),
        ("arguments encoded twice", guarded(r#""arguments":"{\"path\":\"/etc/shadow\"}""#)),
    ]
    .into_iter()
    .map(|(label, line)| frame(label, line.into_bytes()))
    .collect()
}

/// Several values where one belongs, and line ends that not everybody sees.
fn framing() -> Vec<Frame> {
    let plain = request("tools/call", DENIED);
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    [
        ("behind another value", format!("{ping}{plain}")),
        ("behind another value and a space", format!("{ping} {plain}")),
        ("behind another value and a comma", format!("{ping},{plain}")),
        ("behind another value and a NUL", format!("{ping}\0{plain}")),
        ("behind another value and a CR", format!("{ping}\r{plain}")),
        ("behind another value and a record separator", format!("{ping}\u{1e}{plain}")),
        ("before another value", format!("{plain}{ping}")),
        ("before rubbish", format!("{plain}}}")),
        ("before a NUL", format!("{plain}\0")),
        ("behind a NUL", format!("\0{plain}")),
        ("behind a byte order mark", format!("\u{feff}{plain}")),
        ("behind a form feed", format!("\u{c}{plain}")),
        ("behind a field name of event streams", format!("data: {plain}")),
        (
            "between carriage returns, which are white space to JSON and line ends to some",
            format!(
                r#"{{"jsonrpc":"2.0","id":"attack","method":"ping","params":{{"x":{}{plain}{}}}}}"#,
                '\r', '\r'
            ),
        ),
        (
            "between carriage returns in the arguments of an allowed call",
            request(
                "tools/call",
                &format!(r#"{{"name":"read_note","arguments":{{"x":{}{plain}{}}}}}"#, '\r', '\r'),
            ),
        ),
    ]
    .into_iter()
    .map(|(label, line)| frame(label, line.into_bytes()))
    .collect()
}

/// Bytes that are no UTF-8 and vanish in some decoders.
fn encodings() -> Vec<Frame> {
    let spoil = |label: &str, line: &str, at: &str, bytes: &[u8]| {
        let (before, after) = line.split_once(at).unwrap();
        frame(label, [before.as_bytes(), at.as_bytes(), bytes, after.as_bytes()].concat())
    };
    let plain = request("tools/call", DENIED);
    let utf16: Vec<u8> = plain.encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        spoil("a stray byte in the tool", &plain, "delete", b"\xff"),
        spoil("half a character in the tool", &plain, "delete", b"\xe2\x80"),
        spoil("an encoded surrogate in the tool", &plain, "delete", b"\xed\xa0\x80"),
        spoil("a stray byte in a key", &plain, "\"nam", b"\xfe"),
        spoil("a stray byte in the method", &plain, "tools", b"\x80"),
        spoil("a stray byte before the message", &format!(" {plain}"), " ", b"\xff"),
        frame(
            "a lone surrogate in the tool",
            plain.replace("delete_", r"delete\ud800_").into_bytes(),
        ),
        frame(
            "a lone surrogate in a key",
            plain.replace("\"name", r#""nam\udc00e"#).replace(r"\udc00ee", r"\udc00e").into_bytes(),
        ),
        frame("UTF-16", utf16),
    ]
}

/// A key, with the value that makes a denied call and one that does not.
struct Slot {
    key: &'static str,
    denied: &'static str,
    harmless: &'static str,
    /// The message around it, `@` standing for the pairs.
    message: &'static str,
}

const SLOTS: [Slot; 5] = [
    Slot {
        key: "method",
        denied: r#""tools/call""#,
        harmless: r#""ping""#,
        message: r#"{"jsonrpc":"2.0","id":"attack",@,"params":{"name":"delete_note"}}"#,
    },
    Slot {
        key: "params",
        denied: DENIED,
        harmless: HARMLESS,
        message: r#"{"jsonrpc":"2.0","id":"attack","method":"tools/call",@}"#,
    },
    Slot {
        key: "name",
        denied: r#""delete_note""#,
        harmless: r#""read_note""#,
        message: r#"{"jsonrpc":"2.0","id":"attack","method":"tools/call","params":{@}}"#,
    },
    Slot {
        key: "arguments",
        denied: r#"{"path":"/etc/shadow"}"#,
        harmless: r#"{"path":"/tmp/x"}"#,
        message: r#"{"jsonrpc":"2.0","id":"attack","method":"tools/call","params":{"name":"write_note",@}}"#,
    },
    Slot {
        key: "path",
        denied: r#""/etc/shadow""#,
        harmless: r#""/tmp/x""#,
        message: r#"{"jsonrpc":"2.0","id":"attack","method":"tools/call","params":{"name":"write_note","arguments":{@}}}"#,
    },
];

impl Slot {
    /// The message with the denied value under `key` (which may be a disguise):
    /// alone, before and behind the harmless one.
    fn occupied_by(&self, key: &str) -> [(&'static str, String); 3] {
        let denied = format!(r#""{key}":{}"#, self.denied);
        let harmless = format!(r#""{}":{}"#, self.key, self.harmless);
        [
            ("alone", self.message.replace('@', &denied)),
            ("last", self.message.replace('@', &format!("{harmless},{denied}"))),
            ("first", self.message.replace('@', &format!("{denied},{harmless}"))),
        ]
    }
}

/// Spellings of `word`, as they stand between the quotes of a JSON string, that
/// somebody may take for it.
fn disguises(word: &str) -> Vec<(&'static str, String)> {
    let (first, rest) = word.split_at(1);
    let upper = word.to_uppercase();
    let wide = char::from_u32(u32::from(word.as_bytes()[0]) + 0xfee0).unwrap();
    let mut spellings = vec![
        ("in capitals", upper.clone()),
        ("with a capital", format!("{}{rest}", first.to_uppercase())),
        ("with a NUL behind it", format!(r"{word}\u0000")),
        ("with a NUL and more behind it", format!(r"{word}\u0000.safe")),
        ("with a space before it", format!(" {word}")),
        ("with a space behind it", format!("{word} ")),
        ("with a tab behind it", format!(r"{word}\t")),
        ("with a line end behind it", format!(r"{word}\n")),
        ("with a no-break space behind it", format!("{word}\u{a0}")),
        ("with a byte order mark before it", format!("\u{feff}{word}")),
        ("with a wide letter", format!("{wide}{rest}")),
        ("with a wide letter, escaped", format!(r"\u{:04x}{rest}", u32::from(wide))),
        ("with a zero-width space", format!("{first}\u{200b}{rest}")),
        ("with a zero-width joiner, escaped", format!(r"{first}\u200d{rest}")),
        ("with a soft hyphen", format!("{first}\u{ad}{rest}")),
        ("with a word joiner", format!("{first}\u{2060}{rest}")),
        ("with a direction override", format!("\u{202e}{word}")),
        ("with a tag character", format!(r"{word}\udb40\udc61")),
        (
            "in capitals, with a zero-width space and a NUL",
            format!("{}\u{200b}{}\\u0000", &upper[..1], &upper[1..]),
        ),
    ];
    if word.contains('s') {
        spellings.push(("with a long s", word.replacen('s', "\u{17f}", 1)));
    }
    spellings
}

fn request(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":"attack","method":"{method}","params":{params}}}"#)
}

/// A call of the tool whose argument decides.
fn guarded(arguments: &str) -> String {
    request("tools/call", &format!(r#"{{"name":"write_note",{arguments}}}"#))
}

fn frame(label: impl Into<String>, bytes: Vec<u8>) -> Frame {
    Frame { label: label.into(), bytes, id: json!(ID), answered: true }
}

fn unanswered(label: &str, bytes: Vec<u8>) -> Frame {
    Frame { answered: false, ..frame(label, bytes) }
}
