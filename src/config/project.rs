//! One project: its models, its tokens, its policies.
//!
//! Owns the reading of an entry of `config/projects.json`. Tokens are known by their keyed hash alone; a plain one
//! is turned into its hash before it gets here (`store::takeover`).
//!
//! Source: the project's configuration specification, section 6; routing specification, sections 2 and 4.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::Value;

use super::Opener;
use super::embedding::Unlisted;
use super::fields::Fields;
use super::limit::LimitSet;
use super::mistake::{Path, Sink, describe, kind, quote};
use super::policy::{Llm, Policy, PolicyReader, Rule};
use super::settings::{TRACE_STREAMS, TraceStream};
use super::slow_hash::{self, SlowHash};
use crate::limits::SLOW_TOKENS_MAX;

/// One day in milliseconds.
const DAY_MS: u64 = 86_400_000;
/// How a stored token hash begins.
pub const TOKEN_HASH_PREFIX: &str = "hmac-sha256:";

/// What the request's `model` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HonorRequestedModel {
    /// Nothing: the project's order decides.
    #[default]
    Ignore,
    /// A model of that name is ranked first.
    Prefer,
    /// Only a model of that name is used.
    Pin,
}

/// What becomes of a request that the best model can only get in another dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Translation {
    /// It is translated; what the other dialect cannot carry is reported.
    #[default]
    On,
    /// It is translated, and refused where anything would be lost.
    Strict,
    /// Models that do not speak the client's dialect are not used.
    Off,
}

/// A tenant: what its tokens may use, and how requests are routed.
#[derive(Debug)]
pub struct Project {
    /// Unique id.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Unique name in URLs.
    pub slug: String,
    /// Models in order of preference; the ones that the registry does not know are left out.
    pub models: Vec<ProjectModel>,
    /// Tokens; the ones that can never match are left out.
    pub tokens: Vec<Token>,
    /// Routing policies, the most important one first.
    pub policies: Vec<Policy>,
    /// How far below the best score a model may be to be preferred for requests that begin like this one, 0 to 1; none: the
    /// beginning does not matter.
    pub prefix_affinity: Option<f64>,
    /// Whether an answer is given again to the same request; none: never.
    pub response_cache: Option<ResponseCache>,
    /// Time of one attempt up to the first byte; none: the default.
    pub timeout: Option<Duration>,
    /// After which time without a beginning of an answer another model is asked beside the first, 0 for never; none: as the
    /// setting says.
    pub hedge_after: Option<Duration>,
    /// Overrides the setting of the same name.
    pub trace_stream: Option<TraceStream>,
    /// Whether the text of chat streams is said a second time, as `content` events.
    pub labels_streams: bool,
    /// What the request's `model` means.
    pub honor_requested_model: HonorRequestedModel,
    /// Overrides the setting of the same name.
    pub server_timing: Option<bool>,
    /// Whether models of other dialects are used.
    pub translation: Translation,
    /// Limits of the whole project.
    pub limits: LimitSet,
    /// Users who may see it, or more.
    pub members: Vec<Member>,
}

/// A user's place in a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Id of the user.
    pub user: String,
    /// `viewer`, `editor`, `admin`, or the id of a role.
    pub role: String,
}

/// Settings of the cache of whole answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseCache {
    /// How long an answer is kept.
    pub ttl: Duration,
    /// Only requests that ask for the most likely answer (`temperature` 0).
    pub only_deterministic: bool,
}

fn read_affinity(f: &Fields<'_>) -> Option<f64> {
    let enabled = f.bool("enabled").unwrap_or(false);
    let tolerance = f.number("tolerance", 0.0..=1.0).unwrap_or(0.05);
    f.finish();
    enabled.then_some(tolerance)
}

impl ResponseCache {
    /// Reads the object; none where it is switched off.
    fn read(f: &Fields<'_>) -> Option<Self> {
        let enabled = f.bool("enabled").unwrap_or(false);
        let ttl = f.integer("ttlSeconds", 1..=31_536_000).unwrap_or(3_600);
        let only_deterministic = f.bool("onlyDeterministic").unwrap_or(false);
        f.finish();
        enabled.then_some(Self { ttl: Duration::from_secs(ttl), only_deterministic })
    }
}

impl Project {
    /// The policy that asks a model, if one is in force; the first counts.
    pub fn llm(&self) -> Option<&Llm> {
        let enabled = self.policies.iter().filter(|policy| policy.enabled);
        enabled.into_iter().find_map(|policy| match &policy.rule {
            Rule::Llm(llm) => Some(&**llm),
            _ => None,
        })
    }

