//! Entries of a document that is an array of objects with ids.

use serde_json::{Map, Value};

use super::answer::ApiError;
use crate::config::Mistake;
use crate::config::files::SETTINGS;
use crate::store::edit::Draft;

/// A file that cannot be read is to be repaired by hand.
pub(super) fn broken(mistake: &Mistake) -> ApiError {
    ApiError::conflict(format!("a configuration file has to be repaired first: {mistake}"))
}

/// A document as it is now.
///
/// # Errors
/// The file is broken.
pub(super) fn document<'d>(draft: &'d mut Draft<'_>, file: &'static str) -> Result<&'d Value, ApiError> {
    draft.read(file).map_err(|mistake| broken(&mistake))
}

/// All entries, to be changed.
///
/// # Errors
/// The file is broken.
pub(super) fn entries<'d>(
    draft: &'d mut Draft<'_>,
    file: &'static str,
) -> Result<&'d mut Vec<Value>, ApiError> {
    let document = draft.edit(file).map_err(|mistake| broken(&mistake))?;
    if document.is_null() {
        *document = Value::Array(Vec::new());
    }
    document.as_array_mut().ok_or_else(|| ApiError::conflict(format!("{file} is no array; repair it first")))
}

/// The settings, to be changed.
///
/// # Errors
/// The file is broken.
pub(super) fn settings<'d>(draft: &'d mut Draft<'_>) -> Result<&'d mut Map<String, Value>, ApiError> {
    let document = draft.edit(SETTINGS).map_err(|mistake| broken(&mistake))?;
    if document.is_null() {
        *document = Value::Object(Map::new());
    }
    let broken = || ApiError::conflict(format!("{SETTINGS} is no object; repair it first"));
    document.as_object_mut().ok_or_else(broken)
}

/// The entry with this id.
///
/// # Errors
/// The file is broken, or there is none.
pub(super) fn entry<'d>(
    draft: &'d mut Draft<'_>,
    file: &'static str,
    id: &str,
) -> Result<&'d mut Map<String, Value>, ApiError> {
    let entries = entries(draft, file)?;
    let found = entries.iter_mut().filter_map(Value::as_object_mut).find(|entry| has_id(entry, id));
    found.ok_or_else(|| ApiError::not_found(format!("there is no `{id}`")))
}

/// Removes the entry with this id.
///
/// # Errors
/// The file is broken, or there is none.
pub(super) fn remove(draft: &mut Draft<'_>, file: &'static str, id: &str) -> Result<(), ApiError> {
    let entries = entries(draft, file)?;
    let index = entries.iter().position(|entry| entry.as_object().is_some_and(|entry| has_id(entry, id)));
    let index = index.ok_or_else(|| ApiError::not_found(format!("there is no `{id}`")))?;
    entries.remove(index);
    Ok(())
}

fn has_id(entry: &Map<String, Value>, id: &str) -> bool {
    entry.get("id").and_then(Value::as_str) == Some(id)
}
