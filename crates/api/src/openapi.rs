//! `openapi.json`: made from the routes and what they answer with, committed, and held to
//! that by a test.

use serde_json::{Value, json};
use utoipa::{PartialSchema as _, ToSchema as _, openapi::OpenApi};

use crate::{
    access::Role,
    view::{ProblemAt, ProblemDetails},
};

/// The document as it is committed: pretty, with a newline at its end.
#[must_use]
pub fn document() -> String {
    document_where(false)
}

/// The same as it is served at `/openapi.json`, which says whether callers have to say who they are.
pub(crate) fn document_where(credentials_required: bool) -> String {
    let security = if credentials_required { json!([{"bearer": []}]) } else { json!([{"bearer": []}, {}]) };
    let finished = finished(&crate::routes::described(), &security);
    let mut text = serde_json::to_string_pretty(&finished).unwrap_or_default();
    text.push('\n');
    text
}

/// What holds for all operations: how callers show who they are, and how refusals look.
fn finished(described: &OpenApi, security: &Value) -> Value {
    let mut document = serde_json::to_value(described).unwrap_or_default();
    document["info"] = json!({
        "title": "planfleet",
        "version": "1",
        "description": "Plan-and-execute LLM work on a fleet: submit, watch, steer, and see what it costs. \
            Where no keys and no token issuer are configured, the API answers on this machine alone and asks \
            nobody who they are.",
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    });
    let schemas = &mut document["components"]["schemas"];
    schemas[ProblemDetails::name().as_ref()] = json!(ProblemDetails::schema());
    schemas[ProblemAt::name().as_ref()] = json!(ProblemAt::schema());
    // The core reads tasks field by field, so that it can tell all faults: there is no type of theirs.
    schemas["Task"] = serde_json::from_str(include_str!("view/task.json")).unwrap_or_default();
    document["paths"]["/v1/runs"]["post"]["requestBody"]["content"]["application/json"]["schema"] =
        json!({"$ref": "#/components/schemas/Task"});
    document["components"]["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a token of the configured issuer."}
    });
    let refusal = |description: &str| {
        let schema = json!({"schema": {"$ref": "#/components/schemas/ProblemDetails"}});
        json!({"description": description, "content": {"application/problem+json": schema}})
    };
    for path in document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut()) {
        for operation in path.as_object_mut().into_iter().flat_map(|path| path.values_mut()) {
            operation["security"] = security.clone();
            let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
            for parameter in parameters.into_iter().flatten() {
                never_null(&mut parameter["schema"]);
            }
            operation["responses"]["4XX"] = refusal("Refused; `code` says why, and is stable.");
            operation["responses"]["5XX"] =
                refusal("Not possible just now; `Retry-After` says when it may be.");
        }
    }
    document
}

/// Parameters are texts: they may be left out, and are never null.
fn never_null(schema: &mut Value) {
    if let Some(types) = schema["type"].as_array_mut() {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
}

/// Says in each operation which role it needs.
pub(crate) fn mark(described: &mut OpenApi, role: Role) {
    for path in described.paths.paths.values_mut() {
        let operations = [&mut path.get, &mut path.put, &mut path.post, &mut path.delete, &mut path.patch];
        for operation in operations.into_iter().flatten() {
            let extension = utoipa::openapi::extensions::Extensions::builder().add("x-role", role.as_str());
            operation.extensions = Some(extension.build());
        }
    }
}
