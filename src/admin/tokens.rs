//! Tokens of projects.

use serde_json::{Map, Value, json};

use super::access::{Level, project_of};
use super::answer::{ApiError, json_answer, no_content, tagged_answer};
use super::ask::Ask;
use super::change::Subject;
use super::entries::entry;
use super::limits::{LIMITS, MODEL_REFS, MODES, canonical, canonical_refs};
use super::office::Office;
use super::projects::{self, models_exist};
use super::routes::Answered;
use super::shape::{Field, Kind, Problems, Record};
use super::sign_in::{no_randomness, timestamp};
use crate::auth::{self, Minted};
use crate::config::files::PROJECTS;

pub(super) static TOKEN: Record = Record {
    name: "Token",
    about: "A credential of a project. The token itself is shown once, when it is made.",
    key: "id",
    fields: &[
        Field::new("id", Kind::Text).answers().always(),
        Field::new("tokenSnippet", Kind::Text).about("Its first ten characters.").answers(),
        Field::new("createdAt", Kind::Time).answers(),
        Field::new("name", Kind::Text),
        Field::new("labels", Kind::List(&Kind::Text)),
        Field::new("limits", LIMITS).about("Of the whole token."),
        Field::new("limitsMode", Kind::Word(MODES)),
        Field::new("models", MODEL_REFS).about("Limits of single models for this token."),
        Field::new("expiresAt", Kind::Time).about("From then on it does not count."),
        Field::new("disabled", Kind::Flag),
        Field::new("projectIds", Kind::List(&Kind::Text))
            .about("Further projects that it may address by slug."),
        Field::new("lastUsedAt", Kind::Time).answers(),
    ],
};

pub(super) static TOKEN_ONCE: Record = Record {
    name: "TokenOnce",
    about: "A token that was just made, and what is kept of it.",
    key: "",
    fields: &[
        Field::new("token", Kind::Text).about("Not shown again.").answers().always(),
        Field::new("tokenInfo", Kind::Record(&TOKEN)).answers().always(),
    ],
};

/// A new token.
///
/// # Errors
/// The system has no randomness to give.
pub(super) fn mint(office: &Office) -> Result<Minted, ApiError> {
    auth::mint(&office.random).map_err(|_| no_randomness())
}

fn subject(ask: &Ask<'_>, project: &str, token: &str) -> Subject {
    projects::subject(ask, project).part("token", &TOKEN, "tokens", "id", token)
}

/// What is shown of a token, and its tag.
fn read(office: &Office, ask: &Ask<'_>, project: &str, token: &str) -> Result<(Value, String), ApiError> {
    let document = office.document(PROJECTS)?;
    let subject = subject(ask, project, token);
    let (entry, _) = subject.find(&document).ok_or_else(|| missing(token))?;
    Ok((TOKEN.shown(entry).into(), subject.tag(entry)))
}

fn missing(token: &str) -> ApiError {
    ApiError::not_found(format!("the project has no token `{token}`"))
}

/// `GET /api/projects/{project}/tokens`.
pub(super) fn list(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let project = office.project(ask, Level::See)?;
    let document = office.document(PROJECTS)?;
    let project = projects::subject(ask, &project.id).find(&document);
    let tokens = project.and_then(|(project, _)| project.get("tokens")?.as_array());
    let tokens = tokens.into_iter().flatten().filter_map(Value::as_object);
    Ok(json_answer(200, &tokens.map(|token| Value::from(TOKEN.shown(token))).collect()))
}

/// `GET /api/projects/{project}/tokens/{token}`.
pub(super) fn show(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let project = office.project(ask, Level::See)?;
    let (shown, tag) = read(office, ask, &project.id, ask.second_name())?;
    Ok(tagged_answer(200, &shown, tag))
}

/// The body of a request, and what is wrong with it.
fn body_of(
    office: &Office,
    ask: &Ask<'_>,
    own: &str,
    is_new: bool,
) -> Result<(Map<String, Value>, Problems), ApiError> {
    let mut body = ask.object()?;
    canonical_refs(&mut body, "models");
    canonical(&mut body, "limits");
    let mut problems = Problems::new();
    let body = TOKEN.read(body, is_new, &mut problems);
    // A token opens other projects only for those who could make one there themselves.
    let config = office.config();
    let named = body.get("projectIds").and_then(Value::as_array).into_iter().flatten();
    for (at, id) in named.enumerate().filter_map(|(at, id)| Some((at, id.as_str()?))) {
        let other = project_of(&config, id).filter(|project| project.id == id);
        let level = match other {
            Some(project) => office.level(ask.who()?, project),
            None => None,
        };
        match level {
            None => problems.push((format!("projectIds[{at}]"), format!("there is no project `{id}`"))),
            Some(level) if level < Level::Edit && !already_opens(&config, own, ask.second_name(), id) => {
                return Err(ApiError::forbidden(format!("this needs to be editor of the project `{id}`")));
            }
            Some(_) => {}
        }
    }
    Ok((body, problems))
}

