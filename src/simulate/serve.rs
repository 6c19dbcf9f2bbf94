//! The simulated provider over a connection: a small server of its own, on a socket or behind a pipe.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::{Action, Cut, EventPlan, Fault, SimBody, SimReply, SimRequest, Simulator};
use crate::clock;
use crate::guard::guard;
use crate::http1::writer;
use crate::http1::{BodyDecoder, Framing, Method, RequestSlots, Step, Version, parse_request};
use crate::limits::SIMULATED_BODY_BYTES_MAX;
use crate::net::{BufferPool, Conn, Input};

/// A simulator and the number of its next request.
#[derive(Debug)]
pub struct Served {
    simulator: Simulator,
    sequence: Cell<u64>,
    first: u64,
    step: u64,
    buffers: BufferPool,
}

impl Served {
    /// A simulator that is served by one of `step` cores: each takes every `step`-th number, from `first` on.
    pub fn new(simulator: Simulator, first: u64, step: u64, buffers: BufferPool) -> Rc<Self> {
        Rc::new(Self { simulator, sequence: Cell::new(0), first, step, buffers })
    }

    fn next_sequence(&self) -> u64 {
        let number = self.sequence.get();
        self.sequence.set(number + 1);
        self.first.wrapping_add(number.wrapping_mul(self.step))
    }
}

/// Serves `conn` in a task of its own.
pub fn spawn(served: Rc<Served>, conn: Conn) {
    monoio::spawn(async move {
        // A panic shows as a closed connection, as with any provider.
        let _ = guard(Box::pin(run(&served, conn))).await;
    });
}

/// What becomes of the connection.
enum After {
    KeepAlive,
    Close,
    /// Closed in the middle of a body.
    Cut,
    Reset,
    Stall,
}

async fn run(served: &Served, mut conn: Conn) {
    let mut input = Input::default();
    loop {
        let Ok(Some(after)) = one_request(served, &mut conn, &mut input).await else { return };
        match after {
            After::KeepAlive => {}
            After::Close | After::Cut => return conn.close_gracefully(Duration::from_secs(1)).await,
            After::Reset => return conn.reset(),
            After::Stall => {
                // Nothing more is said; the client decides when it has waited enough.
                while !matches!(input.fill(&mut conn, &served.buffers).await, Ok(0) | Err(_)) {
                    let early = input.bytes().len();
                    input.consume(early);
                }
                return;
            }
        }
    }
}

/// `None`: the client closed between two requests.
async fn one_request(served: &Served, conn: &mut Conn, input: &mut Input) -> io::Result<Option<After>> {
    loop {
        let mut slots = RequestSlots::new();
        let malformed = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        match parse_request(input.bytes(), &mut slots).map_err(|error| malformed(error.text()))? {
            Some(head) => {
                let owned = OwnedHead {
                    method: head.method.as_str().to_owned(),
                    path: head.path.to_owned(),
                    query: head.query.map(str::to_owned),
                    fields: head
                        .fields
                        .iter()
                        .map(|field| (field.name().to_owned(), field.value().to_vec()))
                        .collect(),
                    is_head: head.method == Method::Head,
                    http10: head.version == Version::Http10,
                    keep_alive: head.keep_alive,
                };
                let (framing, expects, head_bytes) = (head.framing, head.expect_continue, head.head_bytes);
                input.consume(head_bytes);
                if expects && input.is_empty() {
                    conn.write_all(writer::CONTINUE).await?;
                }
                let body = read_body(served, conn, input, framing).await?;
                return answer(served, conn, &owned, &body).await.map(Some);
            }
            None => {
                if input.fill(conn, &served.buffers).await? == 0 {
                    return Ok(None);
                }
            }
        }
    }
}

struct OwnedHead {
    method: String,
    path: String,
    query: Option<String>,
    fields: Vec<(String, Vec<u8>)>,
    is_head: bool,
    http10: bool,
    keep_alive: bool,
}

