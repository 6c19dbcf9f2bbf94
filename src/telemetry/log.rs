//! The log: lines in one envelope, as JSON or for a reader's eye, written by a thread of its own.
//!
//! Owns level, format, and the way of a line to the writer. A thread collects lines in a buffer of its own and hands whole
//! batches over a bounded queue; when the queue is full the batch is dropped and its lines are counted, so writing a log
//! never blocks a core. A core hands over on its tick, because waking the writer is a system call; any other thread after
//! each line.
//!
//! No secret is ever a field: keys have a type of their own that offers no text to this room.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::access::AccessLine;
use super::line::{Format, Line};
use super::text::TimestampFormatter;
use crate::limits::{LOG_BATCH_BYTES, LOG_BATCHES_MAX};

/// How much a line matters. A peer's mistake is `Debug`, an operator's concern `Warn`, our own bug `Error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Our own bug, or something lost.
    Error = 0,
    /// An operator should look.
    Warn = 1,
    /// What happened; one line per request.
    Info = 2,
    /// Why it happened.
    Debug = 3,
    /// Every step.
    Trace = 4,
}

impl Level {
    const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The spelling in settings and lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// Reads the spelling used in settings.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }
}

/// A field's value.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// Text, bounded and escaped.
    Text(&'a str),
    /// A whole number.
    Integer(u64),
    /// True or false.
    Flag(bool),
    /// Anything with a text form, such as an error.
    Display(&'a dyn Display),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<'a> From<&'a dyn Display> for Value<'a> {
    fn from(value: &'a dyn Display) -> Self {
        Self::Display(value)
    }
}

/// Shared by all threads that log.
#[derive(Debug)]
struct Shared {
    level: AtomicU8,
    format: Format,
    lines_dropped: AtomicU64,
}

/// What goes to the writer thread.
#[derive(Debug)]
enum Message {
    Batch(Vec<u8>),
    Stop,
}

/// The log of the process: makes the threads' ends, changes the level. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<Shared>,
    queue: SyncSender<Message>,
}

/// The thread that writes. Dropping it does not stop it; [`LogWriter::finish`] does.
#[derive(Debug)]
pub struct LogWriter {
    queue: SyncSender<Message>,
    thread: JoinHandle<()>,
    /// Closed when the thread is through.
    ended: Receiver<()>,
}

impl Log {
    /// Starts the writer thread on `target`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        target: Box<dyn Write + Send>,
        level: Level,
        format: Format,
    ) -> io::Result<(Self, LogWriter)> {
        let (queue, batches) = sync_channel(LOG_BATCHES_MAX);
        let shared =
            Arc::new(Shared { level: AtomicU8::new(level as u8), format, lines_dropped: AtomicU64::new(0) });
        let of_writer = Arc::clone(&shared);
        let (end, ended) = sync_channel(0);
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            write_batches(&batches, target, &of_writer);
            drop::<SyncSender<()>>(end);
        })?;
        Ok((Self { shared, queue: queue.clone() }, LogWriter { queue, thread, ended }))
    }

    /// Changes the level for all threads from their next line on.
    pub fn set_level(&self, level: Level) {
        self.shared.level.store(level as u8, Ordering::Relaxed);
    }

    /// Lines that never reached the target.
    pub fn lines_dropped(&self) -> u64 {
        self.shared.lines_dropped.load(Ordering::Relaxed)
    }

    /// The end for a core, which hands its lines over when it calls [`flush`].
    pub fn core_end(&self) -> ThreadLog {
        self.end(false)
    }

    /// The end for any other thread, which hands over each line at once.
    pub fn thread_end(&self) -> ThreadLog {
        self.end(true)
    }

    fn end(&self, hands_over_each_line: bool) -> ThreadLog {
        ThreadLog {
            shared: Arc::clone(&self.shared),
            queue: self.queue.clone(),
            buffer: vec![],
            lines: 0,
            formatter: TimestampFormatter::default(),
            hands_over_each_line,
        }
    }
}

impl LogWriter {
    /// Waits until everything handed over so far is written, and ends the thread. A target that takes nothing any more
    /// (a pipe that nobody reads) is given up after `patience`; returns whether everything was written.
    pub fn finish(self, patience: Duration) -> bool {
        let step = patience.min(Duration::from_millis(10)).max(Duration::from_millis(1));
        let mut left = patience;
        let mut message = Message::Stop;
        while let Err(TrySendError::Full(refused)) = self.queue.try_send(message) {
            if left.is_zero() || self.ended.recv_timeout(step) == Err(RecvTimeoutError::Disconnected) {
                return false;
            }
            left = left.saturating_sub(step);
            message = refused;
        }
        if self.ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            return false;
        }
        self.thread.join().is_ok()
    }
}

