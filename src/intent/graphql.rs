//! GraphQL over HTTP: what runs is what the document says, not the method.
//!
//! Only the form that every server reads alike is judged: a POST whose JSON
//! body is one request or an array of them, each with its document. The
//! operation that `operationName` names is the one that runs; a mutation
//! writes whatever its fields are called, and an alias or a comment is nobody's
//! name. Documents that do not parse, persisted ids without a document and
//! parameters in the URL are left as unknown.

use bluejay_core::{AsIter, OperationType, executable::ExplicitOperationDefinition};
use bluejay_parser::ast::executable::{
    ExecutableDocument, FragmentDefinition, OperationDefinition, Selection, SelectionSet,
};
use bluejay_parser::ast::{Parse, ParseOptions};

use super::lexicon::role;
use super::words::words;
use super::{Intent, Judgement, tool};
use crate::action::{Body, HttpRequest, Provider, is_of_type, without_format};
use crate::json::{Json, Object};

/// Maximum nesting depth of a document; beyond it the intent is unknown. A selection set counts
/// twice, so this is about sixty fields deep.
const MAX_DEPTH: usize = 128;

/// Maximum number of tokens of a document; beyond it the intent is unknown.
const MAX_TOKENS: usize = 50_000;

/// Maximum number of requests in one body; beyond it the intent is unknown.
const MAX_REQUESTS: usize = 100;

/// Maximum number of root selections of an operation, with fragments expanded; beyond it the
/// intent is unknown. Fragments that spread each other would never end.
const MAX_SELECTIONS: usize = 1_000;

/// What a request would execute.
#[derive(Debug, PartialEq)]
pub(super) struct Executed {
    /// The intent of the strictest operation.
    pub(super) intent: Intent,
    /// Whether that is a mutation.
    pub(super) mutation: bool,
    /// The root field that determines the intent.
    pub(super) field: String,
}

impl Executed {
    /// The operation in the provider's terms, such as `mutation.issueCreate`.
    pub(super) fn operation(&self) -> String {
        let kind = if self.mutation { "mutation" } else { "query" };
        format!("{kind}.{}", self.field)
    }

    /// The resource acted on: the field without its verb.
    pub(super) fn resource(&self) -> String {
        tool::nouns(&self.field, "")
    }

    fn or_stricter(self, other: Self) -> Self {
        if other.intent.strictness() > self.intent.strictness() { other } else { self }
    }
}

/// Whether `path` is a GraphQL endpoint of the provider.
#[must_use]
pub fn is_endpoint(provider: Provider, path: &str) -> bool {
    match provider {
        Provider::Linear => path.eq_ignore_ascii_case("/graphql"),
        Provider::Hubspot => path.eq_ignore_ascii_case("/collector/graphql"),
        Provider::Github => {
            ["/graphql", "/api/graphql"].iter().any(|own| path.eq_ignore_ascii_case(own))
        }
        Provider::Salesforce => {
            let version =
                path.strip_prefix("/services/data/").and_then(|rest| rest.split_once('/'));
            version.is_some_and(|(_, resource)| {
                without_format(resource).eq_ignore_ascii_case("graphql")
            })
        }
        _ => false,
    }
}

pub(super) fn judge(request: &HttpRequest) -> Judgement {
    match executed(request) {
        Some(Executed { intent, mutation: true, .. }) => {
            Judgement::l2(intent, "a GraphQL mutation")
        }
        Some(executed) => Judgement::l2(executed.intent, "a GraphQL query"),
        None => Judgement::unsure("no GraphQL document that every server reads alike"),
    }
}

/// What `request` would execute; `None` if that is ambiguous.
pub(super) fn executed(request: &HttpRequest) -> Option<Executed> {
    if request.method != "POST" || !is_json(request) || asks_by_url(request) {
        return None;
    }
    let Body::Json(body) = &request.body else { return None };
    let Json::Array(requests) = body else { return run_by(body) };
    if requests.len() > MAX_REQUESTS {
        return None;
    }
    let all: Option<Vec<_>> = requests.iter().map(run_by).collect();
    all?.into_iter().reduce(Executed::or_stricter)
}

/// Whether the declared type permits JSON. A form may look like JSON and contain another
/// document after an `&`.
fn is_json(request: &HttpRequest) -> bool {
    let mut types = request.content_types();
    let announced = types.next().is_none_or(|kind| is_of_type(kind, "application/json"));
    announced && types.next().is_none()
}

fn asks_by_url(request: &HttpRequest) -> bool {
    const PARAMETERS: [&str; 9] = [
        "query",
        "operationname",
        "variables",
        "extensions",
        "id",
        "queryid",
        "doc_id",
        "documentid",
        "hash",
    ];
    let asks = |name: &str| PARAMETERS.iter().any(|p| name.eq_ignore_ascii_case(p));
    request.query.iter().any(|(name, _)| asks(name))
}

