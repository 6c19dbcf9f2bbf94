//! Setting up the first account, signing in, staying signed in, signing out.

use serde_json::{Value, json};

use super::answer::{ApiError, json_answer, no_content};
use super::ask::Ask;
use super::entries::{entries, entry};
use super::form::is_email;
use super::office::Office;
use super::routes::Answered;
use super::session::{self, COOKIE};
use super::shape::{Field, Kind, Problems, Record};
use super::users;
use crate::accounts::grant::{self, Shown};
use crate::accounts::password::{self, PasswordError, Verdict};
use crate::config::account::{ADMIN, Grant, Permission};
use crate::config::files::USERS;
use crate::config::project::hex;
use crate::mailbox::ApiAnswer;
use crate::telemetry::log;
use crate::telemetry::text::TimestampFormatter;

pub(super) static SETUP: Record = Record {
    name: "Setup",
    about: "Whether there is an administrator.",
    key: "",
    fields: &[
        Field::new("needsSetup", Kind::Flag).answers().always(),
        Field::new("configured", Kind::Flag).answers().always(),
    ],
};

pub(super) static CREDENTIALS: Record = Record {
    name: "Credentials",
    about: "Whoever signs in.",
    key: "",
    fields: &[Field::new("email", Kind::Text).required(), Field::new("password", Kind::Text).required()],
};

pub(super) static REFRESH: Record = Record {
    name: "Refresh",
    about: "A refresh token.",
    key: "",
    fields: &[Field::new("refreshToken", Kind::Text).required()],
};

pub(super) static LOGOUT: Record = Record {
    name: "Logout",
    about: "Which sign-ins end.",
    key: "",
    fields: &[Field::new("all", Kind::Flag).about("All of the user's.")],
};

static SIGNED_IN_USER: Record = Record {
    name: "SignedInUser",
    about: "Who has signed in.",
    key: "",
    fields: &[
        Field::new("id", Kind::Text).answers().always(),
        Field::new("email", Kind::Text).answers().always(),
        Field::new("role", Kind::Text).answers().always(),
        Field::new("roleId", Kind::Text).answers().always(),
        Field::new("permissions", Kind::List(&Kind::Text)).answers().always(),
    ],
};

pub(super) static SIGNED_IN: Record = Record {
    name: "SignedIn",
    about: "A sign-in. The token goes into `Authorization: Bearer …`.",
    key: "",
    fields: &[
        Field::new("token", Kind::Text).answers().always(),
        Field::new("expiresIn", Kind::Whole).about("Seconds.").answers().always(),
        Field::new("refreshToken", Kind::Text).answers().always(),
        Field::new("user", Kind::Record(&SIGNED_IN_USER)).answers().always(),
    ],
};

/// `GET /api/setup/status`.
pub(super) fn setup_status(office: &mut Office, _: &Ask<'_>) -> Answered {
    let needed = !office.is_set_up();
    Ok(json_answer(200, &json!({"needsSetup": needed, "configured": !needed})))
}

/// `POST /api/setup/first-admin`: once, while nobody may do everything.
pub(super) fn first_admin(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let mut form = ask.form()?;
    let (email, password) = (form.required(&["email"]), form.required(&["password"]));
    if !email.is_empty() && !is_email(email.trim()) {
        form.problem("email", "is no address");
    }
    check_password(&mut form, "password", &password);
    form.finish()?;
    if office.is_set_up() {
        return Err(ApiError::forbidden("there is an administrator already; sign in"));
    }
    let hash = hash_password(office, &password)?;
    let user = new_user(email.trim(), &hash, ADMIN, &[], ask.now_ms);
    let id = user["id"].as_str().unwrap_or_default().to_owned();
    office.change(users::subject(&id), Problems::new(), move |draft| {
        let users = entries(draft, USERS)?;
        // Somebody may have been faster, or have edited the file.
        if users.iter().any(|user| user["roleId"] == ADMIN || user["role"] == ADMIN) {
            return Err(ApiError::forbidden("there is an administrator already; sign in"));
        }
        if users.iter().any(|known| same_email(known, &user)) {
            return Err(ApiError::conflict("another user has this address"));
        }
        users.push(user);
        Ok(())
    })?;
    log::info("the first administrator was made", &[]);
    sign_in(office, ask, &id, 201, None)
}

