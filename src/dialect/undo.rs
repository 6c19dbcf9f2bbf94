//! What a request writer had to change is changed back in the answer: names of functions, custom tools that were sent
//! as functions, the function that stands for the answer's form.
//!
//! It stands between a reader and a writer. A stream passes through piece by piece; where nothing is to be undone,
//! nothing is touched.

use std::borrow::Cow;

use super::context::Undo;
use super::ir::{Answer, Arguments, CallKind, Content, Event, Finish, Opening, Part, Raw, Text, ToolCall};
use crate::json::scan;
use crate::json::token::Kind;
use crate::limits::{TRANSLATED_CHOICES_MAX, UNWRAP_HEAD_BYTES_MAX};

/// What a call in the answer is for the client.
enum Meaning {
    /// A call of this function.
    Function(Option<Text<'static>>),
    /// A call of this custom tool.
    Custom(Option<Text<'static>>),
    /// The answer's text.
    Answer,
}

impl Undo {
    /// Whether answers pass as they are.
    pub(super) fn is_empty(&self) -> bool {
        self.tool_names.is_empty() && self.custom_tools.is_empty() && self.answer_tool.is_none()
    }

    /// What a call of `sent` means; the name is `None` where it stays.
    fn meaning(&self, sent: &Text<'_>) -> Meaning {
        let Some(sent) = sent.decode() else { return Meaning::Function(None) };
        if self.answer_tool.as_deref() == Some(&*sent) {
            return Meaning::Answer;
        }
        let name = self.tool_names.iter().find(|(there, _)| *there == sent);
        let name = name.map(|(_, here)| Text::from(here.clone()));
        if self.custom_tools.iter().any(|tool| *tool == sent) {
            Meaning::Custom(name)
        } else {
            Meaning::Function(name)
        }
    }

    /// Undoes a whole answer.
    pub(super) fn answer(&self, answer: &mut Answer<'_>) {
        if self.is_empty() {
            return;
        }
        for choice in &mut answer.choices {
            for part in &mut choice.parts {
                self.part(part);
            }
            let calls = choice.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
            if choice.finish == Finish::ToolCalls && !calls {
                choice.finish = Finish::Stop;
            }
        }
    }

    fn part(&self, part: &mut Part<'_>) {
        let Content::ToolCall(call) = &mut part.content else { return };
        match self.meaning(&call.name) {
            Meaning::Function(name) => rename(call, name),
            Meaning::Custom(name) => {
                rename(call, name);
                call.kind = CallKind::Custom;
                call.arguments = Arguments::Text(unwrapped(&call.arguments));
            }
            Meaning::Answer => {
                let text = match &call.arguments {
                    Arguments::Object(object) => Text::from(object.as_str().to_owned()),
                    Arguments::Text(text) => text.borrow().into_owned(),
                };
                part.content = Content::Text { text, citations: Vec::new() };
            }
        }
    }
}

fn rename(call: &mut ToolCall<'_>, name: Option<Text<'static>>) {
    if let Some(name) = name {
        call.name = name;
    }
}

/// The free text in `{"input":"…"}`; anything else stays what it is, as text.
fn unwrapped(arguments: &Arguments<'_>) -> Text<'static> {
    let object: Raw<'_> = match arguments.as_object() {
        Ok(object) => object,
        Err(_) => return arguments.as_text().into_owned(),
    };
    let input = scan::member(object.as_str().as_bytes(), "input").filter(|value| value.kind == Kind::String);
    match input.and_then(|value| Text::from_token(value.raw)) {
        Some(text) => text.into_owned(),
        None => arguments.as_text().into_owned(),
    }
}

/// [`Undo`] for a stream.
#[derive(Debug)]
pub(super) struct UndoStream {
    undo: Undo,
    choices: Vec<Choice>,
}

/// What is known of one of the answers.
#[derive(Debug)]
struct Choice {
    index: u32,
    open: Open,
    /// A call that remains one has been seen.
    calls: bool,
}

#[derive(Debug)]
enum Open {
    /// Nothing that has to be undone.
    Other,
    /// A call that is the answer's text; whether it has said anything.
    Answer { any: bool },
    /// A call whose input is unwrapped.
    Custom(Unwrap),
}

impl UndoStream {
    pub(super) fn new(undo: Undo) -> Self {
        Self { undo, choices: Vec::new() }
    }

    /// Passes `event` on as the client is to see it: once, twice, or not at all.
    pub(super) fn event(&mut self, event: Event<'_>, emit: &mut dyn FnMut(&Event<'_>)) {
        if self.undo.is_empty() {
            return emit(&event);
        }
        match event {
            Event::Open { choice, block: Opening::Call { id, name, kind } } => {
                self.open_call(choice, id, name, kind, emit);
            }
            Event::Open { choice, .. } => {
                if let Some(state) = self.state(choice) {
                    state.open = Open::Other;
                }
                emit(&event);
            }
            Event::Delta { choice, ref text } => match self.state(choice).map(|state| &mut state.open) {
                Some(Open::Custom(unwrap)) => {
                    let input = unwrap.push(text.escaped());
                    if !input.is_empty() {
                        emit(&Event::Delta { choice, text: input });
                    }
                }
                Some(Open::Answer { any }) => {
                    *any |= !text.is_empty();
                    emit(&event);
                }
                Some(Open::Other) | None => emit(&event),
            },
            Event::Close { choice } => {
                if let Some(state) = self.state(choice) {
                    match std::mem::replace(&mut state.open, Open::Other) {
                        Open::Custom(unwrap) => {
                            let rest = unwrap.finish();
                            if !rest.is_empty() {
                                emit(&Event::Delta { choice, text: rest });
                            }
                        }
                        Open::Answer { any: false } => {
                            emit(&Event::Delta { choice, text: Text::from_plain("{}") });
                        }
                        Open::Answer { any: true } | Open::Other => {}
                    }
                }
                emit(&event);
            }
            Event::Finish { choice, finish: Finish::ToolCalls } => {
                let calls = self.state(choice).is_none_or(|state| state.calls);
                let finish = if calls { Finish::ToolCalls } else { Finish::Stop };
                emit(&Event::Finish { choice, finish });
            }
            Event::Proof { choice, .. } => {
                // A text has no proof of its own.
                let is_answer = matches!(self.state(choice), Some(Choice { open: Open::Answer { .. }, .. }));
                if !is_answer {
                    emit(&event);
                }
            }
            Event::Start { .. }
            | Event::Logprobs { .. }
            | Event::Media { .. }
            | Event::Cite { .. }
            | Event::Finish { .. }
            | Event::Usage(_)
            | Event::Ping
            | Event::Fail(_)
            | Event::End => emit(&event),
        }
    }

    fn open_call(
        &mut self,
        choice: u32,
        id: Text<'_>,
        name: Text<'_>,
        kind: CallKind,
        emit: &mut dyn FnMut(&Event<'_>),
    ) {
        let meaning = self.undo.meaning(&name);
        let Some(state) = self.state(choice) else {
            return emit(&Event::Open { choice, block: Opening::Call { id, name, kind } });
        };
        let (name, kind) = match meaning {
            Meaning::Answer => {
                state.open = Open::Answer { any: false };
                return emit(&Event::Open { choice, block: Opening::Text });
            }
            Meaning::Function(changed) => {
                state.open = Open::Other;
                (changed.unwrap_or(name), kind)
            }
            Meaning::Custom(changed) => {
                state.open = Open::Custom(Unwrap::default());
                (changed.unwrap_or(name), CallKind::Custom)
            }
        };
        state.calls = true;
        emit(&Event::Open { choice, block: Opening::Call { id, name, kind } });
    }

    /// The state of an answer; `None` beyond the number of answers that anybody asks for.
    fn state(&mut self, index: u32) -> Option<&mut Choice> {
        let at = match self.choices.iter().position(|choice| choice.index == index) {
            Some(at) => at,
            None if self.choices.len() >= TRANSLATED_CHOICES_MAX => return None,
            None => {
                self.choices.push(Choice { index, open: Open::Other, calls: false });
                self.choices.len() - 1
            }
        };
        self.choices.get_mut(at)
    }
}

/// Takes the free text out of `{"input":"…"}` while it arrives in pieces.
///
/// ```text
/// Head ──{"input":"──▶ Input ──"──▶ Tail
///   └──anything else──▶ AsItIs
/// ```
///
/// A piece is JSON text in a JSON string: escaped once by the document it lies in. Undone that once, what stands between
/// the quotes of `input` is the free text, still escaped, as a [`Text`] wants it. A piece may end within an escape of that
/// inner string; such an end waits for the next piece.
#[derive(Debug, Default)]
struct Unwrap {
    state: State,
    /// In `Head`: what has come so far. In `Input`: the beginning of an escape.
    held: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    Input,
    Tail,
    AsItIs,
}

/// What the beginning of an object is.
enum Head {
    /// Too short to tell.
    More,
    /// `{"input":"`, so many bytes with white space.
    Found(usize),
    /// Something else.
    Other,
}

impl Unwrap {
    /// Takes the next piece; what it adds to the free text.
    fn push<'t>(&mut self, piece: &'t str) -> Text<'t> {
        match self.state {
            State::Tail => return Text::default(),
            State::AsItIs => return Text::from_escaped(Cow::Borrowed(piece)),
            State::Head | State::Input => {}
        }
        self.held.push_str(&unescape_once(piece));
        if self.state == State::Head {
            match head(&self.held) {
                Head::More if self.held.len() <= UNWRAP_HEAD_BYTES_MAX => return Text::default(),
                Head::More | Head::Other => {
                    self.state = State::AsItIs;
                    return Text::from(std::mem::take(&mut self.held));
                }
                Head::Found(len) => {
                    self.held.drain(..len);
                    self.state = State::Input;
                }
            }
        }
        self.input()
    }