    /// Whether one request can have an effect on the answer to another.
    pub fn remembers(&self) -> bool {
        let by_meaning = |llm: &Llm| llm.cache.is_some() || llm.memory_count.is_some();
        self.response_cache.is_some() || self.llm().is_some_and(by_meaning)
    }
}

/// A model as a project uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectModel {
    /// Index into the configuration's models.
    pub model: usize,
    /// Guidance for the policy that asks a model.
    pub prompt: Option<String>,
    /// Its share of the requests that policies see no difference for, against the other models' weights.
    pub weight: u16,
    /// Limits of this model within the project (or the token).
    pub limits: LimitSet,
}

/// A credential of a project.
#[derive(Debug, Clone)]
pub struct Token {
    /// Unique id within the project.
    pub id: String,
    /// What the token is known by.
    pub hash: TokenHash,
    /// First characters of the token, to tell tokens apart.
    pub snippet: String,
    /// Labels.
    pub labels: Vec<String>,
    /// Wall clock from which it no longer counts, in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<u64>,
    /// Switched off.
    pub disabled: bool,
    /// Further projects that it may address by slug.
    pub project_ids: Vec<String>,
    /// Limits of models for this token.
    pub models: Vec<ProjectModel>,
    /// Limits of the whole token.
    pub limits: LimitSet,
}

/// How a token is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TokenHash {
    /// Keyed hash of the whole token: the look-up key.
    Keyed([u8; 32]),
    /// A hash that has to be computed to tell whether it is that of a token.
    Slow(SlowHash),
}

/// Reads all entries; broken ones are left out and reported.
pub(crate) fn read_all(
    items: &[Value],
    models: &HashMap<String, usize>,
    unlisted: &Unlisted<'_>,
    keys: &dyn Opener,
    sink: &Sink<'_>,
) -> Vec<Project> {
    let mut reader = Reader::new(models, unlisted, keys, explicit_slugs(items));
    let mut projects = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let path = Path::Index(&Path::Root, index);
        match item {
            Value::Object(map) => projects.extend(reader.project(&Fields::new(map, path, sink))),
            other => sink.mistake(&path, kind(other), "an object (a project)"),
        }
    }
    check_project_ids(&projects, items, sink);
    projects
}

/// Slugs that the file gives: a derived one must not take them away.
fn explicit_slugs(items: &[Value]) -> HashMap<String, bool> {
    let slug = |item: &Value| Some((item.get("slug")?.as_str()?.to_owned(), false));
    items.iter().filter_map(slug).filter(|(slug, _)| !slug.is_empty()).collect()
}

/// State over all projects.
struct Reader<'m> {
    models: &'m HashMap<String, usize>,
    unlisted: &'m Unlisted<'m>,
    keys: &'m dyn Opener,
    ids: HashSet<String>,
    names: HashSet<String>,
    /// Slugs given in the file or handed out, and whether the owner was met yet.
    slugs: HashMap<String, bool>,
    hashes: HashMap<TokenHash, String>,
    /// Tokens stored as slow hashes so far.
    slow_tokens: usize,
}

impl<'m> Reader<'m> {
    fn new(
        models: &'m HashMap<String, usize>,
        unlisted: &'m Unlisted<'m>,
        keys: &'m dyn Opener,
        slugs: HashMap<String, bool>,
    ) -> Self {
        Self {
            models,
            unlisted,
            keys,
            ids: HashSet::new(),
            names: HashSet::new(),
            slugs,
            hashes: HashMap::new(),
            slow_tokens: 0,
        }
    }

    fn project(&mut self, f: &Fields<'_>) -> Option<Project> {
        let id = f.required_string("id");
        if let Some(id) = id
            && !self.ids.insert(id.to_owned())
        {
            f.mistake("id", format!("{} again", quote(id)), "a unique id");
        }
        let name = f.string("name").map(str::trim).filter(|name| !name.is_empty());
        if let Some(name) = name
            && !self.names.insert(name.to_lowercase())
        {
            f.warn("name", format!("{} is the name of another project too", quote(name)));
        }
        let slug = self.slug(f, name.or(id).unwrap_or("project"));
        let honor = [
            ("ignore", HonorRequestedModel::Ignore),
            ("prefer", HonorRequestedModel::Prefer),
            ("pin", HonorRequestedModel::Pin),
        ];
        let translations =
            [("on", Translation::On), ("strict", Translation::Strict), ("off", Translation::Off)];
        let timeout = f.duration("timeoutMs", 0..=DAY_MS).filter(|timeout| !timeout.is_zero());
        let project = Project {
            id: id.unwrap_or_default().to_owned(),
            name: name.or(id).unwrap_or_default().to_owned(),
            slug,
            models: self.model_refs(f, true),
            tokens: self.tokens(f),
            prefix_affinity: f.object("prefixAffinity", read_affinity).flatten(),
            response_cache: f.object("responseCache", ResponseCache::read).flatten(),
            policies: self.policies(f, id.unwrap_or_default()),
            timeout,
            hedge_after: f.duration("hedgeAfterMs", 0..=DAY_MS),
            trace_stream: f.word("traceStream", &TRACE_STREAMS),
            honor_requested_model: f.word("honorRequestedModel", &honor).unwrap_or_default(),
            labels_streams: f
                .word("streamFormat", &[("standard", false), ("events", true)])
                .unwrap_or_default(),
            server_timing: f.bool("serverTiming"),
            translation: f.word("translation", &translations).unwrap_or_default(),
            limits: LimitSet::read(f, "budgets"),
            members: read_members(f),
        };
        f.also_known(&["description", "autoRouting", "routingModelId", "fallbackRoutingModelIds"]);
        f.also_known(&["streamFormat", "createdAt", "updatedAt", "encryptedToken", "routing"]);
        f.finish();
        id.map(|_| project)
    }

