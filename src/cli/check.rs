//! `routerly check`: every mistake of a home, before it is started.
//!
//! Owns the printed form of findings and nothing of the checks. Changes no file.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use crate::config::{Env, Mistake};
use crate::snapshot::Snapshot;
use crate::store::home::{Home, load};

/// Everything is as it should be.
pub const EXIT_OK: u8 = 0;
/// There are mistakes.
pub const EXIT_MISTAKES: u8 = 1;

/// Checks the home that flag and environment name and prints to standard output; returns the exit code.
///
/// With `import_dry_run` also prints what the first start would change in an older home.
pub fn run(home: Option<&Path>, import_dry_run: bool) -> u8 {
    report(home, &Env::from_process(), import_dry_run, &mut io::stdout().lock()).unwrap_or(EXIT_MISTAKES)
}

/// [`run`] with everything that it takes from outside as an argument.
///
/// # Errors
/// When `out` cannot be written to.
pub fn report(home: Option<&Path>, env: &Env, import_dry_run: bool, out: &mut dyn Write) -> io::Result<u8> {
    let home = match Home::resolve(home, env) {
        Ok(home) => home,
        Err(mistake) => return print_mistakes(&[mistake], out),
    };
    if !home.config_directory().is_dir() {
        let found = format!("no directory {}", home.config_directory().display());
        return print_mistakes(&[Mistake::of_file("config", found, "the home of a gateway")], out);
    }
    let loaded = match load(&home, env) {
        Ok(loaded) => loaded,
        Err(mistakes) => return print_mistakes(&mistakes, out),
    };
    // What the files name must be usable too: certificates, keys, trust roots.
    let (token_key, proof_key) = (loaded.keys.token_key().clone(), loaded.keys.proof_key().clone());
    if let Err(mistakes) = Snapshot::build(Arc::clone(&loaded.config), token_key, proof_key, 0, home.root()) {
        return print_mistakes(&mistakes, out);
    }
    for warning in &loaded.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    if import_dry_run {
        for line in &loaded.takeover.lines {
            writeln!(out, "would change {line}")?;
        }
        if loaded.takeover.is_empty() {
            writeln!(out, "nothing to import: the home is in today's form")?;
        } else {
            writeln!(
                out,
                "config/ and data/usage.json would be copied to backup-<time>/ first, unless a backup is there"
            )?;
        }
    } else if !loaded.takeover.is_empty() {
        let count = loaded.takeover.lines.len();
        writeln!(out, "the next start makes {count} changes to an older home; --import-dry-run lists them")?;
    }
    let config = &loaded.config;
    let tokens: usize = config.projects().iter().map(|project| project.tokens.len()).sum();
    let usable = config.models().iter().filter(|model| model.is_usable()).count();
    writeln!(
        out,
        "ok: {} ({usable} of {} models usable, {} projects, {tokens} tokens)",
        home.root().display(),
        config.models().len(),
        config.projects().len(),
    )?;
    Ok(EXIT_OK)
}

fn print_mistakes(mistakes: &[impl Display], out: &mut dyn Write) -> io::Result<u8> {
    for mistake in mistakes {
        writeln!(out, "{mistake}")?;
    }
    let plural = if mistakes.len() == 1 { "" } else { "s" };
    writeln!(out, "{} mistake{plural}", mistakes.len())?;
    Ok(EXIT_MISTAKES)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn check(home: &Path, dry_run: bool) -> (u8, String) {
        let mut out = Vec::new();
        let code = report(Some(home), &Env::default(), dry_run, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_mistake_of_every_file_is_printed_with_its_place() {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("config");
        fs::create_dir(&config).unwrap();
        fs::write(config.join("secret"), "ab".repeat(32)).unwrap();
        fs::write(config.join("settings.json"), "{\n  \"port\": -1,\n  \"cores\": 1.5\n}").unwrap();
        fs::write(config.join("models.json"), "[{\"id\": \"m\", \"provider\": \"nobody\"}]").unwrap();
        fs::write(config.join("projects.json"), "[\n{},\n]").unwrap();
        fs::write(config.join("users.json"), "").unwrap();
        let (code, text) = check(home.path(), false);
        assert_eq!(code, EXIT_MISTAKES);
        for expected in [
            "config/settings.json:2:11: port: found -1, expected a whole number from 0 to 65535\n",
            "config/settings.json:3:12: cores: found 1.5, expected a whole number from 0 to 1024\n",
            "config/models.json:1:26: [0].provider: found \"nobody\", expected \"openai\"",
            "config/projects.json:3:1: found trailing comma, expected valid JSON\n",
            "config/users.json: found an empty file, expected JSON",
            "\n5 mistakes\n",
        ] {
            assert!(text.contains(expected), "{expected} is not in:\n{text}");
        }
    }

    #[test]
    fn a_dry_run_prints_the_plan_and_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("config");
        fs::create_dir(&config).unwrap();
        fs::write(config.join("secret"), "ab".repeat(32)).unwrap();
        let models = r#"[{"id":"openai/gpt-5","provider":"openai","apiKey":"sk-live"}]"#;
        fs::write(config.join("models.json"), models).unwrap();
        let (code, text) = check(home.path(), true);
        assert_eq!(code, EXIT_OK, "{text}");
        assert!(text.contains("would change config/models.json: openai/gpt-5: apiKey encrypted"), "{text}");
        assert!(
            text.contains("ok: ") && text.contains("1 of 1 models usable") && !text.contains("sk-live"),
            "{text}"
        );
        assert_eq!(fs::read_to_string(config.join("models.json")).unwrap(), models);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        assert!(check(home.path(), false).1.contains("makes 1 changes"));
    }

    #[test]
    fn a_home_that_is_not_there_is_a_mistake() {
        let (code, text) = check(Path::new("/nonexistent"), false);
        assert_eq!(code, EXIT_MISTAKES);
        assert!(text.contains("no directory /nonexistent/config"), "{text}");
    }
}
