//! Notifications: what happens is told by mail and webhooks, on threads of their own.
//!
//! `notify` owns the queue on disk and the clock of retries and looks at providers, keys and the disk; `notify-sender` brings
//! one notice at a time and may wait for a mail server as long as it likes. Neither a core nor the control thread waits for
//! either: what happens to limits comes over a bounded queue, what is wrong with providers is read from words that cores share.
//!
//! ```text
//! control ── Event ─▶ notify ─ desk (queue on disk) ── Errand ─▶ notify-sender ── mail, HTTP
//!                       ▲  └ watch (breakers, keys, disk)              │
//!                       └────────────────── Settled ───────────────────┘
//! ```
//!
//! Source: the project's routing specification, section 11.

mod courier;
mod desk;
pub mod event;
mod mail;
mod queue;
mod quiet;
mod reach;
mod sign;
mod watch;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};

use self::courier::Trip;
use self::desk::{Desk, Errand};
use self::reach::Reach;
use self::watch::{Refused, Watch};
use crate::clock;
use crate::config::Settings;
use crate::config::notifications::Channel;
use crate::mailbox::{Mailbox, ToNotifier};
use crate::net::disk;
use crate::provider::Endpoint;
use crate::snapshot::Snapshot;
use crate::telemetry::log::{self, ThreadLog, Value};
use crate::telemetry::metrics::Metrics;

/// How often providers and keys are looked at.
const LOOK_MS: u64 = 1_000;
/// How often the disk is looked at.
const DISK_LOOK_MS: u64 = 30_000;
/// How long the end waits for a delivery that is under way.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// What became of a delivery that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The other kind of TLS than the channel's was right: what `secure` should be.
    pub fixed_secure: Option<bool>,
}

/// Why a delivery was not taken. Never a secret, nor a URL that may hold one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub reason: String,
    /// Another attempt would end in the same way.
    pub is_final: bool,
}

impl Failure {
    fn passing(reason: String) -> Self {
        Self { reason, is_final: false }
    }

    fn last(reason: String) -> Self {
        Self { reason, is_final: true }
    }
}

/// What the threads take over at start.
pub struct Notifier {
    /// The home.
    pub home: PathBuf,
    /// The configuration in force, and the way back from the sender.
    pub mailbox: Arc<Mailbox>,
    /// All metrics.
    pub metrics: Metrics,
    /// The sender's end of the log.
    pub sender_log: ThreadLog,
}

/// Runs until it is told to finish or nobody is left who could tell it.
pub fn run(notifier: Notifier, inbox: &Receiver<ToNotifier>) {
    let Notifier { home, mailbox, metrics, sender_log } = notifier;
    let errands = start_sender(home.clone(), Arc::clone(&mailbox), sender_log);
    let mut thread = Thread {
        desk: Desk::new(&metrics.notify),
        data: home.join("data"),
        lock: None,
        is_lock_missed: false,
        mailbox,
        errands,
        watch: Watch::default(),
        random: SystemRandom::new(),
        next_look_ms: 0,
        next_disk_look_ms: 0,
    };
    loop {
        match inbox.recv_timeout(thread.patience()) {
            Ok(ToNotifier::Finish) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(message) => thread.handle(message),
            Err(RecvTimeoutError::Timeout) => {}
        }
        thread.turn();
        log::flush();
    }
    // What is under way has a moment to end; it waits on disk for the next start if it does not.
    while thread.desk.is_busy() {
        match inbox.recv_timeout(END_PATIENCE) {
            Ok(message) => thread.handle(message),
            Err(_) => break,
        }
    }
    log::flush();
}

/// Tries a channel out with a test message. `to`: the recipient of a mail, else the channel's own.
///
/// # Errors
/// It was not taken.
pub fn try_out(
    channel: &Channel,
    to: Option<&str>,
    settings: &Settings,
    home: &Path,
) -> Result<Sent, Failure> {
    let now_ms = clock::unix_ms();
    let notice = event::test_notice(format!("test:{}", uuid::Uuid::new_v4()), now_ms);
    let to = to.map_or_else(|| channel.to.clone(), |to| vec![to.to_owned()]);
    let reach = Reach::new(settings, home)?;
    let hello = hello(settings);
    courier::bring(&Trip { reach: &reach, to: &to, hello: hello.as_deref(), now_ms }, channel, &notice)
}

fn hello(settings: &Settings) -> Option<String> {
    Endpoint::parse(&settings.public_url).ok().map(|url| url.host)
}

