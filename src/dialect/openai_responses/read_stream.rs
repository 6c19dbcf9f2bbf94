//! A provider's stream to the events of the shared form.
//!
//! ```text
//! Waiting ──any event of a response──▶ Running ──completed, incomplete──▶ Over
//!    └──────error, response.failed, no JSON, end of the body──────────────▶ Over
//! ```
//!
//! Items are told apart by `output_index`: some proxies change ids on the way. One item streams at a time; events of
//! another one that a server mixes in are kept, within bounds, until the first is done. What deltas left out is taken
//! from the events that repeat the whole: a part's, then the item's, then the response's.

use std::collections::VecDeque;

use super::read_event::{Block, Members, Step, offset_of, units};
use super::read_output::{
    ContentPart, Item, ItemKind, PartKind, Response, Status, ThoughtSource, broken, nameless, read_citation,
    text_of, thought_break,
};
use crate::dialect::context::Ids;
use crate::dialect::ir::{CallKind, Citation, Event, Fault, Opening, Text, Vendor};
use crate::dialect::openai;
use crate::json::scan;
use crate::json::token::Value;
use crate::limits::{INTERLEAVED_BYTES_MAX, INTERLEAVED_ITEMS_MAX};

type Emit<'e> = dyn FnMut(Event<'_>) + 'e;

/// Reads one stream.
#[derive(Debug)]
pub(in crate::dialect) struct StreamReader {
    vendor: Vendor,
    ids: Ids,
    phase: Phase,
    /// The item that streams.
    current: Option<Current>,
    /// Items that have begun since, in the order of their beginning.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// The greatest `output_index` that has begun.
    last_index: Option<u64>,
    /// A block was opened; a call was.
    anything: bool,
    calls: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No event yet.
    Waiting,
    /// `Start` was given.
    Running,
    /// `End` or `Fail` was given.
    Over,
}

/// The item that streams, and what of it has been given.
#[derive(Debug)]
struct Current {
    index: u64,
    /// The open block.
    block: Option<Block>,
    /// The part (`content_index`, `summary_index`) whose text was given last.
    part: u64,
    /// UTF-16 units given of that part.
    units: u64,
    /// Parts below this one are over, or the open one.
    parts_begun: u64,
    /// Citations given of that part.
    citations: usize,
    /// Tokens of that part were given.
    has_logprobs: bool,
    /// Its text was said to be complete: another item may take its turn.
    is_complete: bool,
}

/// Events of an item that has begun while another one streams.
#[derive(Debug)]
struct Waiting {
    index: u64,
    /// Their data, one behind the other.
    data: Vec<u8>,
    /// What each is, and where its data ends.
    events: Vec<(Step, usize)>,
}

impl StreamReader {
    /// A reader at the start of a stream. `vendor` is whose proofs come; `ids` are for calls that have none.
    pub(in crate::dialect) fn new(vendor: Vendor, ids: Ids) -> Self {
        Self {
            vendor,
            ids,
            phase: Phase::Waiting,
            current: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            last_index: None,
            anything: false,
            calls: false,
        }
    }

    /// Takes in one event. Unknown ones are passed over.
    pub(in crate::dialect) fn event(&mut self, name: &[u8], data: &[u8], emit: &mut Emit<'_>) {
        if self.phase == Phase::Over || data.trim_ascii() == b"[DONE]" {
            return;
        }
        let Some(members) = Members::read(data) else {
            return self.fail(broken("an event of the provider's stream is not valid JSON"), emit);
        };
        let is_name = name.starts_with(b"response.") || name == b"error";
        let kind = if is_name { name } else { members.kind };
        let result = match kind.strip_prefix(b"response.") {
            Some(rest) => self.of_response(rest, &members, data, emit),
            // The SDKs' type has the fields at the top, the wire has them under `error`.
            None if kind == b"error" || (kind.is_empty() && members.error.is_some()) => {
                let fault = members.error.as_ref().map(|error| openai::read_error(200, error));
                Err(fault.unwrap_or_else(|| openai::read_fault(200, data)))
            }
            None => Ok(()),
        };
        if let Err(fault) = result {
            self.fail(fault, emit);
        }
    }

