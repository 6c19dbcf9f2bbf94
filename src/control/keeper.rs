//! The thread that owns the kept responses.
//!
//! Apart from the control thread, so that a slow disk delays no reload and no merge, and a merge no conversation.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use crate::clock;
use crate::mailbox::{Kept, ToKeeper};
use crate::store::responses::{Missing, ResponseStore, StoreError};
use crate::telemetry::log::{self, Value};

/// Runs until it is told to finish or nobody is left who could tell it. `store`: none where its directory cannot be
/// read, which the log has said; every response is unknown then.
pub fn run(store: Option<ResponseStore>, inbox: &Receiver<ToKeeper>) {
    let mut store = store;
    while let Ok(message) = inbox.recv() {
        if matches!(message, ToKeeper::Finish) {
            break;
        }
        match &mut store {
            Some(store) => handle(store, message),
            None => refuse(message),
        }
        log::flush();
    }
}

fn handle(store: &mut ResponseStore, message: ToKeeper) {
    let now = clock::unix_ms();
    match message {
        ToKeeper::Keep { turn, reply } => {
            if let Err(error) = store.keep(&turn, now) {
                let fields = [("response", Value::Text(&turn.id)), ("reason", Value::Display(&error))];
                log::error("a response could not be kept", &fields);
            }
            reply.answer(());
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
        ToKeeper::Keep { reply, .. } => reply.answer(()),
        ToKeeper::Bounds(_) | ToKeeper::Finish => {}
    }
}
