//! Line and column of a value inside JSON text.
//!
//! serde_json forgets where a value stood; mistakes that show only later need the place again. One pass over the
//! text finds the wanted paths, and only when there is a mistake to report. The text is known to be valid JSON
//! here; on anything else the scan stops early and places found so far stand. Knows nothing of configuration.
//!
//! Source: RFC 8259 for the grammar. Columns count characters, from 1, as editors do.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::mistake::{At, Step};

/// serde_json refuses deeper documents, so deeper text is not ours to place.
const DEPTH_MAX: usize = 130;

/// Places, one for each wanted path: of the value itself, else of its nearest ancestor that is there.
/// `(0, 0)` when there is no text at all.
pub(crate) fn locate(text: &str, wanted: &[(&[Step], At)]) -> Vec<(usize, usize)> {
    if text.is_empty() {
        return vec![(0, 0); wanted.len()];
    }
    let mut trie = Trie { nodes: vec![TrieNode::default()] };
    let ends: Vec<Vec<usize>> = wanted.iter().map(|(steps, _)| trie.insert(steps)).collect();
    let mut scan = Scan { text: text.as_bytes(), at: 0 };
    let _ = scan.value(&mut trie, Some(0), 0);
    let lines = Lines::of(text);
    let place = |(nodes, (_, at)): (Vec<usize>, &(&[Step], At))| {
        let deepest = nodes.iter().rev().map(|node| &trie.nodes[*node]).find(|node| node.value_at.is_some());
        let offset = deepest.map_or(0, |node| match at {
            At::Value => node.value_at.unwrap_or(0),
            At::Key => node.key_at.or(node.value_at).unwrap_or(0),
        });
        lines.place(text, offset)
    };
    ends.into_iter().zip(wanted).map(place).collect()
}

/// Keys that occur twice in one object, with path and place of the second one. The later one would win silently.
pub(crate) fn duplicate_keys(text: &str) -> Vec<(Vec<Step>, (usize, usize))> {
    let mut walk = Walk::default();
    let mut scan = Scan { text: text.as_bytes(), at: 0 };
    let _ = scan.duplicates(&mut walk, 0);
    if walk.found.is_empty() {
        return Vec::new();
    }
    let lines = Lines::of(text);
    walk.found.into_iter().map(|(steps, offset)| (steps, lines.place(text, offset))).collect()
}

/// serde_json's place of a syntax error (column in bytes, may be 0) in our terms.
pub(crate) fn of_syntax_error(text: &str, line: usize, column: usize) -> (usize, usize) {
    let lines = Lines::of(text);
    let line = line.clamp(1, lines.starts.len());
    let start = lines.starts[line - 1];
    lines.place(text, (start + column.saturating_sub(1)).min(text.len()))
}

/// Line and column of a byte offset.
pub(crate) fn of_offset(text: &str, offset: usize) -> (usize, usize) {
    Lines::of(text).place(text, offset.min(text.len()))
}

struct Lines {
    /// Offset of each line's first byte.
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let after_newlines = memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1);
        Self { starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    fn place(&self, text: &str, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let before = &text.as_bytes()[self.starts[line - 1]..offset];
        // Continuation bytes of UTF-8 are not characters of their own.
        let column = before.iter().filter(|byte| **byte & 0xC0 != 0x80).count() + 1;
        (line, column)
    }
}

/// The wanted paths, shared prefixes once.
struct Trie {
    nodes: Vec<TrieNode>,
}

#[derive(Default)]
struct TrieNode {
    children: HashMap<Step, usize>,
    value_at: Option<usize>,
    key_at: Option<usize>,
}

impl Trie {
    /// The nodes along the path, the root first.
    fn insert(&mut self, steps: &[Step]) -> Vec<usize> {
        let mut nodes = vec![0];
        let mut node = 0;
        for step in steps {
            node = match self.nodes[node].children.get(step) {
                Some(child) => *child,
                None => {
                    let child = self.nodes.len();
                    self.nodes.push(TrieNode::default());
                    self.nodes[node].children.insert(step.clone(), child);
                    child
                }
            };
            nodes.push(node);
        }
        nodes
    }

    fn child(&self, node: Option<usize>, step: impl FnOnce() -> Step) -> Option<usize> {
        let children = &self.nodes[node?].children;
        if children.is_empty() { None } else { children.get(&step()).copied() }
    }
}

