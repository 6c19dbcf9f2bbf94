//! A stream of this dialect, event by event, into the shared form.
//!
//! ```text
//! Waiting ──message_start──▶ Running ──message_stop──▶ Over
//!    └────────── error, what nobody can read, a second start ─────────┘
//! ```
//!
//! Blocks are carried one by one as they stand. Blocks of built-in tools and of compaction are left out, with all that
//! comes for them. The end is said at `message_stop`, because `message_delta` may come more than once. Rules: the
//! project's dialect mapping, sections 10 to 12.

use super::fault;
use super::fields::{lenient, read_citation, text};
use super::finish::Ending;
use super::tap::Counts;
use crate::dialect::context::Ids;
use crate::dialect::ir::{Arguments, CallKind, Citation, Event, Fault, Opening, Proof, Raw, Text, Vendor};
use crate::json::scan;
use crate::json::text::char_count;
use crate::json::token::{Kind, Value};
use crate::limits::BLOCK_CITATIONS_MAX;

/// Takes a stream in. What follows its end, or its failure, is ignored.
#[derive(Debug)]
pub(in crate::dialect) struct StreamReader {
    vendor: Vendor,
    ids: Ids,
    state: State,
    open: Option<Block>,
    /// Index of the block that was opened last.
    last_index: Option<u64>,
    counts: Counts,
    ending: Ending<'static>,
    has_content: bool,
    has_calls: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Over,
}

/// The block that is open.
#[derive(Debug)]
struct Block {
    index: Option<u64>,
    kind: BlockKind,
    /// A call's input as its start had it, for servers that send no pieces.
    input: Option<Text<'static>>,
    /// Its proof, said at its end.
    signature: Option<Text<'static>>,
    /// Its sources, said at its end.
    citations: Vec<Citation<'static>>,
    /// Characters of text so far.
    chars: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockKind {
    Text,
    Thinking,
    Redacted,
    Call,
    /// Left out.
    Other,
}

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

/// What one event could not be read for.
type Read = Result<(), Fault<'static>>;

const UNREADABLE: &str = "the provider sent an event that cannot be read";

impl StreamReader {
    /// A reader at the start of a stream; `vendor` makes its proofs.
    pub(in crate::dialect) fn new(vendor: Vendor, ids: Ids) -> Self {
        Self {
            vendor,
            ids,
            state: State::Waiting,
            open: None,
            last_index: None,
            counts: Counts::default(),
            ending: Ending::default(),
            has_content: false,
            has_calls: false,
        }
    }

    /// Takes in one event. `name` is its `event` field, empty where there was none.
    pub(in crate::dialect) fn event(&mut self, name: &[u8], data: &[u8], emit: Emit<'_>) {
        if self.state == State::Over {
            return;
        }
        let read = match name {
            b"content_block_delta" => self.delta(data, emit),
            b"content_block_start" => self.block_start(data, emit),
            b"content_block_stop" => self.block_stop(data, emit),
            b"message_start" => self.start(data, emit),
            b"message_delta" => self.message_delta(data),
            b"message_stop" => self.stop(emit),
            b"ping" => {
                emit(Event::Ping);
                Ok(())
            }
            b"error" => {
                self.error(data, emit);
                Ok(())
            }
            // Servers that name no events, or all of them `message`, say the type in the data.
            b"" | b"message" => {
                let kind = scan::member(data, "type").and_then(|kind| kind.plain_string());
                match kind {
                    Some(kind) if !matches!(kind, b"" | b"message") => return self.event(kind, data, emit),
                    Some(_) => Ok(()),
                    None => Err(fault::broken(UNREADABLE)),
                }
            }
            _ => Ok(()),
        };
        if let Err(fault) = read {
            self.fail(fault, emit);
        }
    }

    /// The body is over.
    pub(in crate::dialect) fn end(&mut self, emit: Emit<'_>) {
        if self.state != State::Over {
            self.fail(fault::broken("the provider's stream ended before it was complete"), emit);
        }
    }

    fn fail(&mut self, fault: Fault<'_>, emit: Emit<'_>) {
        self.state = State::Over;
        emit(Event::Fail(fault));
    }

    fn error(&mut self, data: &[u8], emit: Emit<'_>) {
        let fault = match scan::member(data, "error") {
            Some(error) => fault::read_error(&error),
            None => fault::read_fault(0, data),
        };
        self.fail(fault, emit);
    }

