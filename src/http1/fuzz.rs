//! What must hold for any bytes: the bodies of the fuzz targets.
//!
//! Plain functions that panic when a property fails. The targets of `fuzz/` call them with what libFuzzer finds,
//! the unit tests with the seeds and their mutations, so that stable builds keep them alive.

use super::writer::{CRLF, parsed_field, parsed_fields, request_line, status_line};
use super::{
    BodyDecoder, ChunkError, ChunkedDecoder, ChunkedRelay, Connection, Field, Fields, Framing, HeadError,
    HeadProgress, KnownField, Method, RelayProgress, RelaySink, RepeatedHead, RequestHead, RequestSlots,
    ResponseHead, ResponseSlots, Step, Version, diagnose, octets, parse_request, parse_response,
};
use crate::limits::{
    CHUNK_EXTENSION_BYTES_MAX, CHUNK_LINE_BYTES_MAX, REQUEST_FIELDS_MAX, REQUEST_HEAD_BYTES_MAX,
    RESPONSE_FIELDS_MAX, RESPONSE_HEAD_BYTES_MAX, TRAILER_BYTES_MAX,
};

/// Places at which `bytes` are cut: all of them, or a few dozen of a long input.
fn cuts(bytes: &[u8]) -> impl Iterator<Item = usize> + use<> {
    (0..=bytes.len()).step_by(bytes.len() / 48 + 1)
}

/// What a head says, owned, to be compared. Holds everything but its position in the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Meaning {
    start: (String, String, Option<String>),
    version: Version,
    fields: Vec<(String, Vec<u8>)>,
    framing: Framing,
    connection: Connection,
    flags: [bool; 2],
}

fn owned_fields<'b>(fields: impl Iterator<Item = Field<'b>>) -> Vec<(String, Vec<u8>)> {
    fields.map(|field| (field.name().to_owned(), field.value().to_owned())).collect()
}

impl From<&RequestHead<'_, '_>> for Meaning {
    fn from(head: &RequestHead<'_, '_>) -> Self {
        Self {
            start: (head.method.as_str().to_owned(), head.path.to_owned(), head.query.map(str::to_owned)),
            version: head.version,
            fields: owned_fields(head.fields.iter()),
            framing: head.framing,
            connection: head.connection,
            flags: [head.keep_alive, head.expect_continue],
        }
    }
}

impl From<&ResponseHead<'_, '_>> for Meaning {
    fn from(head: &ResponseHead<'_, '_>) -> Self {
        Self {
            start: (head.status.to_string(), String::new(), None),
            version: head.version,
            fields: owned_fields(head.fields.iter()),
            framing: head.framing,
            connection: head.connection,
            flags: [head.keep_alive, head.is_interim()],
        }
    }
}

type Outcome = Result<Option<(Meaning, usize)>, HeadError>;

fn request_outcome(bytes: &[u8]) -> Outcome {
    let mut slots = RequestSlots::new();
    Ok(parse_request(bytes, &mut slots)?.map(|head| (Meaning::from(&head), head.head_bytes)))
}

fn response_outcome(bytes: &[u8], method: Method<'_>) -> Outcome {
    let mut slots = ResponseSlots::new();
    Ok(parse_response(bytes, &mut slots, method)?.map(|head| (Meaning::from(&head), head.head_bytes)))
}

/// Any bytes as a request head: the answer does not depend on cuts, agrees with the slow tokeniser, and what was
/// read can be written and read again.
///
/// # Panics
/// When one of these does not hold.
pub fn fuzz_request_head(data: &[u8]) {
    let whole = request_outcome(data);
    check_cuts(data, &whole, request_outcome);
    check_progress(data, &whole, request_outcome);

    let seen = &data[..data.len().min(REQUEST_HEAD_BYTES_MAX)];
    let empty_lines = seen.chunks(2).take_while(|pair| *pair == CRLF).count() * 2;
    let text = &seen[empty_lines..];
    if text.first().is_some_and(|byte| !matches!(byte, b'\r' | b'\n')) {
        check_reference(&whole, diagnose::request(text, REQUEST_FIELDS_MAX), empty_lines);
    }

    let mut slots = RequestSlots::new();
    let Ok(Some(head)) = parse_request(data, &mut slots) else { return };
    check_fields(&head.fields);
    assert!(head.head_bytes <= REQUEST_HEAD_BYTES_MAX);
    assert!(head.path.starts_with('/') || (head.path == "*" && head.method == Method::Options));
    assert_ne!(head.framing, Framing::UntilClose, "a request has no such framing");
    assert_ne!(head.method, Method::Connect);
    check_repeated(data, &head);
    if head.version == Version::Http11 {
        assert!(!head.host.is_empty());
        check_request_round_trip(&head);
    }
}