/// State of the search for keys that occur twice; borrows from the text so that nothing is copied on the way.
#[derive(Default)]
struct Walk<'t> {
    path: Vec<RawStep<'t>>,
    seen: Vec<Cow<'t, [u8]>>,
    found: Vec<(Vec<Step>, usize)>,
}

enum RawStep<'t> {
    Key(Cow<'t, [u8]>),
    Index(usize),
}

impl Walk<'_> {
    fn steps(&self) -> Vec<Step> {
        let own = |step: &RawStep<'_>| match step {
            RawStep::Key(key) => Step::Key(String::from_utf8_lossy(key).into_owned()),
            RawStep::Index(index) => Step::Index(*index),
        };
        self.path.iter().map(own).collect()
    }
}

struct Scan<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Scan<'t> {
    /// Walks over one value and notes where the wanted parts of it begin.
    fn value(&mut self, trie: &mut Trie, node: Option<usize>, depth: usize) -> Option<()> {
        let first = self.skip_space()?;
        if let Some(node) = node {
            trie.nodes[node].value_at = Some(self.at);
        }
        match first {
            b'{' | b'[' if depth >= DEPTH_MAX => None,
            b'{' => {
                self.at += 1;
                while self.more(b'}')? {
                    let key_at = self.at;
                    let raw = self.string()?;
                    let child = trie.child(node, || Step::Key(unescape(raw)));
                    if let Some(child) = child {
                        trie.nodes[child].key_at = Some(key_at);
                    }
                    self.colon()?;
                    self.value(trie, child, depth + 1)?;
                }
                Some(())
            }
            b'[' => {
                self.at += 1;
                let mut index = 0;
                while self.more(b']')? {
                    let child = trie.child(node, || Step::Index(index));
                    self.value(trie, child, depth + 1)?;
                    index += 1;
                }
                Some(())
            }
            _ => self.scalar(first),
        }
    }

    /// Walks over one value and notes the keys that occur twice.
    ///
    /// `seen` is a stack that all objects share: the keys of the innermost one lie at its end.
    fn duplicates(&mut self, walk: &mut Walk<'t>, depth: usize) -> Option<()> {
        let first = self.skip_space()?;
        match first {
            b'{' | b'[' if depth >= DEPTH_MAX => None,
            b'{' => {
                self.at += 1;
                let base = walk.seen.len();
                let mut many: HashSet<Cow<'t, [u8]>> = HashSet::new();
                while self.more(b'}')? {
                    let key_at = self.at;
                    let key = unescape_cow(self.string()?);
                    // Most objects have few members, so that a search in place beats a table.
                    let is_new = if many.is_empty() && walk.seen.len() - base < 16 {
                        let is_new = !walk.seen[base..].contains(&key);
                        walk.seen.push(key.clone());
                        is_new
                    } else {
                        if many.is_empty() {
                            many.extend(walk.seen[base..].iter().cloned());
                        }
                        many.insert(key.clone())
                    };
                    walk.path.push(RawStep::Key(key));
                    if !is_new {
                        walk.found.push((walk.steps(), key_at));
                    }
                    self.colon()?;
                    self.duplicates(walk, depth + 1)?;
                    walk.path.pop();
                }
                walk.seen.truncate(base);
                Some(())
            }
            b'[' => {
                self.at += 1;
                let mut index = 0;
                while self.more(b']')? {
                    walk.path.push(RawStep::Index(index));
                    self.duplicates(walk, depth + 1)?;
                    walk.path.pop();
                    index += 1;
                }
                Some(())
            }
            _ => self.scalar(first),
        }
    }

    /// Whether another element follows inside a container; steps over its comma, or over the closing bracket.
    fn more(&mut self, close: u8) -> Option<bool> {
        match self.skip_space()? {
            byte if byte == close => {
                self.at += 1;
                Some(false)
            }
            b',' => {
                self.at += 1;
                self.skip_space()?;
                Some(true)
            }
            _ => Some(true),
        }
    }

    fn colon(&mut self) -> Option<()> {
        if self.skip_space()? != b':' {
            return None;
        }
        self.at += 1;
        Some(())
    }

    fn skip_space(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// A string's raw content without its quotes.
    fn string(&mut self) -> Option<&'t [u8]> {
        if *self.text.get(self.at)? != b'"' {
            return None;
        }
        let start = self.at + 1;
        let mut end = start;
        loop {
            end += memchr::memchr2(b'"', b'\\', self.text.get(end..)?)?;
            if self.text[end] == b'"' {
                self.at = end + 1;
                return Some(&self.text[start..end]);
            }
            end += 2;
        }
    }

    fn scalar(&mut self, first: u8) -> Option<()> {
        if first == b'"' {
            return self.string().map(|_| ());
        }
        let start = self.at;
        while self.text.get(self.at).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
        {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

fn unescape(raw: &[u8]) -> String {
    String::from_utf8_lossy(&unescape_cow(raw)).into_owned()
}

fn unescape_cow(raw: &[u8]) -> Cow<'_, [u8]> {
    if raw.contains(&b'\\') {
        let quoted = [b"\"", raw, b"\""].concat();
        if let Ok(text) = serde_json::from_slice::<String>(&quoted) {
            return Cow::Owned(text.into_bytes());
        }
    }
    Cow::Borrowed(raw)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn key(name: &str) -> Step {
        Step::Key(name.to_owned())
    }

    const TEXT: &str = "{\n  \"port\": 80,\n  \"tls\": { \"certFile\": \"ä\", \"n\\u0061me\" : [1, {\"x\": [ ]},\"\\\"}\" ] },\n\t\"é\": true }\n";

    #[test]
    fn paths_are_found_where_an_editor_shows_them() {
        for (steps, at, place) in [
            (vec![], At::Value, (1, 1)),
            (vec![key("port")], At::Value, (2, 11)),
            (vec![key("port")], At::Key, (2, 3)),
            (vec![key("tls"), key("certFile")], At::Value, (3, 24)),
            (vec![key("tls"), key("name")], At::Key, (3, 29)),
            (vec![key("tls"), key("name"), Step::Index(0)], At::Value, (3, 44)),
            (vec![key("tls"), key("name"), Step::Index(1), key("x")], At::Value, (3, 53)),
            (vec![key("tls"), key("name"), Step::Index(2)], At::Value, (3, 58)),
            (vec![key("é")], At::Value, (4, 7)),
            // What is not there is placed at its nearest ancestor.
            (vec![key("tls"), key("keyFile")], At::Value, (3, 10)),
            (vec![key("nothing"), Step::Index(7)], At::Value, (1, 1)),
        ] {
            assert_eq!(locate(TEXT, &[(&steps, at)]), [place], "{steps:?} {at:?}");
        }
    }

    #[test]
    fn many_paths_are_found_in_one_pass_in_any_order() {
        let (late, early) = ([key("é")], [key("port")]);
        assert_eq!(locate(TEXT, &[(&late, At::Value), (&early, At::Value)]), [(4, 7), (2, 11)]);
    }

    #[test]
    fn a_key_that_stands_twice_is_reported_at_its_second_place() {
        let text = "{\"a\": 1,\n \"b\": {\"x\":1, \"\\u0078\": 2},\n \"a\": 2}";
        let found = duplicate_keys(text);
        assert_eq!(found, [(vec![key("b"), key("x")], (2, 15)), (vec![key("a")], (3, 2))]);
        let many: Vec<String> = (0..40).map(|n| format!("\"k{n}\":0")).collect();
        assert!(duplicate_keys(&format!("{{{}}}", many.join(","))).is_empty());
        let again = format!("{{{},\"k3\":1}}", many.join(","));
        assert_eq!(duplicate_keys(&again).len(), 1);
    }

    #[test]
    fn syntax_errors_keep_a_line_that_exists() {
        for (text, place) in
            [("", (1, 1)), ("{", (1, 1)), ("{\n", (2, 1)), ("{\n \"é\" x}", (2, 6)), ("[1,\n2,,]", (2, 3))]
        {
            let error = serde_json::from_str::<Value>(text).expect_err(text);
            let (line, column) = of_syntax_error(text, error.line(), error.column());
            assert_eq!((line, column), place, "{text:?} {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_scanned_without_harm(text in "[\\[\\]{}\",:\\\\a0 \n]{0,60}") {
            let steps = [key("a"), Step::Index(0)];
            let places = locate(&text, &[(&steps, At::Value), (&steps[..1], At::Key)]);
            let lines = text.split('\n').count();
            prop_assert!(places.iter().all(|(line, _)| *line <= lines));
            let _ = duplicate_keys(&text);
        }
    }
}
