//! Members of projects.

use serde_json::{Map, Value, json};

use super::access::Level;
use super::answer::{ApiError, json_answer, no_content};
use super::ask::Ask;
use super::change::Subject;
use super::entries::entry;
use super::form::Form;
use super::office::Office;
use super::projects::{self, is_member_role};
use super::routes::Answered;
use super::shape::{Field, Kind, Problems, Record};
use crate::config::files::PROJECTS;

pub(super) static MEMBER: Record = Record {
    name: "Member",
    about: "A user's part in a project.",
    key: "userId",
    fields: &[
        Field::new("userId", Kind::Text).new_only().required(),
        Field::new("role", Kind::Text)
            .about(
                "`viewer` sees the project and its usage, `editor` also changes routing and tokens, `admin` everything \
                 about it. The id of another role stands for what that role may do with all projects.",
            )
            .required(),
    ],
};

fn subject(ask: &Ask<'_>, project: &str, user: &str) -> Subject {
    let subject = projects::subject(ask, project).part("member", &MEMBER, "members", "userId", user);
    Subject { if_match: None, ..subject }
}

/// `GET /api/projects/{project}/members`.
pub(super) fn list(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let project = office.project(ask, Level::See)?;
    let member = |member: &crate::config::Member| json!({"userId": member.user, "role": member.role});
    Ok(json_answer(200, &project.members.iter().map(member).collect()))
}

/// The role that a form names.
fn role_of(office: &Office, form: &mut Form) -> String {
    let role = form.required(&["role"]);
    if !role.is_empty() && !is_member_role(office, &role) {
        form.problem(
            "role",
            format!("expected viewer, editor, admin or the id of a role; there is no `{role}`"),
        );
    }
    role
}

/// `POST /api/projects/{project}/members`.
pub(super) fn add(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let project = office.project(ask, Level::Own)?;
    let mut form = ask.form()?;
    let (user, role) = (form.required(&["userId"]), role_of(office, &mut form));
    form.finish()?;
    if office.accounts.user(&user).is_none() {
        return Err(ApiError::not_found(format!("there is no user `{user}`")));
    }
    let member = json!({"userId": user, "role": role});
    let (owner, new) = (project.id.clone(), member.clone());
    office.change(subject(ask, &owner.clone(), &user), Problems::new(), move |draft| {
        let project = entry(draft, PROJECTS, &owner)?;
        match project.entry("members").or_insert_with(|| json!([])) {
            Value::Array(members) if members.iter().any(|known| known["userId"] == new["userId"]) => {
                return Err(ApiError::conflict("the user is a member already"));
            }
            Value::Array(members) => members.push(new),
            other => *other = json!([new]),
        }
        Ok(())
    })?;
    Ok(json_answer(201, &member))
}

/// The members of the draft, and where the one is.
fn find<'p>(
    project: &'p mut Map<String, Value>,
    user: &str,
) -> Result<(&'p mut Vec<Value>, usize), ApiError> {
    let missing = || ApiError::not_found(format!("the project has no member `{user}`"));
    let members = project.get_mut("members").and_then(Value::as_array_mut).ok_or_else(missing)?;
    let at = members.iter().position(|member| member["userId"] == user).ok_or_else(missing)?;
    Ok((members, at))
}

/// `PUT /api/projects/{project}/members/{user}`.
pub(super) fn change(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let project = office.project(ask, Level::Own)?;
    let mut form = ask.form()?;
    let role = role_of(office, &mut form);
    form.finish()?;
    let (user, owner) = (ask.second_name().to_owned(), project.id.clone());
    let member = json!({"userId": user, "role": role});
    office.change(subject(ask, &owner.clone(), &user.clone()), Problems::new(), move |draft| {
        let (members, at) = find(entry(draft, PROJECTS, &owner)?, &user)?;
        members[at]["role"] = role.into();
        Ok(())
    })?;
    Ok(json_answer(200, &member))
}

/// `DELETE /api/projects/{project}/members/{user}`.
pub(super) fn delete(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let project = office.project(ask, Level::Own)?;
    let (user, owner) = (ask.second_name().to_owned(), project.id.clone());
    office.change(subject(ask, &owner.clone(), &user.clone()), Problems::new(), move |draft| {
        let (members, at) = find(entry(draft, PROJECTS, &owner)?, &user)?;
        members.remove(at);
        Ok(())
    })?;
    Ok(no_content())
}
