//! Templates by name: those that ship, and those that were added to the fleet. All tenants
//! share them, so only who looks after the fleet changes them.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::StatusCode,
    response::IntoResponse as _,
};
use planfleet_core::document::rfc3339;
use planfleet_runtime::clock;

use super::{
    Outcome, Shared,
    query::{Asked, Nothing},
};
use crate::{
    access::Caller,
    problem::Problem,
    submission::fault,
    template::{Template, library::Listed, shown},
    view::{TemplateAdded, TemplateListed, TemplateRemoved, TemplateView, Templates},
};

/// List templates
#[utoipa::path(get, path = "/v1/templates", operation_id = "list_templates", tag = "templates", responses((status = 200, body = Templates)))]
pub(super) async fn list(State(service): Shared, Asked(Nothing {}): Asked<Nothing>) -> Outcome {
    let listed = service.answer(service.templates.list()).await?;
    Ok(Json(Templates { templates: listed.into_iter().map(of).collect() }).into_response())
}

fn of(listed: Listed) -> TemplateListed {
    TemplateListed {
        name: listed.name,
        version: listed.version,
        latest: listed.latest,
        origin: listed.origin.to_owned(),
        added_at: listed.added_at_ms.map(rfc3339),
    }
}

/// Look at a template
///
/// A name stands for its latest version; `name@0123456789ab` is one version.
#[utoipa::path(
    get, path = "/v1/templates/{name}", operation_id = "get_template", tag = "templates", params(("name" = String, Path)),
    responses((status = 200, body = TemplateView))
)]
pub(super) async fn one(State(service): Shared, Path(name): Path<String>) -> Outcome {
    let template = service.answer(service.templates.find(&name)).await?;
    let view = TemplateView {
        name: template.name.clone(),
        version: template.version().to_owned(),
        description: template.description.clone(),
        slots: template.slots.clone(),
        plan: serde_json::to_value(&*template.plan)
            .ok()
            .and_then(|plan| plan.as_object().cloned())
            .unwrap_or_default(),
    };
    Ok(Json(view).into_response())
}

/// Add a version of a template
///
/// The body is a template as JSON or YAML. It is checked whole, and what is there is never
/// changed: the name stands for the new version from now on.
#[utoipa::path(
    put, path = "/v1/templates/{name}", operation_id = "put_template", tag = "templates", params(("name" = String, Path)),
    request_body(content((Object = "application/json"), (String = "application/yaml"))),
    responses((status = 200, body = TemplateAdded), (status = 201, body = TemplateAdded))
)]
pub(super) async fn put(
    State(service): Shared,
    caller: Caller,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Outcome {
    for_the_fleet(&caller)?;
    let body = body?;
    let text = std::str::from_utf8(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "body_unreadable", error))?;
    let invalid = |faults: Vec<String>| {
        let faults = faults.iter().map(|message| fault("template", message)).collect();
        Problem::faults("template_invalid", "the template", faults)
    };
    let template = Template::parse(text).and_then(|template| template.renamed(&name)).map_err(invalid)?;
    let found = template.lint(&service.scope);
    if !found.is_empty() {
        return Err(invalid(found.iter().map(ToString::to_string).collect()));
    }
    let new = service.answer(service.templates.add(&template, clock::unix_ms())).await?;
    let added = TemplateAdded {
        template: template.reference().unwrap_or_default(),
        version: template.version().to_owned(),
        new,
    };
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(added)).into_response())
}

/// Remove a version of a template, or all of a name
#[utoipa::path(
    delete, path = "/v1/templates/{name}", operation_id = "remove_template", tag = "templates", params(("name" = String, Path)),
    responses((status = 200, body = TemplateRemoved))
)]
pub(super) async fn remove(State(service): Shared, caller: Caller, Path(name): Path<String>) -> Outcome {
    for_the_fleet(&caller)?;
    let removed = service.answer(service.templates.remove(&name)).await?;
    let name = name.split('@').next().unwrap_or_default().to_owned();
    let removed = removed.iter().map(|version| shown(version).to_owned()).collect();
    Ok(Json(TemplateRemoved { name, removed }).into_response())
}

fn for_the_fleet(caller: &Caller) -> Result<(), Problem> {
    match caller.is_of_fleet() {
        true => Ok(()),
        false => Err(Problem::of_fleet("templates")),
    }
}
