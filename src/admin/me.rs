//! One's own account.

use serde_json::{Value, json};

use super::answer::{ApiError, json_answer, no_content, object_answer};
use super::ask::Ask;
use super::entries::{entries, entry};
use super::form::is_email;
use super::office::Office;
use super::routes::Answered;
use super::shape::{Field, Kind, Problems, Record};
use super::sign_in::{bump_version, check_password, hash_password, set_grants, timestamp};
use super::users;
use crate::accounts::password::{self, Verdict};
use crate::config::account::{Grant, User};
use crate::config::files::USERS;

pub(super) static ME: Record = Record {
    name: "Me",
    about: "One's own account.",
    key: "",
    fields: &[
        Field::new("id", Kind::Text).answers().always(),
        Field::new("email", Kind::Text).answers().always(),
        Field::new("role", Kind::Text).answers().always(),
        Field::new("roleId", Kind::Text).answers().always(),
    ],
};

pub(super) static ME_CHANGE: Record = Record {
    name: "MeChange",
    about: "What is to be changed of one's own account.",
    key: "",
    fields: &[
        Field::new("currentPassword", Kind::Text).required(),
        Field::new("newEmail", Kind::Text).about("Also `email`.").also(&["email"]),
        Field::new("newPassword", Kind::Text).about("8 characters or more. Ends all other sign-ins."),
    ],
};

pub(super) static SESSION: Record = Record {
    name: "Session",
    about: "A sign-in that can be renewed.",
    key: "",
    fields: &[
        Field::new("id", Kind::Text).answers().always(),
        Field::new("label", Kind::Text).about("What the client calls itself.").answers().always(),
        Field::new("createdAt", Kind::Time).answers().always(),
        Field::new("lastUsedAt", Kind::Time).answers().always(),
        Field::new("expiresAt", Kind::Time).answers().always().nullable(),
        Field::new("current", Kind::Flag).about("The one that asks.").answers().always(),
    ],
};

fn own<'o>(office: &'o Office, ask: &Ask<'_>) -> Result<&'o User, ApiError> {
    office.accounts.user(&ask.who()?.id).ok_or_else(|| ApiError::not_found("this user is gone"))
}

fn shown(user: &User) -> Value {
    json!({"id": user.id, "email": user.email, "role": user.role, "roleId": user.role})
}

/// `GET /api/me`.
pub(super) fn show(office: &mut Office, ask: &Ask<'_>) -> Answered {
    Ok(object_answer(200, &shown(own(office, ask)?)))
}

/// `PUT /api/me`: address and password, against the present password. A new password ends all other sign-ins.
pub(super) fn change(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let mut form = ask.form()?;
    let current = form.required(&["currentPassword"]);
    let email = form.string(&["newEmail", "email"]).map(|email| email.trim().to_owned());
    if email.as_ref().is_some_and(|email| !is_email(email)) {
        form.problem("newEmail", "is no address");
    }
    let new = form.string(&["newPassword"]);
    if let Some(new) = &new {
        check_password(&mut form, "newPassword", new);
        if new.is_empty() {
            form.problem("newPassword", "is empty");
        }
    }
    form.finish()?;
    // A stolen sign-in must not become a way to guess the password.
    let address = ask.address;
    let account = own(office, ask)?.email.clone();
    match office.throttle.wait_ms(&account, address, ask.now_ms) {
        0 => {}
        wait_ms => return Err(ApiError::rate_limited(wait_ms)),
    }
    if password::verify(own(office, ask)?.password.as_ref(), &current) == Verdict::Wrong {
        office.throttle.failed(&account, address, ask.now_ms);
        office.note_denied("me.update", &account);
        return Err(ApiError::unauthorized("this is not the present password"));
    }
    let user = own(office, ask)?;
    let (id, grants) = (user.id.clone(), user.grants.clone());
    let hash = new.map(|new| hash_password(office, &new)).transpose()?;
    let own_grant = ask.who()?.grant.clone();
    let changed = id.clone();
    office.change(users::subject(&id), Problems::new(), move |draft| {
        if let Some(email) = &email
            && entries(draft, USERS)?.iter().any(|user| {
                let same =
                    user["email"].as_str().is_some_and(|known| known.trim().eq_ignore_ascii_case(email));
                same && user["id"] != changed.as_str()
            })
        {
            return Err(ApiError::conflict("another user has this address"));
        }
        let user = entry(draft, USERS, &changed)?;
        if let Some(email) = email {
            user.insert("email".to_owned(), email.into());
        }
        if let Some(hash) = hash {
            user.insert("passwordHash".to_owned(), hash.into());
            bump_version(user);
            let kept: Vec<Grant> = grants.into_iter().filter(|grant| grant.id == own_grant).collect();
            set_grants(user, &kept);
        }
        Ok(())
    })?;
    Ok(object_answer(200, &shown(own(office, ask)?)))
}

/// `GET /api/me/sessions`.
pub(super) fn sessions(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let own_grant = ask.who()?.grant.clone();
    let session = |grant: &Grant| {
        json!({
            "id": grant.id,
            "label": grant.label,
            "createdAt": timestamp(grant.created_ms),
            "lastUsedAt": timestamp(grant.last_used_ms),
            "expiresAt": grant.expires_ms.map(timestamp),
            "current": grant.id == own_grant,
        })
    };
    let sessions: Vec<Value> = own(office, ask)?.grants.iter().map(session).collect();
    Ok(json_answer(200, &sessions.into()))
}

/// `DELETE /api/me/sessions/{id}`: sign-in tokens that were issued with it end too.
pub(super) fn end_session(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let user = own(office, ask)?;
    let mut grants = user.grants.clone();
    let before = grants.len();
    grants.retain(|grant| grant.id != ask.name());
    if grants.len() == before {
        return Err(ApiError::not_found("there is no such session"));
    }
    let id = user.id.clone();
    office.change(users::subject(&id.clone()).called("auth.logout"), Problems::new(), move |draft| {
        set_grants(entry(draft, USERS, &id)?, &grants);
        Ok(())
    })?;
    Ok(no_content())
}