/// What one `{"query", "operationName"?, "variables"?, "extensions"?}` executes.
fn run_by(request: &Json) -> Option<Executed> {
    let mut document = None;
    let mut named = None;
    for (key, value) in request.as_object()?.iter() {
        match (key, value) {
            ("query", Json::String(text)) => document = Some(text.as_str()),
            ("operationName", Json::String(name)) if !name.is_empty() => named = Some(name),
            ("operationName", Json::String(_) | Json::Null) | ("variables", _) => {}
            ("extensions", extensions) if !names_a_document(extensions) => {}
            // A server may read the document from another member.
            _ => return None,
        }
    }
    let options = ParseOptions {
        graphql_ruby_compatibility: false,
        max_depth: MAX_DEPTH,
        max_tokens: Some(MAX_TOKENS),
    };
    let document = document.filter(|text| !ends_lines_oddly(text) && !quotes_oddly(text))?;
    let document = ExecutableDocument::parse_with_options(document, options).result.ok()?;
    let named = named.map(String::as_str);
    // Without a name all operations count: a server should execute none if there are several.
    let is_meant = |own: &&OperationDefinition<'_>| named.is_none() || name_of(own) == named;
    let meant = document.operation_definitions().iter().filter(is_meant);
    let all: Option<Vec<_>> = meant.map(|operation| run(&document, operation)).collect();
    all?.into_iter().reduce(Executed::or_stricter)
}

/// Whether lexers disagree on the end of a comment in `document`: at a lone carriage return
/// (specification, but not graphql-ruby), or at Unicode's line ends (graphql-java, but not the
/// specification).
fn ends_lines_oddly(document: &str) -> bool {
    let mut rest = document.match_indices('\r');
    let is_lone = |(at, _)| document.as_bytes().get(at + 1) != Some(&b'\n');
    rest.any(is_lone) || document.contains(['\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'])
}

/// Whether lexers disagree on the end of a block string: graphql-ruby's C lexer includes the
/// last of four quotation marks, and its Ruby lexer does not support an escaped `"""`.
fn quotes_oddly(document: &str) -> bool {
    document.contains("\"\"\"\"")
}

fn names_a_document(extensions: &Json) -> bool {
    let harmless = |(name, _): (&str, &Json)| matches!(name, "clientLibrary" | "tracing");
    let beyond = |object: &Object| !object.iter().all(harmless);
    extensions.as_object().map_or(*extensions != Json::Null, beyond)
}

fn name_of<'o>(operation: &'o OperationDefinition<'_>) -> Option<&'o str> {
    match operation {
        OperationDefinition::Explicit(explicit) => explicit.name().map(AsRef::as_ref),
        OperationDefinition::Implicit(_) => None,
    }
}

fn run(document: &ExecutableDocument<'_>, operation: &OperationDefinition<'_>) -> Option<Executed> {
    let kind = match operation {
        OperationDefinition::Explicit(own) => ExplicitOperationDefinition::operation_type(own),
        OperationDefinition::Implicit(_) => OperationType::Query,
    };
    let mutation = match kind {
        OperationType::Query => false,
        OperationType::Mutation => true,
        // One request and response cannot carry a subscription.
        OperationType::Subscription => return None,
    };
    let judged = |field: &str| Executed {
        intent: if mutation { by_name_of_mutation(field) } else { Intent::Query },
        mutation,
        field: field.to_owned(),
    };
    let fields = root_fields(document, operation.selection_set(), mutation)?;
    fields.into_iter().map(judged).reduce(Executed::or_stricter)
}

/// Names of the root fields, with fragments expanded and without aliases. An undefined fragment
/// has none: servers reject such a document.
fn root_fields<'d>(
    document: &'d ExecutableDocument<'d>,
    root: &'d SelectionSet<'d>,
    mutation: bool,
) -> Option<Vec<&'d str>> {
    let mut fields = Vec::new();
    let mut open: Vec<&Selection<'_>> = root.iter().collect();
    let mut left = MAX_SELECTIONS;
    while let Some(selection) = open.pop() {
        left = left.checked_sub(1).filter(|left| open.len() <= *left)?;
        match selection {
            // All of Salesforce's mutations are below this field.
            Selection::Field(field) if mutation && field.name().as_str() == "uiapi" => {
                open.extend(field.selection_set()?.iter());
            }
            Selection::Field(field) => fields.push(field.name().as_str()),
            Selection::InlineFragment(inline) => open.extend(inline.selection_set().iter()),
            Selection::FragmentSpread(spread) => {
                let name = spread.name().as_str();
                let is_meant = |own: &&FragmentDefinition<'_>| own.name().as_str() == name;
                for fragment in document.fragment_definitions().iter().filter(is_meant) {
                    open.extend(fragment.selection_set().iter());
                }
            }
        }
    }
    Some(fields)
}

