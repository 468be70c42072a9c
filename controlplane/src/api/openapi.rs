//! The API as an OpenAPI 3.1 document, made of the routes and of the types' own schemas.
//!
//! Enters: [`super::routes::all`]. Leaves: the document at `/v1/openapi.json`; `ci/openapi/causeway-v1.json` is a copy, and
//! a test compares them, so that a change of the contract is seen where it is reviewed.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use causeway_shared::api::{InactiveSessionList, Problem, SessionList};
use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::idempotency::MAX_KEY;
use super::problem::{PROBLEM_JSON, ProblemKind};
use super::route::{Answer, Content, Method, Route};
use super::routes;

/// Version of the specification (<https://spec.openapis.org/oas/v3.1.1.html>).
const OPENAPI: &str = "3.1.1";
/// Where the document keeps the schemas.
const SCHEMAS: &str = "/components/schemas";

static DOCUMENT: LazyLock<String> = LazyLock::new(document);

/// What `GET /v1/sessions` answers: by `state` in the query.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "a schema only: the handler answers one or the other")]
pub(super) enum AnySessions {
    /// Without `state`, and with `state=active`.
    Active(SessionList),
    /// With `state=inactive`.
    Inactive(InactiveSessionList),
}

/// Serves the document.
pub(super) async fn serve() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}

/// The document, with a line break at its end.
pub fn document() -> String {
    let (mut reads, mut writes) = (generator(Contract::Deserialize), generator(Contract::Serialize));
    let problem = writes.subschema_for::<Problem>();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in routes::all() {
        let operation = operation(&route, &mut reads, &mut writes, problem.as_value());
        let methods = paths.entry(route.path).or_default();
        methods.insert(route.method.name().to_lowercase(), operation);
    }
    let mut schemas = writes.take_definitions(true);
    // What is both taken and given is described as it is taken.
    schemas.append(&mut reads.take_definitions(true));
    let mut document = json!({
        "openapi": OPENAPI,
        "info": {
            "title": "Causeway management API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Sessions, counters, ports and debugging of a Causeway VPN concentrator; see docs/api.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The Unix socket `management.socket`, or TLS on `management.listen`."}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token; not needed on the Unix socket."},
                "certificate": {"type": "mutualTLS", "description": "A certificate that a [[management.client]] names."},
            },
        },
    });
    tidy(&mut document);
    // A document of strings and numbers always becomes text.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

fn generator(contract: Contract) -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = SCHEMAS.into();
        settings.meta_schema = None;
        settings.contract = contract;
    });
    settings.into_generator()
}

fn operation(
    route: &Route,
    reads: &mut SchemaGenerator,
    writes: &mut SchemaGenerator,
    problem: &Value,
) -> Value {
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.subject()],
        "security": [{"bearer": []}, {"certificate": []}, {}],
        "x-causeway-role": route.role.name(),
    });
    let parameters = parameters(route, reads);
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Some(schema) = route.body {
        let schema = schema(reads);
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    let mut responses = Map::new();
    for Answer { status, means, body } in &route.answers {
        let mut response = json!({"description": means});
        if route.tagged && status.is_success() {
            response["headers"] =
                json!({"ETag": {"schema": {"type": "string"}, "description": "Version of what is shown."}});
        }
        match body {
            Some(Content::Json(schema)) => {
                response["content"] = json!({"application/json": {"schema": schema(writes)}});
            }
            Some(Content::Text) => {
                response["content"] = json!({"text/plain": {"schema": {"type": "string"}}})
            }
            Some(Content::File(media_type)) => {
                response["content"][media_type] = json!({"schema": {"type": "string", "format": "binary"}});
            }
            None => {}
        }
        responses.insert(status.as_str().to_owned(), response);
    }
    if route.tagged && route.method == Method::Get {
        responses.insert("304".to_owned(), json!({"description": "What the client has is still so."}));
    }
    for (status, kinds) in by_status(&route.all_problems()) {
        let kinds: Vec<_> = kinds.iter().map(|kind| format!("`/problems/{}`", kind.doc().slug)).collect();
        let response =
            json!({"description": kinds.join(", "), "content": {PROBLEM_JSON: {"schema": problem}}});
        responses.insert(status.to_string(), response);
    }
    operation["responses"] = Value::Object(responses);
    operation
}

