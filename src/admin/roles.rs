//! Roles.

use serde_json::{Value, json};

use super::answer::{ApiError, json_answer, no_content, object_answer};
use super::ask::{Ask, still_matches};
use super::change::Subject;
use super::entries::{entries, entry, remove};
use super::form::Form;
use super::office::Office;
use super::routes::Answered;
use super::shape::{Field, Kind, Problems, Record};
use super::users::{is_used, permissions_of};
use crate::config::account::{Permission, Permissions, Role};
use crate::config::files::ROLES;
use crate::config::project::slug_of;
use crate::store::edit::Draft;

pub(super) static ROLE: Record = Record {
    name: "Role",
    about: "A named set of permissions.",
    key: "",
    fields: &[
        Field::new("id", Kind::Text).about("Made from the name where it is not given.").new_only().always(),
        Field::new("name", Kind::Text).always(),
        Field::new("permissions", Kind::List(&Kind::Text)).always(),
        Field::new("builtin", Kind::Flag).answers().always(),
    ],
};

fn subject(id: &str) -> Subject {
    Subject::entry("role", ROLES, &ROLE, id)
}

fn shown(role: &Role) -> Value {
    let permissions: Vec<&str> = role.permissions.iter().map(Permission::as_str).collect();
    json!({"id": role.id, "name": role.name, "permissions": permissions, "builtin": role.is_built_in})
}

/// By id, else by name.
fn named<'o>(office: &'o Office, ask: &Ask<'_>) -> Result<&'o Role, ApiError> {
    let name = ask.name();
    let by_name = || office.accounts.roles.iter().find(|role| role.name == name);
    let role = office.accounts.role(name).or_else(by_name);
    role.ok_or_else(|| ApiError::not_found(format!("there is no role `{name}`")))
}

/// One that may be changed.
fn own<'o>(office: &'o Office, ask: &Ask<'_>) -> Result<&'o Role, ApiError> {
    let role = named(office, ask)?;
    if role.is_built_in {
        return Err(ApiError::forbidden("a built-in role cannot be changed"));
    }
    Ok(role)
}

/// `GET /api/roles`.
pub(super) fn list(office: &mut Office, _: &Ask<'_>) -> Answered {
    Ok(json_answer(200, &office.accounts.roles.iter().map(shown).collect()))
}

/// `GET /api/roles/{id}`.
pub(super) fn show(office: &mut Office, ask: &Ask<'_>) -> Answered {
    Ok(object_answer(200, &shown(named(office, ask)?)))
}

/// The permissions that a form names, which the caller has himself.
fn permissions_in(ask: &Ask<'_>, form: &mut Form) -> Result<Option<Vec<&'static str>>, ApiError> {
    let Some(names) = form.strings("permissions") else { return Ok(None) };
    let mut permissions = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match Permission::parse(name) {
            Some(permission) => permissions.push(permission),
            None => {
                form.problem(&format!("permissions[{index}]"), format!("there is no permission `{name}`"))
            }
        }
    }
    let permissions = Permissions::of(&permissions);
    ask.who()?.may_rule("", permissions)?;
    Ok(Some(permissions.iter().map(Permission::as_str).collect()))
}

/// `POST /api/roles`.
pub(super) fn create(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let mut form = ask.form()?;
    let (id, name) = (form.string(&["id"]), form.string(&["name"]));
    let name = name.filter(|name| !name.trim().is_empty());
    let id = id.filter(|id| !id.trim().is_empty()).or_else(|| name.as_deref().map(slug_of));
    if id.is_none() {
        form.problem("id", "is missing");
    }
    let permissions = permissions_in(ask, &mut form)?.unwrap_or_default();
    form.finish()?;
    let id = id.unwrap_or_default();
    if office.accounts.role(&id).is_some() {
        return Err(ApiError::conflict(format!("there is a role `{id}` already")));
    }
    let role = json!({"id": id, "name": name.unwrap_or_else(|| id.clone()), "permissions": permissions});
    office.change(subject(&id), Problems::new(), move |draft| {
        let roles = entries(draft, ROLES)?;
        if roles.iter().any(|known| known["id"] == role["id"]) {
            return Err(ApiError::conflict("there is a role of this id already"));
        }
        roles.push(role);
        Ok(())
    })?;
    let role = office.accounts.role(&id).ok_or_else(|| ApiError::internal("the role is gone again"))?;
    Ok(object_answer(201, &shown(role)))
}

/// Writes the ids down that entries without one are known by.
fn give_ids(draft: &mut Draft<'_>) -> Result<(), ApiError> {
    for role in entries(draft, ROLES)?.iter_mut().filter_map(Value::as_object_mut) {
        if role.get("id").and_then(Value::as_str).is_none_or(str::is_empty)
            && let Some(name) = role.get("name").and_then(Value::as_str)
        {
            let id = slug_of(name.trim());
            role.insert("id".to_owned(), id.into());
        }
    }
    Ok(())
}

/// `PUT /api/roles/{id}`: what is not named stays.
pub(super) fn change(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let role = own(office, ask)?;
    // Whoever takes something away from a role must have it, too: a role is also what others rely on.
    ask.who()?.may_rule("", permissions_of(office, &role.id))?;
    let (id, before) = (role.id.clone(), shown(role));
    let mut form = ask.form()?;
    let name = form.string(&["name"]).filter(|name| !name.trim().is_empty());
    let permissions = permissions_in(ask, &mut form)?;
    form.finish()?;
    still_matches(ask.call.if_match.as_deref(), &before)?;
    let changed = id.clone();
    office.change(subject(&id).called("role.update"), Problems::new(), move |draft| {
        give_ids(draft)?;
        let role = entry(draft, ROLES, &changed)?;
        if let Some(name) = name {
            role.insert("name".to_owned(), name.into());
        }
        if let Some(permissions) = permissions {
            role.insert("permissions".to_owned(), permissions.into());
        }
        Ok(())
    })?;
    let role = office.accounts.role(&id).ok_or_else(|| ApiError::not_found("the role is gone"))?;
    Ok(object_answer(200, &shown(role)))
}

/// `DELETE /api/roles/{id}`; with `?force=1` also one that somebody has, who may do nothing then.
pub(super) fn delete(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let role = own(office, ask)?;
    ask.who()?.may_rule("", role.permissions)?;
    let (id, before) = (role.id.clone(), shown(role));
    still_matches(ask.call.if_match.as_deref(), &before)?;
    if is_used(office, &id) && !ask.flag("force") {
        return Err(ApiError::conflict("users have this role; give them another one, or add ?force=1"));
    }
    office.change(subject(&id.clone()).called("role.delete"), Problems::new(), move |draft| {
        give_ids(draft)?;
        remove(draft, ROLES, &id)
    })?;
    Ok(no_content())
}
