//! Requests that begin alike go to the same model, so that the provider's cache of prompts has seen their beginning.
//!
//! Nothing is remembered for that: the digest of the beginning is the seed of chance, and chance gives each model a number
//! of its own for each seed (rendezvous hashing). So the choice is the same on every core and every machine and after a
//! restart, needs no memory and no lock, and when a model drops out only the requests that it had move. A table of who
//! answered last would have to be shared, bounded and aged, to know one thing more: where a request went in a failure.

use super::call::Asked;
use super::request::Request;
use super::translated;
use crate::cache::Digester;
use crate::dialect::ir::{Content, Part, Role};
use crate::limits::PREFIX_BYTES_MAX;
use crate::snapshot::Snapshot;

/// The seed of a request's beginning: system text, tools, and the user's first message, up to a bound each. `None`: the
/// body cannot be read.
pub(super) fn prefix(snapshot: &Snapshot, request: &Request, asked: &Asked<'_>) -> Option<u64> {
    let ask = translated::ask(snapshot, request, asked.body, asked.stream, &[]);
    let said = ask.request().ok()?;
    let mut digester = Digester::new("prefix");
    digester.part(snapshot.config.projects()[request.project as usize].id.as_bytes());
    add(&mut digester, &said.system);
    digester.part(&(said.tools.len() as u64).to_le_bytes());
    for tool in &said.tools {
        digester.part(tool.name.escaped().as_bytes());
        digester.part(tool.description.as_ref().map_or("", |text| text.escaped()).as_bytes());
        digester.part(tool.schema.as_ref().map_or("", |schema| schema.as_str()).as_bytes());
    }
    if let Some(first) = said.turns.iter().find(|turn| turn.role == Role::User) {
        add(&mut digester, &first.parts);
    }
    let digest = digester.finish();
    Some(digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte)))
}

/// Takes in the beginning of the texts of `parts`.
fn add(digester: &mut Digester, parts: &[Part<'_>]) {
    let mut left = PREFIX_BYTES_MAX;
    for part in parts {
        let Content::Text { text, .. } = &part.content else { continue };
        let bytes = text.escaped().as_bytes();
        let taken = bytes.len().min(left);
        digester.part(&bytes[..taken]);
        left -= taken;
    }
    // Ends the list, so that no text of one list passes for that of the next.
    digester.part(b"end");
}
