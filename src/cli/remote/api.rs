//! The management API as a command sees it: signed in, tokens renewed on the way.

use serde_json::{Value, json};

use super::accounts::{Account, AccountFile};
use super::failure::{Failure, Kind};
use super::http::{Answer, Http, Request};
use crate::clock;

/// How long before its end a token is renewed, in milliseconds.
const RENEWAL_MS: u64 = 5 * 60 * 1_000;
/// Life of a token that says nothing of it.
const UNKNOWN_LIFE_MS: u64 = 24 * 60 * 60 * 1_000;

/// A gateway, as somebody.
pub(super) struct Api {
    http: Http,
    who: Who,
}

enum Who {
    /// An account of the file.
    Account(Box<Account>, AccountFile),
    /// A token that the environment gives; it is not renewed.
    Token(String),
    /// Nobody.
    Nobody,
}

impl Api {
    /// As an account. `url` comes before its own.
    pub(super) fn of_account(
        account: &Account,
        file: &AccountFile,
        url: Option<&str>,
    ) -> Result<Self, Failure> {
        let http = Http::new(url.unwrap_or(&account.server_url))?;
        Ok(Self { http, who: Who::Account(Box::new(account.clone()), file.clone()) })
    }

    /// With a sign-in token.
    pub(super) fn of_token(url: &str, token: String) -> Result<Self, Failure> {
        Ok(Self { http: Http::new(url)?, who: Who::Token(token) })
    }

    /// As nobody.
    pub(super) fn public(url: &str) -> Result<Self, Failure> {
        Ok(Self { http: Http::new(url)?, who: Who::Nobody })
    }

    /// Whether a secret that is sent can be read on the way.
    pub(super) fn is_exposed(&self) -> bool {
        self.http.is_exposed()
    }

    pub(super) fn get(&mut self, path: &str) -> Result<Value, Failure> {
        self.call("GET", path, None)
    }

    /// The object and its tag, for a change that is based on it.
    pub(super) fn get_tagged(&mut self, path: &str) -> Result<(Value, Option<String>), Failure> {
        let answer = self.send(&Request { method: "GET", path, ..Request::default() })?;
        Ok((answer.body, answer.etag))
    }

    /// Changes an object unless somebody else has done so since it was read.
    pub(super) fn put_if(&mut self, path: &str, body: &Value, tag: Option<&str>) -> Result<Value, Failure> {
        let request = Request { method: "PUT", path, body: Some(body), if_match: tag, ..Request::default() };
        Ok(self.send(&request)?.body)
    }

    pub(super) fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        Ok(self.send(&Request { method, path, body, ..Request::default() })?.body)
    }

    /// A request whose answer is streamed.
    pub(super) fn open(&mut self, path: &str) -> Result<impl std::io::Read + use<>, Failure> {
        let token = self.token()?;
        let request = Request { method: "GET", path, token: token.as_deref(), ..Request::default() };
        let response = self.http.open(&request)?;
        if response.status().is_success() {
            return Ok(response.into_body().into_reader());
        }
        Err(match self.send(&Request { method: "GET", path, ..Request::default() }) {
            Ok(_) => Failure::failed("the gateway has changed its mind; try again"),
            Err(failure) => failure,
        })
    }

    fn send(&mut self, request: &Request<'_>) -> Result<Answer, Failure> {
        let token = self.token()?;
        let send = |token: Option<&str>| {
            let Request { method, path, if_match, body, .. } = *request;
            self.http.send(&Request { method, path, if_match, body, token })
        };
        let answer = send(token.as_deref())?;
        let can_renew = matches!(&self.who, Who::Account(account, _) if account.refresh_token.is_some());
        if answer.status != 401 || !can_renew {
            return answer.ok();
        }
        // Ended on the gateway's side, though not by the clock.
        self.renew(true)?;
        let token = self.token()?;
        let Request { method, path, if_match, body, .. } = *request;
        self.http.send(&Request { method, path, if_match, body, token: token.as_deref() })?.ok()
    }

    /// The token to send; renewed where it is about to end.
    fn token(&mut self) -> Result<Option<String>, Failure> {
        let expires_at = match &self.who {
            Who::Nobody => return Ok(None),
            Who::Token(token) => return Ok(Some(token.clone())),
            Who::Account(account, _) => account.expires_at,
        };
        let now_ms = clock::unix_ms();
        if expires_at <= now_ms.saturating_add(RENEWAL_MS) {
            match self.renew(false) {
                Err(failure) if expires_at <= now_ms => return Err(failure),
                _ => {}
            }
        }
        match &self.who {
            Who::Account(account, _) => Ok(Some(account.token.clone())),
            _ => Ok(None),
        }
    }

    /// Renews the token of an account. Another command may have done so meanwhile.
    ///
    /// # Errors
    /// The sign-in is over, or the gateway cannot be reached.
    pub(super) fn renew(&mut self, anyway: bool) -> Result<(), Failure> {
        let Who::Account(account, file) = &mut self.who else { return Ok(()) };
        let http = &self.http;
        let renewed = file.change(|accounts| {
            let Some(known) = accounts.accounts.iter_mut().find(|known| known.alias == account.alias) else {
                return Err(over(account));
            };
            let is_newer = known.token != account.token;
            if is_newer && (!anyway || known.expires_at > account.expires_at) {
                return Ok(known.clone());
            }
            let Some(refresh_token) = &known.refresh_token else { return Err(over(account)) };
            let body = json!({"refreshToken": refresh_token});
            let request =
                Request { method: "POST", path: "auth/refresh", body: Some(&body), ..Request::default() };
            let answer = http.send(&request)?;
            if answer.status == 401 {
                return Err(over(account));
            }
            signed_in(known, &answer.ok()?.body);
            Ok(known.clone())
        })?;
        **account = renewed;
        Ok(())
    }

    /// The account as it is now.
    pub(super) fn account(&self) -> Option<&Account> {
        match &self.who {
            Who::Account(account, _) => Some(account),
            Who::Token(_) | Who::Nobody => None,
        }
    }
}

fn over(account: &Account) -> Failure {
    let message = format!(
        "the sign-in of {} at {} is over; `routerly auth login` signs in again",
        account.email, account.server_url
    );
    Failure::new(Kind::SignIn, message)
}

/// Takes over what a sign-in or a renewal gave.
pub(super) fn signed_in(account: &mut Account, body: &Value) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    account.token = text(&body["token"]).unwrap_or_default();
    let now_ms = clock::unix_ms();
    let life_ms = body["expiresIn"].as_u64().map_or(UNKNOWN_LIFE_MS, |seconds| seconds.saturating_mul(1_000));
    account.expires_at = now_ms.saturating_add(life_ms);
    // It rotates: the old one counts no more.
    account.refresh_token = text(&body["refreshToken"]).or(account.refresh_token.take());
    account.role = text(&body["user"]["role"]).or(account.role.take());
    if let Some(email) = text(&body["user"]["email"]) {
        account.email = email;
    }
}
