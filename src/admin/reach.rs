//! Which projects' usage somebody may see.
//!
//! Source: the project's management specification, section 3: who may read all projects sees all; anybody else sees those
//! of which he is a member, and those that his account names.

use super::answer::ApiError;
use super::office::Office;
use super::session::Who;
use crate::config::Project;
use crate::config::account::Permission;

/// Projects that somebody may see the usage of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// All, deleted ones included.
    All,
    /// Those with these ids.
    Only(Vec<String>),
}

impl Reach {
    /// What a user may see.
    ///
    /// # Errors
    /// He may see no usage at all.
    pub(super) fn of(office: &Office, who: &Who) -> Result<Self, ApiError> {
        let has = |permission| who.permissions.has(permission);
        if has(Permission::ReportRead) && has(Permission::ProjectRead) {
            return Ok(Self::All);
        }
        let own = office.accounts.user(&who.id).map_or(&[][..], |user| &user.project_ids);
        let snapshot = office.mailbox.snapshot();
        let is_his = |project: &Project| {
            own.contains(&project.id) || project.members.iter().any(|member| member.user == who.id)
        };
        let projects = snapshot.config.projects().iter().filter(|project| is_his(project));
        let ids: Vec<String> = projects.map(|project| project.id.clone()).collect();
        if ids.is_empty() {
            who.may(Permission::ReportRead)?;
        }
        Ok(Self::Only(ids))
    }

    /// Whether a project is among them.
    pub(super) fn has(&self, project: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.iter().any(|id| id == project),
        }
    }

    /// The ids, as a filter takes them.
    pub(super) fn into_ids(self) -> Option<Vec<String>> {
        match self {
            Self::All => None,
            Self::Only(ids) => Some(ids),
        }
    }
}

/// The id of a project that a client names by id or slug. One that is gone, or was never there, is taken for an id: its
/// records stay.
pub(super) fn project_id(office: &Office, named: &str) -> String {
    let snapshot = office.mailbox.snapshot();
    let projects = snapshot.config.projects();
    let by_id = projects.iter().find(|project| project.id == named);
    let found = by_id.or_else(|| projects.iter().find(|project| project.slug == named));
    found.map_or_else(|| named.to_owned(), |project| project.id.clone())
}
