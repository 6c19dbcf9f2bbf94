//! Which models may answer a request, best first.

use super::request::Request;
use crate::config::Translation;
use crate::dialect::Dialect;
use crate::respond::GatewayError;
use crate::routing::{self, NoCandidate, Wanted};
use crate::snapshot::Snapshot;

/// The models of the request's project that can answer it, as indexes of targets, in the order to try them in.
///
/// # Errors
/// There is none.
pub(super) fn ranked(
    snapshot: &Snapshot,
    request: &Request,
    model: Option<&str>,
) -> Result<Vec<usize>, GatewayError> {
    let project = &snapshot.config.projects()[request.project as usize];
    let mut ranked = Vec::with_capacity(project.models.len());
    let translate = project.translation != Translation::Off;
    let wanted = Wanted { dialect: request.client.dialect, model, translate, embedding: false };
    match routing::rank(snapshot, project, wanted, &mut ranked) {
        Ok(()) => Ok(ranked),
        Err(error) => Err(no_candidate(error, request.client.dialect, model)),
    }
}

/// What is said when no model could be asked at all.
pub(super) fn none_usable() -> GatewayError {
    GatewayError::NoModel("no model of this project can answer".to_owned())
}

fn no_candidate(error: NoCandidate, from: Dialect, model: Option<&str>) -> GatewayError {
    match error {
        NoCandidate::NoneUsable => none_usable(),
        NoCandidate::Unknown => {
            let name = crate::telemetry::text::clip(model.unwrap_or_default(), 256);
            GatewayError::NotFound(format!("no model `{name}` in this project"))
        }
        NoCandidate::OtherDialect(to) => {
            GatewayError::NeedsTranslation { from: from.as_str(), to: to.as_str() }
        }
    }
}