/// Starts the thread that sends; none when the system gives no thread.
fn start_sender(home: PathBuf, mailbox: Arc<Mailbox>, log_end: ThreadLog) -> Option<SyncSender<Errand>> {
    let (errands, inbox) = sync_channel::<Errand>(1);
    let send = move || {
        log::install(log_end);
        while let Ok(errand) = inbox.recv() {
            let snapshot = mailbox.snapshot();
            let settings = snapshot.config.settings();
            let hello = hello(settings);
            let now_ms = clock::unix_ms();
            let Errand { delivery, channel } = &errand;
            let bring = || {
                let reach = Reach::new(settings, &home)?;
                let trip = Trip { reach: &reach, to: &channel.to, hello: hello.as_deref(), now_ms };
                courier::bring(&trip, channel, &delivery.notice)
            };
            // One bad delivery must not end the thread: whoever waits for what became of it would wait for ever.
            let result = catch_unwind(AssertUnwindSafe(bring));
            let result =
                result.unwrap_or_else(|_| Err(Failure::passing("the gateway made a mistake".to_owned())));
            mailbox.tell_notifier(ToNotifier::Settled(result));
            log::flush();
        }
    };
    let started = std::thread::Builder::new().name("notify-sender".to_owned()).spawn(send);
    started
        .inspect_err(|error| log::error("notifications cannot be sent", &[("reason", Value::Display(error))]))
        .ok()
        .map(|_| errands)
}

struct Thread<'m> {
    desk: Desk<'m>,
    data: PathBuf,
    /// Held while this process has the queue: the process that it replaces may still be sending.
    lock: Option<File>,
    /// It was said that there can be no lock.
    is_lock_missed: bool,
    mailbox: Arc<Mailbox>,
    errands: Option<SyncSender<Errand>>,
    watch: Watch,
    random: SystemRandom,
    next_look_ms: u64,
    next_disk_look_ms: u64,
}

impl Thread<'_> {
    /// How long there is nothing to do.
    fn patience(&self) -> Duration {
        let now_ms = clock::unix_ms();
        let due_ms = self.desk.next_due_ms().map_or(u64::MAX, |due_ms| due_ms.saturating_sub(now_ms));
        Duration::from_millis(due_ms.clamp(1, LOOK_MS))
    }

    fn handle(&mut self, message: ToNotifier) {
        match message {
            ToNotifier::Event(event) => {
                self.desk.take(&event, &self.mailbox.snapshot().config, clock::unix_ms());
            }
            ToNotifier::Settled(result) => {
                let draw = self.draw();
                self.desk.settle(&result, clock::unix_ms(), draw);
            }
            ToNotifier::Finish => {}
        }
    }

    fn turn(&mut self) {
        let now_ms = clock::unix_ms();
        let snapshot = self.mailbox.snapshot();
        if self.mailbox.has_handed_over() {
            if self.desk.close() {
                self.lock = None;
            }
            return;
        }
        if !self.desk.is_open() && self.take_lock() {
            self.desk.open(&self.data, &snapshot.config, now_ms);
        }
        // A wall clock that was set back must not keep things from being looked at.
        if now_ms >= self.next_look_ms || self.next_look_ms > now_ms + LOOK_MS {
            self.next_look_ms = now_ms + LOOK_MS;
            self.look(&snapshot, now_ms);
        }
        if let Some(errands) = &self.errands
            && let Some(errand) = self.desk.next(snapshot.config.settings(), now_ms)
        {
            // There is a place for one, and one at a time is handed out.
            let _ = errands.send(errand);
        }
    }

    /// Whether this process is the one that sends.
    fn take_lock(&mut self) -> bool {
        let path = self.data.join("notifications.lock");
        match File::options().create(true).truncate(false).write(true).mode(0o600).open(path) {
            Ok(file) => {
                self.lock = Some(file).filter(|file| file.try_lock().is_ok());
                self.lock.is_some()
            }
            // A full disk is among what is to be told.
            Err(error) => {
                if !std::mem::replace(&mut self.is_lock_missed, true) {
                    let fields = [("reason", Value::Display(&error))];
                    log::error("the lock of notifications cannot be made; they are sent without", &fields);
                }
                true
            }
        }
    }

    fn look(&mut self, snapshot: &Snapshot, now_ms: u64) {
        let settings = snapshot.config.settings();
        let (rules, process_ms) = (&settings.upstream.breaker, clock::process_ms());
        let failing = snapshot.targets.iter().filter(|target| target.breaker.looks_open(process_ms, rules));
        let failing = failing.map(|target| (target.model.provider.id.as_str(), target.model.id.as_str()));
        let mut events = self.watch.see_models(failing, now_ms);
        let refused = snapshot.targets.iter().flat_map(|target| {
            let refused = target.keys.iter().filter(|key| key.health.is_refused());
            refused.map(|key| Refused {
                provider: &target.model.provider.id,
                model: &target.model.id,
                key: &key.id,
            })
        });
        events.extend(self.watch.see_keys(refused, now_ms));
        if now_ms >= self.next_disk_look_ms || self.next_disk_look_ms > now_ms + DISK_LOOK_MS {
            self.next_disk_look_ms = now_ms + DISK_LOOK_MS;
            events.extend(self.watch.see_disk(disk::free_bytes(&self.data), settings.disk_low_bytes, now_ms));
        }
        for event in events {
            self.desk.take(&event, &snapshot.config, now_ms);
        }
    }

    /// A random number; without randomness all retries wait for the least time.
    fn draw(&self) -> u64 {
        let mut bytes = [0; 8];
        match self.random.fill(&mut bytes) {
            Ok(()) => u64::from_ne_bytes(bytes),
            Err(_) => 0,
        }
    }
}
