//! The OpenAPI document, made of the table of routes and of the records that the handlers read and show.
//!
//! Source: OpenAPI Specification 3.1.1; JSON Schema 2020-12.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::answer::json_answer;
use super::ask::Ask;
use super::office::Office;
use super::routes::{Answered, Body, Needs, ROUTES, Route};
use super::shape::{Field, Kind, Record, Use};

/// Which side of a record is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Answer,
    /// Makes the thing.
    New,
    /// Changes it.
    Change,
}

/// `GET /api/openapi.json`.
pub(super) fn show(_: &mut Office, _: &Ask<'_>) -> Answered {
    Ok(json_answer(200, &document()))
}

fn document() -> Value {
    let mut schemas = BTreeMap::new();
    let mut paths = Map::new();
    for route in ROUTES {
        let path = format!("/api/{}", route.path);
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        operations[route.method.to_ascii_lowercase()] = operation(route, &mut schemas);
    }
    schemas.insert("Error".to_owned(), error());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Routerly management API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What is not sent in a change stays as it is; null clears it. See docs/management.md.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "signIn": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": super::session::COOKIE},
            },
        },
    })
}

fn operation(route: &'static Route, schemas: &mut BTreeMap<String, Value>) -> Value {
    let mut about = format!("{}.", route.about);
    if let Needs::Permission(permission) = route.needs {
        about.push_str(&format!(" Needs the permission `{}`.", permission.as_str()));
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.about,
        "description": about,
        "tags": [route.path.split('/').next()],
        "responses": responses(route, schemas),
    });
    if route.needs == Needs::Nothing {
        operation["security"] = json!([]);
    } else {
        operation["security"] = json!([{"signIn": []}, {"cookie": []}]);
    }
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| {
        json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}})
    });
    let in_query = route.query.iter().copied().flatten().map(|param| {
        let mut schema = json!({"type": "string"});
        if !param.words.is_empty() {
            schema["enum"] = json!(param.words);
        }
        json!({"name": param.name, "in": "query", "description": param.about, "schema": schema})
    });
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(Body { record, is_new }) = &route.body {
        let side = if *is_new { Side::New } else { Side::Change };
        let schema = reference(record, side, schemas);
        operation["requestBody"] =
            json!({"required": is_new, "content": {"application/json": {"schema": schema}}});
    }
    operation
}

/// `get_projects_project_tokens`.
fn operation_id(route: &Route) -> String {
    let path = route.path.replace(['{', '}', '.'], "").replace(['/', '-'], "_");
    format!("{}_{path}", route.method.to_ascii_lowercase())
}

fn responses(route: &'static Route, schemas: &mut BTreeMap<String, Value>) -> Value {
    let mut responses = Map::new();
    let mut success = json!({"description": if route.status == 201 { "Made." } else { "Done." }});
    if let Some(kind) = &route.answer {
        let schema = schema(kind, Side::Answer, schemas);
        for media in route.media {
            success["content"][*media] = json!({"schema": schema});
        }
    }
    responses.insert(route.status.to_string(), success);
    let is_change = route.method != "GET";
    for (status, about, is_there) in [
        (400, "A body or a query that is wrong: `fields` says where.", is_change || !route.query.is_empty()),
        (401, "Nobody is signed in, or not any more.", true),
        (403, "The caller may not.", true),
        (404, "There is no such thing.", route.path.contains('{') || is_change),
        (409, "It does not fit to what is there.", is_change),
        (412, "What the change is based on (`If-Match`) is not there any more.", is_change),
        (413, "The body is too long.", is_change),
        (429, "Too many failed tries.", route.path.starts_with("auth/") || route.path == "me"),
    ] {
        if is_there {
            let content = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}});
            responses.insert(status.to_string(), json!({"description": about, "content": content}));
        }
    }
    responses.into()
}

fn error() -> Value {
    let text = json!({"type": "string"});
    let field = json!({
        "type": "object",
        "required": ["path", "message"],
        "properties": {"path": {"type": "string", "description": "Path in the body."}, "message": text},
    });
    json!({
        "type": "object",
        "required": ["error", "message"],
        "properties": {"error": text, "message": text, "fields": {"type": "array", "items": field}},
    })
}

