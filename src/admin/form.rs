//! The body of a request: typed values out of a JSON object, all mistakes at once.

use serde_json::{Map, Value};

use super::answer::ApiError;

/// A body that is being read.
pub(super) struct Form {
    map: Map<String, Value>,
    problems: Vec<(String, String)>,
}

impl Form {
    /// # Errors
    /// It is no JSON object.
    pub(super) fn read(body: &[u8]) -> Result<Self, ApiError> {
        Ok(Self { map: object(body)?, problems: Vec::new() })
    }

    /// Notes what is wrong with a field.
    pub(super) fn problem(&mut self, path: &str, problem: impl Into<String>) {
        self.problems.push((path.to_owned(), problem.into()));
    }

    /// A string under the first of these names that is there; `null` is nothing.
    pub(super) fn string(&mut self, names: &[&str]) -> Option<String> {
        let (name, value) = self.take(names)?;
        match value {
            Value::String(text) => Some(text),
            _ => {
                self.problem(&name, "expected a string");
                None
            }
        }
    }

    /// The same, which has to be there and to hold more than white space.
    pub(super) fn required(&mut self, names: &[&str]) -> String {
        let before = self.problems.len();
        let text = self.string(names).filter(|text| !text.trim().is_empty());
        if text.is_none() && self.problems.len() == before {
            self.problem(names[0], "is missing");
        }
        text.unwrap_or_default()
    }

    /// An array of strings.
    pub(super) fn strings(&mut self, name: &str) -> Option<Vec<String>> {
        let (name, value) = self.take(&[name])?;
        let Value::Array(items) = value else {
            self.problem(&name, "expected an array of strings");
            return None;
        };
        let mut strings = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => strings.push(text),
                _ => self.problem(&format!("{name}[{index}]"), "expected a string"),
            }
        }
        Some(strings)
    }

    fn take(&mut self, names: &[&str]) -> Option<(String, Value)> {
        names.iter().find_map(|name| {
            let value = self.map.shift_remove(*name).filter(|value| !value.is_null())?;
            Some(((*name).to_owned(), value))
        })
    }

    /// # Errors
    /// Everything that was wrong.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ApiError::fields(self.problems)) }
    }
}

/// A body as an object; an empty one is an object without members.
///
/// # Errors
/// It is no JSON object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(ApiError::invalid("the body is no JSON object")),
        Err(error) => Err(ApiError::invalid(format!("the body is no JSON: {error}"))),
    }
}

/// Whether a text can be an address: one `@` with something on both sides, no white space. Whether it is one shows when
/// something is sent to it.
pub(super) fn is_email(text: &str) -> bool {
    let Some((name, domain)) = text.rsplit_once('@') else { return false };
    !name.is_empty()
        && !domain.is_empty()
        && text.len() <= 254
        && !name.contains('@')
        && !text.chars().any(|char| char.is_whitespace() || char.is_control())
}
