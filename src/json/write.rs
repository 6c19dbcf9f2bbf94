//! Writes JSON documents member by member, without building them first.
//!
//! Owns commas, quotes and escapes; the shape is the caller's. Closures return what the caller likes, so that a writer
//! that can fail passes its error through.

use super::fragment::{Raw, Text};
use super::text;

/// Appends an object; `write` gives its members.
pub fn object<R>(out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>) -> R) -> R {
    out.push(b'{');
    let result = write(&mut Object { out, first: true });
    out.push(b'}');
    result
}

/// Appends an array; `write` gives its elements.
pub fn array<R>(out: &mut Vec<u8>, write: impl FnOnce(&mut Array<'_>) -> R) -> R {
    out.push(b'[');
    let result = write(&mut Array { out, first: true });
    out.push(b']');
    result
}

/// An object in the making.
#[derive(Debug)]
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl Object<'_> {
    /// Begins the member `name`, plain ASCII without quotes; the caller appends its value.
    pub fn member(&mut self, name: &str) -> &mut Vec<u8> {
        debug_assert!(name.bytes().all(|byte| (0x20..0x7F).contains(&byte) && !matches!(byte, b'"' | b'\\')));
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A member under a name that is JSON text already.
    pub fn named(&mut self, name: &Text<'_>, value: &Raw<'_>) {
        value.append_to(self.named_member(name));
    }

    /// Begins a member under a name that is JSON text already; the caller appends its value.
    pub fn named_member(&mut self, name: &Text<'_>) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
        name.append_to(self.out);
        self.out.push(b':');
        self.out
    }

    /// A string that is JSON text already.
    pub fn text(&mut self, name: &str, value: &Text<'_>) {
        value.append_to(self.member(name));
    }

    /// A string that has to be escaped.
    pub fn plain(&mut self, name: &str, value: &str) {
        text::append_string(self.member(name), value);
    }

    /// A whole number.
    pub fn number(&mut self, name: &str, value: u64) {
        text::append_number(self.member(name), value);
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &str, value: bool) {
        let word: &[u8] = if value { b"true" } else { b"false" };
        self.member(name).extend_from_slice(word);
    }

    /// `null`.
    pub fn null(&mut self, name: &str) {
        self.member(name).extend_from_slice(b"null");
    }

    /// Any value, as it is.
    pub fn raw(&mut self, name: &str, value: &Raw<'_>) {
        value.append_to(self.member(name));
    }

    /// JSON that the code itself spells out.
    pub fn json(&mut self, name: &str, value: &'static str) {
        self.member(name).extend_from_slice(value.as_bytes());
    }

    /// Members that are written already, joined by commas.
    pub fn run(&mut self, members: &[u8]) {
        append_run(self.out, &mut self.first, members);
    }

    /// An object.
    pub fn object<R>(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>) -> R) -> R {
        object(self.member(name), write)
    }

    /// An array.
    pub fn array<R>(&mut self, name: &str, write: impl FnOnce(&mut Array<'_>) -> R) -> R {
        array(self.member(name), write)
    }
}

/// An array in the making.
#[derive(Debug)]
pub struct Array<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl Array<'_> {
    /// Begins the next element; the caller appends its value.
    pub fn element(&mut self) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
        self.out
    }

    /// Whether it has no element yet.
    pub fn is_empty(&self) -> bool {
        self.first
    }

    /// A string that is JSON text already.
    pub fn text(&mut self, value: &Text<'_>) {
        value.append_to(self.element());
    }

    /// A string that has to be escaped.
    pub fn plain(&mut self, value: &str) {
        text::append_string(self.element(), value);
    }

    /// Any value, as it is.
    pub fn raw(&mut self, value: &Raw<'_>) {
        value.append_to(self.element());
    }

    /// Elements that are written already, joined by commas.
    pub fn run(&mut self, elements: &[u8]) {
        append_run(self.out, &mut self.first, elements);
    }

    /// An object.
    pub fn object<R>(&mut self, write: impl FnOnce(&mut Object<'_>) -> R) -> R {
        object(self.element(), write)
    }

    /// An array.
    pub fn array<R>(&mut self, write: impl FnOnce(&mut Array<'_>) -> R) -> R {
        array(self.element(), write)
    }
}

fn append_run(out: &mut Vec<u8>, first: &mut bool, run: &[u8]) {
    if run.is_empty() {
        return;
    }
    if !std::mem::replace(first, false) {
        out.push(b',');
    }
    out.extend_from_slice(run);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_out_as_they_are_described() {
        let mut out = Vec::new();
        object(&mut out, |root| {
            root.plain("a", "x\"\n");
            root.number("b", 7);
            root.object("c", |empty| empty.boolean("d", true));
            root.array("e", |list| {
                assert!(list.is_empty());
                list.plain("f");
                list.object(|_| {});
                list.array(|_| {});
                list.text(&Text::from_plain("é"));
            });
            root.null("g");
            root.json("h", "[1, 2]");
            root.named(&Text::from_plain("k\""), &Raw::from_written("1e5".to_owned()));
            root.run(b"");
            root.run(br#""l":1,"m":2"#);
            root.array("n", |list| {
                list.run(b"");
                list.run(b"1,2");
                list.run(b"3");
            });
        });
        let expected = r#"{"a":"x\"\n","b":7,"c":{"d":true},"e":["f",{},[],"é"],"g":null,"h":[1, 2],"k\"":1e5,"l":1,"m":2,"n":[1,2,3]}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
