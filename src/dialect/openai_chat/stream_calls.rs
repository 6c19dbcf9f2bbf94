//! The calls of one answer in a stream of chat: put in order, one open at a time.
//!
//! Servers number calls, or do not, or give all the same number; some mix the pieces of several calls. The call whose turn
//! it is goes on as it comes; pieces of later ones wait until it is complete, which shows in its arguments: they are JSON.
//!
//! ```text
//! Named ──arguments begin, or the answer goes on──▶ Open ──arguments complete and another call, or the answer goes on──▶ Closed
//! ```

use crate::dialect::context::Ids;
use crate::dialect::ir::{CallKind, Event, Fault, FaultCase, Opening, Proof, Text, Vendor};
use crate::limits::{CHAT_CALLS_MAX, CHAT_WAITING_BYTES_MAX};

/// What one delta says of a call.
#[derive(Debug, Default)]
pub(super) struct Piece<'a> {
    pub(super) index: Option<u64>,
    pub(super) id: Option<Text<'a>>,
    pub(super) name: Option<Text<'a>>,
    /// `None` where the delta has no such member.
    pub(super) arguments: Option<Text<'a>>,
    pub(super) is_custom: bool,
    /// Google's.
    pub(super) signature: Option<Text<'a>>,
}

impl Piece<'_> {
    /// Whether it says nothing: servers written in Go send empty members.
    pub(super) fn is_empty(&self) -> bool {
        let no_arguments = self.arguments.as_ref().is_none_or(Text::is_empty);
        no_arguments && self.id.is_none() && self.name.is_none() && self.signature.is_none()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Named,
    Open,
    Closed,
}

#[derive(Debug)]
struct Call {
    index: Option<u64>,
    id: Text<'static>,
    name: Text<'static>,
    kind: CallKind,
    stage: Stage,
    /// Arguments that came before its turn.
    waiting: Text<'static>,
    /// Whether its arguments have begun, if only with nothing.
    begun: bool,
    depth: Depth,
    signature: Option<Text<'static>>,
}

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    /// The call whose turn it is: the first that is not closed.
    turn: usize,
    /// Bytes kept.
    held: usize,
}

/// Where events of one answer go.
pub(super) struct Sink<'s> {
    pub(super) choice: u32,
    pub(super) ids: &'s mut Ids,
    pub(super) emit: &'s mut dyn FnMut(Event<'_>),
}

impl Calls {
    /// Whether there has been one.
    pub(super) fn any(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Takes in one piece, which says something.
    ///
    /// # Errors
    /// The server mixes calls in a way that cannot be put in order, or beyond the limits.
    pub(super) fn piece(&mut self, piece: Piece<'_>, sink: &mut Sink<'_>) -> Result<(), Fault<'static>> {
        let arguments = piece.arguments.as_ref().map_or("", Text::escaped);
        let at = match self.find(&piece) {
            Some(at) => at,
            None => self.begin(&piece)?,
        };
        let has_arguments = !arguments.is_empty();
        self.hold(piece.signature.as_ref().map_or(0, |text| text.escaped().len()))?;
        let call = &mut self.calls[at];
        if call.stage == Stage::Closed {
            return if has_arguments { Err(broken("went back to a call that was over")) } else { Ok(()) };
        }
        if let Some(signature) = piece.signature {
            call.signature = Some(signature.into_owned());
        }
        call.begun |= piece.arguments.is_some();
        let arguments = piece.arguments.unwrap_or_default();
        if at == self.turn && call.begun {
            open(call, sink)?;
            push(call, &arguments, sink);
        } else {
            self.hold(arguments.escaped().len())?;
            self.calls[at].waiting.push(&arguments);
        }
        self.advance(sink)
    }

    /// The call that a piece belongs to; `None`: a new one.
    fn find(&mut self, piece: &Piece<'_>) -> Option<usize> {
        let calls = &self.calls;
        let at = match (piece.index, &piece.id) {
            (Some(index), id) => {
                let at = calls.iter().rposition(|call| call.index == Some(index))?;
                let is_other = id.as_ref().is_some_and(|id| !calls[at].id.is_empty() && calls[at].id != *id);
                if is_other && piece.name.is_some() {
                    return None;
                }
                at
            }
            (None, Some(id)) => calls.iter().rposition(|call| call.id == *id)?,
            // A name without an id or a number is another call; arguments alone go on with the last one.
            (None, None) if piece.name.is_some() => return None,
            (None, None) => calls.len().checked_sub(1)?,
        };
        let call = &mut self.calls[at];
        if call.stage == Stage::Named && !call.begun {
            // Names come in pieces as well; a whole name said again is no piece.
            if let Some(name) = piece.name.as_ref().filter(|name| **name != call.name) {
                call.name.push(name);
            }
            if let Some(id) = piece.id.as_ref().filter(|_| call.id.is_empty()) {
                call.id = id.borrow().into_owned();
            }
        }
        Some(at)
    }

    fn begin(&mut self, piece: &Piece<'_>) -> Result<usize, Fault<'static>> {
        if self.calls.len() == CHAT_CALLS_MAX {
            return Err(broken("made too many calls"));
        }
        let owned = |text: &Option<Text<'_>>| {
            text.as_ref().map_or(Text::default(), |text| text.borrow().into_owned())
        };
        let (id, name) = (owned(&piece.id), owned(&piece.name));
        self.hold(id.escaped().len() + name.escaped().len())?;
        self.calls.push(Call {
            index: piece.index,
            id,
            name,
            kind: if piece.is_custom { CallKind::Custom } else { CallKind::Function },
            stage: Stage::Named,
            waiting: Text::default(),
            begun: false,
            depth: Depth::default(),
            signature: None,
        });
        Ok(self.calls.len() - 1)
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Fault<'static>> {
        self.held += bytes;
        if self.held > CHAT_WAITING_BYTES_MAX { Err(broken("mixed calls that are too long")) } else { Ok(()) }
    }