fn write_batches(batches: &Receiver<Message>, mut target: Box<dyn Write + Send>, shared: &Shared) {
    while let Ok(Message::Batch(batch)) = batches.recv() {
        if target.write_all(&batch).and_then(|()| target.flush()).is_err() {
            let lines = memchr::memchr_iter(b'\n', &batch).count() as u64;
            shared.lines_dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

/// One thread's end of the log.
#[derive(Debug)]
pub struct ThreadLog {
    shared: Arc<Shared>,
    queue: SyncSender<Message>,
    buffer: Vec<u8>,
    /// Lines in the buffer.
    lines: u64,
    formatter: TimestampFormatter,
    hands_over_each_line: bool,
}

impl ThreadLog {
    /// Whether a line of this level is wanted now.
    #[inline]
    pub fn is_enabled(&self, level: Level) -> bool {
        level as u8 <= self.shared.level.load(Ordering::Relaxed)
    }

    /// Logs one line of fixed text with fields, if its level is wanted.
    pub fn write(&mut self, level: Level, unix_ms: u64, message: &str, fields: &[(&str, Value<'_>)]) {
        self.line(level, unix_ms, message, |line| {
            for (key, value) in fields {
                match *value {
                    Value::Text(text) => line.text(key, text),
                    Value::Integer(number) => line.integer(key, number),
                    Value::Flag(flag) => line.flag(key, flag),
                    Value::Display(value) => line.display(key, value),
                }
            }
        });
    }

    /// Logs the one line that each request gets, at level info.
    #[inline]
    pub fn access(&mut self, unix_ms: u64, access: &AccessLine<'_>) {
        self.line(Level::Info, unix_ms, "request", |line| access.fields(line));
    }

    /// Hands everything collected to the writer; drops and counts it when the queue is full.
    pub fn flush(&mut self) {
        if self.lines == 0 {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        match self.queue.try_send(Message::Batch(std::mem::take(&mut self.buffer))) {
            Ok(()) => {}
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                self.shared.lines_dropped.fetch_add(lines, Ordering::Relaxed);
                if let Message::Batch(mut batch) = message {
                    batch.clear();
                    self.buffer = batch;
                }
            }
        }
    }

    #[inline]
    fn line(&mut self, level: Level, unix_ms: u64, message: &str, fields: impl FnOnce(&mut Line<'_>)) {
        if !self.is_enabled(level) {
            return;
        }
        if self.buffer.capacity() == 0 {
            self.buffer.reserve(if self.hands_over_each_line { 512 } else { LOG_BATCH_BYTES + 1024 });
        }
        let timestamp = self.formatter.format(unix_ms);
        let mut line = Line::begin(&mut self.buffer, self.shared.format, timestamp, level.as_str(), message);
        fields(&mut line);
        line.end();
        self.lines += 1;
        if self.hands_over_each_line || self.buffer.len() >= LOG_BATCH_BYTES {
            self.flush();
        }
    }
}

impl Drop for ThreadLog {
    fn drop(&mut self) {
        self.flush();
    }
}

thread_local! {
    static THREAD_LOG: RefCell<Option<ThreadLog>> = const { RefCell::new(None) };
}

/// Makes `log` this thread's log, behind the functions of this file. Without one they do nothing.
pub fn install(log: ThreadLog) {
    THREAD_LOG.with(|slot| *slot.borrow_mut() = Some(log));
}

/// Takes this thread's log away, after handing over what it holds.
pub fn uninstall() {
    THREAD_LOG.with(|slot| *slot.borrow_mut() = None);
}

/// Hands this thread's lines to the writer: for a core's tick.
pub fn flush() {
    with_log(ThreadLog::flush);
}

/// Logs the line of one request on this thread's log.
#[inline]
pub fn access(unix_ms: u64, line: &AccessLine<'_>) {
    with_log(|log| log.access(unix_ms, line));
}

/// Logs an error: our own bug, or something lost.
pub fn error(message: &str, fields: &[(&str, Value<'_>)]) {
    write(Level::Error, message, fields);
}

/// Logs a warning: an operator should look.
pub fn warn(message: &str, fields: &[(&str, Value<'_>)]) {
    write(Level::Warn, message, fields);
}

/// Logs what happened.
pub fn info(message: &str, fields: &[(&str, Value<'_>)]) {
    write(Level::Info, message, fields);
}

/// Logs why it happened.
pub fn debug(message: &str, fields: &[(&str, Value<'_>)]) {
    write(Level::Debug, message, fields);
}

/// Logs a step. Lines of this level are made for every request: ask [`is_enabled`] first.
pub fn trace(message: &str, fields: &[(&str, Value<'_>)]) {
    write(Level::Trace, message, fields);
}

/// Whether this thread's log wants lines of `level`: for lines whose fields cost something to make.
#[inline]
pub fn is_enabled(level: Level) -> bool {
    THREAD_LOG
        .with(|slot| slot.try_borrow().is_ok_and(|log| log.as_ref().is_some_and(|log| log.is_enabled(level))))
}

fn write(level: Level, message: &str, fields: &[(&str, Value<'_>)]) {
    with_log(|log| {
        if log.is_enabled(level) {
            log.write(level, crate::clock::unix_ms(), message, fields);
        }
    });
}

/// Runs `act` on this thread's log. A line logged by a field's own text form, while a line is being written, is left out.
#[inline]
fn with_log(act: impl FnOnce(&mut ThreadLog)) {
    // `try_with`: a thread that ends may still log from a destructor.
    let _ = THREAD_LOG.try_with(|slot| {
        if let Ok(mut slot) = slot.try_borrow_mut()
            && let Some(log) = slot.as_mut()
        {
            act(log);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A target that tests can read, and hold up by keeping it locked.
    #[derive(Debug, Clone, Default)]
    struct Target(Arc<Mutex<Vec<u8>>>);

    impl Write for Target {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Target {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn start(level: Level, format: Format) -> (Target, Log, LogWriter) {
        let target = Target::default();
        let (log, writer) = Log::start(Box::new(target.clone()), level, format).unwrap();
        (target, log, writer)
    }

    #[test]
    fn lines_have_one_envelope_in_both_formats() {
        let fields: &[(&str, Value<'_>)] = &[
            ("file", "a b\n".into()),
            ("line", 3.into()),
            ("ok", true.into()),
            ("error", Value::Display(&io::ErrorKind::NotFound)),
        ];
        let expected = [
            (
                Format::Json,
                "{\"ts\":\"1970-01-01T00:00:01.000Z\",\"level\":\"warn\",\"msg\":\"not \\\"read\\\"\",\"file\":\"a b\\n\",\"line\":3,\
                 \"ok\":true,\"error\":\"entity not found\"}\n",
            ),
            (
                Format::Pretty,
                "1970-01-01T00:00:01.000Z WARN  not \"read\" file=\"a b\\n\" line=3 ok=true error=\"entity not found\"\n",
            ),
        ];
        for (format, text) in expected {
            let (target, log, writer) = start(Level::Info, format);
            log.thread_end().write(Level::Warn, 1000, "not \"read\"", fields);
            assert!(writer.finish(PATIENCE));
            assert_eq!(target.text(), text);
        }
    }

    #[test]
    fn the_level_changes_while_threads_log() {
        let (target, log, writer) = start(Level::Warn, Format::Pretty);
        let mut end = log.core_end();
        end.write(Level::Info, 0, "one", &[]);
        log.set_level(Level::Debug);
        end.write(Level::Debug, 0, "two", &[]);
        end.write(Level::Trace, 0, "three", &[]);
        log.set_level(Level::Error);
        end.write(Level::Warn, 0, "four", &[]);
        end.write(Level::Error, 0, "five", &[]);
        assert_eq!(target.text(), "", "a core hands over when it is told to");
        drop(end);
        assert!(writer.finish(PATIENCE));
        let messages: Vec<_> =
            target.text().lines().map(|line| line.split_whitespace().nth(2).unwrap().to_owned()).collect();
        assert_eq!(messages, ["two", "five"]);
    }

    #[test]
    fn a_stuck_writer_costs_lines_and_never_blocks() {
        let (target, log, writer) = start(Level::Info, Format::Json);
        let mut end = log.thread_end();
        let stuck = target.0.lock().unwrap();
        let lines = LOG_BATCHES_MAX as u64 * 2;
        for number in 0..lines {
            end.write(Level::Info, 0, "line", &[("number", number.into())]);
        }
        // The writer may hold one batch in its hands.
        let dropped = log.lines_dropped();
        assert!(dropped >= lines - LOG_BATCHES_MAX as u64 - 1, "{dropped}");
        drop(stuck);
        drop(end);
        assert!(writer.finish(PATIENCE));
        assert_eq!(target.text().lines().count() as u64, lines - dropped);
    }

    #[test]
    fn a_target_that_takes_nothing_does_not_hold_up_the_end() {
        let (target, log, writer) = start(Level::Info, Format::Json);
        let stuck = target.0.lock().unwrap();
        let mut end = log.thread_end();
        // More than the queue holds.
        for _ in 0..LOG_BATCHES_MAX * 2 {
            end.write(Level::Info, 0, "line", &[]);
        }
        assert!(!writer.finish(Duration::from_millis(20)));
        drop(stuck);
    }

    #[test]
    fn free_functions_write_to_the_threads_own_log() {
        info("nobody listens", &[]);
        let (target, log, writer) = start(Level::Info, Format::Json);
        install(log.core_end());
        assert!(is_enabled(Level::Info) && !is_enabled(Level::Debug));
        warn("heard", &[("n", 1.into())]);
        debug("not wanted", &[]);
        flush();
        uninstall();
        error("nobody listens any more", &[]);
        assert!(writer.finish(PATIENCE));
        assert_eq!(target.text().lines().count(), 1);
        assert!(target.text().ends_with("\"level\":\"warn\",\"msg\":\"heard\",\"n\":1}\n"));
    }

    #[test]
    fn levels_are_read_as_they_are_spelled() {
        for level in Level::ALL {
            assert_eq!(Level::parse(level.as_str()), Some(level));
        }
        assert_eq!(Level::parse("loud"), None);
    }
}
