//! A provider that answers with recorded bytes, cut where the test says.

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};

use crate::support::upstream::Connection;
use crate::support::{Client, MockUpstream};

/// One answer: everything that goes over the wire, in pieces.
pub struct Play {
    pub pieces: Vec<Vec<u8>>,
    /// Each piece is sent only after the gateway has met the one before.
    pub one_by_one: bool,
    /// The connection ends in order behind the last piece.
    pub closes: bool,
}

/// A provider that plays what it is sent, one answer for each request.
pub struct Player {
    pub upstream: MockUpstream,
    plays: Sender<Play>,
    gateway: Arc<OnceLock<SocketAddr>>,
}

impl Player {
    pub fn start() -> Self {
        let (plays, program) = channel::<Play>();
        let program = Mutex::new(program);
        let gateway: Arc<OnceLock<SocketAddr>> = Arc::default();
        let known = Arc::clone(&gateway);
        let upstream = MockUpstream::with(move |connection: &mut Connection| {
            let mut other = None;
            while connection.next_request().is_some() {
                // The test is over when there is nothing more to play.
                let Ok(play) = program.lock().unwrap().recv() else { return };
                for piece in &play.pieces {
                    if !connection.wire.try_send(piece) {
                        return;
                    }
                    if play.one_by_one {
                        // The gateway has one thread, which takes things in the order of their arrival.
                        let address = *known.get().expect("it is known before the first request");
                        let other = other.get_or_insert_with(|| Client::connect(address));
                        other.call("GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n").expect(200);
                    }
                }
                if play.closes {
                    return;
                }
            }
        });
        Self { upstream, plays, gateway }
    }

    /// Names the gateway that it plays for.
    pub fn plays_for(&self, gateway: SocketAddr) {
        self.gateway.set(gateway).expect("one gateway");
    }

    /// Has the next request answered with `play`.
    pub fn play(&self, play: Play) {
        self.plays.send(play).expect("the provider is there");
    }
}

/// A small generator of numbers that look random (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From 1 to `most`.
    pub fn up_to(&mut self, most: usize) -> usize {
        1 + (self.bits() % most as u64) as usize
    }

    /// `count` places strictly inside of `length` bytes, ascending; fewer where there is no room.
    pub fn cuts(&mut self, count: usize, length: usize) -> Vec<usize> {
        let mut cuts: Vec<usize> = match length {
            0 | 1 => Vec::new(),
            _ => (0..count).map(|_| self.up_to(length - 1)).collect(),
        };
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }
}

/// `bytes` in pieces that end at `cuts`.
pub fn cut(bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut ends = cuts.to_vec();
    ends.push(bytes.len());
    let mut start = 0;
    ends.into_iter()
        .map(|end| {
            let piece = bytes[start..end].to_vec();
            start = end;
            piece
        })
        .collect()
}

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length,
    /// In chunks of at most so many bytes.
    Chunked(usize),
    UntilClose,
}

/// A response as bytes of the wire, and where in them each byte of the body stands.
pub struct Framed {
    pub wire: Vec<u8>,
    /// Bytes of the head.
    pub head: usize,
    /// Offset in `wire` of each byte of the body.
    pub places: Vec<usize>,
}

impl Framed {
    pub fn new(
        status: u16,
        fields: &[(String, String)],
        body: &[u8],
        framing: Framing,
        random: &mut Random,
    ) -> Self {
        let mut wire = format!("HTTP/1.1 {status} Recorded\r\n").into_bytes();
        for (name, value) in fields {
            wire.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        match framing {
            Framing::Length => {
                wire.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
            }
            Framing::Chunked(_) => wire.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Framing::UntilClose => wire.extend_from_slice(b"connection: close\r\n"),
        }
        wire.extend_from_slice(b"\r\n");
        let (head, mut places) = (wire.len(), Vec::with_capacity(body.len()));
        let Framing::Chunked(most) = framing else {
            places.extend(head..head + body.len());
            wire.extend_from_slice(body);
            return Self { wire, head, places };
        };
        let mut rest = body;
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(random.up_to(most).min(rest.len()));
            wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            places.extend(wire.len()..wire.len() + chunk.len());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
            rest = behind;
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        Self { wire, head, places }
    }

    /// Bytes of the body that have arrived with the first `sent` bytes of the wire.
    pub fn body_within(&self, sent: usize) -> usize {
        self.places.partition_point(|place| *place < sent)
    }
}