/// The intent of a mutation by its name. It writes even if the name does not say so
/// (`integrationJiraFetchProjectStatuses`).
fn by_name_of_mutation(field: &str) -> Intent {
    // Matches `deleteRef`, `issueDelete` and `releaseDeleteByIssue`, but not
    // `updateMembersCanDeleteIssuesSetting`.
    let all: Vec<&str> = words(field).collect();
    let deletes = |word: &&str| word.eq_ignore_ascii_case("delete");
    let deletes_by = all
        .windows(2)
        .any(|pair| matches!(pair, [word, by] if deletes(word) && by.eq_ignore_ascii_case("by")));
    if all.first().is_some_and(deletes) || all.last().is_some_and(deletes) || deletes_by {
        return Intent::Delete;
    }
    match words(field).find_map(|word| role(word).writes()) {
        Some(Intent::Unknown | Intent::Delete) | None => Intent::Update,
        Some(intent) => intent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::http::tests::request;
    use crate::json;

    fn post(body: &str) -> HttpRequest {
        let body = Body::Json(json::parse(body.as_bytes()).expect("JSON"));
        HttpRequest { body, ..request("linear", "POST", "/graphql") }
    }

    /// What a document does, `named` saying which operation is meant.
    fn intent(document: &str, named: Option<&str>) -> Intent {
        let quoted = |text: &str| Json::String(text.to_owned()).canonical();
        let named = named.map_or("null".to_owned(), quoted);
        let body = format!(r#"{{"query":{},"operationName":{named}}}"#, quoted(document));
        judge(&post(&body)).intent
    }

    #[test]
    fn the_operation_that_is_named_runs() {
        let both = "query A { viewer { id } } mutation B { issueDelete(id: 1) { success } }";
        assert_eq!(intent(both, Some("A")), Intent::Query);
        assert_eq!(intent(both, Some("B")), Intent::Delete);
        assert_eq!(intent(both, None), Intent::Delete);
        assert_eq!(intent(both, Some("")), Intent::Delete);
        assert_eq!(intent(both, Some("C")), Intent::Unknown);
        let twice = "query A { viewer { id } } mutation A { issueUpdate { id } }";
        assert_eq!(intent(twice, Some("A")), Intent::Update);
    }

    #[test]
    fn a_comment_ends_where_all_lexers_end_it() {
        // To graphql-ruby the comments go on to the line feed.
        let ruby = "#\r query B { x \n mutation M { deleteRef { id } } #\r }\n";
        assert_eq!(intent(ruby, None), Intent::Unknown);
        // To graphql-java the comment ends at once.
        for end in ['\u{2028}', '\u{2029}', '\u{85}', '\u{b}', '\u{c}'] {
            let java = format!("# {end} mutation M \n {{ accountDelete {{ id }} }}");
            assert_eq!(intent(&java, None), Intent::Unknown, "{java:?}");
        }
    }

    #[test]
    fn a_block_string_ends_where_all_lexers_end_it() {
        for end in [r#"x"""""#, r#"x\"""""#, r#""""#] {
            let other = format!("query A {{ a(text: \"\"\"{end}) }} mutation B {{ b }} #\") }}");
            assert_eq!(intent(&other, Some("A")), Intent::Unknown, "{other}");
        }
        assert_eq!(intent(r#"{ a(text: """x "y" z""", b: "") }"#, None), Intent::Query);
    }

    #[test]
    fn graphql_aliases_comments_and_byte_order_marks_are_handled() {
        assert_eq!(intent("{ issueDelete: viewer { id } }", None), Intent::Query);
        assert_eq!(intent("mutation { viewer: issueDelete { id } }", None), Intent::Delete);
        let by = "mutation { issueToReleaseDeleteByIssueAndRelease { id } }";
        assert_eq!(intent(by, None), Intent::Delete);
        let setting = "mutation { updateMembersCanDeleteIssuesSetting { id } }";
        assert_eq!(intent(setting, None), Intent::Update);
        assert_eq!(
            intent("# query {\n\u{feff}mutation { issueCreate { id } }", None),
            Intent::Create
        );
        assert_eq!(intent("query { a(text: \"mutation {\") }", None), Intent::Query);
        assert_eq!(intent("# a\r\nquery { viewer { id } }\r\n", None), Intent::Query);
        assert_eq!(intent("query { a(text: \"\"\"} mutation { b }\"\"\") }", None), Intent::Query);
    }

    #[test]
    fn mutations_of_salesforce_stand_one_level_deeper() {
        let deletes = "mutation { uiapi(input: {allOrNone: true}) { a: AccountDelete(input: {Id: 1}) { Id } } }";
        assert_eq!(intent(deletes, None), Intent::Delete);
        let hidden = "mutation { uiapi { ...F } } fragment F on X { AccountCreate { Id } CaseDelete { Id } }";
        assert_eq!(intent(hidden, None), Intent::Delete);
        assert_eq!(intent("mutation { uiapi { AccountCreate { Id } } }", None), Intent::Create);
        assert_eq!(intent("mutation { uiapi }", None), Intent::Unknown);
        assert_eq!(intent("query { uiapi { query { Account { id } } } }", None), Intent::Query);
    }

    #[test]
    fn fragments_are_followed_and_may_go_in_circles() {
        let hidden =
            "fragment F on Mutation { ...G } fragment G on Mutation { x: issueDelete { id } }
            mutation { issueCreate { id } ... on Mutation { ...F } }";
        assert_eq!(intent(hidden, None), Intent::Delete);
        assert_eq!(intent("query { issue { ...NotHere } }", None), Intent::Query);
        let circle = "fragment F on Query { ...F ...F } query { ...F }";
        assert_eq!(intent(circle, None), Intent::Unknown);
    }

    #[test]
    fn unparsable_requests_are_unknown() {
        let deep = format!("query {}{}", "{a".repeat(5_000), "}".repeat(5_000));
        let many = format!("query {{ {} }}", "a ".repeat(MAX_TOKENS));
        for document in [
            "",
            "query",
            "query { a",
            "mutation",
            "fragment F on Query { a }",
            "subscription { a }",
            "query { a } }",
            "type Query { a: Int }",
            deep.as_str(),
            many.as_str(),
        ] {
            let shown: String = document.chars().take(30).collect();
            assert_eq!(intent(document, None), Intent::Unknown, "{shown}");
        }
    }

    #[test]
    fn only_a_document_in_a_json_body_counts() {
        let plain = r#"{"query":"{ a }"}"#;
        assert_eq!(judge(&post(plain)).intent, Intent::Query);
        for body in [
            "{}",
            "[]",
            "[1]",
            r#"{"query":1}"#,
            r#"{"query":"{ a }","id":"x"}"#,
            r#"{"query":"{ a }","operationName":1}"#,
            r#"{"query":"{ a }","extensions":{"persistedQuery":{"version":1}}}"#,
            r#"[{"query":"{ a }"},{"extensions":{}}]"#,
        ] {
            assert_eq!(judge(&post(body)).intent, Intent::Unknown, "{body}");
        }
        let with = |change: fn(&mut HttpRequest)| {
            let mut request = post(plain);
            change(&mut request);
            judge(&request).intent
        };
        let form = |r: &mut HttpRequest| {
            r.headers.push(("content-type".into(), "application/x-www-form-urlencoded".into()));
        };
        assert_eq!(with(|r| r.method = "GET".into()), Intent::Unknown);
        assert_eq!(with(|r| r.query.push(("Query".into(), "{ b }".into()))), Intent::Unknown);
        assert_eq!(with(|r| r.body = Body::Text("{ a }".into())), Intent::Unknown);
        assert_eq!(with(form), Intent::Unknown);
    }

    #[test]
    fn only_its_own_paths_take_documents() {
        let is = |provider: &str, path| {
            is_endpoint(Provider::from_name(provider).expect("a provider"), path)
        };
        assert!(is("github", "/graphql") && is("linear", "/graphql"));
        assert!(is("salesforce", "/services/data/v60.0/graphql"));
        assert!(is("hubspot", "/collector/graphql") && !is("hubspot", "/graphql"));
        assert!(!is("github", "/repos/o/graphql"));
        assert!(!is("salesforce", "/services/data/v60.0/sobjects/graphql"));
    }

    #[test]
    fn the_strictest_of_several_requests_holds() {
        let several = r#"[{"query":"{ a }"},{"query":"mutation { issueCreate { id } }"}]"#;
        let executed = executed(&post(several)).expect("readable");
        assert_eq!(executed.operation(), "mutation.issueCreate");
        assert_eq!(executed.resource(), "issue");
    }

    proptest::proptest! {
        #[test]
        fn a_mutation_is_never_a_read(
            alias in "([a-z]{1,6}: )?",
            field in "[a-zA-Z]{1,12}",
            noise in "( |\n|,|\u{feff}|#[ a-z{}]{0,9}\n){0,4}",
        ) {
            let document = format!("{noise}mutation{noise}{{{noise}{alias}{field}{noise}}}");
            proptest::prop_assert!(!intent(&document, None).is_read(), "{}", document);
        }

        #[test]
        fn no_text_is_too_strange(document in "\\PC{0,60}") {
            intent(&document, None);
        }
    }
}