    fn start(&mut self, data: &[u8], emit: Emit<'_>) -> Read {
        if self.state != State::Waiting {
            return Err(fault::broken("the provider began a second message in one stream"));
        }
        let [message] = lenient(data, ["message"]).ok_or(fault::broken(UNREADABLE))?;
        let [id, model, usage] =
            message.and_then(|message| lenient(message.raw, ["id", "model", "usage"])).unwrap_or_default();
        if let Some(usage) = usage {
            self.counts.read(usage.raw);
        }
        self.begin(text(id.as_ref()), text(model.as_ref()), emit);
        Ok(())
    }

    fn begin(&mut self, id: Option<Text<'_>>, model: Option<Text<'_>>, emit: Emit<'_>) {
        self.state = State::Running;
        emit(Event::Start { id, model, created: None, usage: self.counts.usage() });
    }

    /// A stream without `message_start` begins with its first block.
    fn begun(&mut self, emit: Emit<'_>) {
        if self.state == State::Waiting {
            self.begin(None, None, emit);
        }
    }

    fn block_start(&mut self, data: &[u8], emit: Emit<'_>) -> Read {
        let [index, block] = lenient(data, ["index", "content_block"]).ok_or(fault::broken(UNREADABLE))?;
        let index = index.and_then(|index| index.as_count());
        if let (Some(index), Some(last)) = (index, self.last_index)
            && index <= last
        {
            return Err(fault::broken("the provider began a block with an index that was used before"));
        }
        self.begun(emit);
        self.close(emit);
        self.last_index = index.or(self.last_index);
        const NAMES: [&str; 8] = ["type", "text", "thinking", "signature", "data", "id", "name", "input"];
        let [kind, said, thought, signature, data, id, name, input] =
            block.and_then(|block| lenient(block.raw, NAMES)).ok_or(fault::broken(UNREADABLE))?;
        let kind = match kind.as_ref().and_then(Value::plain_string) {
            Some(b"text") => BlockKind::Text,
            Some(b"thinking") => BlockKind::Thinking,
            Some(b"redacted_thinking") => BlockKind::Redacted,
            Some(b"tool_use") => BlockKind::Call,
            _ => BlockKind::Other,
        };
        let opening = match kind {
            BlockKind::Text => Opening::Text,
            BlockKind::Thinking => Opening::Thinking,
            BlockKind::Redacted => Opening::Redacted(self.proof(text(data.as_ref()).unwrap_or_default())),
            BlockKind::Call => Opening::Call {
                id: text(id.as_ref())
                    .filter(|id| !id.is_empty())
                    .unwrap_or_else(|| self.ids.make("toolu_").into()),
                name: text(name.as_ref()).unwrap_or_default(),
                kind: CallKind::Function,
            },
            BlockKind::Other => {
                self.open = Some(Block::new(index, kind));
                return Ok(());
            }
        };
        self.open_block(index, kind, opening, emit);
        match kind {
            BlockKind::Text => self.piece(text(said.as_ref()), emit),
            BlockKind::Thinking => {
                self.piece(text(thought.as_ref()), emit);
                self.set_signature(text(signature.as_ref()));
            }
            BlockKind::Call => {
                let input = input.filter(|input| input.kind == Kind::Object && !is_empty_object(input.raw));
                let input = input.and_then(|input| Raw::from_scanned(input.raw));
                if let (Some(input), Some(block)) = (input, &mut self.open) {
                    block.input = Some(Arguments::Object(input).as_text().into_owned());
                }
            }
            BlockKind::Redacted | BlockKind::Other => {}
        }
        Ok(())
    }

    fn open_block(&mut self, index: Option<u64>, kind: BlockKind, block: Opening<'_>, emit: Emit<'_>) {
        self.has_content = true;
        self.has_calls |= kind == BlockKind::Call;
        self.open = Some(Block::new(index, kind));
        emit(Event::Open { choice: 0, block });
    }

    fn delta(&mut self, data: &[u8], emit: Emit<'_>) -> Read {
        let [index, delta] = lenient(data, ["index", "delta"]).ok_or(fault::broken(UNREADABLE))?;
        const NAMES: [&str; 6] = ["type", "text", "thinking", "partial_json", "signature", "citation"];
        let [kind, said, thought, input, signature, citation] =
            delta.and_then(|delta| lenient(delta.raw, NAMES)).ok_or(fault::broken(UNREADABLE))?;
        let index = index.and_then(|index| index.as_count());
        let (wanted, piece) = match kind.as_ref().and_then(Value::plain_string) {
            Some(b"text_delta") => (BlockKind::Text, said),
            Some(b"thinking_delta") => (BlockKind::Thinking, thought),
            Some(b"input_json_delta") => (BlockKind::Call, input),
            Some(b"signature_delta") => {
                self.set_signature(text(signature.as_ref()));
                return Ok(());
            }
            Some(b"citations_delta") => {
                self.set_citation(citation);
                return Ok(());
            }
            _ => return Ok(()),
        };
        match &self.open {
            Some(block) if block.is_other(index) => {
                Err(fault::broken("the provider sent a piece of a block that is not open"))
            }
            Some(block) if block.kind == wanted => {
                self.piece(text(piece.as_ref()), emit);
                Ok(())
            }
            Some(Block { kind: BlockKind::Other, .. }) => Ok(()),
            // Servers that open no block, or another one, show by the piece what it is.
            _ if wanted != BlockKind::Call => {
                self.begun(emit);
                self.close(emit);
                let opening = if wanted == BlockKind::Text { Opening::Text } else { Opening::Thinking };
                self.open_block(index, wanted, opening, emit);
                self.piece(text(piece.as_ref()), emit);
                Ok(())
            }
            _ => Err(fault::broken("the provider sent the input of a call that is not open")),
        }
    }