/// `POST /api/auth/login`.
pub(super) fn login(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let mut form = ask.form()?;
    let (email, password) = (form.required(&["email"]), form.required(&["password"]));
    form.finish()?;
    let address = ask.address;
    match office.throttle.wait_ms(&email, address, ask.now_ms) {
        0 => {}
        wait_ms => return Err(ApiError::rate_limited(wait_ms)),
    }
    let user = office.accounts.user_by_email(&email);
    let verdict = password::verify(user.and_then(|user| user.password.as_ref()), &password);
    let (Some(id), true) = (user.map(|user| user.id.clone()), verdict != Verdict::Wrong) else {
        office.throttle.failed(&email, address, ask.now_ms);
        office.note_denied("auth.login", &email.chars().take(254).collect::<String>());
        return Err(ApiError::unauthorized("no user has this address and this password"));
    };
    office.throttle.succeeded(&email);
    // An imported password may be shorter than what is taken today: its old hash stays then.
    let renewed = match verdict {
        Verdict::RightButOutdated => password::hash(&password, &office.random).ok(),
        _ => None,
    };
    sign_in(office, ask, &id, 200, renewed)
}

/// `POST /api/auth/refresh`.
pub(super) fn refresh(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let shown = ask.form()?.string(&["refreshToken"]);
    let over = || ApiError::unauthorized("the refresh token is not valid (any more); sign in again");
    let shown = shown.ok_or_else(over)?;
    match grant::find(&office.accounts.users, &shown, ask.now_ms) {
        Shown::Unknown => Err(over()),
        Shown::Replaced(user, index) => {
            let user = &office.accounts.users[user];
            let mut grants = user.grants.clone();
            grants.remove(index);
            let id = user.id.clone();
            log::warn(
                "a refresh token was used twice; its sign-in has ended",
                &[("user", log::Value::Text(&id))],
            );
            office.change(
                users::subject(&id.clone()).called("auth.reuse"),
                Problems::new(),
                move |draft| {
                    set_grants(entry(draft, USERS, &id)?, &grants);
                    Ok(())
                },
            )?;
            Err(over())
        }
        Shown::Current(user, index) => {
            let token = new_token(office)?;
            let user = &office.accounts.users[user];
            let mut grants = user.grants.clone();
            grant::renew(&mut grants[index], token.hash, ask.now_ms);
            let (id, grant_id) = (user.id.clone(), grants[index].id.clone());
            let changed = id.clone();
            // A renewal is no news, and there are many.
            office.change(users::subject(&id).called(""), Problems::new(), move |draft| {
                set_grants(entry(draft, USERS, &changed)?, &grants);
                Ok(())
            })?;
            signed_in(office, ask, &id, &grant_id, &token.text, 200)
        }
    }
}

/// `POST /api/auth/logout`: this sign-in, or with `{"all": true}` each of the user's.
pub(super) fn logout(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let who = ask.who()?;
    let body: Value = serde_json::from_slice(&ask.call.body).unwrap_or_default();
    let all = body["all"] == true;
    let (id, grant_id) = (who.id.clone(), who.grant.clone());
    let grants = office.accounts.user(&id).map(|user| user.grants.clone()).unwrap_or_default();
    office.change(users::subject(&who.id).called("auth.logout"), Problems::new(), move |draft| {
        let user = entry(draft, USERS, &id)?;
        let kept: Vec<Grant> = grants.into_iter().filter(|grant| !all && grant.id != grant_id).collect();
        set_grants(user, &kept);
        if all {
            bump_version(user);
        }
        Ok(())
    })?;
    let mut answer = no_content();
    answer.fields.push(("set-cookie", cookie("", 0, is_encrypted(office, ask))));
    Ok(answer)
}

/// Adds a grant for a user who has proved himself, and with it a better hash of his password where there is one.
fn sign_in(
    office: &mut Office,
    ask: &Ask<'_>,
    id: &str,
    status: u16,
    renewed_hash: Option<String>,
) -> Answered {
    let token = new_token(office)?;
    let grant_id = uuid::Uuid::new_v4().to_string();
    let mut grants = office.accounts.user(id).map(|user| user.grants.clone()).unwrap_or_default();
    grant::add(&mut grants, grant_id.clone(), token.hash, &ask.call.user_agent, ask.now_ms);
    let changed = id.to_owned();
    office.change(users::subject(id).called("auth.login"), Problems::new(), move |draft| {
        let user = entry(draft, USERS, &changed)?;
        set_grants(user, &grants);
        if let Some(hash) = renewed_hash {
            user.insert("passwordHash".to_owned(), hash.into());
        }
        Ok(())
    })?;
    signed_in(office, ask, id, &grant_id, &token.text, status)
}

