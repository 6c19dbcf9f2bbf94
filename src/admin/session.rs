//! From a request to who asks.
//!
//! The sign-in token comes as `Authorization: Bearer`, or as the dashboard's cookie. A browser sends a cookie for pages of
//! others too, so it counts only for requests that come from our own pages.
//!
//! Source: the project's management specification, sections 1 and 2.1; OWASP CSRF Prevention Cheat Sheet (Fetch
//! metadata, origin check); RFC 6265bis for the cookie's attributes.

use super::answer::ApiError;
use crate::accounts::sign_in::Signer;
use crate::config::Accounts;
use crate::config::account::{Permission, Permissions, User};
use crate::mailbox::ApiCall;

/// Name of the dashboard's cookie.
pub(super) const COOKIE: &str = "routerly_token";

/// Somebody who has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    /// Id of the user.
    pub id: String,
    /// Id of the grant that he signed in with.
    pub grant: String,
    /// Id of his role.
    pub role: String,
    /// What he may do everywhere.
    pub permissions: Permissions,
}

impl Who {
    /// # Errors
    /// He may not.
    pub(super) fn may(&self, permission: Permission) -> Result<(), ApiError> {
        if self.permissions.has(permission) {
            return Ok(());
        }
        Err(ApiError::forbidden(format!("this needs the permission {}", permission.as_str())))
    }

    /// Whether he may have power over somebody with these permissions: nobody hands out what he does not have himself.
    ///
    /// # Errors
    /// He may not.
    pub(super) fn may_rule(&self, role: &str, permissions: Permissions) -> Result<(), ApiError> {
        use crate::config::account::ADMIN;
        if (role == ADMIN && self.role != ADMIN) || !self.permissions.has_all(permissions) {
            return Err(ApiError::forbidden("this would need permissions that you do not have yourself"));
        }
        Ok(())
    }
}

/// Finds out who asks.
///
/// # Errors
/// Nobody, or nobody any more.
pub(super) fn who(
    call: &ApiCall,
    signer: &Signer,
    accounts: &Accounts,
    now_ms: u64,
) -> Result<Who, ApiError> {
    let token = token_of(call)?;
    let over = || ApiError::unauthorized("the sign-in is not valid (any more); sign in again");
    let claims = signer.read(token, now_ms / 1_000).ok_or_else(over)?;
    let user = accounts.user(&claims.sub).ok_or_else(over)?;
    let is_granted = user.grants.iter().any(|grant| grant.id == claims.gid);
    if user.credential_version != claims.ver || !is_granted {
        return Err(over());
    }
    Ok(of_user(user, accounts, &claims.gid))
}

/// A user who has just proved himself.
pub(super) fn of_user(user: &User, accounts: &Accounts, grant: &str) -> Who {
    Who {
        id: user.id.clone(),
        grant: grant.to_owned(),
        role: user.role.clone(),
        permissions: accounts.permissions(user),
    }
}

fn token_of(call: &ApiCall) -> Result<&str, ApiError> {
    if let Some(field) = &call.authorization {
        let bearer = field.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        return bearer
            .map(|(_, token)| token.trim())
            .ok_or_else(|| ApiError::unauthorized("expected `Authorization: Bearer …`"));
    }
    let cookie = call.cookie.as_deref().and_then(cookie_of);
    let Some(token) = cookie else { return Err(ApiError::unauthorized("sign in first")) };
    if !is_same_origin(call) {
        return Err(ApiError::forbidden("a cookie counts for requests of the dashboard's own pages only"));
    }
    Ok(token)
}

fn cookie_of(cookies: &str) -> Option<&str> {
    cookies.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

/// A browser says where a request comes from in one of two fields; without either it is no browser, or reads only.
fn is_same_origin(call: &ApiCall) -> bool {
    let reads = matches!(call.method.as_str(), "GET" | "HEAD");
    match (&call.fetch_site, &call.origin) {
        (Some(site), _) if site != "same-origin" => site == "none" && reads,
        (_, Some(origin)) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_some_and(|host| host.eq_ignore_ascii_case(&call.host))
        }
        (Some(_), None) => true,
        (None, None) => reads,
    }
}

/// Keeps pages of others from setting up or signing in through a visitor's browser: they need no cookie for that.
///
/// # Errors
/// The request changes something and comes from a page that is neither ours nor named in `corsOrigins`.
pub(super) fn refuse_foreign_page(call: &ApiCall, cors_origins: &[String]) -> Result<(), ApiError> {
    let is_browser = call.fetch_site.is_some() || call.origin.is_some();
    let is_named = || {
        let origin = call.origin.as_deref().unwrap_or_default();
        cors_origins.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(origin))
    };
    if !is_browser || matches!(call.method.as_str(), "GET" | "HEAD") || is_same_origin(call) || is_named() {
        return Ok(());
    }
    Err(ApiError::forbidden("pages of other origins are named in corsOrigins first"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, site: Option<&str>, origin: Option<&str>) -> ApiCall {
        ApiCall {
            method: method.to_owned(),
            host: "gw.example.org:3000".to_owned(),
            cookie: Some(format!("theme=dark; {COOKIE}=abc")),
            fetch_site: site.map(str::to_owned),
            origin: origin.map(str::to_owned),
            ..ApiCall::default()
        }
    }

    #[test]
    fn a_cookie_counts_for_our_own_pages_alone() {
        let own = Some("http://gw.example.org:3000");
        let other = Some("https://evil.example.org");
        for (method, site, origin, counts) in [
            ("POST", Some("same-origin"), own, true),
            ("POST", Some("same-origin"), None, true),
            ("POST", None, own, true),
            ("POST", None, other, false),
            ("POST", None, Some("null"), false),
            ("POST", None, Some("https://gw.example.org:3000.evil.org"), false),
            ("POST", None, None, false),
            ("POST", Some("cross-site"), own, false),
            ("POST", Some("same-site"), own, false),
            ("POST", Some("none"), None, false),
            ("GET", None, None, true),
            ("GET", Some("none"), None, true),
            ("GET", Some("cross-site"), None, false),
            ("GET", None, other, false),
        ] {
            let call = call(method, site, origin);
            assert_eq!(token_of(&call).is_ok(), counts, "{method} {site:?} {origin:?}");
        }
        let bearer = ApiCall {
            authorization: Some("bearer  xyz".to_owned()),
            ..call("POST", Some("cross-site"), other)
        };
        assert_eq!(token_of(&bearer), Ok("xyz"), "no browser sends this by itself");
        let basic = ApiCall { authorization: Some("Basic eHl6".to_owned()), ..ApiCall::default() };
        assert!(token_of(&basic).is_err());
    }
}