fn by_status(kinds: &[ProblemKind]) -> BTreeMap<u16, Vec<ProblemKind>> {
    let mut all: BTreeMap<u16, Vec<ProblemKind>> = BTreeMap::new();
    for kind in kinds {
        for status in kind.doc().statuses {
            all.entry(*status).or_default().push(*kind);
        }
    }
    all
}

/// Variables of the path, then members of the query.
fn parameters(route: &Route, reads: &mut SchemaGenerator) -> Vec<Value> {
    let names = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let of_path = |name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}});
    let mut all: Vec<Value> = names.map(of_path).collect();
    all.extend(headers(route));
    let Some(schema) = route.query else { return all };
    let schema = schema(reads).to_value();
    let is_required =
        |name: &String| schema["required"].as_array().is_some_and(|all| all.contains(&json!(name)));
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let mut member = member.clone();
        let description = member.as_object_mut().and_then(|member| member.remove("description"));
        // A query has no null: what may be absent is not required.
        if let Some(kind) = member["type"].as_array().and_then(|kinds| kinds.first()).cloned() {
            member["type"] = kind;
        }
        if let Some(inner) = member["anyOf"].as_array().and_then(|any| any.first()).cloned() {
            member = inner;
        }
        let mut parameter =
            json!({"name": name, "in": "query", "required": is_required(name), "schema": member});
        if let Some(description) = description {
            parameter["description"] = description;
        }
        all.push(parameter);
    }
    all
}

/// Headers that the route hears.
fn headers(route: &Route) -> Vec<Value> {
    let text = json!({"type": "string"});
    let header = |name: &str, required: bool, schema: &Value, description: &str| json!({"name": name, "in": "header", "required": required, "schema": schema, "description": description});
    let mut all = Vec::new();
    if route.wants_match {
        all.push(header("If-Match", true, &text, "The `ETag` of what is to be changed, or `*`."));
    }
    if route.tagged && route.method == Method::Get {
        all.push(header(
            "If-None-Match",
            false,
            &text,
            "The `ETag` of what the client has: 304 if it is still so.",
        ));
    }
    if route.hears_key() {
        let key = json!({"type": "string", "minLength": 1, "maxLength": MAX_KEY});
        all.push(header("Idempotency-Key", false, &key, "The same request with the same key is done once; its answer comes again with `Idempotency-Replayed: true`."));
    }
    all
}

/// Links of the source's documentation lead nowhere here.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text = text.replace("[`", "`").replace("`]", "`");
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(elements) => elements.iter_mut().for_each(tidy),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn parsed() -> Value {
        serde_json::from_str(&document()).unwrap()
    }

    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(elements) => elements.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn the_committed_document_is_that_of_the_routes() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/openapi/causeway-v1.json");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == document(),
            "ci/openapi/causeway-v1.json is old; write it with `cargo run -p causeway-controlplane --example api_documents`"
        );
    }

    #[test]
    fn every_reference_leads_to_a_schema_and_every_schema_is_used() {
        let document = parsed();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let named: BTreeSet<String> = schemas.keys().map(|name| format!("#{SCHEMAS}/{name}")).collect();
        assert_eq!(found.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), named);
    }

    #[test]
    fn operations_have_names_summaries_and_an_end() {
        let mut names = BTreeSet::new();
        for route in routes::all() {
            assert!(names.insert(route.name), "two operations are called {}", route.name);
            assert!(!route.summary.is_empty() && !route.answers.is_empty(), "{}", route.name);
        }
    }

    #[test]
    fn a_query_becomes_parameters() {
        let document = parsed();
        let parameters = document["paths"]["/v1/sessions"]["get"]["parameters"].as_array().unwrap();
        let limit = parameters.iter().find(|one| one["name"] == "limit").unwrap();
        assert_eq!((&limit["in"], &limit["required"]), (&json!("query"), &json!(false)));
        assert_eq!(limit["schema"]["maximum"], json!(super::super::sessions::MAX_PAGE));
    }
}