/// A head that is known again means what it would if it was parsed, whatever length it brings by then.
fn check_repeated(data: &[u8], head: &RequestHead<'_, '_>) {
    let Some(known) = RepeatedHead::of(data, head) else { return };
    let Some(value) = head.fields.find(KnownField::ContentLength).map(|field| field.value()) else {
        panic!("a head without a length is kept");
    };
    let start = value.as_ptr().addr() - data.as_ptr().addr();
    let (before, behind) = (&data[..start], &data[start + value.len()..head.head_bytes]);
    let with = |digits: &[u8]| [before, digits, behind].concat();
    for digits in [value, b"0", b"0070", b"999999999999999999"] {
        let wire = with(digits);
        let read = known.read(&wire);
        assert!(read.is_some_and(|(_, bytes)| bytes == wire.len()) || digits.len() > 18);
        check_known(&known, head, &wire);
        check_known(&known, head, &wire[..wire.len() - 1]);
    }
    for digits in [&b""[..], b"-1", b" ", b"1 2", b"1\r\ncontent-length: 1", b"99999999999999999999"] {
        check_known(&known, head, &with(digits));
    }
    for at in cuts(&data[..head.head_bytes]).filter(|at| *at < head.head_bytes) {
        let mut other = data[..head.head_bytes].to_vec();
        other[at] ^= 1;
        check_known(&known, head, &other);
    }
}

fn check_known(known: &RepeatedHead, head: &RequestHead<'_, '_>, wire: &[u8]) {
    let Some((length, head_bytes)) = known.read(wire) else { return };
    let Ok(Some((mut meaning, parsed_bytes))) = request_outcome(wire) else { panic!("it is no head") };
    assert_eq!((meaning.framing, parsed_bytes), (Framing::Length(length), head_bytes));
    let first = Meaning::from(head);
    meaning.framing = first.framing;
    for (field, of_first) in meaning.fields.iter_mut().zip(&first.fields) {
        if KnownField::of(field.0.as_bytes()) == KnownField::ContentLength {
            field.1.clone_from(&of_first.1);
        }
    }
    assert_eq!(meaning, first);
}

fn check_request_round_trip(head: &RequestHead<'_, '_>) {
    let target = match head.query {
        Some(query) => format!("{}?{query}", head.path),
        None => head.path.to_owned(),
    };
    let mut wire = Vec::new();
    assert!(request_line(&mut wire, head.method.as_str(), &target));
    head.fields.iter().for_each(|field| parsed_field(&mut wire, field));
    wire.extend_from_slice(CRLF);
    // Writing `name: value` may lengthen a head that was close to the bound.
    if wire.len() <= REQUEST_HEAD_BYTES_MAX {
        assert_eq!(request_outcome(&wire), Ok(Some((Meaning::from(head), wire.len()))));
    }
}

/// Any bytes as a response head; the first one picks the method of the request. Holds as for requests.
///
/// # Panics
/// When a property does not hold.
pub fn fuzz_response_head(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let method = [Method::Post, Method::Head, Method::Connect, Method::Get][usize::from(choice & 3)];
    let whole = response_outcome(data, method);
    check_cuts(data, &whole, |bytes| response_outcome(bytes, method));
    check_progress(data, &whole, |bytes| response_outcome(bytes, method));
    let seen = &data[..data.len().min(RESPONSE_HEAD_BYTES_MAX)];
    check_reference(&whole, diagnose::response(seen, RESPONSE_FIELDS_MAX), 0);

    let mut slots = ResponseSlots::new();
    let Ok(Some(head)) = parse_response(data, &mut slots, method) else { return };
    check_fields(&head.fields);
    assert!((100..600).contains(&head.status));
    assert!(!(head.keep_alive && head.framing == Framing::UntilClose), "nothing can follow such a body");
    if method == Method::Head || matches!(head.status, 100..=199 | 204 | 304) {
        assert_eq!(head.framing, Framing::None);
    }
    let mut wire = Vec::new();
    status_line(&mut wire, head.status);
    head.fields.iter().for_each(|field| parsed_field(&mut wire, field));
    wire.extend_from_slice(CRLF);
    if head.version == Version::Http11 && wire.len() <= RESPONSE_HEAD_BYTES_MAX {
        assert_eq!(response_outcome(&wire, method), Ok(Some((Meaning::from(&head), wire.len()))));
    }
}

