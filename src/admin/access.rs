//! Who may see and change which project: by a permission for all of them, or as a member of one.
//!
//! Source: the project's management specification, section 3.

use std::sync::Arc;

use super::answer::ApiError;
use super::ask::Ask;
use super::office::Office;
use super::session::Who;
use crate::config::account::Permission;
use crate::config::{Config, Project};

/// What somebody may do with a project; each level has the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// See it, and what it uses.
    See,
    /// Change its routing and its tokens.
    Edit,
    /// Change its name, its budgets and its members, and delete it.
    Own,
}

/// Roles of members. The id of any other role stands for what that role may do with all projects.
pub(super) const MEMBER_ROLES: [(&str, Level); 3] =
    [("viewer", Level::See), ("editor", Level::Edit), ("admin", Level::Own)];

impl Office {
    /// What somebody may do with a project; none: it does not exist for him.
    pub(super) fn level(&self, who: &Who, project: &Project) -> Option<Level> {
        let user = self.accounts.user(&who.id);
        let is_listed = user.is_some_and(|user| user.project_ids.contains(&project.id));
        let member = project.members.iter().find(|member| member.user == who.id);
        [
            who.permissions.has(Permission::ProjectWrite).then_some(Level::Own),
            who.permissions.has(Permission::ProjectRead).then_some(Level::See),
            is_listed.then_some(Level::See),
            member.and_then(|member| self.member_level(&member.role)),
        ]
        .into_iter()
        .max()
        .flatten()
    }

    /// What a member's role allows; none for a role that says nothing about projects.
    pub(super) fn member_level(&self, role: &str) -> Option<Level> {
        if let Some((_, level)) = MEMBER_ROLES.iter().find(|(name, _)| *name == role) {
            return Some(*level);
        }
        let permissions = self.accounts.role(role)?.permissions;
        if permissions.has(Permission::ProjectWrite) {
            return Some(Level::Own);
        }
        permissions.has(Permission::ProjectRead).then_some(Level::See)
    }

    /// The project that the path names, by id or else by slug.
    ///
    /// # Errors
    /// There is none for whoever asks, or he may not do what needs `level`.
    pub(super) fn project(&self, ask: &Ask<'_>, level: Level) -> Result<Arc<Project>, ApiError> {
        let name = ask.name();
        let config = self.config();
        let missing = || ApiError::not_found(format!("there is no project `{name}`"));
        let project = project_of(&config, name).ok_or_else(missing)?;
        let own = self.level(ask.who()?, project).ok_or_else(missing)?;
        if own < level {
            let needed = match level {
                Level::See => "viewer",
                Level::Edit => "editor",
                Level::Own => "admin",
            };
            return Err(ApiError::forbidden(format!(
                "this needs the permission project:write, or to be {needed} of the project"
            )));
        }
        Ok(Arc::clone(project))
    }
}

/// A project by id, else by slug.
pub(super) fn project_of<'c>(config: &'c Config, name: &str) -> Option<&'c Arc<Project>> {
    let by_id = config.projects().iter().find(|project| project.id == name);
    by_id.or_else(|| config.project_index(name).map(|index| &config.projects()[index]))
}
