//! The accounts of this person on gateways: `~/.routerly/cli/config.json`, mode 0600.
//!
//! Below the home of whoever calls, never in `ROUTERLY_HOME`. A file that cannot be read is an error, so that nothing is
//! written over it.
//!
//! Source: the project's specification of the command line, section 1.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::failure::{Failure, Kind};
use crate::store::files;

/// A sign-in on one gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Account {
    /// Unique name.
    pub alias: String,
    /// Without trailing slash.
    pub server_url: String,
    pub email: String,
    /// At sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    pub token: String,
    /// In milliseconds since the epoch.
    pub expires_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Accounts {
    #[serde(default)]
    pub accounts: Vec<Account>,
    /// The one that is used where none is named.
    #[serde(default)]
    pub current_alias: Option<String>,
}

/// Where they are kept.
#[derive(Debug, Clone)]
pub(super) struct AccountFile {
    directory: PathBuf,
    /// `~/.routerly`
    root: PathBuf,
}

impl AccountFile {
    /// Below a person's home.
    pub(super) fn below(user_home: &Path) -> Self {
        let root = user_home.join(".routerly");
        Self { directory: root.join("cli"), root }
    }

    fn path(&self) -> PathBuf {
        self.directory.join("config.json")
    }

    /// The accounts; none where there is no file. The file of earlier documents, `auth.json`, is read in its place.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(&self) -> Result<Accounts, Failure> {
        for path in [self.path(), self.directory.join("auth.json")] {
            let content = files::read(&path).map_err(|error| Failure::failed(error.to_string()))?;
            let Some(content) = content else { continue };
            return serde_json::from_str(&content.text).map_err(|error| {
                Failure::failed(format!(
                    "{}: {error}; repair it, or delete it and sign in again",
                    path.display()
                ))
            });
        }
        Ok(Accounts::default())
    }

    /// Changes the accounts; other commands wait.
    ///
    /// # Errors
    /// Those of `change`, or of the disk.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut Accounts) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let _lock = self.lock()?;
        let mut accounts = self.read()?;
        let changed = change(&mut accounts)?;
        let value = serde_json::to_value(&accounts).map_err(|error| Failure::failed(error.to_string()))?;
        files::replace_json(&self.path(), &value).map_err(|error| Failure::failed(error.to_string()))?;
        Ok(changed)
    }

    /// Held until it is dropped.
    fn lock(&self) -> Result<File, Failure> {
        files::create_directory(&self.directory).map_err(|error| Failure::failed(error.to_string()))?;
        let path = self.directory.join("lock");
        let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    /// The gateway that an installer named in `~/.routerly/config/cli.json`.
    pub(super) fn installed_url(&self) -> Option<String> {
        let content = files::read(&self.root.join("config/cli.json")).ok()??;
        let value: Value = serde_json::from_str(&content.text).ok()?;
        value["serviceUrl"].as_str().filter(|url| !url.is_empty()).map(str::to_owned)
    }
}

impl Accounts {
    /// The account of a name, or the active one.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn choose(&self, alias: Option<&str>) -> Result<&Account, Failure> {
        let Some(wanted) = alias.or(self.current_alias.as_deref()) else {
            return Err(Failure::new(Kind::SignIn, "nobody is signed in; `routerly auth login` does that"));
        };
        self.find(wanted).ok_or_else(|| Failure::not_found(format!("there is no account `{wanted}`")))
    }

    pub(super) fn find(&self, alias: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.alias == alias)
    }

    /// Puts an account in the place of the one of its name, or behind the others. The first one becomes the active one.
    pub(super) fn put(&mut self, account: Account) {
        if self.accounts.is_empty() {
            self.current_alias = None;
        }
        self.current_alias.get_or_insert_with(|| account.alias.clone());
        match self.accounts.iter_mut().find(|known| known.alias == account.alias) {
            Some(known) => *known = account,
            None => self.accounts.push(account),
        }
    }

    /// Removes an account. Where it was the active one, the first of the others is.
    pub(super) fn remove(&mut self, alias: &str) {
        self.accounts.retain(|account| account.alias != alias);
        if self.current_alias.as_deref() == Some(alias) {
            self.current_alias = self.accounts.first().map(|account| account.alias.clone());
        }
    }

    /// A name for a new account: `default` for the first, else the address's own part, with a number where it is taken.
    pub(super) fn free_alias(&self, email: &str) -> String {
        if self.accounts.is_empty() {
            return "default".to_owned();
        }
        let local = email.split('@').next().unwrap_or_default().to_lowercase();
        let is_safe = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
        let safe: String = local.chars().map(|char| if is_safe(char) { char } else { '-' }).collect();
        let base = if safe.is_empty() { "account".to_owned() } else { safe };
        let numbered = (2..).map(|number| format!("{base}-{number}"));
        let mut names = std::iter::once(base.clone()).chain(numbered);
        names.find(|name| self.find(name).is_none()).unwrap_or(base)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn account(alias: &str) -> Account {
        Account { alias: alias.to_owned(), email: format!("{alias}@example.org"), ..Account::default() }
    }

    #[test]
    fn accounts_are_kept_for_their_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let file = AccountFile::below(home.path());
        assert_eq!(file.read().unwrap(), Accounts::default());
        file.change(|accounts| {
            accounts.put(account("a"));
            accounts.put(account("b"));
            Ok(())
        })
        .unwrap();
        let accounts = file.read().unwrap();
        assert_eq!(accounts.choose(None).unwrap().alias, "a");
        assert_eq!(accounts.choose(Some("b")).unwrap().alias, "b");
        assert_eq!(accounts.choose(Some("c")).unwrap_err().kind, Kind::NotFound);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file.path()), mode(&file.directory)), (0o600, 0o700));
        std::fs::write(file.path(), "{").unwrap();
        assert!(file.change(|_| Ok(())).is_err());
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "{", "nothing is written over it");
    }

    #[test]
    fn the_document_of_earlier_releases_is_read_once() {
        let home = tempfile::tempdir().unwrap();
        let file = AccountFile::below(home.path());
        std::fs::create_dir_all(&file.directory).unwrap();
        let old = r#"{"accounts":[{"alias":"x","serverUrl":"http://h","email":"x@y","token":"t","expiresAt":5}],"currentAlias":"x"}"#;
        std::fs::write(file.directory.join("auth.json"), old).unwrap();
        assert_eq!(file.read().unwrap().choose(None).unwrap().server_url, "http://h");
        file.change(|accounts| {
            accounts.remove("x");
            Ok(())
        })
        .unwrap();
        assert_eq!(file.read().unwrap(), Accounts::default());
    }

    #[test]
    fn names_are_free_and_the_active_one_is_always_there() {
        let mut accounts = Accounts::default();
        assert_eq!(accounts.free_alias("me@example.org"), "default");
        accounts.put(account("default"));
        assert_eq!(accounts.free_alias("Me+x@example.org"), "me-x");
        accounts.put(account("me"));
        accounts.put(account("me-2"));
        assert_eq!(accounts.free_alias("me@example.org"), "me-3");
        accounts.remove("default");
        assert_eq!(accounts.current_alias.as_deref(), Some("me"));
        accounts.remove("me");
        accounts.remove("me-2");
        assert_eq!(accounts.current_alias, None);
        assert_eq!(accounts.choose(None).unwrap_err().kind, Kind::SignIn);
    }
}
