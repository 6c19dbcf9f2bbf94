//! People and what they may do: `config/users.json` and `config/roles.json`.
//!
//! Owns the reading of both files. Passwords are known by their hashes alone, refresh tokens too. Checks nothing of a
//! password itself and signs nobody in: that is `accounts`'s.
//!
//! Source: the project's configuration specification, section 7; management specification, sections 2.2 and 3.

use std::collections::HashSet;

use serde_json::Value;

use super::fields::{Fields, one_of};
use super::files::{ROLES, USERS};
use super::mistake::{Mistake, Path, Sink, Warning, describe, kind, quote};
use super::project::{read_time, unhex};
use super::slow_hash::{self, SlowHash};
use super::{Document, array};

/// Something that an account may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// See projects.
    ProjectRead,
    /// Change projects, their tokens and members.
    ProjectWrite,
    /// See models.
    ModelRead,
    /// Change models and their keys.
    ModelWrite,
    /// See users and roles.
    UserRead,
    /// Change users, roles and settings.
    UserWrite,
    /// See usage and traces.
    ReportRead,
}

impl Permission {
    /// All of them, as the specification orders them.
    pub const ALL: [Self; 7] = [
        Self::ProjectRead,
        Self::ProjectWrite,
        Self::ModelRead,
        Self::ModelWrite,
        Self::UserRead,
        Self::UserWrite,
        Self::ReportRead,
    ];

    /// The name in files and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProjectRead => "project:read",
            Self::ProjectWrite => "project:write",
            Self::ModelRead => "model:read",
            Self::ModelWrite => "model:write",
            Self::UserRead => "user:read",
            Self::UserWrite => "user:write",
            Self::ReportRead => "report:read",
        }
    }

    /// The permission of a name, one of those included that documents of earlier releases had.
    pub fn parse(name: &str) -> Option<Self> {
        let current = match name {
            "models:read" => "model:read",
            "models:write" => "model:write",
            "projects:read" => "project:read",
            "projects:write" => "project:write",
            "users:read" => "user:read",
            "users:write" | "roles:write" | "settings:write" => "user:write",
            "usage:read" => "report:read",
            other => other,
        };
        Self::ALL.into_iter().find(|permission| permission.as_str() == current)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Stood in documents of earlier releases and means nothing: tokens call models, not accounts.
const MEANINGLESS: &str = "proxy:use";

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u8);

impl Permissions {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// These.
    pub const fn of(permissions: &[Permission]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < permissions.len() {
            bits |= permissions[index].bit();
            index += 1;
        }
        Self(bits)
    }

    /// Whether one is in.
    pub fn has(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Whether all of `others` are in.
    pub fn has_all(self, others: Self) -> bool {
        others.0 & !self.0 == 0
    }

    /// The permissions, in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |permission| self.has(*permission))
    }
}

impl std::fmt::Debug for Permissions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter().map(Permission::as_str)).finish()
    }
}

/// A named set of permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Unique id.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// What it allows.
    pub permissions: Permissions,
    /// Part of the program: it stands in no file and cannot be changed.
    pub is_built_in: bool,
}

/// Id of the role that may do everything.
pub const ADMIN: &str = "admin";

/// Another name of `viewer` in documents of earlier releases.
const MEMBER: &str = "member";

/// The roles that are always there.
pub fn built_in_roles() -> [Role; 3] {
    use Permission::{ModelRead, ModelWrite, ProjectRead, ProjectWrite, ReportRead};
    let role = |id: &str, name: &str, permissions: &[Permission]| Role {
        id: id.to_owned(),
        name: name.to_owned(),
        permissions: Permissions::of(permissions),
        is_built_in: true,
    };
    [
        role(ADMIN, "Admin", &Permission::ALL),
        role("operator", "Operator", &[ProjectRead, ProjectWrite, ModelRead, ModelWrite, ReportRead]),
        role("viewer", "Viewer", &[ProjectRead, ModelRead, ReportRead]),
    ]
}