/// Puts the schema of a record's side among the components.
fn reference(record: &'static Record, side: Side, schemas: &mut BTreeMap<String, Value>) -> Value {
    let name = match side {
        Side::Answer => record.name.to_owned(),
        Side::New => format!("New{}", record.name),
        Side::Change => format!("{}Change", record.name),
    };
    if !schemas.contains_key(&name) {
        schemas.insert(name.clone(), Value::Null);
        let object = object(record, side, schemas);
        schemas.insert(name.clone(), object);
    }
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn object(record: &'static Record, side: Side, schemas: &mut BTreeMap<String, Value>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in record.fields.iter().filter(|field| is_on(field, side)) {
        let mut property = schema(&field.kind, side, schemas);
        let may_be_null = match side {
            Side::Answer => field.nullable,
            Side::New | Side::Change => !field.required,
        };
        if may_be_null {
            property = or_null(property);
        }
        if !field.about.is_empty() {
            property["description"] = field.about.into();
        }
        properties.insert(field.name.to_owned(), property);
        let is_required = match side {
            Side::Answer => field.always,
            Side::New => field.required,
            Side::Change => false,
        };
        if is_required {
            required.push(field.name);
        }
    }
    let mut object = json!({"type": "object", "description": record.about, "properties": properties});
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    if side == Side::Answer {
        object["additionalProperties"] = false.into();
    }
    object
}

fn is_on(field: &Field, side: Side) -> bool {
    match side {
        Side::Answer => field.is_shown(),
        Side::New => field.used != Use::Answers,
        Side::Change => field.is_taken(false),
    }
}

fn or_null(schema: Value) -> Value {
    match schema.get("type") {
        Some(kind) if schema.get("enum").is_none() => {
            let both = json!([kind, "null"]);
            let mut schema = schema;
            schema["type"] = both;
            schema
        }
        _ if schema.as_object().is_some_and(Map::is_empty) => schema,
        _ => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}

fn schema(kind: &'static Kind, side: Side, schemas: &mut BTreeMap<String, Value>) -> Value {
    match kind {
        Kind::Any => json!({}),
        Kind::Map | Kind::Section => json!({"type": "object"}),
        Kind::Text => json!({"type": "string"}),
        Kind::Secret => json!({"type": "string", "format": "password"}),
        Kind::Time => json!({"type": "string", "format": "date-time"}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Whole => json!({"type": "integer", "minimum": 0}),
        Kind::Amount => json!({"type": "number", "minimum": 0}),
        Kind::Word(words) => json!({"type": "string", "enum": words}),
        Kind::List(kind) => json!({"type": "array", "items": schema(kind, side, schemas)}),
        // What is inside of a change is made as a whole, or matched by its key.
        Kind::Record(record) => reference(record, side, schemas),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_every_reference_leads_somewhere() {
        let document = document();
        let mut ids = std::collections::HashSet::new();
        for route in ROUTES {
            let operation =
                &document["paths"][format!("/api/{}", route.path)][route.method.to_ascii_lowercase()];
            assert!(!route.about.is_empty(), "{} {}", route.method, route.path);
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            assert!(!operation["responses"][route.status.to_string()].is_null());
        }
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }

    #[test]
    fn secrets_are_in_bodies_alone_and_what_is_the_gateways_in_answers() {
        let document = document();
        let schemas = &document["components"]["schemas"];
        let has = |schema: &str, field: &str| !schemas[schema]["properties"][field].is_null();
        assert!(has("NewModel", "apiKey") && has("ModelChange", "apiKey") && !has("Model", "apiKey"));
        assert!(has("Model", "keyError") && !has("NewModel", "keyError"));
        assert!(has("NewProject", "slug") && !has("ProjectChange", "slug"));
        assert_eq!(schemas["NewModel"]["required"], json!(["id", "provider"]));
        assert_eq!(schemas["ModelChange"]["required"], Value::Null);
        assert_eq!(schemas["Session"]["properties"]["expiresAt"]["type"], json!(["string", "null"]));
    }
}
