//! Users.

use serde_json::{Value, json};

use super::answer::{ApiError, json_answer, no_content, object_answer};
use super::ask::{Ask, still_matches};
use super::change::Subject;
use super::entries::{document, entries, entry, remove};
use super::form::{Form, is_email};
use super::office::Office;
use super::routes::Answered;
use super::shape::{Field, Kind, Problems, Record};
use super::sign_in::{bump_version, check_password, hash_password, new_user, same_email, set_grants};
use crate::config::account::{ADMIN, Permission, Permissions, User};
use crate::config::files::{PROJECTS, USERS};

/// Of whom no role is named.
const DEFAULT_ROLE: &str = "viewer";

pub(super) static USER: Record = Record {
    name: "User",
    about: "Somebody who may sign in.",
    key: "",
    fields: &[
        Field::new("id", Kind::Text).answers().always(),
        Field::new("email", Kind::Text).required(),
        Field::new("password", Kind::Text)
            .about("8 characters or more; in a change also `newPassword`.")
            .bodies(),
        Field::new("role", Kind::Text).about("The same as `roleId`.").always(),
        Field::new("roleId", Kind::Text)
            .about("Id or name of a role; `viewer` where none is given.")
            .always(),
        Field::new("projectIds", Kind::List(&Kind::Text))
            .about("Projects that he sees without being a member.")
            .always(),
    ],
};

/// A user as what is changed.
pub(super) fn subject(id: &str) -> Subject {
    Subject::entry("user", USERS, &USER, id)
}

fn shown(user: &User) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "role": user.role,
        "roleId": user.role,
        "projectIds": user.project_ids,
    })
}

fn named<'o>(office: &'o Office, ask: &Ask<'_>) -> Result<&'o User, ApiError> {
    let name = ask.name();
    office.accounts.user(name).ok_or_else(|| ApiError::not_found(format!("there is no user `{name}`")))
}

/// `GET /api/users`.
pub(super) fn list(office: &mut Office, _: &Ask<'_>) -> Answered {
    Ok(json_answer(200, &office.accounts.users.iter().map(shown).collect()))
}

/// `GET /api/users/{id}`.
pub(super) fn show(office: &mut Office, ask: &Ask<'_>) -> Answered {
    Ok(object_answer(200, &shown(named(office, ask)?)))
}

/// The role that a form names, which the caller may give.
fn role_of(office: &Office, ask: &Ask<'_>, form: &mut Form) -> Result<Option<String>, ApiError> {
    let Some(wanted) = form.string(&["roleId", "role"]) else { return Ok(None) };
    let by_name = || office.accounts.roles.iter().find(|role| role.name == wanted);
    match office.accounts.role(&wanted).or_else(by_name) {
        Some(role) => {
            ask.who()?.may_rule(&role.id, role.permissions)?;
            Ok(Some(role.id.clone()))
        }
        None => {
            form.problem("roleId", format!("there is no role `{wanted}`"));
            Ok(None)
        }
    }
}

/// `POST /api/users`.
pub(super) fn create(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let mut form = ask.form()?;
    let (email, password) = (form.required(&["email"]), form.required(&["password"]));
    if !email.is_empty() && !is_email(email.trim()) {
        form.problem("email", "is no address");
    }
    check_password(&mut form, "password", &password);
    let role = role_of(office, ask, &mut form)?.unwrap_or_else(|| DEFAULT_ROLE.to_owned());
    // The one that nobody named is handed out as well.
    ask.who()?.may_rule(&role, permissions_of(office, &role))?;
    let projects = form.strings("projectIds").unwrap_or_default();
    form.finish()?;
    may_show(office, ask, &projects)?;
    let hash = hash_password(office, &password)?;
    let user = new_user(email.trim(), &hash, &role, &projects, ask.now_ms);
    let id = user["id"].as_str().unwrap_or_default().to_owned();
    office.change(subject(&id), Problems::new(), move |draft| {
        let users = entries(draft, USERS)?;
        if users.iter().any(|known| same_email(known, &user)) {
            return Err(ApiError::conflict("another user has this address"));
        }
        users.push(user);
        Ok(())
    })?;
    let user = office.accounts.user(&id).ok_or_else(|| ApiError::internal("the user is gone again"))?;
    Ok(object_answer(201, &shown(user)))
}

/// The caller must have all that the user has: whoever sets a password can sign in with it.
fn may_change(office: &Office, ask: &Ask<'_>, user: &User) -> Result<(), ApiError> {
    ask.who()?.may_rule(&user.role, office.accounts.permissions(user))?;
    may_show(office, ask, &user.project_ids)
}

