//! Clients that call until they are stopped or their gateway dies.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::wire::find;
use super::{PATIENCE, eventually, post};

/// One answer as far as it came.
pub struct Seen {
    pub status: u16,
    /// The value of `x-routerly-trace-id`.
    pub trace: String,
    /// The body was there to its end, or a stream to its end mark.
    pub finished: bool,
}

/// Sends a request and reads its answer, however far the gateway gets; none when not even a head came.
pub fn try_call(stream: &mut TcpStream, request: &[u8]) -> Option<Seen> {
    stream.write_all(request).ok()?;
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    let head_end = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut piece) {
            Ok(count @ 1..) => bytes.extend_from_slice(&piece[..count]),
            _ => return None,
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap().to_ascii_lowercase();
    let field = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    };
    let trace = field("x-routerly-trace-id:").unwrap_or_default();
    let status = head[9..12].parse().unwrap();
    let length: Option<usize> = field("content-length:").map(|length| length.parse().unwrap());
    loop {
        let body = &bytes[head_end..];
        let whole = match length {
            Some(length) => body.len() >= length,
            None => body.ends_with(b"0\r\n\r\n"),
        };
        if whole {
            return Some(Seen { status, trace, finished: true });
        }
        match stream.read(&mut piece) {
            Ok(count @ 1..) => bytes.extend_from_slice(&piece[..count]),
            _ => {
                let finished = length.is_none() && find(body, b"data: [DONE]\n\n").is_some();
                return Some(Seen { status, trace, finished });
            }
        }
    }
}

/// Opens a connection whose reads end at some time.
pub fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    Some(stream)
}

/// A chat request; `stream` asks for a stream.
pub fn chat(model: &str, stream: bool) -> Vec<u8> {
    let body = json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hello!"}]});
    post("/v1/chat/completions", "", &body)
}

/// Clients on threads of their own, each on one connection, unary and streaming in turns.
pub struct Load {
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    stop: AtomicBool,
    answers: AtomicUsize,
    finished: Mutex<Vec<String>>,
    trouble: Mutex<Vec<String>>,
}

impl Load {
    /// Starts `clients` of them.
    pub fn start(address: SocketAddr, clients: usize, model: &str) -> Self {
        let state = Arc::<State>::default();
        let requests = Arc::new([chat(model, false), chat(model, true)]);
        let threads = (0..clients)
            .map(|_| {
                let (state, requests) = (Arc::clone(&state), Arc::clone(&requests));
                std::thread::spawn(move || run(address, &state, &requests))
            })
            .collect();
        Self { state, threads }
    }

    /// Waits until the clients together have seen `count` more answers end.
    pub fn wait_for_more(&self, count: usize) {
        let goal = self.state.answers.load(Ordering::SeqCst) + count;
        eventually("more answers", || {
            let enough = self.state.answers.load(Ordering::SeqCst) >= goal;
            (enough || !self.state.trouble.lock().unwrap().is_empty()).then_some(())
        });
    }

    /// Lets the clients finish what they have begun; gives the trace ids of all answers that ended, and what went wrong.
    pub fn stop(self) -> (Vec<String>, Vec<String>) {
        self.state.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        let take = |list: &Mutex<Vec<String>>| std::mem::take(&mut *list.lock().unwrap());
        (take(&self.state.finished), take(&self.state.trouble))
    }
}

fn run(address: SocketAddr, state: &State, requests: &[Vec<u8>; 2]) {
    let trouble = |text: String| state.trouble.lock().unwrap().push(text);
    let Some(mut stream) = connect(address) else { return trouble("no connection".to_owned()) };
    for number in 0.. {
        if state.stop.load(Ordering::SeqCst) {
            return;
        }
        let seen = try_call(&mut stream, &requests[number % 2]);
        if let Some(seen) = seen.as_ref().filter(|seen| seen.finished) {
            state.finished.lock().unwrap().push(seen.trace.clone());
            state.answers.fetch_add(1, Ordering::SeqCst);
        }
        match seen {
            Some(Seen { status: 200, finished: true, .. }) => {}
            Some(seen) => return trouble(format!("{} {}", seen.status, seen.finished)),
            None => return trouble("no answer".to_owned()),
        }
    }
}

/// Trace ids of records, each of which must be there once.
pub fn traces(records: &[Value]) -> HashSet<String> {
    let mut ids = HashSet::new();
    let mut traces = HashSet::new();
    for record in records {
        assert!(ids.insert(record["id"].as_str().unwrap()), "twice: {record}");
        assert!(traces.insert(record["traceId"].as_str().unwrap().to_owned()), "twice: {record}");
    }
    traces
}
