//! The table of routes: method, path, who may, handler.

use super::answer::ApiError;
use super::ask::Ask;
use super::office::Office;
use super::shape::{Kind, Record};
use super::{
    audit, me, members, models, notifications, openapi, projects, providers, releases, roles, settings,
    sign_in, system, tokens, traces, usage, users,
};
use crate::config::account::Permission;
use crate::mailbox::{ApiAnswer, Job};

/// What a handler gives.
pub(super) type Answered = Result<ApiAnswer, ApiError>;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Anybody.
    Nothing,
    /// Anybody who has signed in.
    SignIn,
    /// Who has this permission.
    Permission(Permission),
}

/// Answers at once.
type Handler = fn(&mut Office, &Ask<'_>) -> Answered;

/// Looks at the question at once, and leaves the answer to the threads that make reports.
type Question = fn(&Office, &Ask<'_>) -> Result<Job, ApiError>;

/// How a route is answered.
#[derive(Clone, Copy)]
pub(super) enum Run {
    Now(Handler),
    Later(Question),
}

/// One route: who may, what it takes and gives. The OpenAPI document is made of it.
pub(super) struct Route {
    pub method: &'static str,
    /// Below `/api/`; `{…}` stands for one name.
    pub path: &'static str,
    pub needs: Needs,
    pub run: Run,
    /// One sentence.
    pub about: &'static str,
    /// Groups of parameters.
    pub query: &'static [&'static [Param]],
    pub body: Option<Body>,
    /// Status of success.
    pub status: u16,
    /// Body of success; none: there is none, or it is no JSON.
    pub answer: Option<Kind>,
    /// Media types of that body.
    pub media: &'static [&'static str],
}

/// A parameter of the query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Param {
    pub name: &'static str,
    pub about: &'static str,
    /// Words that it can be; empty: any text.
    pub words: &'static [&'static str],
}

impl Param {
    const fn text(name: &'static str, about: &'static str) -> Self {
        Self { name, about, words: &[] }
    }
}

/// What a route takes.
#[derive(Clone, Copy)]
pub(super) struct Body {
    pub record: &'static Record,
    /// Makes the thing, so that what is required has to be there.
    pub is_new: bool,
}

impl Route {
    const fn new(method: &'static str, path: &'static str, needs: Needs, run: Handler) -> Self {
        let run = Run::Now(run);
        Self {
            method,
            path,
            needs,
            run,
            about: "",
            query: &[],
            body: None,
            status: 204,
            answer: None,
            media: &["application/json"],
        }
    }

    const fn get(path: &'static str, needs: Needs, run: Handler) -> Self {
        Self::new("GET", path, needs, run)
    }

    /// May take long.
    const fn report(path: &'static str, run: Question) -> Self {
        Self { run: Run::Later(run), ..Self::new("GET", path, SignIn, openapi::show) }
    }

    const fn post(path: &'static str, needs: Needs, run: Handler) -> Self {
        Self::new("POST", path, needs, run)
    }

    const fn put(path: &'static str, needs: Needs, run: Handler) -> Self {
        Self::new("PUT", path, needs, run)
    }

    const fn delete(path: &'static str, needs: Needs, run: Handler) -> Self {
        Self::new("DELETE", path, needs, run)
    }

    const fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    const fn query(self, query: &'static [&'static [Param]]) -> Self {
        Self { query, ..self }
    }

    /// Takes what is needed to make one.
    const fn makes(self, record: &'static Record) -> Self {
        Self { body: Some(Body { record, is_new: true }), ..self }
    }

    /// Takes what is to be changed.
    const fn changes(self, record: &'static Record) -> Self {
        Self { body: Some(Body { record, is_new: false }), ..self }
    }

    const fn gives(self, status: u16, answer: Kind) -> Self {
        Self { status, answer: Some(answer), ..self }
    }

    const fn sends(self, media: &'static [&'static str]) -> Self {
        Self { media, ..self }
    }

    /// Whether an answer is what the table says; else where it is not.
    pub(super) fn describes(&self, answer: &ApiAnswer) -> Result<(), String> {
        if answer.status != self.status {
            return Err(format!("status {}", answer.status));
        }
        match &self.answer {
            Some(kind) => {
                let body = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
                kind.fits(&body, "")
            }
            None => Ok(()),
        }
    }
}

