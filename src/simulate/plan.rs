//! A stream before it is sent: what each event says and how long to wait for it.
//!
//! Owns the order of events, their pace and the fault that may end them early. What happens once (the opening,
//! the end, a tool call's head) is written into an arena when the plan is made; the many deltas between are a
//! template each, filled as they are asked for: two copies and a few words per event.
//!
//! ```text
//! arena   │event│event│…prefix…│…suffix…│event│…
//! pieces  Event Event  Deltas{ prefix · words · suffix } × n   Event …
//! ```

use std::ops::Range;
use std::time::Duration;

use super::completion::{Passage, Source};
use super::pen::{Pen, escape};
use super::random::Random;
use super::settings::SimulatedSettings;
use super::words::Walk;

/// What to do after the wait of a [`Step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send what was appended to the buffer: one event.
    Send,
    /// The stream is whole: finish the body in order. Last step.
    End,
    /// Finish the body in order, although the dialect's end marker was not sent. Last step.
    Truncate,
    /// End the connection by one of the faults. Last step.
    Fail(Fault),
}

/// How a connection goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Reset it (RST): linger zero and close.
    Reset,
    /// Close it in order (FIN) with the body's framing unfinished.
    Close,
    /// Send nothing more and keep it open until the other side ends it.
    Stall,
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How long after the step before; zero if nothing is to be waited for.
    pub wait: Duration,
    /// What to do then.
    pub action: Action,
}

/// Where and how a stream departs from its plan.
#[derive(Debug, Clone)]
pub(super) struct Departure {
    pub(super) after_events: u64,
    pub(super) how: How,
}

/// The ways of departing.
#[derive(Debug, Clone)]
pub(super) enum How {
    Fault(Fault),
    Truncate,
    /// The dialect's error events, then the end of the body.
    Error(Vec<u8>),
}

/// One part of a delta's template.
#[derive(Debug, Clone)]
enum Part {
    /// Bytes of the arena.
    Fixed(Range<usize>),
    /// The tokens of this event.
    Passage,
    /// The number of this event, from 0.
    EventNumber,
    /// Tokens sent so far, this event's included, on top of `base`.
    TokensSent { base: u64 },
    /// Up to 15 spaces, as Anthropic sends them.
    Padding,
    /// A field of random length that hides the length of the text, as OpenAI sends it.
    Obfuscation,
    /// What stands before the item of an array: its bracket before the first event's, else a comma.
    BracketOrComma,
}

/// A run of deltas of one text.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    parts: Vec<Part>,
    source: LaneSource,
    left: u64,
    sent: u64,
}

#[derive(Debug, Clone)]
enum LaneSource {
    Words(Walk),
    /// Text of the arena that is still to be sent.
    Literal(Range<usize>),
}

#[derive(Debug, Clone)]
enum Piece {
    Event(Range<usize>),
    /// Lanes take turns, as the choices of a chat completion do.
    Deltas {
        lanes: Vec<Lane>,
        turn: usize,
    },
}

/// How long things take.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    first_ns: f64,
    token_ns: f64,
    jitter: f64,
    random: Random,
}

impl Pace {
    pub(super) fn new(settings: &SimulatedSettings, random: Random) -> Self {
        let per_second = settings.tokens_per_second;
        let token_ns = if per_second > 0.0 { 1e9 / per_second } else { 0.0 };
        Self { first_ns: settings.ttft_ms as f64 * 1e6, token_ns, jitter: settings.jitter, random }
    }

    fn stray(&mut self, mean_ns: f64) -> Duration {
        if mean_ns <= 0.0 {
            return Duration::ZERO;
        }
        let jitter = self.jitter.clamp(0.0, 1.0);
        let factor = if jitter > 0.0 { 1.0 + jitter * (2.0 * self.random.unit() - 1.0) } else { 1.0 };
        // A cast of a float saturates, so that an absurd setting is an absurd wait and no panic.
        Duration::from_nanos((mean_ns * factor) as u64)
    }

    /// The wait for the first token.
    pub(super) fn first(&mut self) -> Duration {
        self.stray(self.first_ns)
    }

    /// The wait for `tokens` more.
    pub(super) fn tokens(&mut self, tokens: u64) -> Duration {
        self.stray(self.token_ns * tokens as f64)
    }
}

/// Makes an [`EventPlan`] event by event.
#[derive(Debug)]
pub(super) struct PlanBuilder {
    arena: Vec<u8>,
    pieces: Vec<Piece>,
    events: u64,
    chunk_tokens: u64,
}

