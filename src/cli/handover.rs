//! Listeners, home and books of a running gateway to the process that replaces it.
//!
//! ```text
//! new process                         running process
//! checks the configuration
//! connects ──────────────────────────▶ .handover/socket
//!          ◀── listeners, lock of the home
//! "take" ────────────────────────────▶ merges its journals, lets go of the store, accepts no more
//!          ◀── "yours"
//! reads all journals, serves           finishes what it has, its cores write into their journals
//! "serving" ─────────────────────────▶
//!          ◀── end of the connection: it has ended; its journals are deleted once they are empty
//! ```
//!
//! The sockets stay the same, so a connection that arrives in between waits in the kernel for the new process. Up to
//! "take" either side may go away and nothing has happened. A new process that goes away between "yours" and "serving"
//! leaves nobody to serve: the old one ends with an error then, so that its supervisor starts another.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::mailbox::{Mailbox, ToControl};
use crate::net::descriptors;
use crate::net::listener::Listeners;
use crate::store::files;
use crate::store::home::Home;
use crate::store::lock::HomeLock;
use crate::telemetry::log::{self, ThreadLog, Value};

/// What a new process says first; the number is the protocol's.
const HELLO: &[u8] = b"routerly hand-over 1\n";
const TAKE: &[u8] = b"take\n";
const YOURS: &[u8] = b"yours\n";
const SERVING: &[u8] = b"serving\n";
/// Longest wait for the other side: it may have to wait for its disk.
const PATIENCE: Duration = Duration::from_secs(60);
/// Cores notice on their tick that they are to accept no more.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What a running process can hand over: descriptors of their own, which are not used otherwise.
pub(super) struct Doors {
    listeners: Mutex<Vec<TcpListener>>,
    lock: File,
}

impl Doors {
    /// # Errors
    /// No more descriptors.
    pub(super) fn new(listeners: &Listeners, lock: &HomeLock) -> io::Result<Self> {
        Ok(Self { listeners: Mutex::new(listeners.duplicate()?), lock: lock.duplicate()? })
    }

    /// Closes them: as long as one is open the kernel goes on completing connections for a socket. To be called
    /// before the cores are told to drain.
    pub(super) fn close(&self) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The socket of a home. A socket's path must be short, which a home's need not be: it goes through the descriptor of
/// the folder, to be kept open until the path was used.
fn socket_path(home: &Home) -> io::Result<(File, PathBuf)> {
    let folder = File::open(home.root().join(".handover"))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/socket", folder.as_raw_fd()));
    Ok((folder, path))
}

/// Waits for a process that wants to take over, on a thread of its own. What it returns gets a word when that process
/// serves, or the reason why it never will: this one must not end before.
///
/// # Errors
/// The socket cannot be made.
pub(super) fn offer(
    home: &Home,
    doors: Arc<Doors>,
    mailbox: Arc<Mailbox>,
    log: ThreadLog,
) -> io::Result<Receiver<io::Result<()>>> {
    let folder = home.root().join(".handover");
    files::create_directory(&folder).map_err(io::Error::other)?;
    // Nobody else may knock.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    match fs::remove_file(folder.join("socket")) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (_open, path) = socket_path(home)?;
    let socket = UnixListener::bind(path)?;
    let (told, is_told) = sync_channel(1);
    std::thread::Builder::new().name("handover".to_owned()).spawn(move || {
        log::install(log);
        for peer in socket.incoming() {
            let mut peer = match peer {
                Ok(peer) => peer,
                Err(error) => {
                    // Out of descriptors, as a rule: they come back when connections end.
                    log::warn("a hand-over could not be heard", &[("reason", Value::Display(&error))]);
                    std::thread::park_timeout(LOOK_AGAIN);
                    continue;
                }
            };
            match hand_over(&mut peer, &doors, &mailbox) {
                Ok(()) => {
                    log::info("handed over to another process; open requests go on", &[]);
                    // One place for one word; nobody may be left to hear it.
                    let _ = told.try_send(expect(&mut peer, SERVING));
                    // Its end is how the other process learns of ours.
                    let _ = peer.set_read_timeout(None);
                    let _ = peer.read(&mut [0]);
                    return;
                }
                Err(error) => {
                    log::warn("not handed over", &[("reason", Value::Display(&error))]);
                    if mailbox.has_handed_over() {
                        let _ = told.try_send(Err(error));
                        return;
                    }
                }
            }
        }
    })?;
    Ok(is_told)
}

/// Waits for the word of [`offer`], where something was handed over.
///
/// # Errors
/// The other process has gone before it served; nobody serves now.
pub(super) fn wait_until_served(
    is_told: Option<&Receiver<io::Result<()>>>,
    mailbox: &Mailbox,
) -> Result<(), String> {
    let Some(is_told) = is_told.filter(|_| mailbox.has_handed_over()) else { return Ok(()) };
    match is_told.recv_timeout(PATIENCE) {
        Ok(Err(error)) => Err(format!("the process that took over does not serve: {error}")),
        // It may still be reading a long history.
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}

/// Tells the process before this one that this one serves. Where that one is gone already nobody has to know.
pub(super) fn say_serving(mut predecessor: &UnixStream) {
    let _ = predecessor.write_all(SERVING);
}

fn hand_over(peer: &mut UnixStream, doors: &Doors, mailbox: &Mailbox) -> io::Result<()> {
    peer.set_read_timeout(Some(PATIENCE))?;
    expect(peer, HELLO)?;
    {
        let listeners = doors.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if listeners.is_empty() {
            return refuse(peer, "it is on its way out");
        }
        let mut all = vec![doors.lock.as_fd()];
        all.extend(listeners.iter().map(AsFd::as_fd));
        if all.len() > descriptors::DESCRIPTORS_MAX {
            return refuse(peer, "it has too many listeners");
        }
        descriptors::send(peer, b"here\n", &all)?;
    }
    expect(peer, TAKE)?;
    let (answer, released) = sync_channel(1);
    let settled: Arc<AtomicBool> = Arc::default();
    mailbox.send_blocking(ToControl::Release { answer, settled: Arc::clone(&settled) });
    let said = match released.recv_timeout(PATIENCE) {
        Ok(said) => Some(said),
        // Who settles it first decides: a release that comes too late is taken back.
        Err(_) if settled.swap(true, Ordering::AcqRel) => released.recv().ok(),
        Err(_) => None,
    };
    match said {
        Some(Ok(())) => {}
        Some(Err(reason)) => return refuse(peer, &reason),
        None => return refuse(peer, "its disk takes too long"),
    }
    // From here on there is no way back: the store is nobody's until the other process opens it.
    doors.close();
    mailbox.hand_over();
    while mailbox.is_accepting() {
        std::thread::park_timeout(LOOK_AGAIN);
    }
    peer.write_all(YOURS)
}

fn refuse(peer: &mut UnixStream, reason: &str) -> io::Result<()> {
    peer.write_all(format!("{reason}\n").as_bytes())?;
    Err(io::Error::other(reason.to_owned()))
}

/// Reads what must come next.
fn expect(peer: &mut UnixStream, expected: &[u8]) -> io::Result<()> {
    let mut said = vec![0; expected.len()];
    peer.read_exact(&mut said).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it went away in the middle"),
        _ => error,
    })?;
    if said == expected { Ok(()) } else { Err(io::Error::new(ErrorKind::InvalidData, "another protocol")) }
}