/// A prefix gives "more bytes" or the answer of the whole, and no byte behind a head matters.
fn check_cuts(data: &[u8], whole: &Outcome, parse: impl Fn(&[u8]) -> Outcome) {
    for cut in cuts(data) {
        let outcome = parse(&data[..cut]);
        assert!(outcome == Ok(None) || outcome == *whole, "cut at byte {cut}: {outcome:?}, whole: {whole:?}");
    }
    if let Ok(Some((_, head_bytes))) = whole {
        assert_eq!(parse(&data[..*head_bytes]), *whole);
        assert_eq!(parse(&data[..head_bytes - 1]), Ok(None));
    }
}

/// Fed byte by byte, a whole head is found with its last byte although most attempts are spared.
fn check_progress(data: &[u8], whole: &Outcome, parse: impl Fn(&[u8]) -> Outcome) {
    let (mut progress, mut found) = (HeadProgress::default(), Ok(None));
    for fed in 1..=data.len().min(4_096) {
        if progress.worth_parsing(&data[..fed]) {
            found = parse(&data[..fed]);
            if found != Ok(None) {
                break;
            }
        }
    }
    assert!(found == Ok(None) || found == *whole);
    if let Ok(Some((_, head_bytes))) = whole
        && *head_bytes <= 4_096
    {
        assert_eq!(found, *whole, "a whole head was passed over");
    }
}

/// The fast way refuses whatever the slow tokeniser refuses, and accepts the same bytes.
fn check_reference(whole: &Outcome, reference: Result<Option<usize>, HeadError>, before: usize) {
    match (whole, reference) {
        (Ok(Some((_, head_bytes))), reference) => assert_eq!(reference, Ok(Some(head_bytes - before))),
        // Bytes behind a fault that httparse forgives may be missing, so the fast way may still wait.
        (Ok(None), reference) => assert!(!matches!(reference, Ok(Some(_))), "a whole head was not seen"),
        (Err(HeadError::HeadTooLong | HeadError::LeadingEmptyLines), _) => {}
        (Err(fault), reference) => assert_ne!(reference, Ok(None), "refused for {fault:?}, but may go on"),
    }
}

fn check_fields(fields: &Fields<'_, '_>) {
    for field in fields.iter() {
        assert!(octets::is_token(field.name().as_bytes()));
        assert!(field.value().iter().all(|byte| octets::is(*byte, octets::VALUE)));
        assert_eq!(octets::trim(field.value()), field.value());
        let lower = field.name().to_ascii_lowercase();
        assert_eq!(field.known(), KnownField::of(lower.as_bytes()));
        assert!(field.known().name().is_none_or(|name| name == lower));
    }
    for field in fields.end_to_end() {
        assert!(!field.known().is_hop_by_hop());
    }
    // Copying lines and copying fields come to the same.
    let keep = |field: Field<'_>| !matches!(field.known(), KnownField::Host | KnownField::Authorization);
    let mut lines = b"GET / HTTP/1.0\r\n".to_vec();
    parsed_fields(&mut lines, fields, keep);
    lines.extend_from_slice(CRLF);
    let mut slots = ResponseSlots::new();
    let copied = httparse::Request::new(&mut []).parse_with_uninit_headers(&lines, &mut slots.raw);
    assert_eq!(copied, Ok(httparse::Status::Complete(lines.len())));
    let mut room = [httparse::EMPTY_HEADER; RESPONSE_FIELDS_MAX];
    let mut copy = httparse::Request::new(&mut room);
    assert!(copy.parse(&lines).is_ok());
    let copied = copy.headers.iter().map(|field| (field.name.to_owned(), field.value.to_owned()));
    assert_eq!(copied.collect::<Vec<_>>(), owned_fields(fields.end_to_end().filter(|field| keep(*field))));
}