/// How a password is stored.
#[derive(Clone, PartialEq, Eq)]
pub enum PasswordHash {
    /// What is written today.
    Argon2(SlowHash),
    /// `$2a$`, `$2b$` or `$2y$`, of upstream's releases.
    Bcrypt(String),
    /// SHA-256 without salt, of upstream's first release.
    Sha256([u8; 32]),
}

impl PasswordHash {
    /// Reads a stored hash; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with(slow_hash::PREFIX) {
            return SlowHash::parse(text).map(Self::Argon2);
        }
        if is_bcrypt(text) {
            return Some(Self::Bcrypt(text.to_owned()));
        }
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        unhex(text).filter(|_| is_lower).map(Self::Sha256)
    }
}

/// `$2b$12$` and 53 characters of bcrypt's own base64.
fn is_bcrypt(text: &str) -> bool {
    let Some(rest) = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| text.strip_prefix(prefix)) else {
        return false;
    };
    let Some((cost, rest)) = rest.split_once('$') else { return false };
    // Beyond 15 a check takes longer than anybody waits.
    let cost_is_sound = cost.len() == 2 && matches!(cost.parse::<u8>(), Ok(4..=15));
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    cost_is_sound && rest.len() == 53 && rest.bytes().all(is_digit)
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Argon2(_) => "Argon2(…)",
            Self::Bcrypt(_) => "Bcrypt(…)",
            Self::Sha256(_) => "Sha256(…)",
        })
    }
}

/// A signed-in client's right to new sign-in tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// Unique id; stays the same when the token is renewed.
    pub id: String,
    /// SHA-256 of the refresh token in force.
    pub hash: [u8; 32],
    /// SHA-256 of those before it, the last one first: whoever shows one of them has stolen or lost something.
    pub previous: Vec<[u8; 32]>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When a token was last renewed by it.
    pub last_used_ms: u64,
    /// When it ends; none: an imported one, which never does.
    pub expires_ms: Option<u64>,
    /// What the client calls itself.
    pub label: String,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("id", &self.id).field("label", &self.label).finish_non_exhaustive()
    }
}

/// Somebody who may sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Unique id.
    pub id: String,
    /// Unique address, as it was typed.
    pub email: String,
    /// The password's hash; none: nobody can sign in with it.
    pub password: Option<PasswordHash>,
    /// Id of the role; one that does not exist allows nothing.
    pub role: String,
    /// Projects that are visible without being a member.
    pub project_ids: Vec<String>,
    /// Grows with whatever ends all sign-ins.
    pub credential_version: u64,
    /// The sign-ins that can be renewed.
    pub grants: Vec<Grant>,
}

/// All accounts.
#[derive(Debug, Default)]
pub struct Accounts {
    /// In the order of the file.
    pub users: Vec<User>,
    /// Built-in ones first, then in the order of the file.
    pub roles: Vec<Role>,
}

impl Accounts {
    /// Checks both documents.
    ///
    /// # Errors
    /// Every mistake of both. Warnings are handed out either way.
    pub fn check(
        users: &Document,
        roles: &Document,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let sink = Sink::new(ROLES, &roles.text);
        let roles = read_roles(array(roles, &sink, "roles"), &sink);
        sink.finish(&mut mistakes, warnings);
        let sink = Sink::new(USERS, &users.text);
        let users = read_users(array(users, &sink, "users"), &roles, &sink);
        sink.finish(&mut mistakes, warnings);
        if mistakes.is_empty() { Ok(Self { users, roles }) } else { Err(mistakes) }
    }

    /// A role by its id.
    pub fn role(&self, id: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.id == id)
    }

    /// What a user may do everywhere; nothing if his role is gone.
    pub fn permissions(&self, user: &User) -> Permissions {
        self.role(&user.role).map_or(Permissions::NONE, |role| role.permissions)
    }

    /// A user by his id.
    pub fn user(&self, id: &str) -> Option<&User> {
        self.users.iter().find(|user| user.id == id)
    }

    /// A user by his address, in any case of its letters.
    pub fn user_by_email(&self, email: &str) -> Option<&User> {
        let email = email.trim().to_lowercase();
        self.users.iter().find(|user| user.email.to_lowercase() == email)
    }

    /// Whether somebody may do everything.
    pub fn has_admin(&self) -> bool {
        self.users.iter().any(|user| user.role == ADMIN)
    }
}

