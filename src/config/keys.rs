//! The keys of a model: one, or several that share its calls.
//!
//! Owns `apiKey` and `apiKeys` of an entry of `config/models.json`. They arrive in clear or sealed; `Opener` tells.

use std::collections::HashSet;

use super::fields::Fields;
use super::mistake::{Path, quote};
use super::{Opener, Secret, files};

/// Most keys of one model.
const KEYS_MAX: usize = 32;
/// What the key of `apiKey` is called.
const ONLY: &str = "apiKey";

/// One key of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelKey {
    /// Names it in records, logs and traces; never the key.
    pub id: String,
    /// Its share of the calls against the other keys' weights. 0: only where no other can be used.
    pub weight: u32,
    /// The key itself, in clear.
    pub secret: Secret,
    /// The header line that carries it, with its line end: `authorization: Bearer …\r\n`. None where the provider takes
    /// no key.
    pub auth_field: Option<Secret>,
}

impl ModelKey {
    /// The key of `apiKey`, and the line that carries it.
    pub(super) fn only(auth_field: Option<Secret>, secret: Secret) -> Self {
        Self { id: ONLY.to_owned(), weight: 1, secret, auth_field }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Those that can be used, in order.
    pub usable: Vec<ModelKey>,
    /// There is one that cannot be decrypted.
    pub locked: bool,
}

/// Reads the keys of model `id`; `carry` makes the header line of one that stands in the field named.
pub(super) fn read(
    f: &Fields<'_>,
    id: &str,
    opener: &dyn Opener,
    carry: impl Fn(&Fields<'_>, &'static str, &Secret) -> Option<Secret>,
) -> Keys {
    let mut keys = Keys::default();
    let mut seen = HashSet::new();
    match f.secret("apiKey").map(str::trim).filter(|value| !value.is_empty()) {
        Some(value) => match opener.open(files::MODELS, id, "apiKey", value) {
            Some(secret) => {
                keys.usable.push(ModelKey::only(carry(f, "apiKey", &secret), secret));
                seen.insert(ONLY.to_owned());
            }
            None => locked(f, "apiKey", &mut keys),
        },
        None if f.value("encryptedApiKey").is_some() => {
            let message = "cannot be decrypted without LOCALROUTER_SECRET_KEY; the model is not used";
            f.warn("encryptedApiKey", message);
            keys.locked = true;
        }
        None => {}
    }
    let mut place = 0;
    f.each_object("apiKeys", |f| {
        place += 1;
        let own_id = f.string("id").filter(|id| !id.is_empty());
        let key_id = own_id.map_or_else(|| format!("key-{place}"), str::to_owned);
        let weight = f.integer("weight", 0..=1_000_000).unwrap_or(1) as u32;
        let value = f.secret("key").map(str::trim).filter(|value| !value.is_empty());
        f.finish();
        let Some(value) = value else {
            return f.mistake("key", "nothing", "the key as the provider gave it");
        };
        if key_id.len() > 64 || key_id.bytes().any(|byte| byte.is_ascii_control()) {
            f.mistake("id", "a name that is too long or not printable", "at most 64 characters");
        }
        if !seen.insert(key_id.clone()) {
            f.mistake("id", format!("{} again", quote(&key_id)), "an id that is unique within the model");
        }
        match opener.open(files::MODELS, id, "apiKeys", value) {
            Some(secret) => {
                let auth_field = carry(f, "key", &secret);
                keys.usable.push(ModelKey { id: key_id, weight, secret, auth_field });
            }
            None => locked(f, "key", &mut keys),
        }
    });
    if keys.usable.len() > KEYS_MAX {
        let found = format!("{} keys", keys.usable.len());
        f.sink.mistake(&Path::Key(&f.path, "apiKeys"), found, format!("at most {KEYS_MAX}"));
    }
    keys
}

fn locked(f: &Fields<'_>, field: &'static str, keys: &mut Keys) {
    let message = "cannot be decrypted: config/secret is not the one it was written with, or the model was renamed by \
                   hand; it is not used";
    f.warn(field, message);
    keys.locked = true;
}