    /// The project's slug: its own, else one made from the name; `-2`, `-3`, … where taken.
    fn slug(&mut self, f: &Fields<'_>, name: &str) -> String {
        let own = f.string("slug").filter(|slug| !slug.is_empty());
        if let Some(slug) = own {
            let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if !slug.bytes().all(is_sound) || slug.starts_with('.') || slug.len() > 128 {
                f.mistake("slug", quote(slug), "letters, digits, dashes, dots and underscores");
            }
            if let Some(is_taken) = self.slugs.get_mut(slug)
                && !*is_taken
            {
                *is_taken = true;
                return slug.to_owned();
            }
        }
        let base = own.map_or_else(|| slug_of(name), str::to_owned);
        let slug = first_free(&base, |slug| self.slugs.contains_key(slug));
        if own.is_some() {
            f.warn("slug", format!("is used twice; this project is {} until one is changed", quote(&slug)));
        }
        self.slugs.insert(slug.clone(), true);
        slug
    }

    fn model_refs(&self, f: &Fields<'_>, warns: bool) -> Vec<ProjectModel> {
        let mut refs: Vec<ProjectModel> = Vec::new();
        f.each_object("models", |f| {
            let id = f.required_string("modelId");
            let prompt = f.string("prompt").filter(|prompt| !prompt.is_empty()).map(str::to_owned);
            let weight = f.integer("weight", 0..=1_000).unwrap_or(1) as u16;
            let limits = LimitSet::read(f, "limits");
            f.also_known(&["thresholds", "systemPrompt"]);
            f.finish();
            let Some(id) = id else { return };
            match self.models.get(id) {
                Some(model) if refs.iter().any(|known| known.model == *model) => {
                    f.warn("modelId", format!("{} is listed twice; the first entry counts", quote(id)));
                }
                Some(model) => refs.push(ProjectModel { model: *model, prompt, weight, limits }),
                None if warns => f.warn("modelId", format!("model {} does not exist; skipped", quote(id))),
                None => {}
            }
        });
        refs
    }

    fn policies(&self, f: &Fields<'_>, project: &str) -> Vec<Policy> {
        PolicyReader { models: self.models, unlisted: self.unlisted, keys: self.keys, project }.read_all(f)
    }

    fn tokens(&mut self, f: &Fields<'_>) -> Vec<Token> {
        let mut tokens = Vec::new();
        let mut ids = HashSet::new();
        f.each_object("tokens", |f| tokens.extend(self.token(f, &mut ids)));
        tokens
    }

    fn token(&mut self, f: &Fields<'_>, ids: &mut HashSet<String>) -> Option<Token> {
        let id = f.required_string("id")?;
        if !ids.insert(id.to_owned()) {
            f.mistake("id", format!("{} again", quote(id)), "an id that is unique within the project");
        }
        let hash = self.token_hash(f, id);
        let has_hash = hash.is_some();
        // Read in any case: what is wrong with the other keys is to be found as well.
        let token = Token {
            id: id.to_owned(),
            hash: hash.unwrap_or(TokenHash::Keyed([0; 32])),
            snippet: f.string("tokenSnippet").unwrap_or_default().to_owned(),
            labels: f.strings("labels"),
            expires_at_ms: read_time(f, "expiresAt"),
            disabled: f.bool("disabled").unwrap_or(false),
            project_ids: f.strings("projectIds"),
            models: self.model_refs(f, false),
            limits: LimitSet::read(f, "limits"),
        };
        f.also_known(&["token", "encryptedToken", "createdAt", "lastUsedAt", "name", "description"]);
        f.finish();
        has_hash.then_some(token)
    }