    /// Passes the turn on while another call waits for it and the present one is complete.
    fn advance(&mut self, sink: &mut Sink<'_>) -> Result<(), Fault<'static>> {
        while self.turn + 1 < self.calls.len() && self.calls[self.turn].is_complete() {
            self.close_turn(sink)?;
            let next = &mut self.calls[self.turn];
            if next.begun {
                open(next, sink)?;
                let waiting = std::mem::take(&mut next.waiting);
                self.held -= waiting.escaped().len().min(self.held);
                push(next, &waiting, sink);
            }
        }
        Ok(())
    }

    fn close_turn(&mut self, sink: &mut Sink<'_>) -> Result<(), Fault<'static>> {
        let call = &mut self.calls[self.turn];
        open(call, sink)?;
        let waiting = std::mem::take(&mut call.waiting);
        push(call, &waiting, sink);
        let choice = sink.choice;
        if let Some(data) = call.signature.take() {
            (sink.emit)(Event::Proof {
                choice,
                proof: Proof { vendor: Vendor::Google, item_id: None, data },
            });
        }
        (sink.emit)(Event::Close { choice });
        call.stage = Stage::Closed;
        self.turn += 1;
        Ok(())
    }

    /// The answer goes on with something else, or is over: whatever waits is sent.
    ///
    /// # Errors
    /// A call has no name.
    pub(super) fn close(&mut self, sink: &mut Sink<'_>) -> Result<(), Fault<'static>> {
        while self.turn < self.calls.len() {
            self.close_turn(sink)?;
        }
        Ok(())
    }
}

impl Call {
    fn is_complete(&self) -> bool {
        self.begun && (self.kind == CallKind::Custom || self.depth.is_complete())
    }
}

fn open(call: &mut Call, sink: &mut Sink<'_>) -> Result<(), Fault<'static>> {
    if call.stage != Stage::Named {
        return Ok(());
    }
    if call.name.is_empty() {
        return Err(broken("made a call without a name"));
    }
    if call.id.is_empty() {
        call.id = Text::from(sink.ids.make("call_"));
    }
    let block = Opening::Call { id: call.id.borrow(), name: call.name.borrow(), kind: call.kind };
    (sink.emit)(Event::Open { choice: sink.choice, block });
    call.stage = Stage::Open;
    Ok(())
}

fn push(call: &mut Call, arguments: &Text<'_>, sink: &mut Sink<'_>) {
    if !arguments.is_empty() {
        call.depth.feed(arguments.escaped());
        (sink.emit)(Event::Delta { choice: sink.choice, text: arguments.borrow() });
    }
}

pub(super) fn broken(how: &str) -> Fault<'static> {
    Fault {
        case: FaultCase::Internal,
        message: Text::from(format!("the provider {how}")),
        code: None,
        param: None,
        retry_after_s: None,
    }
}

/// How deep a JSON text is nested so far that comes as pieces of a string.
#[derive(Debug, Default)]
struct Depth {
    depth: u32,
    in_string: bool,
    after_backslash: bool,
    complete: bool,
}

impl Depth {
    /// Whether an object or array has begun and ended.
    fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes in a piece in its escaped form; no piece ends within an escape.
    fn feed(&mut self, escaped: &str) {
        let mut bytes = escaped.bytes();
        while let Some(byte) = bytes.next() {
            let said = match byte {
                b'\\' => match bytes.next() {
                    Some(b'u') => {
                        let mut code = 0;
                        for _ in 0..4 {
                            let digit = bytes.next().and_then(|digit| char::from(digit).to_digit(16));
                            code = code * 16 + digit.unwrap_or(0);
                        }
                        u8::try_from(code).unwrap_or(b'x')
                    }
                    Some(mark @ (b'"' | b'\\' | b'/')) => mark,
                    // White space, as far as JSON goes.
                    _ => b' ',
                },
                byte => byte,
            };
            self.step(said);
        }
    }

    fn step(&mut self, said: u8) {
        if self.in_string {
            let escaped = self.after_backslash;
            self.after_backslash = said == b'\\' && !escaped;
            self.in_string = said != b'"' || escaped;
            return;
        }
        match said {
            b'"' => self.in_string = true,
            b'{' | b'[' => {
                self.depth += 1;
                self.complete = false;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.complete = self.depth == 0;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_complete_when_their_object_is_closed() {
        for (escaped, complete) in [
            (r"", false),
            (r"{", false),
            (r"{}", true),
            (r#"{\"a\":\"}\"}"#, true),
            (r#"{\"a\":\"}\""#, false),
            (r#"{\"a\":\"\\\"}\"}"#, true),
            (r#"{\"a\":\"\\\\\"}"#, true),
            (r#"{\u0022a\u0022:\u0022}\u0022"#, false),
            (r#"\u007b\u0022a\u0022:[{}],\n\"b\":1\u007d"#, true),
            (r#"{\"é\":\"😀{\"} "#, true),
        ] {
            for cut in (0..=escaped.len()).filter(|cut| escaped.is_char_boundary(*cut)) {
                let (head, tail) = escaped.split_at(cut);
                if Text::from_token(format!("\"{head}\"").as_bytes())
                    .is_some_and(|text| text.decode().is_some())
                {
                    let mut depth = Depth::default();
                    depth.feed(head);
                    depth.feed(tail);
                    assert_eq!(depth.is_complete(), complete, "{escaped} cut at {cut}");
                }
            }
        }
    }
}
