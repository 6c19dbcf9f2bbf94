//! Projects.

use serde_json::{Map, Value, json};

use super::access::{Level, MEMBER_ROLES};
use super::answer::{ApiError, json_answer, no_content, tagged_answer};
use super::ask::Ask;
use super::change::Subject;
use super::entries::{document, entries, entry, remove};
use super::limits::{self, LIMITS, MODEL_REFS, canonical, canonical_refs};
use super::members::MEMBER;
use super::office::Office;
use super::routes::Answered;
use super::shape::{Field, Kind, Problems, Record};
use super::sign_in::timestamp;
use super::tokens::{self, TOKEN};
use crate::config::files::{MODELS, PROJECTS, USERS};
use crate::config::policy::POLICY_KINDS;
use crate::config::project::slug_of;
use crate::config::{Config, Project};
use crate::store::edit::Draft;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// What only the owners of a project change: the rest is its routing.
const OWNERS: [&str; 4] = ["name", "description", "budgets", "limitsMode"];

static POLICY: Record = Record {
    name: "Policy",
    about: "A routing policy. In bodies also just the type.",
    key: "type",
    fields: &[
        Field::new("type", Kind::Word(&POLICY_KINDS)).required(),
        Field::new("enabled", Kind::Flag).about("Absent: true."),
        Field::new("config", Kind::Map).about("See docs/routing.md; keys in it are masked."),
        Field::new("id", Kind::Text),
        Field::new("name", Kind::Text),
        Field::new("weight", Kind::Amount),
    ],
};

static AFFINITY: Record = Record {
    name: "PrefixAffinity",
    about: "Requests that begin alike prefer the same model.",
    key: "",
    fields: &[Field::new("enabled", Kind::Flag), Field::new("tolerance", Kind::Amount)],
};

static RESPONSE_CACHE: Record = Record {
    name: "ResponseCache",
    about: "The same answer to the same request.",
    key: "",
    fields: &[
        Field::new("enabled", Kind::Flag),
        Field::new("ttlSeconds", Kind::Whole),
        Field::new("onlyDeterministic", Kind::Flag),
    ],
};

const POLICIES: Kind = Kind::List(&Kind::Record(&POLICY));
const TOKENS: Kind = Kind::List(&Kind::Record(&TOKEN));
const MEMBERS: Kind = Kind::List(&Kind::Record(&MEMBER));

const FIELDS: [Field; 24] = [
    Field::new("id", Kind::Text).answers().always(),
    Field::new("name", Kind::Text).about("Unique, in any case of its letters.").required(),
    Field::new("slug", Kind::Text)
        .about("Unique name in URLs; made from the name where it is not given.")
        .new_only()
        .always(),
    Field::new("description", Kind::Text),
    Field::new("routingModelId", Kind::Text).about("Of upstream's dashboard; policies decide."),
    Field::new("autoRouting", Kind::Flag).about("As `routingModelId`.").always(),
    Field::new("fallbackRoutingModelIds", Kind::List(&Kind::Text)).about("As `routingModelId`."),
    Field::new("policies", POLICIES).about("The most important one first.").always(),
    Field::new("models", MODEL_REFS)
        .about("In order of preference. Entries of a change keep what they do not name.")
        .always(),
    Field::new("timeoutMs", Kind::Whole)
        .about("To the first byte of an attempt; 0 or absent: the default.")
        .also(&["defaultTimeoutMs"])
        .always(),
    Field::new("hedgeAfterMs", Kind::Whole)
        .about("When a second model is asked beside one that has not begun to answer; 0: never."),
    Field::new("budgets", LIMITS).about("Of the whole project."),
    Field::new("limitsMode", Kind::Word(limits::MODES)),
    Field::new("traceStream", Kind::Word(&["none", "summary", "full"])),
    Field::new("honorRequestedModel", Kind::Word(&["ignore", "prefer", "pin"])),
    Field::new("streamFormat", Kind::Word(&["standard", "events"])),
    Field::new("serverTiming", Kind::Flag),
    Field::new("translation", Kind::Word(&["on", "strict", "off"])),
    Field::new("prefixAffinity", Kind::Record(&AFFINITY)),
    Field::new("responseCache", Kind::Record(&RESPONSE_CACHE)),
    Field::new("tokens", TOKENS).answers().always(),
    Field::new("members", MEMBERS).answers().always(),
    Field::new("createdAt", Kind::Time).answers(),
    Field::new("updatedAt", Kind::Time).answers(),
];