    /// Passes on a piece of the open block.
    fn piece(&mut self, piece: Option<Text<'_>>, emit: Emit<'_>) {
        let (Some(text), Some(block)) = (piece.filter(|piece| !piece.is_empty()), &mut self.open) else {
            return;
        };
        block.input = None;
        if block.kind == BlockKind::Text {
            block.chars = block.chars.saturating_add(char_count(text.escaped().as_bytes()));
        }
        emit(Event::Delta { choice: 0, text });
    }

    fn set_signature(&mut self, signature: Option<Text<'_>>) {
        if let (Some(block), Some(signature)) = (&mut self.open, signature.filter(|text| !text.is_empty()))
            && block.kind == BlockKind::Thinking
        {
            block.signature = Some(signature.into_owned());
        }
    }

    fn set_citation(&mut self, citation: Option<Value<'_>>) {
        let Some(block) = &mut self.open else { return };
        if block.kind == BlockKind::Text
            && block.citations.len() < BLOCK_CITATIONS_MAX
            && let Some(citation) = citation.and_then(|citation| read_citation(citation.raw, None))
        {
            let Citation { url, title, chars } = citation;
            let title = title.map(Text::into_owned);
            block.citations.push(Citation { url: url.into_owned(), title, chars });
        }
    }

    fn block_stop(&mut self, data: &[u8], emit: Emit<'_>) -> Read {
        let [index] = lenient(data, ["index"]).ok_or(fault::broken(UNREADABLE))?;
        let index = index.and_then(|index| index.as_count());
        if self.open.as_ref().is_some_and(|block| !block.is_other(index)) {
            self.close(emit);
        }
        Ok(())
    }

    /// Ends the open block with what was kept for its end.
    fn close(&mut self, emit: Emit<'_>) {
        let Some(block) = self.open.take() else { return };
        if block.kind == BlockKind::Other {
            return;
        }
        if let Some(text) = block.input {
            emit(Event::Delta { choice: 0, text });
        }
        if let Some(signature) = block.signature {
            let proof = self.proof(signature);
            emit(Event::Proof { choice: 0, proof });
        }
        for citation in block.citations {
            let citation = Citation { chars: Some((0, block.chars)), ..citation };
            emit(Event::Cite { choice: 0, citation });
        }
        emit(Event::Close { choice: 0 });
    }

    fn proof<'t>(&self, data: Text<'t>) -> Proof<'t> {
        Proof { vendor: self.vendor, item_id: None, data }
    }

    fn message_delta(&mut self, data: &[u8]) -> Read {
        let [delta, usage] = lenient(data, ["delta", "usage"]).ok_or(fault::broken(UNREADABLE))?;
        if let Some(usage) = usage {
            self.counts.read(usage.raw);
        }
        let mut ending = Ending::default();
        if let Some(delta) = delta {
            ending.read(delta.raw);
        }
        self.ending.update(ending);
        Ok(())
    }

    fn stop(&mut self, emit: Emit<'_>) -> Read {
        self.begun(emit);
        self.close(emit);
        self.state = State::Over;
        let finish = std::mem::take(&mut self.ending).finish(self.has_content, self.has_calls);
        emit(Event::Finish { choice: 0, finish });
        if let Some(usage) = self.counts.usage() {
            emit(Event::Usage(usage));
        }
        emit(Event::End);
        Ok(())
    }
}

impl Block {
    fn new(index: Option<u64>, kind: BlockKind) -> Self {
        Self { index, kind, input: None, signature: None, citations: Vec::new(), chars: 0 }
    }

    /// Whether an event with this index is about another block.
    fn is_other(&self, index: Option<u64>) -> bool {
        self.index.is_some() && index.is_some() && self.index != index
    }
}

fn is_empty_object(raw: &[u8]) -> bool {
    raw.iter().all(|byte| matches!(byte, b'{' | b'}') || byte.is_ascii_whitespace())
}