async fn read_body(
    served: &Served,
    conn: &mut Conn,
    input: &mut Input,
    framing: Framing,
) -> io::Result<Vec<u8>> {
    let mut decoder = BodyDecoder::new(framing);
    let mut body = Vec::new();
    loop {
        let bytes = input.bytes();
        match decoder.step(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.text()))? {
            Step::Data(range) => {
                if body.len() + range.len() > SIMULATED_BODY_BYTES_MAX {
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the body is too large"));
                }
                body.extend_from_slice(&bytes[range.clone()]);
                input.consume(range.end);
            }
            Step::End(used) => {
                input.consume(used);
                return Ok(body);
            }
            Step::NeedMore => {
                let used = bytes.len();
                input.consume(used);
                if input.fill(conn, &served.buffers).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

async fn answer(served: &Served, conn: &mut Conn, head: &OwnedHead, body: &[u8]) -> io::Result<After> {
    let fields: Vec<(&str, &[u8])> =
        head.fields.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let request = SimRequest {
        method: &head.method,
        path: &head.path,
        query: head.query.as_deref(),
        headers: &fields,
        body,
        unix_seconds: clock::unix_ms() / 1000,
    };
    let SimReply { status, headers, body } = served.simulator.answer(&request, served.next_sequence());
    let mut out = Vec::with_capacity(1024);
    match body {
        SimBody::Reset { after } => {
            pause(after).await;
            Ok(After::Reset)
        }
        SimBody::Whole { after, bytes, cut } => {
            pause(after).await;
            begin(&mut out, status, &headers, head.keep_alive);
            if !matches!(status, 204 | 304) {
                writer::content_length(&mut out, bytes.len() as u64);
            }
            writer::end(&mut out);
            if head.is_head {
                conn.write_all(&out).await?;
                return Ok(keep(head));
            }
            let Some(Cut { at, fault }) = cut else {
                conn.write_parts(&[&out, &bytes]).await?;
                return Ok(keep(head));
            };
            conn.write_parts(&[&out, &bytes[..at.min(bytes.len())]]).await?;
            Ok(broken(fault))
        }
        SimBody::Stream(plan) => {
            begin(&mut out, status, &headers, head.keep_alive && !head.http10);
            if !head.http10 {
                writer::transfer_encoding_chunked(&mut out);
            }
            writer::end(&mut out);
            stream(conn, plan, out, head).await
        }
    }
}

fn begin(out: &mut Vec<u8>, status: u16, headers: &[(&'static str, String)], keep_alive: bool) {
    writer::status_line(out, status);
    for (name, value) in headers {
        writer::own_field(out, name, value.as_bytes());
    }
    if !keep_alive {
        writer::connection_close(out);
    }
}

fn keep(head: &OwnedHead) -> After {
    if head.keep_alive { After::KeepAlive } else { After::Close }
}

fn broken(fault: Fault) -> After {
    match fault {
        Fault::Reset => After::Reset,
        Fault::Close => After::Cut,
        Fault::Stall => After::Stall,
    }
}

/// Events that are due at once go out in one write, as with a provider that computes faster than it sends.
async fn stream(
    conn: &mut Conn,
    mut plan: EventPlan,
    mut out: Vec<u8>,
    head: &OwnedHead,
) -> io::Result<After> {
    let mut events = Vec::with_capacity(512);
    loop {
        events.clear();
        let Some(step) = plan.next(&mut events) else { return Ok(After::Close) };
        if !step.wait.is_zero() || out.len() >= crate::limits::READ_BUFFER_BYTES / 2 {
            if !out.is_empty() {
                conn.write_all(&out).await?;
                out.clear();
            }
            pause(step.wait).await;
        }
        match step.action {
            Action::Send => {
                if head.http10 {
                    out.extend_from_slice(&events);
                } else {
                    writer::chunk_header(&mut out, events.len() as u64);
                    out.extend_from_slice(&events);
                    out.extend_from_slice(writer::CRLF);
                }
            }
            Action::End | Action::Truncate => {
                if !head.http10 {
                    out.extend_from_slice(writer::LAST_CHUNK);
                }
                conn.write_all(&out).await?;
                return Ok(if head.http10 { After::Close } else { keep(head) });
            }
            Action::Fail(fault) => {
                conn.write_all(&out).await?;
                return Ok(broken(fault));
            }
        }
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        monoio::time::sleep(time).await;
    }
}