const READ_USERS: Needs = Needs::Permission(Permission::UserRead);
const WRITE_USERS: Needs = Needs::Permission(Permission::UserWrite);
const READ_MODELS: Needs = Needs::Permission(Permission::ModelRead);
const WRITE_MODELS: Needs = Needs::Permission(Permission::ModelWrite);
const WRITE_PROJECTS: Needs = Needs::Permission(Permission::ProjectWrite);

const FORCE: Param =
    Param { name: "force", about: "Also where others still name it.", words: &["1", "true"] };
const REVEAL: Param = Param { name: "reveal", about: "In clear; it is logged.", words: &["1", "true"] };

const fn one(record: &'static Record) -> Kind {
    Kind::Record(record)
}

use Needs::{Nothing, SignIn};

const PERIOD: Param =
    Param { name: "period", about: "", words: &["daily", "weekly", "monthly", "all", "custom"] };
static RECORDS: [Param; 10] = [
    PERIOD,
    Param::text("from", "A date or a time."),
    Param::text("to", "A date, which counts as a whole, or a time."),
    Param::text("project", "Id or slug; also `projectId`."),
    Param::text("model", "Also `modelId`."),
    Param::text("token", "Id; also `tokenId`."),
    Param::text("provider", ""),
    Param::text("outcome", ""),
    Param::text("callType", ""),
    Param::text("traceId", "Id of a request."),
];
static PAGES: [Param; 2] = [Param::text("page", "From 1."), Param::text("pageSize", "1 to 200.")];
static AUDITED: [Param; 8] = [
    Param::text("from", "A time."),
    Param::text("to", "A time, not included."),
    Param::text("actor", "Id or address of who did it."),
    Param::text("action", "How the action begins: `model`, `auth.login`."),
    Param::text("subject", "Id of what it is about."),
    Param { name: "outcome", about: "", words: &["done", "denied", "failed"] },
    Param::text("before", "`next` of the page before."),
    Param::text("limit", "1 to 1,000; 100."),
];
static TRACES: [Param; 3] = [
    Param::text("limit", ""),
    Param::text("project", "Id or slug."),
    Param { name: "failed", about: "", words: &["true", "false"] },
];
const BY: Param = Param {
    name: "by",
    about: "Also sums by this.",
    words: &["model", "project", "token", "provider", "outcome", "day", "hour"],
};
const FORMAT: Param = Param { name: "format", about: "", words: &["csv", "json", "jsonl"] };