    fn token_hash(&mut self, f: &Fields<'_>, id: &str) -> Option<TokenHash> {
        let Some(text) = f.secret("tokenHash") else {
            let message = match f.value("encryptedToken") {
                Some(_) => "the token cannot be decrypted without LOCALROUTER_SECRET_KEY and is not accepted",
                None => "a token without tokenHash is never accepted",
            };
            f.sink.warn(&f.path, message);
            return None;
        };
        let hash = if text.starts_with(slow_hash::PREFIX) {
            self.slow_hash(f, text)?
        } else if let Some(hash) = text.strip_prefix(TOKEN_HASH_PREFIX).and_then(unhex) {
            TokenHash::Keyed(hash)
        } else {
            let expected = format!(
                "\"{TOKEN_HASH_PREFIX}\" and 64 hexadecimal digits, or an Argon2id hash ($argon2id$…)"
            );
            f.mistake("tokenHash", "something else", expected);
            return None;
        };
        if let Some(other) = self.hashes.insert(hash.clone(), id.to_owned()) {
            f.mistake("tokenHash", format!("the same token as {}", quote(&other)), "a token of its own");
        }
        Some(hash)
    }

    fn slow_hash(&mut self, f: &Fields<'_>, text: &str) -> Option<TokenHash> {
        let Some(hash) = SlowHash::parse(text) else {
            f.mistake("tokenHash", "another kind of Argon2 hash", SlowHash::expected());
            return None;
        };
        self.slow_tokens += 1;
        if self.slow_tokens > SLOW_TOKENS_MAX {
            let expected = format!("at most {SLOW_TOKENS_MAX} tokens with Argon2 hashes");
            f.mistake("tokenHash", "one more Argon2 hash", expected);
            return None;
        }
        if f.string("tokenSnippet").is_none_or(str::is_empty) {
            let message = "without the token's first characters here, this slow hash is computed for every unknown \
                           token until its own was seen";
            f.warn("tokenSnippet", message);
        }
        Some(TokenHash::Slow(hash))
    }
}

fn read_members(f: &Fields<'_>) -> Vec<Member> {
    let mut members = Vec::new();
    f.each_object("members", |f| {
        let user = f.required_string("userId");
        let role = f.string("role").unwrap_or("viewer").to_owned();
        f.also_known(&["addedAt", "createdAt", "updatedAt", "email"]);
        f.finish();
        members.extend(user.map(|user| Member { user: user.to_owned(), role }));
    });
    members
}

/// Extra projects of tokens must exist, or a typing error would look like a refusal.
fn check_project_ids(projects: &[Project], items: &[Value], sink: &Sink<'_>) {
    let ids: HashSet<&str> = projects.iter().map(|project| project.id.as_str()).collect();
    for (index, item) in items.iter().enumerate() {
        let project = Path::Index(&Path::Root, index);
        let tokens = Path::Key(&project, "tokens");
        for (at, token) in item.get("tokens").and_then(Value::as_array).into_iter().flatten().enumerate() {
            let token_path = Path::Index(&tokens, at);
            let list = Path::Key(&token_path, "projectIds");
            let extra = token.get("projectIds").and_then(Value::as_array).into_iter().flatten();
            for (nth, id) in extra.enumerate().filter_map(|(nth, id)| Some((nth, id.as_str()?))) {
                if !ids.contains(id) {
                    sink.warn(&Path::Index(&list, nth), format!("project {} does not exist", quote(id)));
                }
            }
        }
    }
}

/// ISO 8601, or milliseconds since the Unix epoch.
pub(super) fn read_time(f: &Fields<'_>, key: &'static str) -> Option<u64> {
    let value = f.value(key)?;
    let from_text = |text: &str| {
        let time: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(time.as_millisecond()).ok()
    };
    let time = value.as_u64().or_else(|| value.as_str().and_then(from_text));
    if time.is_none() {
        f.mistake(key, describe(value), "a time such as \"2027-01-31T00:00:00Z\"");
    }
    time
}

/// A name in the form of a slug: lower case, everything else than letters and digits to single dashes.
pub fn slug_of(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= 64 {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "project".to_owned() } else { slug.to_owned() }
}

/// `base`, else `base-2`, `base-3`, … until one is free.
pub(crate) fn first_free(base: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(base) {
        return base.to_owned();
    }
    let numbered = (2_u64..).map(|n| format!("{base}-{n}"));
    numbered.into_iter().find(|slug| !is_taken(slug)).unwrap_or_default()
}

/// 64 hexadecimal digits to 32 bytes.
pub(crate) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
