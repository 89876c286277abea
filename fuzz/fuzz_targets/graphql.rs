//! Property of GraphQL documents: one that counts as a read has no mutation that would be executed.
//! The oracle is `graphql-parser`.

#![no_main]

use agentgate::action::{Body, HttpRequest, Provider, Target, Transport};
use agentgate::intent;
use agentgate::json::{self, Json};
use agentgate_fuzz::action;
use graphql_parser::query::{Definition, OperationDefinition, parse_query};
use libfuzzer_sys::fuzz_target;

// Input: the operation's name in the first line, then the document.
fuzz_target!(|text: &str| {
    let (named, document) = text.split_once('\n').unwrap_or(("", text));
    let quoted = |text: &str| Json::String(text.to_owned()).canonical();
    let body = format!(r#"{{"query":{},"operationName":{}}}"#, quoted(document), quoted(named));
    let body = json::parse(body.as_bytes()).expect("JSON");
    let reads = reads(body.clone());
    assert_eq!(reads, self::reads(Json::Array(vec![body])), "alone and in a list");
    let Ok(other) = parse_query::<&str>(document) else { return };
    let writes = other.definitions.iter().any(|definition| is_run(definition, named));
    assert!(!(reads && writes), "a mutation that reads");
});

fn is_run<'d>(definition: &Definition<'d, &'d str>, named: &str) -> bool {
    match definition {
        Definition::Operation(OperationDefinition::Mutation(own)) => {
            named.is_empty() || own.name == Some(named)
        }
        _ => false,
    }
}

fn reads(body: Json) -> bool {
    let action = action(
        Transport::Rest,
        Target::Http(HttpRequest {
            provider: Provider::Linear,
            method: "POST".to_owned(),
            path: "/graphql".to_owned(),
            host: None,
            is_file: false,
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Json(body),
        }),
    );
    let analysis = intent::analyse(&action);
    assert_eq!(analysis.intent, intent::of(&action));
    analysis.intent.is_read()
}
