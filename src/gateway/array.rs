//! Events as elements of one JSON array: the form of `streamGenerateContent` without `alt=sse`.

use crate::limits::TRANSLATED_EVENT_BYTES_MAX;
use crate::sse::Observer;

/// Turns a stream of events into an array, element by element.
#[derive(Debug)]
pub(super) struct ArrayFrame {
    observer: Observer,
    begun: bool,
}

impl Default for ArrayFrame {
    fn default() -> Self {
        Self { observer: Observer::with_limit(TRANSLATED_EVENT_BYTES_MAX), begun: false }
    }
}

impl ArrayFrame {
    /// Whether an event was too long to become an element: the array lacks it.
    pub(super) fn lacks_any(&self) -> bool {
        self.observer.blocks_unread() > 0
    }

    /// Takes the next bytes of the event stream and appends the elements that end in them.
    pub(super) fn push(&mut self, events: &[u8], out: &mut Vec<u8>) {
        let Self { observer, begun } = self;
        observer.feed(events, |event| append(begun, &event.data, out));
    }

    /// The stream is over: ends the array.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        let Self { observer, begun } = self;
        observer.finish(|event| append(begun, &event.data, out));
        out.extend_from_slice(if self.begun { b"\n]" } else { b"[]" });
    }
}

fn append(begun: &mut bool, element: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(if std::mem::replace(begun, true) { b",\n" } else { b"[" });
    out.extend_from_slice(element);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_elements_wherever_the_stream_is_cut() {
        let cases = [
            ("", "[]"),
            ("data: {\"a\":1}\r\n\r\n", "[{\"a\":1}\n]"),
            (": hello\n\ndata: {\"a\":1}\r\n\r\ndata: {\"b\":2}\n\n", "[{\"a\":1},\n{\"b\":2}\n]"),
            ("data: {\"a\":1}\n\ndata: {\"b\":2}", "[{\"a\":1},\n{\"b\":2}\n]"),
        ];
        for (events, array) in cases {
            for cut in 0..=events.len() {
                let (mut frame, mut out) = (ArrayFrame::default(), Vec::new());
                let (first, second) = events.as_bytes().split_at(cut);
                frame.push(first, &mut out);
                frame.push(second, &mut out);
                frame.end(&mut out);
                assert_eq!(String::from_utf8(out).unwrap(), array, "cut at {cut}");
            }
        }
    }
}
