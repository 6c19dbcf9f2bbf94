//! One request as a handler sees it.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::answer::{ApiError, etag};
use super::form::{Form, object};
use super::session::Who;
use crate::mailbox::ApiCall;

/// A request that was let in.
pub(super) struct Ask<'a> {
    pub call: &'a ApiCall,
    /// What the path names, decoded, in the order of the pattern.
    pub names: Vec<String>,
    /// Who asks; none on the few public paths.
    pub who: Option<&'a Who>,
    /// Where the request comes from, as far as that can be believed; the unspecified address where the connection has gone
    /// already.
    pub address: IpAddr,
    pub now_ms: u64,
}

impl Ask<'_> {
    /// Who asks.
    ///
    /// # Errors
    /// Nobody is signed in. Routes that need somebody have seen to that before.
    pub(super) fn who(&self) -> Result<&Who, ApiError> {
        self.who.ok_or_else(|| ApiError::unauthorized("sign in first"))
    }

    /// The first name in the path.
    pub(super) fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// The second name in the path.
    pub(super) fn second_name(&self) -> &str {
        self.names.get(1).map_or("", String::as_str)
    }

    /// The body as an object; an empty one is an object without members.
    ///
    /// # Errors
    /// It is no JSON object.
    pub(super) fn object(&self) -> Result<Map<String, Value>, ApiError> {
        object(&self.call.body)
    }

    pub(super) fn form(&self) -> Result<Form, ApiError> {
        Form::read(&self.call.body)
    }

    /// Whether the query says `name=1` or `name=true`.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.call.query.split('&').any(|pair| {
            pair.split_once('=').is_some_and(|(key, value)| key == name && matches!(value, "1" | "true"))
        })
    }
}

/// Whether a change is still based on what is there (`If-Match`; RFC 9110, section 13.1.1).
///
/// # Errors
/// It is not: somebody else was faster.
pub(super) fn still_matches(if_match: Option<&str>, shown: &Value) -> Result<(), ApiError> {
    let Some(tags) = if_match else { return Ok(()) };
    let current = etag(shown);
    let fits = tags.split(',').map(str::trim).any(|tag| tag == "*" || tag == current);
    if fits { Ok(()) } else { Err(ApiError::stale()) }
}
