//! The query of a request: typed values by name, all mistakes at once.

use super::answer::ApiError;
use super::routes::decode;

/// A query that is being read. Names that nobody asks for are no mistake: caches and proxies add some.
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    problems: Vec<(String, String)>,
}

impl Query {
    /// Reads `a=b&c=d` (WHATWG URL, `application/x-www-form-urlencoded`). What has no value is not there.
    pub(super) fn read(text: &str) -> Self {
        let plain = |part: &str| decode(&part.replace('+', " "));
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(name, value)| (plain(name), plain(value)));
        Self { pairs: pairs.filter(|(_, value)| !value.is_empty()).collect(), problems: Vec::new() }
    }

    /// The value of the first of these names that is there.
    pub(super) fn text(&self, names: &[&str]) -> Option<String> {
        let pair = |name: &&str| self.pairs.iter().find(|(known, _)| known == name);
        names.iter().find_map(pair).map(|(_, value)| value.clone())
    }

    /// The same, read by `read`, whose error says what is expected.
    pub(super) fn value<T>(
        &mut self,
        names: &[&str],
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(names)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(problem) => {
                let name = names.iter().find(|name| self.text(&[name]).is_some()).unwrap_or(&names[0]);
                self.problems.push(((*name).to_owned(), problem));
                None
            }
        }
    }

    /// One of a closed set of words.
    pub(super) fn word<T: Copy>(
        &mut self,
        names: &[&str],
        all: &[T],
        spelled: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        self.value(names, |text| {
            let found = all.iter().copied().find(|word| spelled(*word) == text);
            found.ok_or_else(|| {
                let words: Vec<&str> = all.iter().map(|word| spelled(*word)).collect();
                format!("expected one of {}", words.join(", "))
            })
        })
    }

    /// A whole number.
    pub(super) fn number(&mut self, names: &[&str]) -> Option<u64> {
        self.value(names, |text| text.parse().map_err(|_| "expected a whole number".to_owned()))
    }

    /// # Errors
    /// Everything that was wrong.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ApiError::fields(self.problems)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_mistakes_are_gathered() {
        let mut query = Query::read("a=x+y%2Bz&b=&limit=ten&word=no&word=yes&c&=d");
        assert_eq!(query.text(&["b", "a"]).as_deref(), Some("x y+z"));
        assert_eq!(query.text(&["c"]), None);
        assert_eq!(query.number(&["pageSize", "limit"]), None);
        assert_eq!(
            query.word(&["word"], &[true, false], |word| if word { "yes" } else { "no" }),
            Some(false)
        );
        assert_eq!(query.word(&["a"], &[true], |_| "yes"), None);
        let answer = query.finish().unwrap_err().into_answer();
        let text = String::from_utf8(answer.body).unwrap();
        assert!(text.contains(r#"{"path":"limit","message":"expected a whole number"}"#), "{text}");
        assert!(text.contains("expected one of yes"), "{text}");
    }
}