/// What a chunked body came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    More,
    /// Bytes that belong to the body.
    Whole(usize),
    Broken(ChunkError),
}

/// Any bytes as a chunked body: the payload does not depend on cuts, the slow parser agrees, and what the relay
/// passes on is a chunked body with the same payload.
///
/// # Panics
/// When one of these does not hold.
pub fn fuzz_chunked(data: &[u8]) {
    let (payload, end, decoder) = decode([data]);
    check_chunked_reference(data, &payload, &end, &decoder);
    check_relay([data], &payload, &end);
    for cut in cuts(data) {
        let parts = [&data[..cut], &data[cut..]];
        let (cut_payload, cut_end, cut_decoder) = decode(parts);
        assert_eq!((&cut_payload, &cut_end), (&payload, &end), "cut at byte {cut}");
        assert_eq!(cut_decoder.extension_seen(), decoder.extension_seen());
        assert_eq!(cut_decoder.trailer_seen(), decoder.trailer_seen());
        check_relay(parts, &payload, &end);
    }
    let (byte_payload, byte_end, _) = decode(data.chunks(1));
    assert_eq!((&byte_payload, &byte_end), (&payload, &end), "byte by byte");
    check_relay(data.chunks(1), &payload, &end);
}

fn decode<'d>(parts: impl IntoIterator<Item = &'d [u8]>) -> (Vec<u8>, End, ChunkedDecoder) {
    let mut body = BodyDecoder::new(Framing::Chunked);
    let (mut payload, mut before) = (Vec::new(), 0);
    let mut end = End::More;
    'parts: for part in parts {
        let mut at = 0;
        loop {
            match body.step(&part[at..]) {
                Ok(Step::Data(range)) => {
                    assert!(!range.is_empty());
                    payload.extend_from_slice(&part[at..][range.clone()]);
                    at += range.end;
                }
                Ok(Step::NeedMore) => break,
                Ok(Step::End(bytes)) => {
                    assert_eq!(body.finish_eof(), Ok(()));
                    end = End::Whole(before + at + bytes);
                    break 'parts;
                }
                Err(fault) => {
                    assert_eq!(body.step(part), Err(fault), "a fault stays");
                    end = End::Broken(fault);
                    break 'parts;
                }
            }
        }
        before += part.len();
    }
    let BodyDecoder::Chunked(decoder) = body else { unreachable!("made with chunked framing") };
    (payload, end, decoder)
}

/// Collects what the relay would write.
struct Copy<'d> {
    input: &'d [u8],
    wire: Vec<u8>,
    payload: Vec<u8>,
}

impl RelaySink for Copy<'_> {
    fn payload(&mut self, range: std::ops::Range<usize>) {
        self.payload.extend_from_slice(&self.input[range]);
    }

    fn wire(&mut self, range: std::ops::Range<usize>) {
        self.wire.extend_from_slice(&self.input[range]);
    }

    fn framing(&mut self, bytes: &[u8]) {
        self.wire.extend_from_slice(bytes);
    }
}

fn check_relay<'d>(parts: impl IntoIterator<Item = &'d [u8]>, payload: &[u8], end: &End) {
    let mut relay = ChunkedRelay::new();
    let mut copy = Copy { input: &[], wire: Vec::new(), payload: Vec::new() };
    let mut done = false;
    for part in parts {
        copy.input = part;
        match relay.relay(part, &mut copy) {
            Ok(RelayProgress::NeedMore) => {}
            Ok(RelayProgress::End(_)) => {
                done = true;
                break;
            }
            Err(fault) => {
                assert_eq!(*end, End::Broken(fault));
                return;
            }
        }
    }
    assert_eq!(copy.payload, payload);
    let (relayed, relayed_end, decoder) = decode([copy.wire.as_slice()]);
    assert_eq!(relayed, payload, "the payload changed on its way");
    assert!(!decoder.extension_seen() && !decoder.trailer_seen(), "an extension or trailer was passed on");
    assert_eq!(done, matches!(end, End::Whole(_)));
    assert_eq!(relayed_end, if done { End::Whole(copy.wire.len()) } else { End::More });
}

