//! A throw-away home with a working project, for `make run`, tests and benches.

use std::path::Path;

use serde_json::Value;

use super::files;
use super::home::Home;
use super::secret::{Keys, MasterKey};
use crate::config::files::{MODELS, PROJECTS, SETTINGS};
use crate::config::project::{TOKEN_HASH_PREFIX, hex};
use crate::config::{Env, Mistake, Secret, demo};

/// A home that was made, and its one token in clear.
#[derive(Debug)]
pub struct Demo {
    /// The home.
    pub home: Home,
    /// `sk-rt-…`, for the project `demo`.
    pub token: Secret,
}

/// Makes a home at `root`: project `demo`, models of provider `simulated` for Chat Completions, Responses,
/// Messages and Gemini, one token. `settings` replaces the default settings unless it is null, `simulated` goes to the models.
/// Nothing may be there yet.
///
/// # Errors
/// What cannot be written, or a home that exists already.
pub fn create(root: &Path, settings: &Value, simulated: &Value) -> Result<Demo, Vec<Mistake>> {
    let home = Home::at(root);
    if home.file(PROJECTS).exists() || home.file(MODELS).exists() {
        let found = format!("a home at {}", root.display());
        return Err(vec![Mistake::of_file(PROJECTS, found, "an empty directory for the demo")]);
    }
    home.create(&Env::default())?;
    let failed = |what: String| vec![Mistake::of_file("config", what, "a demo home that can be written")];
    let secret = files::read(&home.file("config/secret")).map_err(|error| failed(error.to_string()))?;
    let master = secret.and_then(|content| MasterKey::from_hex(&content.text));
    let keys = Keys::derive(&master.ok_or_else(|| failed("no usable config/secret".to_owned()))?, None);
    let minted = crate::auth::mint(keys.random()).map_err(|_| failed("no random numbers".to_owned()))?;
    let digest = keys.token_key().digest(minted.token.expose().as_bytes());
    let hash = format!("{TOKEN_HASH_PREFIX}{}", hex(&digest));
    let mut documents =
        vec![(MODELS, demo::models(simulated)), (PROJECTS, demo::projects(&hash, &minted.snippet))];
    if !settings.is_null() {
        documents.push((SETTINGS, settings.clone()));
    }
    for (name, value) in documents {
        files::replace_json(&home.file(name), &value).map_err(|error| failed(error.to_string()))?;
    }
    Ok(Demo { home, token: minted.token })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::{Principal, TokenIndex};
    use crate::dialect::Dialect;
    use crate::store::home::load;

    #[test]
    fn a_demo_home_loads_without_a_word_and_its_token_works() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("home");
        let demo = create(&root, &json!({"port": 0}), &json!({"seed": 1})).unwrap();
        let loaded = load(&demo.home, &Env::default()).unwrap();
        assert_eq!(loaded.warnings, []);
        assert!(loaded.takeover.is_empty());
        let config = &loaded.config;
        assert_eq!(config.settings().port, 0);
        let project = &config.projects()[config.project_index("demo").unwrap()];
        assert_eq!(project.models.len(), 4);
        let dialects =
            [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::AnthropicMessages, Dialect::Gemini];
        for (model, dialect) in project.models.iter().zip(dialects) {
            let model = &config.models()[model.model];
            assert!(model.dialects.contains(dialect) && model.endpoint.is_none() && model.is_usable());
            assert_eq!(model.simulated, json!({"seed": 1}));
        }
        let index = TokenIndex::build(loaded.keys.token_key().clone(), config);
        let token = demo.token.expose().as_bytes();
        assert_eq!(index.lookup(token, u64::MAX - 1), Ok(Principal { project: 0, token: 0 }));
        assert!(create(&root, &Value::Null, &Value::Null).is_err(), "never over another home");
    }
}
