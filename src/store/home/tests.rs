//! Real directories, opened, broken and repaired.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::auth::TokenIndex;

fn env(pairs: &[(&str, &str)]) -> Env {
    Env::from_lookup(|name| {
        pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    })
}

fn start(home: &Home) -> Result<Loaded, Vec<Mistake>> {
    let lock = home.lock(0).unwrap();
    assert!(home.lock(0).unwrap_err().found.contains("in use by process"));
    open(home, &lock, &Env::default(), 1_767_225_600_000)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn tree(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            if entry.path().is_dir() {
                directories.push(entry.path());
            } else {
                found.push((entry.path().display().to_string(), fs::read(entry.path()).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn an_empty_directory_becomes_a_home_that_only_its_owner_reads() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::at(directory.path().join("new"));
    let loaded = start(&home).unwrap();
    assert_eq!(loaded.warnings, []);
    assert!(loaded.takeover.is_empty() && loaded.config.models().is_empty());
    for name in ["config", "data"] {
        assert_eq!(mode(&home.file(name)), 0o700, "{name}");
    }
    for name in [SETTINGS, SECRET] {
        assert_eq!(mode(&home.file(name)), 0o600, "{name}");
    }
    let before = tree(home.root());
    start(&home).unwrap();
    assert_eq!(tree(home.root()), before, "a second start changes nothing");
}

#[test]
fn an_upstream_home_is_taken_over_once() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::at(directory.path());
    home.create(&Env::default()).unwrap();
    let models = r#"[{"id":"openai/gpt-5","provider":"openai","apiKey":"sk-live","mine":1}]"#;
    let projects = r#"[{"id":"p","name":"P","tokens":[{"id":"t","token":"sk-rt-plain","createdAt":"x"}],"models":[{"modelId":"openai/gpt-5"}]}]"#;
    fs::write(home.file(MODELS), models).unwrap();
    fs::set_permissions(home.file(MODELS), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(home.file(PROJECTS), projects).unwrap();
    let planned = load(&home, &Env::default()).unwrap().takeover;
    assert_eq!(planned.lines.len(), 2, "a load alone plans");
    assert_eq!(fs::read_to_string(home.file(MODELS)).unwrap(), models, "and writes nothing");
    let mut loaded = start(&home).unwrap();
    let readable: Vec<&str> = loaded.warnings.iter().map(|warning| warning.file.as_str()).collect();
    assert!(readable.contains(&MODELS), "{readable:?}");
    let index = TokenIndex::build(loaded.keys.token_key().clone(), &loaded.config);
    assert!(index.lookup(b"sk-rt-plain", 0).is_ok());
    assert_eq!(loaded.config.models()[0].keys[0].secret.expose(), "sk-live");
    let now = tree(home.root());
    let plain = now.iter().filter(|(path, bytes)| {
        !path.contains("/backup-")
            && String::from_utf8_lossy(bytes).contains("sk-")
            && (String::from_utf8_lossy(bytes).contains("sk-live")
                || String::from_utf8_lossy(bytes).contains("sk-rt-plain"))
    });
    assert_eq!(plain.count(), 0);
    assert_eq!(mode(&home.file(MODELS)), 0o600);
    assert!(!loaded.watch.poll() && !loaded.watch.poll(), "our own writes are no edits");
    start(&home).unwrap();
    assert_eq!(tree(home.root()), now, "a second start changes nothing");
}

#[test]
fn a_home_with_a_mistake_is_left_as_it_is() {
    for (name, text, place) in [
        (MODELS, "", (0, 0)),
        (MODELS, "[{\"id\":\"m\",\n\"provider\":", (2, 11)),
        (PROJECTS, "[]]", (1, 3)),
        (SETTINGS, "{\"port\": \"x\"}", (1, 10)),
        (USERS, "nope", (1, 2)),
        (ROLES, "{}", (1, 1)),
        (PROVIDERS, "{\n\"providers\": 3}", (2, 14)),
        (SECRET, "short", (0, 0)),
        (SETTINGS, "{\"port\": 1, \"port\": 2}", (1, 13)),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::at(directory.path());
        home.create(&Env::default()).unwrap();
        fs::write(home.file(PROJECTS), r#"[{"id":"p","tokens":[{"id":"t","token":"plain"}]}]"#).unwrap();
        fs::write(home.file(name), text).unwrap();
        let before = tree(home.root());
        let mistakes = start(&home).map(|_| ()).expect_err(name);
        assert_eq!(mistakes.len(), 1, "{name} {text}: {mistakes:?}");
        assert_eq!((mistakes[0].line, mistakes[0].column), place, "{name} {text}: {}", mistakes[0]);
        assert_eq!(mistakes[0].file, name);
        let after: Vec<_> =
            tree(home.root()).into_iter().filter(|(path, _)| !path.ends_with("/.lock")).collect();
        assert_eq!(after, before, "{name}");
    }
}

#[test]
fn bytes_that_are_no_text_are_placed() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::at(directory.path());
    home.create(&Env::default()).unwrap();
    fs::write(home.file(MODELS), b"[\n \"\xc3\xa9\xff\"]").unwrap();
    let mistakes = load(&home, &Env::default()).map(|_| ()).unwrap_err();
    assert_eq!((mistakes[0].line, mistakes[0].column), (2, 4), "{}", mistakes[0]);
}

#[test]
fn a_lost_secret_locks_models_and_never_overwrites_their_keys() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::at(directory.path());
    home.create(&Env::default()).unwrap();
    fs::write(home.file(MODELS), r#"[{"id":"openai/gpt-5","provider":"openai","apiKey":"sk-live"}]"#)
        .unwrap();
    start(&home).unwrap();
    let sealed = fs::read_to_string(home.file(MODELS)).unwrap();
    fs::remove_file(home.file(SECRET)).unwrap();
    let loaded = load(&home, &Env::default()).unwrap();
    assert!(loaded.warnings.iter().any(|warning| warning.file == SECRET));
    let loaded = start(&home).unwrap();
    assert!(loaded.config.models()[0].key_error);
    assert!(loaded.warnings.iter().any(|warning| warning.path == "[0].apiKey"), "{:?}", loaded.warnings);
    assert_eq!(fs::read_to_string(home.file(MODELS)).unwrap(), sealed);
}

#[test]
fn the_environment_may_hold_the_secret() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::at(directory.path());
    let key = env(&[("ROUTERLY_SECRET_KEY", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=")]);
    home.create(&key).unwrap();
    assert!(!home.file(SECRET).exists());
    let loaded = load(&home, &key).unwrap();
    let same = Keys::derive(&MasterKey::from_hex(&"01".repeat(32)).unwrap(), None);
    assert_eq!(loaded.keys.token_key().digest(b"x"), same.token_key().digest(b"x"));
    let wrong = env(&[("ROUTERLY_SECRET_KEY", "c2hvcnQ="), ("LOCALROUTER_SECRET_KEY", "!")]);
    let mistakes = load(&home, &wrong).map(|_| ()).unwrap_err();
    let paths: Vec<&str> = mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
    assert_eq!(paths, ["LOCALROUTER_SECRET_KEY", "ROUTERLY_SECRET_KEY"]);
    assert!(!format!("{mistakes:?}").contains("c2hvcnQ"));
}

#[test]
fn an_edit_by_hand_is_noticed_and_a_bad_one_reported() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::at(directory.path());
    let mut loaded = start(&home).unwrap();
    fs::write(home.file(SETTINGS), r#"{"logLevel":"debug"}"#).unwrap();
    assert!(!loaded.watch.poll());
    assert!(loaded.watch.poll());
    let mut loaded = start(&home).unwrap();
    assert_eq!(loaded.config.settings().log_level, crate::config::settings::LogLevel::Debug);
    fs::write(home.file(MODELS), "[").unwrap();
    assert!(!loaded.watch.poll());
    assert!(loaded.watch.poll(), "a file that was not there before");
    assert_eq!(start(&home).map(|_| ()).unwrap_err()[0].file, MODELS);
    assert!(!loaded.watch.poll(), "said once");
}

#[test]
fn the_home_is_named_by_flag_environment_or_user() {
    let named = |flag: Option<&str>, pairs: &[(&str, &str)]| {
        Home::resolve(flag.map(Path::new), &env(pairs)).map(|home| home.root().display().to_string()).ok()
    };
    let both = [("ROUTERLY_HOME", "/env"), ("HOME", "/user")];
    assert_eq!(named(Some("/flag"), &both).as_deref(), Some("/flag"));
    assert_eq!(named(None, &both).as_deref(), Some("/env"));
    assert_eq!(named(None, &[("HOME", "/user")]).as_deref(), Some("/user/.routerly"));
    assert_eq!(named(None, &[]), None);
}

#[test]
fn a_directory_that_cannot_be_made_is_a_mistake() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "x").unwrap();
    let mistakes = Home::at(directory.path().join("file/home")).create(&Env::default()).unwrap_err();
    assert!(mistakes[0].found.contains("cannot create"), "{}", mistakes[0]);
}