/// Whether a token may address another project already.
fn already_opens(config: &crate::config::Config, project: &str, token: &str, other: &str) -> bool {
    let project = project_of(config, project);
    let token = project.and_then(|project| project.tokens.iter().find(|known| known.id == token));
    token.is_some_and(|token| token.project_ids.iter().any(|known| known == other))
}

/// `POST /api/projects/{project}/tokens`.
pub(super) fn create(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let project = office.project(ask, Level::Edit)?;
    let (body, problems) = body_of(office, ask, &project.id, true)?;
    let minted = mint(office)?;
    let (id, project) = (uuid::Uuid::new_v4().to_string(), project.id.clone());
    let mut token = Map::new();
    for (key, value) in [
        ("id", id.as_str()),
        ("token", minted.token.expose()),
        ("tokenSnippet", &minted.snippet),
        ("createdAt", &timestamp(ask.now_ms)),
    ] {
        token.insert(key.to_owned(), value.into());
    }
    let owner = project.clone();
    let subject = Subject { if_match: None, ..subject(ask, &project, &id) };
    office.change(subject, problems, move |draft| {
        models_exist(draft, &body, None)?;
        let mut problems = Problems::new();
        TOKEN.merge(&mut token, &body, &mut problems);
        if !problems.is_empty() {
            return Err(ApiError::fields(problems));
        }
        let project = entry(draft, PROJECTS, &owner)?;
        match project.entry("tokens").or_insert_with(|| json!([])) {
            Value::Array(tokens) => tokens.push(token.into()),
            other => *other = json!([token]),
        }
        Ok(())
    })?;
    let (info, tag) = read(office, ask, &project, &id)?;
    let answer = json!({"token": minted.token.expose(), "tokenInfo": info});
    Ok(tagged_answer(201, &answer, tag))
}

/// The entry of a token of the draft.
fn token_of<'p>(
    project: &'p mut Map<String, Value>,
    id: &str,
) -> Result<&'p mut Map<String, Value>, ApiError> {
    let tokens = project.get_mut("tokens").and_then(Value::as_array_mut).into_iter().flatten();
    let token = tokens
        .filter_map(Value::as_object_mut)
        .find(|token| token.get("id").is_some_and(|known| known == id));
    token.ok_or_else(|| missing(id))
}

/// `PUT /api/projects/{project}/tokens/{token}`: what is not named stays.
pub(super) fn change(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let project = office.project(ask, Level::Edit)?;
    let (body, problems) = body_of(office, ask, &project.id, false)?;
    let (id, owner) = (ask.second_name().to_owned(), project.id.clone());
    office.change(subject(ask, &owner, &id), problems, move |draft| {
        let known = token_of(entry(draft, PROJECTS, &owner)?, &id)?.clone();
        models_exist(draft, &body, Some(&known))?;
        let mut problems = Problems::new();
        TOKEN.merge(token_of(entry(draft, PROJECTS, &owner)?, &id)?, &body, &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(ApiError::fields(problems)) }
    })?;
    let (shown, tag) = read(office, ask, &project.id, ask.second_name())?;
    Ok(tagged_answer(200, &shown, tag))
}

/// `POST /api/projects/{project}/tokens/{token}/regenerate`: the old one counts no more; limits and all else stay.
pub(super) fn regenerate(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let project = office.project(ask, Level::Edit)?;
    let minted = mint(office)?;
    let (id, owner) = (ask.second_name().to_owned(), project.id.clone());
    let (new, snippet) = (minted.token.expose().to_owned(), minted.snippet.clone());
    office.change(subject(ask, &owner, &id), Problems::new(), move |draft| {
        let token = token_of(entry(draft, PROJECTS, &owner)?, &id)?;
        token.shift_remove("tokenHash");
        token.shift_remove("encryptedToken");
        token.insert("token".to_owned(), new.into());
        token.insert("tokenSnippet".to_owned(), snippet.into());
        Ok(())
    })?;
    let (info, tag) = read(office, ask, &project.id, ask.second_name())?;
    let answer = json!({"token": minted.token.expose(), "tokenInfo": info});
    Ok(tagged_answer(200, &answer, tag))
}

/// `DELETE /api/projects/{project}/tokens/{token}`.
pub(super) fn delete(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let project = office.project(ask, Level::Edit)?;
    let (id, owner) = (ask.second_name().to_owned(), project.id.clone());
    office.change(subject(ask, &owner, &id), Problems::new(), move |draft| {
        let project = entry(draft, PROJECTS, &owner)?;
        token_of(project, &id)?;
        if let Some(Value::Array(tokens)) = project.get_mut("tokens") {
            tokens.retain(|token| token["id"] != id.as_str());
        }
        Ok(())
    })?;
    Ok(no_content())
}