/// Members see and change their projects without a permission: the handlers of projects, usage and traces see to that.
#[rustfmt::skip]
pub(super) static ROUTES: &[Route] = &[
    Route::get("setup/status", Nothing, sign_in::setup_status).gives(200, one(&sign_in::SETUP))
        .about("Whether the first administrator has still to be made"),
    Route::post("setup/first-admin", Nothing, sign_in::first_admin).makes(&sign_in::CREDENTIALS).gives(201, one(&sign_in::SIGNED_IN))
        .about("Makes the first administrator, once"),
    Route::post("auth/login", Nothing, sign_in::login).makes(&sign_in::CREDENTIALS).gives(200, one(&sign_in::SIGNED_IN))
        .about("Signs in"),
    Route::post("auth/refresh", Nothing, sign_in::refresh).makes(&sign_in::REFRESH).gives(200, one(&sign_in::SIGNED_IN))
        .about("A new sign-in token and refresh token; the old refresh token counts no more"),
    Route::post("auth/logout", SignIn, sign_in::logout).changes(&sign_in::LOGOUT)
        .about("Ends this sign-in, or all of the user's"),
    Route::get("me", SignIn, me::show).gives(200, one(&me::ME)).about("The caller's own account"),
    Route::put("me", SignIn, me::change).makes(&me::ME_CHANGE).gives(200, one(&me::ME))
        .about("Changes address or password, against the present password"),
    Route::get("me/sessions", SignIn, me::sessions).gives(200, Kind::List(&one(&me::SESSION)))
        .about("The sign-ins that can be renewed"),
    Route::delete("me/sessions/{session}", SignIn, me::end_session).about("Ends a sign-in"),
    Route::get("openapi.json", SignIn, openapi::show).gives(200, Kind::Map).about("This document"),
    Route::get("models", READ_MODELS, models::list).gives(200, Kind::List(&one(&models::MODEL))).about("All models"),
    Route::post("models", WRITE_MODELS, models::create).makes(&models::MODEL).gives(201, one(&models::MODEL))
        .about("Makes a model"),
    Route::get("models/{model}", READ_MODELS, models::show).gives(200, one(&models::MODEL))
        .about("A model; a `/` in its id is sent as %2F"),
    Route::put("models/{model}", WRITE_MODELS, models::change).changes(&models::MODEL).gives(200, one(&models::MODEL))
        .about("Changes a model, or renames it wherever it is named; what is not sent stays, null clears"),
    Route::delete("models/{model}", WRITE_MODELS, models::delete).query(&[&[FORCE]]).about("Removes a model"),
    Route::get("models/{model}/apikey", WRITE_MODELS, models::key).query(&[&[REVEAL]]).gives(200, one(&models::API_KEY))
        .about("The key of a model, masked"),
    Route::post("models/{model}/apikey", WRITE_MODELS, models::set_key).makes(&models::API_KEY).gives(200, one(&models::MODEL))
        .about("Sets the key of a model"),
    Route::get("providers", READ_MODELS, providers::list).gives(200, Kind::List(&one(&providers::PROVIDER)))
        .about("The catalogue of providers and models"),
    Route::get("projects", SignIn, projects::list).gives(200, Kind::List(&one(&projects::PROJECT)))
        .about("The projects that the caller may see"),
    Route::post("projects", WRITE_PROJECTS, projects::create).makes(&projects::PROJECT).gives(201, one(&projects::NEW_PROJECT))
        .about("Makes a project with a first token; the caller becomes its first member"),
    Route::get("projects/{project}", SignIn, projects::show).gives(200, one(&projects::PROJECT))
        .about("A project, by id or slug"),
    Route::put("projects/{project}", SignIn, projects::change).changes(&projects::PROJECT).gives(200, one(&projects::PROJECT))
        .about("Changes a project; what is not sent stays, null clears"),
    Route::delete("projects/{project}", SignIn, projects::delete).query(&[&[FORCE]])
        .about("Removes a project and its tokens; its usage records stay"),
    Route::get("projects/{project}/tokens", SignIn, tokens::list).gives(200, Kind::List(&one(&tokens::TOKEN)))
        .about("The tokens of a project"),
    Route::post("projects/{project}/tokens", SignIn, tokens::create).makes(&tokens::TOKEN).gives(201, one(&tokens::TOKEN_ONCE))
        .about("Makes a token, which is shown this once"),
    Route::get("projects/{project}/tokens/{token}", SignIn, tokens::show).gives(200, one(&tokens::TOKEN)).about("A token"),
    Route::put("projects/{project}/tokens/{token}", SignIn, tokens::change).changes(&tokens::TOKEN).gives(200, one(&tokens::TOKEN))
        .about("Changes a token; what is not sent stays, null clears"),
    Route::delete("projects/{project}/tokens/{token}", SignIn, tokens::delete).about("Removes a token"),
    Route::post("projects/{project}/tokens/{token}/regenerate", SignIn, tokens::regenerate).gives(200, one(&tokens::TOKEN_ONCE))
        .about("Replaces a token by a new one with the same limits"),
    Route::get("projects/{project}/members", SignIn, members::list).gives(200, Kind::List(&one(&members::MEMBER)))
        .about("The members of a project"),
    Route::post("projects/{project}/members", SignIn, members::add).makes(&members::MEMBER).gives(201, one(&members::MEMBER))
        .about("Adds a member"),
    Route::put("projects/{project}/members/{user}", SignIn, members::change).changes(&members::MEMBER).gives(200, one(&members::MEMBER))
        .about("Gives a member another role"),
    Route::delete("projects/{project}/members/{user}", SignIn, members::delete).about("Removes a member"),
    Route::get("settings", WRITE_USERS, settings::show).gives(200, one(&settings::SETTINGS_RECORD)).about("The settings, secrets masked"),
    Route::put("settings", WRITE_USERS, settings::change).changes(&settings::SETTINGS_RECORD).gives(200, one(&settings::SETTINGS_RECORD))
        .about("Changes settings; what is not sent stays, null gives the default"),
    Route::get("users", READ_USERS, users::list).gives(200, Kind::List(&one(&users::USER))).about("All users"),
    Route::post("users", WRITE_USERS, users::create).makes(&users::USER).gives(201, one(&users::USER)).about("Makes a user"),
    Route::get("users/{user}", READ_USERS, users::show).gives(200, one(&users::USER)).about("A user"),
    Route::put("users/{user}", WRITE_USERS, users::change).changes(&users::USER).gives(200, one(&users::USER))
        .about("Changes a user; what is not sent stays"),
    Route::delete("users/{user}", WRITE_USERS, users::delete).about("Removes a user"),
    Route::get("roles", READ_USERS, roles::list).gives(200, Kind::List(&one(&roles::ROLE)))
        .about("All roles, the built-in ones first"),
    Route::post("roles", WRITE_USERS, roles::create).makes(&roles::ROLE).gives(201, one(&roles::ROLE)).about("Makes a role"),
    Route::get("roles/{role}", READ_USERS, roles::show).gives(200, one(&roles::ROLE)).about("A role, by id or name"),
    Route::put("roles/{role}", WRITE_USERS, roles::change).changes(&roles::ROLE).gives(200, one(&roles::ROLE))
        .about("Changes a role; what is not sent stays"),
    Route::delete("roles/{role}", WRITE_USERS, roles::delete).query(&[&[FORCE]]).about("Removes a role"),
    Route { needs: WRITE_USERS, ..Route::report("audit", audit::list) }.query(&[&AUDITED]).gives(200, one(&audit::AUDIT))
        .about("Who changed what, who signed in, who was refused: the newest first"),
    Route::get("system/releases", SignIn, releases::list).gives(200, one(&releases::RELEASES)).about("Release channels"),
    Route::get("system/update-check", SignIn, releases::check).gives(200, one(&releases::UPDATE_INFO))
        .about("Whether there is a newer release"),
    Route::post("system/update", SignIn, releases::update).about("Refused: nothing is installed over the API"),
    Route::post("test/openai-oauth", WRITE_MODELS, releases::test_oauth).changes(&releases::OAUTH_TEST).gives(200, one(&releases::OAUTH_RESULT))
        .about("Whether a file of ChatGPT's sign-in can be used; the provider is not served"),
    Route::report("usage", usage::stats).query(&[&RECORDS, &PAGES, &[BY]]).gives(200, Kind::Map)
        .about("Sums of usage and a page of records, of the projects that the caller may see"),
    Route::report("usage/export", usage::export).query(&[&RECORDS, &[FORMAT]]).gives(200, Kind::Any)
        .sends(&["text/csv", "application/json", "application/x-ndjson"])
        .about("All records of a filter, as CSV, JSON or JSON Lines"),
    Route::report("usage/{record}", usage::one).gives(200, Kind::Map).about("A record by its id or its request's, with the trace"),
    Route { method: "POST", needs: WRITE_USERS, ..Route::report("notifications/test", notifications::test) }
        .makes(&notifications::TRIAL).gives(200, one(&notifications::OUTCOME))
        .about("Sends a test message over a notification channel as it is stored"),
    Route::report("traces", traces::recent).query(&[&TRACES])
        .gives(200, Kind::Map).about("Recent traces, the newest first"),
    Route::report("traces/{trace}", traces::one).gives(200, Kind::Map).about("A trace"),
    Route::get("system/info", Nothing, system::info).gives(200, Kind::Map).about("What runs here; more of it with a sign-in"),
];