    /// Takes in the event `response.<kind>`.
    fn of_response<'a>(
        &mut self,
        kind: &[u8],
        members: &Members<'a>,
        data: &'a [u8],
        emit: &mut Emit<'_>,
    ) -> Result<(), Fault<'a>> {
        match (Step::of(kind), Status::parse(kind)) {
            (Some(step), _) => {
                self.start(None, emit);
                self.route(step, members, data, emit)
            }
            (None, Some(Status::Pending)) => {
                self.start(members.response.as_ref(), emit);
                Ok(())
            }
            (None, Some(status)) => self.last(status, members.response.as_ref(), emit),
            (None, None) if kind == b"created" => {
                if self.last_index.is_some() {
                    return Err(broken("the provider's stream began anew in the middle"));
                }
                self.start(members.response.as_ref(), emit);
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    /// The body has ended.
    pub(in crate::dialect) fn end(&mut self, emit: &mut Emit<'_>) {
        if self.phase != Phase::Over {
            self.fail(broken("the provider's stream ended in the middle"), emit);
        }
    }

    fn fail(&mut self, fault: Fault<'_>, emit: &mut Emit<'_>) {
        self.phase = Phase::Over;
        self.waiting.clear();
        emit(Event::Fail(fault));
    }

    fn start(&mut self, response: Option<&Value<'_>>, emit: &mut Emit<'_>) {
        if self.phase == Phase::Waiting {
            self.phase = Phase::Running;
            let response = response.and_then(|response| Response::read(response.raw)).unwrap_or_default();
            let Response { id, model, created, .. } = response;
            emit(Event::Start { id, model, created, usage: None });
        }
    }

    /// The event that ends the stream and repeats all of it.
    fn last<'a>(
        &mut self,
        status: Status,
        response: Option<&Value<'a>>,
        emit: &mut Emit<'_>,
    ) -> Result<(), Fault<'a>> {
        let mut read = response.and_then(|response| Response::read(response.raw)).unwrap_or_default();
        read.status = Some(status);
        if matches!(status, Status::Completed | Status::Incomplete) && read.error.is_none() {
            self.start(response, emit);
            self.complete(read.output.as_ref(), emit)?;
        }
        let finish = read.finish(self.calls, self.anything)?;
        emit(Event::Finish { choice: 0, finish });
        if let Some(usage) = read.usage {
            emit(Event::Usage(usage));
        }
        emit(Event::End);
        self.phase = Phase::Over;
        Ok(())
    }

    /// Ends the items that are not over, with what `output` has of them.
    fn complete(&mut self, output: Option<&Value<'_>>, emit: &mut Emit<'_>) -> Result<(), Fault<'static>> {
        while let Some(current) = &self.current {
            let item = output.and_then(|output| element(output, current.index));
            let item = item.as_ref().map(Item::read).unwrap_or_default();
            if current.block.is_none_or(|block| block.is_of(item.kind)) {
                self.item_done(&item, emit)?;
            }
            self.drop_item(emit);
            self.take_turns(emit)?;
        }
        let Some(output) = output.filter(|_| !self.anything) else { return Ok(()) };
        // Nothing but the last event has come.
        let (mut index, mut result) = (0, Ok(()));
        let _ = scan::elements(output.raw, |value| {
            if result.is_ok() {
                self.begin(index);
                result = self.item_done(&Item::read(&value), emit);
            }
            index += 1;
        });
        result
    }

    /// Gives an event to the item it is about, or keeps it until that item's turn.
    fn route(
        &mut self,
        step: Step,
        members: &Members<'_>,
        data: &[u8],
        emit: &mut Emit<'_>,
    ) -> Result<(), Fault<'static>> {
        let index = members.index;
        // A server that counts wrongly begins a second item under the same number.
        let begins = step == Step::ItemAdded || self.last_index.is_none_or(|last| index > last);
        while let Some(current) = &self.current {
            let is_same = current.index == index;
            if is_same && step != Step::ItemAdded {
                self.apply(step, members, emit)?;
                return self.take_turns(emit);
            }
            if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.index == index) {
                waiting.push(step, data);
                self.waiting_bytes += data.len();
                return self.check_waiting();
            }
            if !begins {
                return Ok(());
            }
            if !is_same && !current.is_complete {
                let mut waiting = Waiting { index, data: Vec::new(), events: Vec::new() };
                waiting.push(step, data);
                self.waiting.push_back(waiting);
                self.waiting_bytes += data.len();
                self.last_index = self.last_index.max(Some(index));
                return self.check_waiting();
            }
            self.drop_item(emit);
            self.take_turns(emit)?;
        }
        if begins {
            self.begin(index);
            self.apply(step, members, emit)?;
        }
        Ok(())
    }

    fn check_waiting(&self) -> Result<(), Fault<'static>> {
        if self.waiting_bytes > INTERLEAVED_BYTES_MAX || self.waiting.len() > INTERLEAVED_ITEMS_MAX {
            return Err(broken("the provider's stream mixes too much of its items"));
        }
        Ok(())
    }

    fn begin(&mut self, index: u64) {
        self.last_index = self.last_index.max(Some(index));
        self.current = Some(Current {
            index,
            block: None,
            part: 0,
            units: 0,
            parts_begun: 0,
            citations: 0,
            has_logprobs: false,
            is_complete: false,
        });
    }

    /// Ends the turn of the item that streams.
    fn drop_item(&mut self, emit: &mut Emit<'_>) {
        self.close_block(emit);
        self.current = None;
    }

    /// Where no item streams, gives the turn to those that waited, until one of them is not over yet.
    fn take_turns(&mut self, emit: &mut Emit<'_>) -> Result<(), Fault<'static>> {
        while self.current.is_none()
            && let Some(waiting) = self.waiting.pop_front()
        {
            self.waiting_bytes -= waiting.data.len();
            self.begin(waiting.index);
            let mut start = 0;
            for (step, end) in waiting.events {
                let members = Members::read(&waiting.data[start..end]).unwrap_or_default();
                start = end;
                if self.current.is_some() {
                    self.apply(step, &members, emit)?;
                }
            }
        }
        Ok(())
    }

    /// Takes in an event about the item that streams.
    fn apply(
        &mut self,
        step: Step,
        members: &Members<'_>,
        emit: &mut Emit<'_>,
    ) -> Result<(), Fault<'static>> {
        let object = members.object.as_ref();
        match step {
            Step::ItemAdded => {
                let item = object.map(Item::read).unwrap_or_default();
                match item.kind {
                    ItemKind::Call(kind) => self.open_call(&item, kind, emit),
                    ItemKind::Message | ItemKind::Reasoning => {}
                    // Its own events are unknown; what comes meanwhile need not wait for it.
                    ItemKind::Other => self.drop_item(emit),
                }
            }
            Step::Delta(block) => {
                if let Some(text) = members.delta.as_ref().and_then(text_of) {
                    let has_any = self.tell_logprobs(members.logprobs.as_ref(), emit);
                    self.piece(block, members.part_index, text, emit);
                    if let Some(current) = &mut self.current {
                        current.has_logprobs |= has_any;
                    }
                }
            }
            Step::Done(block) => {
                if let Some(text) = members.whole.as_ref().and_then(text_of) {
                    self.fill(block, members.part_index, &text, emit);
                }
                // A proof comes with the item's last event.
                let is_thought = matches!(block, Block::Thinking(_)) && self.vendor != Vendor::Other;
                self.set_complete(!is_thought);
            }
            Step::PartDone => {
                if let Some(part) = object {
                    self.part_done(members.part_index, &ContentPart::read(part), emit);
                }
            }
            Step::Annotation => {
                if let Some(citation) = object.and_then(read_citation) {
                    self.cite(citation, emit);
                }
            }
            Step::ItemDone => {
                let item = object.map(Item::read).unwrap_or_default();
                self.item_done(&item, emit)?;
                self.drop_item(emit);
            }
        }
        Ok(())
    }

    /// A piece of text: opens its block if need be.
    fn piece(&mut self, block: Block, part: u64, text: Text<'_>, emit: &mut Emit<'_>) {
        if !text.is_empty() && self.open(block, part, emit) {
            let Some(current) = &mut self.current else { return };
            current.units += units(text.escaped());
            current.is_complete = false;
            emit(Event::Delta { choice: 0, text });
        }
    }

    /// The whole text of a part: gives what is missing.
    fn fill(&mut self, block: Block, part: u64, whole: &Text<'_>, emit: &mut Emit<'_>) {
        let Some(current) = &self.current else { return };
        let is_open = current.block == Some(block) && (block == Block::Call || current.part == part);
        let given = if is_open { current.units } else { 0 };
        if let Some(at) = offset_of(whole.escaped(), given)
            && let Some(rest) = whole.slice(at..whole.escaped().len())
        {
            self.piece(block, part, rest, emit);
        }
    }

    /// Makes the block of `part` the open one. Whether it is.
    fn open(&mut self, block: Block, part: u64, emit: &mut Emit<'_>) -> bool {
        let Some(current) = &mut self.current else { return false };
        match (block, current.block) {
            // Only the item says what is called.
            (Block::Call, open) => return open == Some(Block::Call),
            (Block::Thinking(_), open @ Some(Block::Thinking(_))) => {
                if open != Some(block) || part < current.part {
                    return false;
                }
                if part > current.part {
                    (current.part, current.units) = (part, 0);
                    emit(Event::Delta { choice: 0, text: thought_break() });
                }
                return true;
            }
            (_, open) if open == Some(block) && part == current.part => return true,
            (_, _) if part < current.parts_begun => return false,
            (_, _) => {}
        }
        self.close_block(emit);
        let Some(current) = &mut self.current else { return false };
        (current.block, current.part, current.units, current.citations) = (Some(block), part, 0, 0);
        current.has_logprobs = false;
        current.parts_begun = part.saturating_add(1);
        self.anything = true;
        let block = match block {
            Block::Text => Opening::Text,
            Block::Refusal => Opening::Refusal,
            Block::Thinking(_) | Block::Call => Opening::Thinking,
        };
        emit(Event::Open { choice: 0, block });
        true
    }

    /// Opens a call, once its name is known.
    fn open_call(&mut self, item: &Item<'_>, kind: CallKind, emit: &mut Emit<'_>) {
        let Some(current) = &mut self.current else { return };
        let Some(name) = item.name.clone().filter(|_| current.block.is_none()) else { return };
        current.block = Some(Block::Call);
        (self.anything, self.calls) = (true, true);
        let id = item.call_id.clone().unwrap_or_else(|| Text::from(self.ids.make("call_")));
        emit(Event::Open { choice: 0, block: Opening::Call { id, name, kind } });
    }

    fn part_done(&mut self, place: u64, part: &ContentPart<'_>, emit: &mut Emit<'_>) {
        let block = match part.kind {
            PartKind::Text => Block::Text,
            PartKind::Refusal => Block::Refusal,
            PartKind::Thought => {
                return self.fill(Block::Thinking(ThoughtSource::Content), place, &part.text, emit);
            }
            PartKind::Other => return,
        };
        if !self.current.as_ref().is_some_and(|current| current.has_logprobs && current.part == place) {
            self.tell_logprobs(part.logprobs.as_ref(), emit);
        }
        self.fill(block, place, &part.text, emit);
        let is_open = |current: &Current| current.block == Some(block) && current.part == place;
        if !self.current.as_ref().is_some_and(is_open) {
            return;
        }
        let given = self.current.as_ref().map_or(0, |current| current.citations);
        let mut seen = 0;
        part.citations(|citation| {
            seen += 1;
            if seen > given {
                self.cite(citation, emit);
            }
        });
        self.close_block(emit);
        self.set_complete(true);
    }

    /// Gives the tokens of a text, if there are any. Whether there are.
    fn tell_logprobs(&self, list: Option<&Value<'_>>, emit: &mut Emit<'_>) -> bool {
        let mut tokens = Vec::new();
        list.into_iter().for_each(|list| openai::read_logprobs(list, &mut tokens));
        let has_any = !tokens.is_empty();
        if has_any {
            emit(Event::Logprobs { choice: 0, tokens });
        }
        has_any
    }

    fn set_complete(&mut self, is_complete: bool) {
        if let Some(current) = &mut self.current {
            current.is_complete = is_complete;
        }
    }

    fn cite(&mut self, citation: Citation<'_>, emit: &mut Emit<'_>) {
        if let Some(current) = &mut self.current
            && current.block == Some(Block::Text)
        {
            current.citations += 1;
            emit(Event::Cite { choice: 0, citation });
        }
    }

    /// The whole item: gives what is missing of it.
    fn item_done(&mut self, item: &Item<'_>, emit: &mut Emit<'_>) -> Result<(), Fault<'static>> {
        match item.kind {
            ItemKind::Message => item.parts(|place, part| self.part_done(place, part, emit)),
            ItemKind::Reasoning => {
                let open = self.current.as_ref().and_then(|current| current.block);
                let source = match open {
                    Some(Block::Thinking(source)) => source,
                    _ => item.thought_source(),
                };
                let block = Block::Thinking(source);
                item.thoughts(source, |place, text| self.fill(block, place, &text, emit));
                if let Some(proof) = item.proof(self.vendor) {
                    // Hidden thoughts have no text, but a proof.
                    let is_open = |current: &Current| matches!(current.block, Some(Block::Thinking(_)));
                    if self.current.as_ref().is_some_and(is_open) || self.open(block, 0, emit) {
                        emit(Event::Proof { choice: 0, proof });
                    }
                }
            }
            ItemKind::Call(kind) => {
                self.open_call(item, kind, emit);
                let is_open = |current: &Current| current.block == Some(Block::Call);
                if !self.current.as_ref().is_some_and(is_open) {
                    return Err(nameless());
                }
                if let Some(input) = &item.input {
                    self.fill(Block::Call, 0, input, emit);
                }
            }
            ItemKind::Other => {}
        }
        self.close_block(emit);
        Ok(())
    }

    fn close_block(&mut self, emit: &mut Emit<'_>) {
        if let Some(current) = &mut self.current
            && current.block.take().is_some()
        {
            emit(Event::Close { choice: 0 });
        }
    }
}

impl Waiting {
    fn push(&mut self, step: Step, data: &[u8]) {
        self.data.extend_from_slice(data);
        self.events.push((step, self.data.len()));
    }
}

/// The element at `index` of an array.
fn element<'a>(array: &Value<'a>, index: u64) -> Option<Value<'a>> {
    let (mut at, mut found) = (0, None);
    let _ = scan::elements(array.raw, |value| {
        if at == index {
            found = Some(value);
        }
        at += 1;
    });
    found
}

#[cfg(test)]
#[path = "read_stream_tests.rs"]
mod tests;