pub(super) static PROJECT: Record = Record {
    name: "Project",
    about: "A tenant: its models, its routing, its tokens, its members.",
    key: "",
    fields: &FIELDS,
};

pub(super) static NEW_PROJECT: Record = Record {
    name: "ProjectWithToken",
    about: "A project that was just made, and its first token, which is not shown again.",
    key: "",
    fields: &{
        const TOKEN: Field = Field::new("token", Kind::Text);
        let mut fields = [TOKEN.answers().always(); FIELDS.len() + 1];
        let mut at = 0;
        while at < FIELDS.len() {
            fields[at] = FIELDS[at];
            at += 1;
        }
        fields
    },
};

pub(super) fn subject(ask: &Ask<'_>, id: &str) -> Subject {
    Subject::entry("project", PROJECTS, &PROJECT, id).if_match(ask.call.if_match.as_ref())
}

fn shown(entry: &Map<String, Value>, project: &Project) -> Value {
    let mut shown = PROJECT.shown(entry);
    shown.insert("name".to_owned(), project.name.as_str().into());
    shown.insert("slug".to_owned(), project.slug.as_str().into());
    for (key, value) in [("autoRouting", json!(true)), ("timeoutMs", json!(0))] {
        shown.entry(key).or_insert(value);
    }
    for key in ["policies", "models", "tokens", "members"] {
        shown.entry(key).or_insert_with(|| json!([]));
    }
    shown.into()
}

/// A project as it is now, and its tag.
fn read(office: &Office, id: &str) -> Result<(Value, String), ApiError> {
    let document = office.document(PROJECTS)?;
    let subject = Subject::entry("project", PROJECTS, &PROJECT, id);
    let config = office.config();
    let project = config.projects().iter().find(|project| project.id == id);
    let found = subject.find(&document).zip(project);
    let ((entry, _), project) =
        found.ok_or_else(|| ApiError::not_found(format!("there is no project `{id}`")))?;
    Ok((shown(entry, project), subject.tag(entry)))
}

/// `GET /api/projects`: those that the caller may see.
pub(super) fn list(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let who = ask.who()?;
    let document = office.document(PROJECTS)?;
    let config = office.config();
    let visible = |entry: &Map<String, Value>| {
        let id = entry.get("id")?.as_str()?;
        let project = config.projects().iter().find(|project| project.id == id)?;
        office.level(who, project)?;
        Some(shown(entry, project))
    };
    let entries = document.as_array().into_iter().flatten().filter_map(Value::as_object);
    Ok(json_answer(200, &entries.filter_map(visible).collect()))
}

/// `GET /api/projects/{project}`.
pub(super) fn show(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let project = office.project(ask, Level::See)?;
    let (shown, tag) = read(office, &project.id)?;
    Ok(tagged_answer(200, &shown, tag))
}

/// The body of a request, and what is wrong with it.
fn body_of(ask: &Ask<'_>, is_new: bool) -> Result<(Map<String, Value>, Problems), ApiError> {
    let mut body = ask.object()?;
    canonical_refs(&mut body, "models");
    canonical(&mut body, "budgets");
    for policy in body.get_mut("policies").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::String(kind) = policy {
            *policy = json!({"type": kind, "enabled": true});
        }
    }
    let mut problems = Problems::new();
    let mut body = PROJECT.read(body, is_new, &mut problems);
    if let Some(Value::String(name)) = body.get_mut("name") {
        *name = name.trim().to_owned();
        let is_noted = problems.iter().any(|(path, _)| path == "name");
        if (name.is_empty() || name.len() > NAME_BYTES_MAX) && !is_noted {
            problems.push(("name".to_owned(), format!("expected 1 to {NAME_BYTES_MAX} bytes")));
        }
    }
    Ok((body, problems))
}