/// Finds the route of a path (`/api/…`, without query) and the names in it.
///
/// # Errors
/// There is none, or none with this method.
pub(super) fn find(method: &str, path: &str) -> Result<(&'static Route, Vec<String>), ApiError> {
    // What HEAD is answered with is a GET's, without body.
    let method = if method == "HEAD" { "GET" } else { method };
    let below = path.strip_prefix("/api/").unwrap_or_default();
    let below = below.strip_suffix('/').unwrap_or(below);
    let mut others = false;
    for route in ROUTES {
        let Some(names) = names_in(route.path, below) else { continue };
        if route.method == method {
            return Ok((route, names));
        }
        others = true;
    }
    if others {
        Err(ApiError::no_method())
    } else {
        Err(ApiError::not_found("nothing is served at this path"))
    }
}

/// The names in a path of a pattern; none where it is none.
fn names_in(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (mut parts, mut segments) = (pattern.split('/'), path.split('/'));
    let mut names = Vec::new();
    loop {
        match (parts.next(), segments.next()) {
            (None, None) => return Some(names),
            (Some(part), Some(segment)) if part.starts_with('{') && !segment.is_empty() => {
                names.push(decode(segment));
            }
            (Some(part), Some(segment)) if part == segment => {}
            _ => return None,
        }
    }
}