    /// Moves what is certain out of `held`.
    fn input(&mut self) -> Text<'static> {
        let bytes = self.held.as_bytes();
        let mut at = 0;
        while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) {
            at += found;
            if bytes[at] == b'"' {
                self.state = State::Tail;
                let text = std::mem::take(&mut self.held);
                return Text::from_escaped(Cow::Owned(clean(&text[..at]).into_owned()));
            }
            match escape_len(&bytes[at..]) {
                Some(len) => at += len,
                None => break,
            }
        }
        let complete = memchr::memchr(b'\\', &bytes[at..]).map_or(bytes.len(), |found| at + found);
        let rest = self.held.split_off(complete);
        let ready = std::mem::replace(&mut self.held, rest);
        Text::from_escaped(Cow::Owned(clean(&ready).into_owned()))
    }

    /// The call is over: what was held back and never became what it was held for.
    fn finish(self) -> Text<'static> {
        match self.state {
            State::Head => Text::from(self.held),
            State::Input | State::Tail | State::AsItIs => Text::default(),
        }
    }
}

/// Length of the escape that `bytes` begins with, whether JSON knows it or not; `None` while that cannot be told.
fn escape_len(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [_, b'u', rest @ ..] => {
            let digits = rest.iter().take(4).take_while(|byte| byte.is_ascii_hexdigit()).count();
            (digits == 4 || digits < rest.len()).then_some(2 + digits)
        }
        [_, _, ..] => Some(2),
        _ => None,
    }
}