/// # Errors
/// Models that the registry does not have, where the entry did not name them already.
pub(super) fn models_exist(
    draft: &mut Draft<'_>,
    body: &Map<String, Value>,
    entry: Option<&Map<String, Value>>,
) -> Result<(), ApiError> {
    let listed = |map: &Map<String, Value>| -> Vec<Value> {
        let models = map.get("models").and_then(Value::as_array);
        models.into_iter().flatten().map(|model| model["modelId"].clone()).collect()
    };
    let old = entry.map(listed).unwrap_or_default();
    let models = document(draft, MODELS)?.as_array();
    let known: Vec<&Value> = models.into_iter().flatten().map(|model| &model["id"]).collect();
    let unknown = |(at, id): (usize, Value)| {
        let is_known = id.is_null() || known.contains(&&id) || old.contains(&id);
        (!is_known).then(|| (format!("models[{at}].modelId"), format!("there is no model {id}")))
    };
    let problems: Problems = listed(body).into_iter().enumerate().filter_map(unknown).collect();
    if problems.is_empty() { Ok(()) } else { Err(ApiError::fields(problems)) }
}

/// # Errors
/// Another project has the name.
fn name_is_free(projects: &[Value], id: &str, name: &str) -> Result<(), ApiError> {
    let same = |known: &Value| {
        let known_name = known["name"].as_str().or(known["id"].as_str()).unwrap_or_default();
        known["id"] != id && known_name.trim().to_lowercase() == name.to_lowercase()
    };
    if projects.iter().any(same) {
        return Err(ApiError::conflict(format!("another project is called `{name}`")));
    }
    Ok(())
}

/// `POST /api/projects`: with a first token, and the caller as its owner.
pub(super) fn create(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let (body, problems) = body_of(ask, true)?;
    let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, own_slug) = (text("name"), text("slug"));
    let slug = if own_slug.is_empty() { slug_of(&name) } else { own_slug };
    let minted = tokens::mint(office)?;
    let id = uuid::Uuid::new_v4().to_string();
    let created = timestamp(ask.now_ms);
    let token = json!({
        "id": uuid::Uuid::new_v4().to_string(),
        "token": minted.token.expose(),
        "tokenSnippet": minted.snippet,
        "createdAt": created,
    });
    let members = json!([{"userId": ask.who()?.id, "role": "admin"}]);
    let config = office.config();
    let made = id.clone();
    office.change(Subject::entry("project", PROJECTS, &PROJECT, &id), problems, move |draft| {
        models_exist(draft, &body, None)?;
        let projects = entries(draft, PROJECTS)?;
        name_is_free(projects, &id, &name)?;
        let is_slug = |known: &Value| known["slug"] == slug.as_str() || known["id"] == slug.as_str();
        // Slugs that stand in no file are known to the configuration alone.
        if projects.iter().any(is_slug) || has_slug(&config, &slug) {
            return Err(ApiError::conflict(format!("another project has the slug `{slug}`")));
        }
        let mut entry = Map::new();
        entry.insert("id".to_owned(), id.as_str().into());
        entry.insert("name".to_owned(), name.into());
        entry.insert("slug".to_owned(), slug.into());
        let mut problems = Problems::new();
        let rest = body.into_iter().filter(|(key, _)| key != "slug").collect();
        PROJECT.merge(&mut entry, &rest, &mut problems);
        if !problems.is_empty() {
            return Err(ApiError::fields(problems));
        }
        entry.insert("tokens".to_owned(), json!([token]));
        entry.insert("members".to_owned(), members);
        entry.insert("createdAt".to_owned(), created.into());
        projects.push(entry.into());
        Ok(())
    })?;
    let (mut shown, tag) = read(office, &made)?;
    shown["token"] = minted.token.expose().into();
    Ok(tagged_answer(201, &shown, tag))
}