fn read_roles(items: &[Value], sink: &Sink<'_>) -> Vec<Role> {
    let mut roles = Vec::from(built_in_roles());
    for (index, item) in items.iter().enumerate() {
        let path = Path::Index(&Path::Root, index);
        match item {
            Value::Object(map) => roles.extend(read_role(&Fields::new(map, path, sink), &roles)),
            other => sink.mistake(&path, kind(other), "an object (a role)"),
        }
    }
    roles
}

fn read_role(f: &Fields<'_>, others: &[Role]) -> Option<Role> {
    // The documented form has no id.
    let name = f.string("name").map(str::trim).filter(|name| !name.is_empty());
    let id = match f.string("id").filter(|id| !id.is_empty()) {
        Some(id) => Some(id.to_owned()),
        None => name.map(super::project::slug_of),
    };
    if id.is_none() {
        f.mistake_here("a role without id and name", "an id");
    }
    let mut permissions = Vec::new();
    f.each("permissions", |item, path| match item.as_str().map(|name| (name, Permission::parse(name))) {
        Some((_, Some(permission))) => permissions.push(permission),
        Some((MEANINGLESS, None)) => f.sink.warn(&path, "means nothing and is ignored"),
        _ => {
            let names = one_of(Permission::ALL.into_iter().map(Permission::as_str));
            f.sink.mistake(&path, describe(item), names);
        }
    });
    f.also_known(&["createdAt", "updatedAt", "description", "builtin"]);
    f.finish();
    let id = id?;
    match others.iter().find(|role| role.id == id) {
        Some(role) if role.is_built_in => {
            f.warn("id", format!("{} is a built-in role; this entry is ignored", quote(&id)));
            return None;
        }
        Some(_) => {
            f.mistake("id", format!("{} again", quote(&id)), "a unique id");
            return None;
        }
        None => {}
    }
    let name = name.unwrap_or(&id).to_owned();
    Some(Role { id, name, permissions: Permissions::of(&permissions), is_built_in: false })
}

fn read_users(items: &[Value], roles: &[Role], sink: &Sink<'_>) -> Vec<User> {
    let (mut ids, mut emails) = (HashSet::new(), HashSet::new());
    let mut users = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let path = Path::Index(&Path::Root, index);
        match item {
            Value::Object(map) => {
                let f = Fields::new(map, path, sink);
                let Some(user) = read_user(&f, roles) else { continue };
                if !ids.insert(user.id.clone()) {
                    f.mistake("id", format!("{} again", quote(&user.id)), "a unique id");
                }
                if !emails.insert(user.email.to_lowercase()) {
                    f.mistake("email", format!("{} again", quote(&user.email)), "a unique address");
                }
                users.push(user);
            }
            other => sink.mistake(&path, kind(other), "an object (a user)"),
        }
    }
    users
}

fn read_user(f: &Fields<'_>, roles: &[Role]) -> Option<User> {
    let id = f.required_string("id");
    let email = f.required_string("email");
    let password = f.secret("passwordHash").and_then(|text| {
        let hash = PasswordHash::parse(text);
        if hash.is_none() {
            f.warn("passwordHash", "is no Argon2id, bcrypt or legacy SHA-256 hash: this user cannot sign in");
        }
        hash
    });
    if f.value("passwordHash").is_none() {
        f.warn("passwordHash", "is missing: this user cannot sign in");
    }
    let role = f.string("roleId").or_else(|| f.string("role")).unwrap_or("viewer");
    let role = if role == MEMBER && !roles.iter().any(|known| known.id == MEMBER) { "viewer" } else { role };
    if !roles.iter().any(|known| known.id == role) {
        f.warn("roleId", format!("role {} does not exist: this user may do nothing", quote(role)));
    }
    let mut grants = Vec::new();
    f.each_object("refreshGrants", |f| grants.extend(read_grant(f)));
    if let Some(hash) = f.secret("refreshTokenHash") {
        match unhex(hash) {
            Some(hash) => grants.push(imported_grant(hash)),
            None => f.mistake("refreshTokenHash", "something else", "64 hexadecimal digits"),
        }
    }
    let user = User {
        id: id.unwrap_or_default().to_owned(),
        email: email.unwrap_or_default().trim().to_owned(),
        password,
        role: role.to_owned(),
        project_ids: f.strings("projectIds"),
        credential_version: f.integer("credentialVersion", 0..=u64::MAX).unwrap_or(0),
        grants,
    };
    f.also_known(&["role", "createdAt", "updatedAt", "username", "name", "lastLoginAt"]);
    f.finish();
    id.and(email).map(|_| user)
}

