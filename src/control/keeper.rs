//! The thread that owns the kept responses.
//!
//! Apart from the control thread, so that a slow disk delays no reload and no merge, and a merge no conversation.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock;
use crate::mailbox::{Kept, ToKeeper};
use crate::store::responses::{Missing, ResponseStore, StoreError};
use crate::telemetry::log::{self, Value};

/// Runs until it is told to finish or nobody is left who could tell it. `store`: none where its directory cannot be
/// read, which the log has said; every response is unknown then. What was written is synced every `sync_interval`.
pub fn run(store: Option<ResponseStore>, inbox: &Receiver<ToKeeper>, sync_interval: Duration) {
    let mut store = store;
    let (mut syncer, mut synced_at) = (Syncer::start(), clock::now());
    let mut unsynced = Vec::new();
    loop {
        match inbox.recv_timeout(sync_interval) {
            Ok(ToKeeper::Finish) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(message) => match &mut store {
                Some(store) => handle(store, message),
                None => refuse(message),
            },
            Err(RecvTimeoutError::Timeout) => {}
        }
        log::flush();
        let now = clock::now();
        if now.duration_since(synced_at) >= sync_interval {
            unsynced.extend(store.iter_mut().flat_map(ResponseStore::take_unsynced));
            // While the disk still works on what it got before, the rest waits.
            syncer.offer(&mut unsynced);
            synced_at = now;
        }
    }
    unsynced.extend(store.iter_mut().flat_map(ResponseStore::take_unsynced));
    syncer.finish(unsynced);
}

/// Waits for the disk on a thread of its own, so that nobody who keeps or asks waits for it.
struct Syncer {
    running: Option<(SyncSender<Vec<PathBuf>>, JoinHandle<()>)>,
}

impl Syncer {
    fn start() -> Self {
        let (files, inbox) = sync_channel::<Vec<PathBuf>>(0);
        let thread = std::thread::Builder::new().name("keeper-sync".to_owned()).spawn(move || {
            while let Ok(files) = inbox.recv() {
                sync(&files);
            }
        });
        // Without it a power cut takes more, and nothing else is lost.
        Self { running: thread.ok().map(|thread| (files, thread)) }
    }

    /// Hands the files over if the thread is free.
    fn offer(&mut self, files: &mut Vec<PathBuf>) {
        let Some((inbox, _)) = self.running.as_ref().filter(|_| !files.is_empty()) else {
            return files.clear();
        };
        match inbox.try_send(std::mem::take(files)) {
            Ok(()) => {}
            Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => *files = back,
        }
    }

    /// Has the last files synced and ends.
    fn finish(self, files: Vec<PathBuf>) {
        if let Some((inbox, thread)) = self.running {
            // A thread that is gone has nothing more to do.
            let _ = inbox.send(files);
            drop(inbox);
            let _ = thread.join();
        }
    }
}

fn sync(files: &[PathBuf]) {
    let directories: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    for path in files.iter().map(PathBuf::as_path).chain(directories) {
        // One that has made room meanwhile needs no syncing.
        if let Ok(file) = File::open(path) {
            let _ = file.sync_all();
        }
    }
}

fn handle(store: &mut ResponseStore, message: ToKeeper) {
    let now = clock::unix_ms();
    match message {
        ToKeeper::Keep { turn, reply } => {
            let kept = store.keep(&turn, now);
            if let Err(error) = &kept {
                let fields = [("response", Value::Text(&turn.id)), ("reason", Value::Display(error))];
                log::error("a response could not be kept", &fields);
            }
            reply.answer(kept.is_ok());
        }
        ToKeeper::Find { id, project, reply } => {
            let found = store.find(&id, &project, now);
            reply.answer(
                found
                    .map_err(told)
                    .map(|(response, input)| Kept { response: Arc::from(response), input: Arc::from(input) }),
            );
        }
        ToKeeper::History { id, project, reply } => {
            reply.answer(store.history(&id, &project, now).map(Arc::from).map_err(told));
        }
        ToKeeper::Delete { id, project, reply } => {
            reply.answer(store.delete(&id, &project, now).map_err(told));
        }
        ToKeeper::Bounds(bounds) => store.set_bounds(bounds),
        ToKeeper::Finish => {}
    }
}

/// What a client is told; the log gets what is ours.
fn told(error: StoreError) -> Missing {
    let missing = error.missing();
    if missing == Missing::Unreadable {
        log::error("a kept response cannot be read", &[("reason", Value::Display(&error))]);
    }
    missing
}

fn refuse(message: ToKeeper) {
    match message {
        ToKeeper::Find { reply, .. } => reply.answer(Err(Missing::Unreadable)),
        ToKeeper::History { reply, .. } => reply.answer(Err(Missing::Unreadable)),
        ToKeeper::Delete { reply, .. } => reply.answer(Err(Missing::Unreadable)),
        ToKeeper::Keep { reply, .. } => reply.answer(false),
        ToKeeper::Bounds(_) | ToKeeper::Finish => {}
    }
}