impl PlanBuilder {
    pub(super) fn new(chunk_tokens: u64) -> Self {
        Self {
            arena: Vec::with_capacity(2048),
            pieces: Vec::new(),
            events: 0,
            chunk_tokens: chunk_tokens.max(1),
        }
    }

    /// Events planned so far, which is the number of the next.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Adds one event as `write` writes it.
    pub(super) fn event(&mut self, write: impl FnOnce(&mut Pen<'_>)) {
        let start = self.arena.len();
        write(&mut Pen(&mut self.arena));
        self.pieces.push(Piece::Event(start..self.arena.len()));
        self.events += 1;
    }

    /// The template of the deltas of `passage`, as `write` lays it out.
    pub(super) fn lane(&mut self, passage: &Passage, write: impl FnOnce(&mut Template<'_>)) -> Lane {
        let source = match &passage.source {
            Source::Words { start } => LaneSource::Words(Walk::new(*start)),
            Source::Literal(text) => {
                let start = self.arena.len();
                self.arena.extend_from_slice(text.as_bytes());
                LaneSource::Literal(start..self.arena.len())
            }
        };
        let mut template = Template { arena: &mut self.arena, parts: Vec::with_capacity(4) };
        write(&mut template);
        Lane { parts: template.parts, source, left: passage.tokens, sent: 0 }
    }

    /// Adds the deltas of `lanes`, in turns.
    pub(super) fn deltas(&mut self, lanes: Vec<Lane>) {
        let events: u64 = lanes.iter().map(|lane| lane.left.div_ceil(self.chunk_tokens)).sum();
        if events > 0 {
            self.events += events;
            self.pieces.push(Piece::Deltas { lanes, turn: 0 });
        }
    }

    /// The plan, at the pace given.
    pub(super) fn build(self, pace: Pace) -> EventPlan {
        EventPlan {
            arena: self.arena,
            pieces: self.pieces,
            at: 0,
            chunk_tokens: self.chunk_tokens,
            events: self.events,
            sent: 0,
            pace,
            first_delta_sent: false,
            departure: None,
            over: false,
        }
    }
}

/// Lays out the fixed and the changing parts of a delta.
pub(super) struct Template<'a> {
    arena: &'a mut Vec<u8>,
    parts: Vec<Part>,
}

impl Template<'_> {
    /// What is the same in every event.
    pub(super) fn fixed(&mut self, write: impl FnOnce(&mut Pen<'_>)) -> &mut Self {
        let start = self.arena.len();
        write(&mut Pen(self.arena));
        self.parts.push(Part::Fixed(start..self.arena.len()));
        self
    }

    /// The inside of the JSON string with this event's tokens.
    pub(super) fn passage(&mut self) -> &mut Self {
        self.parts.push(Part::Passage);
        self
    }

    /// This event's number.
    pub(super) fn event_number(&mut self) -> &mut Self {
        self.parts.push(Part::EventNumber);
        self
    }

    /// The running count of tokens, on top of `base`.
    pub(super) fn tokens_sent(&mut self, base: u64) -> &mut Self {
        self.parts.push(Part::TokensSent { base });
        self
    }

    /// Spaces that mean nothing.
    pub(super) fn padding(&mut self) -> &mut Self {
        self.parts.push(Part::Padding);
        self
    }

    /// The field `obfuscation`, with a comma before it.
    pub(super) fn obfuscation(&mut self) -> &mut Self {
        self.parts.push(Part::Obfuscation);
        self
    }

    /// What opens or divides an array.
    pub(super) fn bracket_or_comma(&mut self) -> &mut Self {
        self.parts.push(Part::BracketOrComma);
        self
    }
}

/// A stream to be played: ask for the [`next`](Self::next) step until there is none.
#[derive(Debug)]
pub struct EventPlan {
    arena: Vec<u8>,
    pieces: Vec<Piece>,
    /// The piece that is being sent.
    at: usize,
    chunk_tokens: u64,
    events: u64,
    sent: u64,
    pace: Pace,
    /// The first token was waited for already, before the stream's first event.
    first_delta_sent: bool,
    departure: Option<Departure>,
    over: bool,
}

impl EventPlan {
    /// Events of the whole stream, its end marker included and faults left out of account.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Lets the stream depart from its plan.
    pub(super) fn depart(&mut self, departure: Departure) {
        self.departure = Some(departure);
    }