fn signed_in(
    office: &Office,
    ask: &Ask<'_>,
    id: &str,
    grant_id: &str,
    refresh_token: &str,
    status: u16,
) -> Answered {
    let user = office.accounts.user(id).ok_or_else(|| ApiError::unauthorized("the user is gone"))?;
    let life_s = office.login_life().as_secs();
    let token_id = uuid::Uuid::new_v4().to_string();
    let token = office.signer.issue(user, grant_id, token_id, ask.now_ms / 1_000, life_s);
    let who = session::of_user(user, &office.accounts, grant_id);
    let permissions: Vec<&str> = who.permissions.iter().map(Permission::as_str).collect();
    let mut answer = json_answer(
        status,
        &json!({
            "token": token,
            "expiresIn": life_s,
            "refreshToken": refresh_token,
            "user": {"id": user.id, "email": user.email, "role": user.role, "roleId": user.role,
                     "permissions": permissions},
        }),
    );
    answer.fields.push(("set-cookie", cookie(&token, life_s, is_encrypted(office, ask))));
    Ok::<ApiAnswer, ApiError>(answer)
}

/// Scripts cannot read it, and other sites' pages do not send it (RFC 6265bis, section 5.6).
fn cookie(token: &str, life_s: u64, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{COOKIE}={token}; Path=/api; Max-Age={life_s}; HttpOnly; SameSite=Strict{secure}")
}

/// Whether the client's way to the gateway is encrypted, as far as that is known.
fn is_encrypted(office: &Office, ask: &Ask<'_>) -> bool {
    let config = office.config();
    let settings = config.settings();
    let is_by_proxy = ask.call.address.is_some_and(|peer| settings.management.is_trusted(peer))
        && ask.call.forwarded_proto.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    ask.call.is_tls || is_by_proxy
}

fn new_token(office: &Office) -> Result<grant::NewToken, ApiError> {
    grant::new_token(&office.random).map_err(|_| no_randomness())
}

pub(super) fn no_randomness() -> ApiError {
    ApiError::internal("the system's random number generator does not answer")
}

/// Notes what is wrong with a new password.
pub(super) fn check_password(form: &mut super::form::Form, field: &str, password: &str) {
    // What is missing was noted when it was read.
    if !password.is_empty()
        && let Err(error) = password::check(password)
    {
        form.problem(field, error.to_string());
    }
}

/// # Errors
/// The password is not one that is taken.
pub(super) fn hash_password(office: &Office, password: &str) -> Result<String, ApiError> {
    password::hash(password, &office.random).map_err(|error| match error {
        PasswordError::NoRandomness => no_randomness(),
        PasswordError::TooShort | PasswordError::TooLong => ApiError::invalid(error.to_string()),
    })
}

/// An entry of the file for somebody new.
pub(super) fn new_user(email: &str, hash: &str, role: &str, projects: &[String], now_ms: u64) -> Value {
    json!({
        "id": uuid::Uuid::new_v4().to_string(),
        "email": email,
        "passwordHash": hash,
        "roleId": role,
        "projectIds": projects,
        "createdAt": timestamp(now_ms),
        "credentialVersion": 0,
    })
}

/// Whether two entries have the same address.
pub(super) fn same_email(one: &Value, other: &Value) -> bool {
    let email = |user: &Value| user["email"].as_str().map(|email| email.trim().to_lowercase());
    email(one) == email(other)
}

/// Ends all sign-ins of a user.
pub(super) fn bump_version(user: &mut serde_json::Map<String, Value>) {
    let version = user.get("credentialVersion").and_then(Value::as_u64).unwrap_or(0);
    user.insert("credentialVersion".to_owned(), version.saturating_add(1).into());
}

/// Puts a user's grants into his entry.
pub(super) fn set_grants(user: &mut serde_json::Map<String, Value>, grants: &[Grant]) {
    // The one of earlier releases is among them now.
    user.shift_remove("refreshTokenHash");
    let entry = |grant: &Grant| {
        let mut entry = json!({
            "id": grant.id,
            "hash": hex(&grant.hash),
            "createdAt": timestamp(grant.created_ms),
            "lastUsedAt": timestamp(grant.last_used_ms),
            "label": grant.label,
        });
        if !grant.previous.is_empty() {
            entry["previousHashes"] = grant.previous.iter().map(|hash| hex(hash)).collect();
        }
        if let Some(expires_ms) = grant.expires_ms {
            entry["expiresAt"] = timestamp(expires_ms).into();
        }
        entry
    };
    user.insert("refreshGrants".to_owned(), grants.iter().map(entry).collect());
}

pub(super) fn timestamp(unix_ms: u64) -> String {
    TimestampFormatter::default().format(unix_ms).as_str().to_owned()
}