/// The one refresh token of a user of earlier releases.
fn imported_grant(hash: [u8; 32]) -> Grant {
    Grant {
        id: "imported".to_owned(),
        hash,
        previous: Vec::new(),
        created_ms: 0,
        last_used_ms: 0,
        expires_ms: None,
        label: "imported".to_owned(),
    }
}

fn read_grant(f: &Fields<'_>) -> Option<Grant> {
    let id = f.required_string("id");
    let digest = |key: &'static str| {
        let text = f.secret(key)?;
        let digest = unhex(text);
        if digest.is_none() {
            f.mistake(key, "something else", "64 hexadecimal digits");
        }
        digest
    };
    let hash = digest("hash");
    // One release kept the last one alone.
    let mut previous = Vec::from_iter(digest("previousHash"));
    f.each("previousHashes", |item, path| match item.as_str().and_then(unhex) {
        Some(digest) => previous.push(digest),
        None => f.sink.mistake(&path, "something else", "64 hexadecimal digits"),
    });
    if f.value("hash").is_none() {
        f.mistake_here("a grant without hash", "hash, 64 hexadecimal digits");
    }
    let created_ms = read_time(f, "createdAt").unwrap_or(0);
    let last_used_ms = read_time(f, "lastUsedAt").unwrap_or(created_ms);
    let grant = Grant {
        id: id?.to_owned(),
        hash: hash?,
        previous,
        created_ms,
        last_used_ms,
        expires_ms: read_time(f, "expiresAt"),
        label: f.string("label").unwrap_or_default().to_owned(),
    };
    f.finish();
    Some(grant)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    const BCRYPT: &str = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";

    fn document(value: Value) -> Document {
        Document { text: value.to_string(), value }
    }

    fn check(users: Value, roles: Value) -> (Result<Accounts, Vec<Mistake>>, Vec<Warning>) {
        let mut warnings = Vec::new();
        let accounts = Accounts::check(&document(users), &document(roles), &mut warnings);
        (accounts, warnings)
    }

    #[test]
    fn built_in_roles_allow_what_the_specification_says() {
        let roles = built_in_roles();
        let names =
            |index: usize| -> Vec<_> { roles[index].permissions.iter().map(Permission::as_str).collect() };
        assert_eq!(names(0).len(), 7);
        assert_eq!(names(1), ["project:read", "project:write", "model:read", "model:write", "report:read"]);
        assert_eq!(names(2), ["project:read", "model:read", "report:read"]);
        assert!(roles[0].permissions.has_all(roles[1].permissions));
        assert!(!roles[2].permissions.has_all(roles[1].permissions));
        assert_eq!(format!("{:?}", Permissions::of(&[Permission::UserRead])), "{\"user:read\"}");
    }

    #[test]
    fn old_names_of_permissions_are_read_and_unknown_ones_refused() {
        let old = ["models:write", "usage:read", "roles:write", "settings:write", "proxy:use"];
        let (accounts, warnings) = check(json!([]), json!([{"name": "Night Shift", "permissions": old}]));
        let accounts = accounts.unwrap();
        let role = accounts.role("night-shift").unwrap();
        let names: Vec<_> = role.permissions.iter().map(Permission::as_str).collect();
        assert_eq!(names, ["model:write", "user:write", "report:read"]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let (accounts, _) = check(json!([]), json!([{"id": "x", "permissions": ["all"]}]));
        let mistakes = accounts.unwrap_err();
        assert_eq!((mistakes.len(), mistakes[0].path.as_str()), (1, "[0].permissions[0]"));
        assert!(mistakes[0].expected.contains("\"project:read\""));
    }

    #[test]
    fn a_role_of_the_file_never_takes_the_place_of_a_built_in_one() {
        let (accounts, warnings) = check(json!([]), json!([{"id": "viewer", "permissions": ["user:write"]}]));
        assert!(!accounts.unwrap().role("viewer").unwrap().permissions.has(Permission::UserWrite));
        assert!(warnings[0].message.contains("built-in"));
    }

    #[test]
    fn hashes_of_all_ages_are_read() {
        let argon2 = "$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$PKiDnqCvNL5jKOxQFyzkld0DnAPe5g8P/lFUHZuoqBc";
        assert!(matches!(PasswordHash::parse(argon2), Some(PasswordHash::Argon2(_))));
        for prefix in ["$2a$10$", "$2b$12$", "$2y$04$"] {
            let text = format!("{prefix}{}", &BCRYPT[7..]);
            assert!(matches!(PasswordHash::parse(&text), Some(PasswordHash::Bcrypt(_))), "{text}");
        }
        assert!(matches!(PasswordHash::parse(SHA256), Some(PasswordHash::Sha256(_))));
        for wrong in ["", "secret", &SHA256.to_uppercase(), &SHA256[1..], "$2b$31$", "$2x$12$", "$argon2id$"]
        {
            assert_eq!(PasswordHash::parse(wrong), None, "{wrong}");
        }
        let too_dear = format!("$2b$31${}", &BCRYPT[7..]);
        assert_eq!(PasswordHash::parse(&too_dear), None);
        assert_eq!(format!("{:?}", PasswordHash::parse(BCRYPT)), "Some(Bcrypt(…))");
    }

    #[test]
    fn users_of_upstreams_form_are_read() {
        let users = json!([
            {"id": "u1", "email": "Ada@Example.org", "passwordHash": BCRYPT, "roleId": "admin", "projectIds": [],
             "refreshTokenHash": SHA256},
            {"id": "u2", "email": "b@example.org", "passwordHash": SHA256, "role": "member"},
            {"id": "u3", "email": "c@example.org", "roleId": "gone"},
        ]);
        let (accounts, warnings) = check(users, json!([]));
        let accounts = accounts.unwrap();
        assert!(accounts.has_admin());
        assert_eq!(accounts.user_by_email(" ada@example.ORG ").unwrap().id, "u1");
        assert_eq!(accounts.users[0].grants.len(), 1);
        assert_eq!((accounts.users[1].role.as_str(), accounts.users[1].grants.len()), ("viewer", 0));
        assert_eq!(accounts.permissions(&accounts.users[2]), Permissions::NONE);
        let said: Vec<_> = warnings.iter().map(|warning| warning.path.as_str()).collect();
        assert_eq!(said, ["[2].passwordHash", "[2].roleId"]);
    }

    #[test]
    fn what_is_wrong_is_named_and_no_hash_is_shown() {
        let users = json!([
            {"id": "u1", "email": "a@example.org", "passwordHash": "hunter2"},
            {"id": "u1", "email": "A@example.org", "passwordHash": SHA256,
             "refreshGrants": [{"id": "g", "hash": "nothing of the kind"}]},
            3,
        ]);
        let (accounts, warnings) = check(users, json!([]));
        let mistakes = accounts.unwrap_err();
        let paths: Vec<_> = mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
        assert_eq!(paths, ["[1].id", "[1].email", "[1].refreshGrants[0].hash", "[2]"]);
        assert_eq!(warnings[0].path, "[0].passwordHash");
        let mut said =
            mistakes.iter().map(ToString::to_string).chain(warnings.iter().map(ToString::to_string));
        assert!(said.all(|text| !text.contains("hunter2") && !text.contains("nothing of the kind")));
    }
}