/// Decodes `%XX`; what is no UTF-8 after that names nothing.
pub(super) fn decode(segment: &str) -> String {
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [byte, after @ ..] = rest {
        let hex = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
        rest = match (byte, after) {
            (b'%', [high, low, behind @ ..]) => match hex(*high).zip(hex(*low)) {
                Some((high, low)) => {
                    out.push(high << 4 | low);
                    behind
                }
                None => {
                    out.push(b'%');
                    after
                }
            },
            _ => {
                out.push(*byte);
                after
            }
        };
    }
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, path: &str) -> Option<(Needs, Vec<String>)> {
        find(method, path).ok().map(|(route, names)| (route.needs, names))
    }

    #[test]
    fn paths_lead_to_routes_and_names_are_decoded() {
        assert_eq!(found("GET", "/api/setup/status"), Some((Needs::Nothing, vec![])));
        assert_eq!(found("HEAD", "/api/users/"), Some((READ_USERS, vec![])));
        assert_eq!(found("PUT", "/api/users/a%2Fb%20%C3%A4"), Some((WRITE_USERS, vec!["a/b ä".to_owned()])));
        assert_eq!(found("GET", "/api/roles/%zz"), Some((READ_USERS, vec!["%zz".to_owned()])));
        for (method, path, status) in [
            ("GET", "/api/", 404),
            ("GET", "/api/users//x", 404),
            ("GET", "/api/Users", 404),
            ("GET", "/api/users/a/b", 404),
            ("PATCH", "/api/users", 405),
            ("GET", "/api/auth/login", 405),
        ] {
            let error = find(method, path).map(|_| ()).unwrap_err();
            assert_eq!(error.into_answer().status, status, "{method} {path}");
        }
    }

    #[test]
    fn only_signing_in_is_open_to_anybody() {
        let open = ROUTES.iter().filter(|route| route.needs == Needs::Nothing);
        let paths: Vec<&str> = open.map(|route| route.path).collect();
        assert_eq!(paths, ["setup/status", "setup/first-admin", "auth/login", "auth/refresh", "system/info"]);
    }
}