/// Whether the caller may let somebody see these projects: he sees them himself, or changes all of them.
fn may_show(office: &Office, ask: &Ask<'_>, projects: &[String]) -> Result<(), ApiError> {
    let who = ask.who()?;
    let own = office.accounts.user(&who.id).map_or(&[][..], |user| &user.project_ids);
    if projects.iter().all(|project| own.contains(project)) {
        Ok(())
    } else {
        who.may(Permission::ProjectWrite)
    }
}

/// `PUT /api/users/{id}`: what is not named stays.
pub(super) fn change(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let user = named(office, ask)?;
    may_change(office, ask, user)?;
    let (id, old_role, before) = (user.id.clone(), user.role.clone(), shown(user));
    let mut form = ask.form()?;
    let email = form.string(&["email"]).map(|email| email.trim().to_owned());
    if email.as_ref().is_some_and(|email| !is_email(email)) {
        form.problem("email", "is no address");
    }
    let password = form.string(&["newPassword", "password"]);
    if let Some(password) = &password {
        check_password(&mut form, "newPassword", password);
        if password.is_empty() {
            form.problem("newPassword", "is empty");
        }
    }
    let role = role_of(office, ask, &mut form)?;
    let projects = form.strings("projectIds");
    form.finish()?;
    may_show(office, ask, projects.as_deref().unwrap_or_default())?;
    still_matches(ask.call.if_match.as_deref(), &before)?;
    if role.as_ref().is_some_and(|role| role != ADMIN) {
        keep_an_admin(office, &id, &old_role)?;
    }
    let hash = password.map(|password| hash_password(office, &password)).transpose()?;
    let changed = id.clone();
    office.change(subject(&id), Problems::new(), move |draft| {
        if let Some(email) = &email {
            let own = json!({"email": email});
            let is_other = |known: &Value| known["id"] != changed.as_str();
            if entries(draft, USERS)?.iter().any(|known| is_other(known) && same_email(known, &own)) {
                return Err(ApiError::conflict("another user has this address"));
            }
        }
        let user = entry(draft, USERS, &changed)?;
        if let Some(email) = email {
            user.insert("email".to_owned(), email.into());
        }
        if let Some(role) = role {
            user.shift_remove("role");
            user.insert("roleId".to_owned(), role.into());
        }
        if let Some(projects) = projects {
            user.insert("projectIds".to_owned(), projects.into());
        }
        if let Some(hash) = hash {
            user.insert("passwordHash".to_owned(), hash.into());
            bump_version(user);
            set_grants(user, &[]);
        }
        Ok(())
    })?;
    let user = office.accounts.user(&id).ok_or_else(|| ApiError::not_found("the user is gone"))?;
    Ok(object_answer(200, &shown(user)))
}

/// `DELETE /api/users/{id}`: he is a member of no project then.
pub(super) fn delete(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let user = named(office, ask)?;
    may_change(office, ask, user)?;
    let (id, role, before) = (user.id.clone(), user.role.clone(), shown(user));
    still_matches(ask.call.if_match.as_deref(), &before)?;
    keep_an_admin(office, &id, &role)?;
    office.change(subject(&id.clone()), Problems::new(), move |draft| {
        remove(draft, USERS, &id)?;
        let is_own = |member: &Value| member["userId"] == id.as_str();
        let has_him =
            |project: &Value| project["members"].as_array().is_some_and(|all| all.iter().any(is_own));
        if document(draft, PROJECTS)?.as_array().is_some_and(|projects| projects.iter().any(has_him)) {
            for project in entries(draft, PROJECTS)? {
                if let Some(Value::Array(members)) = project.get_mut("members") {
                    members.retain(|member| !is_own(member));
                }
            }
        }
        Ok(())
    })?;
    Ok(no_content())
}

/// Somebody must be left who may do everything.
fn keep_an_admin(office: &Office, id: &str, role: &str) -> Result<(), ApiError> {
    let others = office.accounts.users.iter().any(|user| user.role == ADMIN && user.id != id);
    if role == ADMIN && !others {
        return Err(ApiError::conflict("this is the last administrator"));
    }
    Ok(())
}

/// Whether a role is somebody's, everywhere or in a project.
pub(super) fn is_used(office: &Office, role: &str) -> bool {
    let config = office.config();
    let mut members = config.projects().iter().flat_map(|project| &project.members);
    office.accounts.users.iter().any(|user| user.role == role) || members.any(|member| member.role == role)
}

/// What all users of a role may do together with it: to be compared with what the caller may.
pub(super) fn permissions_of(office: &Office, role: &str) -> Permissions {
    office.accounts.role(role).map_or(Permissions::NONE, |role| role.permissions)
}
