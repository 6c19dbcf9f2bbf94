//! What passes between a core and the thread that answers the management API.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::{Reply, Rest};
use crate::config::Mistake;
use crate::store::edit::Draft;

/// What the thread of the management API is told or asked.
#[derive(Debug)]
pub enum ToOffice {
    /// Answer a request.
    Call(Box<ApiCall>, Arc<Reply<Arc<ApiAnswer>>>),
    /// All cores have ended: return.
    Finish,
}

/// A request below `/api/`. `Debug` shows neither credentials nor body.
#[derive(Clone, Default)]
pub struct ApiCall {
    /// In upper case, as received.
    pub method: String,
    /// Without query, as received.
    pub path: String,
    /// Without the question mark, as received.
    pub query: String,
    /// `Authorization`.
    pub authorization: Option<String>,
    /// `Cookie`.
    pub cookie: Option<String>,
    /// `Host`.
    pub host: String,
    /// `Origin`.
    pub origin: Option<String>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<String>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `User-Agent`.
    pub user_agent: String,
    /// `X-Forwarded-For`, all of them.
    pub forwarded_for: Option<String>,
    /// `X-Forwarded-Proto`.
    pub forwarded_proto: Option<String>,
    /// The connection is encrypted.
    pub is_tls: bool,
    /// Where the connection comes from.
    pub address: Option<IpAddr>,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for ApiCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiCall")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What is answered.
#[derive(Clone, Default)]
pub struct ApiAnswer {
    /// Status.
    pub status: u16,
    /// Fields beside those about connection and body; names in lower case.
    pub fields: Vec<(&'static str, String)>,
    /// JSON; empty for none.
    pub body: Vec<u8>,
    /// A body that is made while it is sent, in place of `body`.
    pub rest: Option<Arc<Rest>>,
}

impl std::fmt::Debug for ApiAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiAnswer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// What becomes of documents that were changed in memory.
pub enum Verdict {
    /// Nothing.
    Stop,
    /// It is only found out whether the result would be a configuration.
    Check,
    /// They are checked and written, once this has been done; what it says is the reason not to.
    Write(Box<dyn FnOnce() -> Result<(), String> + Send>),
}

/// Changes documents in memory.
pub type Edit = Box<dyn FnOnce(&mut Draft<'_>) -> Verdict + Send>;

/// A change of configuration files, for the control thread.
pub struct Change {
    /// What is changed.
    pub edit: Edit,
    /// Where it is said what became of it.
    pub answer: SyncSender<Changed>,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Change(…)")
    }
}

/// What became of a change.
#[derive(Debug)]
pub enum Changed {
    /// It is written and in force.
    InForce,
    /// It was not to be written.
    Stopped,
    /// It would be a configuration, but what it names cannot be used, such as a certificate; everything is as before.
    Unusable(String),
    /// What had to be done first could not be done; everything is as before.
    Unready(String),
    /// Somebody has edited a file at the same moment; everything is as he left it.
    Edited(&'static str),
    /// The result would be no configuration.
    Invalid(Vec<Mistake>),
    /// It could not be written; everything is as before.
    Failed(String),
}