/// Makes string content that JSON takes of what a model has written as such: control characters and backslashes that
/// begin no escape are escaped.
fn clean(content: &str) -> Cow<'_, str> {
    let is_escape = |escape: &str| match escape.as_bytes() {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Some(1),
        [b'u', digits @ ..] if digits.len() >= 4 && digits[..4].iter().all(u8::is_ascii_hexdigit) => Some(5),
        _ => None,
    };
    let mut out = String::new();
    let mut clean_from = 0;
    let mut at = 0;
    while let Some(found) = content[at..].find(|c: char| c == '\\' || c < ' ') {
        at += found;
        let is_backslash = content.as_bytes()[at] == b'\\';
        if let Some(len) = is_escape(&content[at + 1..]).filter(|_| is_backslash) {
            at += 1 + len;
            continue;
        }
        out.push_str(&content[clean_from..at]);
        out.push_str(Text::from(content[at..=at].to_owned()).escaped());
        at += 1;
        clean_from = at;
    }
    if out.is_empty() && clean_from == 0 {
        return Cow::Borrowed(content);
    }
    out.push_str(&content[clean_from..]);
    Cow::Owned(out)
}

/// Whether `json` begins with `{"input":"`.
fn head(json: &str) -> Head {
    const TOKENS: [&str; 4] = ["{", "\"input\"", ":", "\""];
    let mut rest = json;
    for token in TOKENS {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        match rest.strip_prefix(token) {
            Some(behind) => rest = behind,
            None if token.starts_with(rest) => return Head::More,
            None => return Head::Other,
        }
    }
    Head::Found(json.len() - rest.len())
}

/// Undoes one level of escapes. Halves of surrogate pairs stay escaped: alone they are no characters, and what comes
/// out is JSON again, where they may stand.
fn unescape_once(escaped: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', escaped.as_bytes()).is_none() {
        return Cow::Borrowed(escaped);
    }
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        let (len, character) = match escape.as_bytes().first() {
            Some(b'n') => (1, Some('\n')),
            Some(b'r') => (1, Some('\r')),
            Some(b't') => (1, Some('\t')),
            Some(b'b') => (1, Some('\u{8}')),
            Some(b'f') => (1, Some('\u{c}')),
            Some(b'u') => {
                let digits = escape.get(1..5).and_then(|digits| u32::from_str_radix(digits, 16).ok());
                match digits {
                    Some(code) => (5, char::from_u32(code)),
                    None => (1, Some('u')),
                }
            }
            Some(byte) if byte.is_ascii() => (1, Some(char::from(*byte))),
            _ => (0, Some('\\')),
        };
        match character {
            Some(character) => out.push(character),
            None => out.push_str(&rest[at..at + 1 + len]),
        }
        rest = &escape[len..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
#[path = "undo_tests.rs"]
mod tests;