fn check_chunked_reference(data: &[u8], payload: &[u8], end: &End, decoder: &ChunkedDecoder) {
    match (reference_chunked(data), end) {
        (Reference::Whole(whole), End::Whole(bytes)) => {
            assert_eq!((whole.payload.as_slice(), whole.bytes), (payload, *bytes));
            assert_eq!(whole.extension_bytes > 0, decoder.extension_seen());
            assert_eq!(whole.trailer_bytes > 0, decoder.trailer_seen());
        }
        (Reference::Incomplete, End::More | End::Broken(_)) | (Reference::Broken, End::Broken(_)) => {}
        (reference, end) => panic!("reference: {reference:?}, decoder: {end:?}"),
    }
}

#[derive(Debug)]
enum Reference {
    Whole(ReferenceBody),
    /// Ends within a line or a chunk. The lines before it are in order; its own may be broken already.
    Incomplete,
    Broken,
}

#[derive(Debug, Default)]
struct ReferenceBody {
    payload: Vec<u8>,
    bytes: usize,
    extension_bytes: usize,
    trailer_bytes: usize,
}

/// The chunked coding read line by line from a whole buffer, in the order of the grammar.
fn reference_chunked(data: &[u8]) -> Reference {
    let mut body = ReferenceBody::default();
    loop {
        let Some(line) = line_at(data, &mut body.bytes) else { return Reference::Incomplete };
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extensions) = line.split_at(digits);
        body.extension_bytes += extensions.len().saturating_sub(2);
        if digits == 0 || digits > 16 || line.len() - 2 > CHUNK_LINE_BYTES_MAX {
            return Reference::Broken;
        }
        if extensions_end(extensions) != Some(b"\r\n") || body.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
            return Reference::Broken;
        }
        let size = std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size, 16).ok());
        let Some(size) = size else { return Reference::Broken };
        if size == 0 {
            break;
        }
        let Some(end) = usize::try_from(size).ok().and_then(|size| body.bytes.checked_add(size)) else {
            return Reference::Incomplete;
        };
        let Some(chunk) = data.get(body.bytes..end) else { return Reference::Incomplete };
        body.payload.extend_from_slice(chunk);
        match data.get(end..) {
            Some([b'\r', b'\n', ..]) => body.bytes = end + 2,
            Some([] | [b'\r']) | None => return Reference::Incomplete,
            Some(_) => return Reference::Broken,
        }
    }
    loop {
        let Some(line) = line_at(data, &mut body.bytes) else { return Reference::Incomplete };
        if line == CRLF {
            return Reference::Whole(body);
        }
        body.trailer_bytes += line.len();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return Reference::Broken };
        let (name, value) = line.split_at(colon);
        let Some(value) = value.strip_suffix(CRLF) else { return Reference::Broken };
        let clean = octets::is_token(name) && value.iter().all(|byte| octets::is(*byte, octets::VALUE));
        if !clean || body.trailer_bytes > TRAILER_BYTES_MAX {
            return Reference::Broken;
        }
    }
}

/// The bytes up to and with the next LF.
fn line_at<'d>(data: &'d [u8], at: &mut usize) -> Option<&'d [u8]> {
    let rest = data.get(*at..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    *at += end + 1;
    rest.get(..=end)
}

/// What is left of `text` behind as many well-formed extensions as there are.
fn extensions_end(text: &[u8]) -> Option<&[u8]> {
    let skip_space = |text: &[u8]| text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let token = |text: &[u8]| text.iter().take_while(|byte| octets::is(**byte, octets::TOKEN)).count();
    let mut rest = text;
    while let Some(after) = rest.get(skip_space(rest)..)?.strip_prefix(b";") {
        let name = after.get(skip_space(after)..)?;
        let name_bytes = token(name);
        if name_bytes == 0 {
            return None;
        }
        rest = name.get(name_bytes..)?;
        let Some(after) = rest.get(skip_space(rest)..)?.strip_prefix(b"=") else { continue };
        let value = after.get(skip_space(after)..)?;
        let value_bytes = match value.first()? {
            b'"' => quoted_bytes(value)?,
            _ => token(value),
        };
        if value_bytes == 0 {
            return None;
        }
        rest = value.get(value_bytes..)?;
    }
    Some(rest)
}

/// Bytes of the quoted string at the start of `text`, quotes included.
fn quoted_bytes(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' if octets::is(*text.get(at + 1)?, octets::VALUE) => at += 2,
            byte if octets::is(*byte, octets::QUOTED) => at += 1,
            _ => return None,
        }
    }
}