/// What a running process offers.
pub(super) struct Offer {
    peer: UnixStream,
    lock: File,
    listeners: Listeners,
}

/// What was handed over.
pub(super) struct Handed {
    pub(super) lock: HomeLock,
    pub(super) listeners: Listeners,
    /// Ends with the process that handed over. Reading it does not block.
    pub(super) predecessor: UnixStream,
}

/// Asks the process that runs on this home; `None` where nobody does.
///
/// # Errors
/// It refuses, or is of another kind.
pub(super) fn ask(home: &Home) -> io::Result<Option<Offer>> {
    let nobody =
        |error: &io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
    let mut peer = match socket_path(home).and_then(|(_open, path)| UnixStream::connect(path)) {
        Err(error) if nobody(&error) => return Ok(None),
        peer => peer?,
    };
    peer.set_read_timeout(Some(PATIENCE))?;
    peer.write_all(HELLO)?;
    let mut text = [0; 256];
    let (count, received) = descriptors::receive(&peer, &mut text)?;
    let mut received = received.into_iter();
    let Some(lock) = received.next() else { return Err(refusal(&text[..count])) };
    let sockets = received.map(TcpListener::from).collect();
    Ok(Some(Offer { peer, lock: lock.into(), listeners: Listeners::handed(sockets)? }))
}

fn refusal(text: &[u8]) -> io::Error {
    let reason = String::from_utf8_lossy(text).trim().to_owned();
    io::Error::other(if reason.is_empty() { "it does not answer".to_owned() } else { reason })
}

impl Offer {
    /// Where the listeners listen.
    pub(super) fn address(&self) -> SocketAddr {
        self.listeners.address
    }

    /// Takes it. The other process accepts nothing more when this returns, and has let go of the store.
    ///
    /// # Errors
    /// It refuses; everything is as before then.
    pub(super) fn take(mut self, home: &Home) -> io::Result<Handed> {
        self.peer.write_all(TAKE)?;
        let mut text = [0; 256];
        let count = self.peer.read(&mut text)?;
        if &text[..count] != YOURS {
            return Err(refusal(&text[..count]));
        }
        self.peer.set_nonblocking(true)?;
        let lock = HomeLock::handed(self.lock, home.root())?;
        Ok(Handed { lock, listeners: self.listeners, predecessor: self.peer })
    }
}