fn has_slug(config: &Config, slug: &str) -> bool {
    config.projects().iter().any(|project| project.slug == slug)
}

/// `PUT /api/projects/{project}`: what is not named stays.
pub(super) fn change(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let (body, problems) = body_of(ask, false)?;
    let project = office.project(ask, Level::See)?;
    let (before, _) = read(office, &project.id)?;
    // Who sends back what he has read does not change it.
    let changes = |key: &&str| body.get(*key).is_some_and(|value| before[*key] != *value);
    let level = if OWNERS.iter().any(changes) { Level::Own } else { Level::Edit };
    office.project(ask, level)?;
    let (id, slug, now) = (project.id.clone(), project.slug.clone(), timestamp(ask.now_ms));
    office.change(subject(ask, &id), problems, move |draft| {
        let known = entry(draft, PROJECTS, &id)?.clone();
        models_exist(draft, &body, Some(&known))?;
        if let Some(name) = body.get("name").and_then(Value::as_str) {
            name_is_free(entries(draft, PROJECTS)?, &id, name)?;
        }
        let entry = entry(draft, PROJECTS, &id)?;
        let mut problems = Problems::new();
        PROJECT.merge(entry, &body, &mut problems);
        if !problems.is_empty() {
            return Err(ApiError::fields(problems));
        }
        // One that is made from the name must not change with it: clients call the project by it.
        entry.entry("slug").or_insert(slug.into());
        entry.insert("updatedAt".to_owned(), now.into());
        Ok(())
    })?;
    let (shown, tag) = read(office, &project.id)?;
    Ok(tagged_answer(200, &shown, tag))
}

/// `DELETE /api/projects/{project}`; its usage records stay. With `?force=1` also one that tokens of others may address.
pub(super) fn delete(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let project = office.project(ask, Level::Own)?;
    let (id, is_forced) = (project.id.clone(), ask.flag("force"));
    office.change(subject(ask, &id), Problems::new(), move |draft| {
        remove(draft, PROJECTS, &id)?;
        let mut others = Vec::new();
        for project in entries(draft, PROJECTS)? {
            let name = project["slug"].as_str().or(project["name"].as_str()).unwrap_or_default().to_owned();
            for token in project.get_mut("tokens").and_then(Value::as_array_mut).into_iter().flatten() {
                if forget(token, &id) {
                    others.push(format!("token {} of {name}", token["id"].as_str().unwrap_or_default()));
                }
            }
        }
        if !others.is_empty() && !is_forced {
            let others = others.join(", ");
            let message = format!("the project is used by {others}; change them first, or add ?force=1");
            return Err(ApiError::conflict(message));
        }
        let is_listed = |user: &Value| {
            user["projectIds"].as_array().is_some_and(|projects| projects.iter().any(|known| *known == id))
        };
        if document(draft, USERS)?.as_array().is_some_and(|users| users.iter().any(is_listed)) {
            for user in entries(draft, USERS)? {
                forget(user, &id);
            }
        }
        Ok(())
    })?;
    Ok(no_content())
}

/// Takes a project out of a list of `projectIds`. Whether it was there.
fn forget(owner: &mut Value, id: &str) -> bool {
    let Some(Value::Array(projects)) = owner.get_mut("projectIds") else { return false };
    let before = projects.len();
    projects.retain(|known| known != id);
    projects.len() != before
}

/// Whether a word is a role that members can have.
pub(super) fn is_member_role(office: &Office, role: &str) -> bool {
    MEMBER_ROLES.iter().any(|(name, _)| *name == role) || office.accounts.role(role).is_some()
}