    /// The next step; `None` after the last. With [`Action::Send`] one event was appended to `out`, nothing else
    /// is ever written there. `out` is not cleared, so that a caller may gather events that are due together.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Option<Step> {
        if self.over {
            return None;
        }
        if self.departure.as_ref().is_some_and(|departure| departure.after_events <= self.sent)
            && let Some(departure) = self.departure.take()
        {
            return Some(self.leave(departure, out));
        }
        let wait = if self.sent == 0 { self.pace.first() } else { Duration::ZERO };
        let Some(piece) = self.pieces.get_mut(self.at) else {
            self.over = true;
            return Some(Step { wait, action: Action::End });
        };
        let wait = match piece {
            Piece::Event(range) => {
                out.extend_from_slice(&self.arena[range.clone()]);
                self.at += 1;
                wait
            }
            Piece::Deltas { lanes, turn } => {
                let tokens = write_delta(lanes, turn, self.chunk_tokens, self.sent, &self.arena, out);
                if lanes.iter().all(|lane| lane.left == 0) {
                    self.at += 1;
                }
                // The first token is what the time to first token is about: no second wait for it.
                let pause = if self.first_delta_sent { self.pace.tokens(tokens) } else { Duration::ZERO };
                self.first_delta_sent = true;
                wait + pause
            }
        };
        self.sent += 1;
        Some(Step { wait, action: Action::Send })
    }

    fn leave(&mut self, departure: Departure, out: &mut Vec<u8>) -> Step {
        let wait = if self.sent == 0 { self.pace.first() } else { Duration::ZERO };
        let action = match departure.how {
            How::Fault(fault) => Action::Fail(fault),
            How::Truncate => Action::Truncate,
            How::Error(events) => {
                out.extend_from_slice(&events);
                self.sent += 1;
                self.at = self.pieces.len();
                Action::Send
            }
        };
        self.over = action != Action::Send;
        Step { wait, action }
    }
}

/// Appends the next delta of the lane whose turn it is and says how many tokens it has.
fn write_delta(
    lanes: &mut [Lane],
    turn: &mut usize,
    chunk_tokens: u64,
    event: u64,
    arena: &[u8],
    out: &mut Vec<u8>,
) -> u64 {
    let count = lanes.len();
    while lanes[*turn].left == 0 {
        *turn = (*turn + 1) % count;
    }
    let lane = &mut lanes[*turn];
    *turn = (*turn + 1) % count;
    let take = chunk_tokens.min(lane.left);
    lane.left -= take;
    lane.sent += take;
    for part in &lane.parts {
        match part {
            Part::Fixed(range) => out.extend_from_slice(&arena[range.clone()]),
            Part::Passage => match &mut lane.source {
                LaneSource::Words(walk) => walk.write_json(take, out),
                LaneSource::Literal(range) => {
                    let end =
                        if lane.left == 0 { range.end } else { after_chars(arena, range.clone(), take * 4) };
                    escape(&arena[range.start..end], out);
                    range.start = end;
                }
            },
            Part::EventNumber => {
                Pen(out).num(event);
            }
            Part::TokensSent { base } => {
                Pen(out).num(base + lane.sent);
            }
            Part::Padding => {
                let spaces = (event.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60) as usize;
                out.extend_from_slice(&b"               "[..spaces]);
            }
            Part::Obfuscation => {
                const LETTERS: &[u8; 31] = b"kQ7vXe2LrT9mZwB4uYc1HsJd8NfPa5G";
                let hash = event.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let (start, length) = ((hash >> 60) as usize, 1 + ((hash >> 52) & 15) as usize);
                out.extend_from_slice(b",\"obfuscation\":\"");
                out.extend_from_slice(&LETTERS[start..start + length.min(LETTERS.len() - start)]);
                out.push(b'"');
            }
            Part::BracketOrComma if event == 0 => out.push(b'['),
            Part::BracketOrComma => out.extend_from_slice(b",\r\n"),
        }
    }
    take
}

/// Where `count` characters of the UTF-8 text in `range` end.
fn after_chars(arena: &[u8], range: Range<usize>, count: u64) -> usize {
    let mut chars = 0;
    for at in range.clone() {
        let starts_a_char = arena[at] & 0xC0 != 0x80;
        if starts_a_char && chars == count {
            return at;
        }
        chars += u64::from(starts_a_char);
    }
    range.end
}
