//! The threads that make reports: one long report leaves the others for the rest.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use super::answer::ApiError;
use crate::mailbox::{Piece, Rest, ToReports};
use crate::telemetry::log::{self, Value};

/// Runs until it is told to finish; several threads share one inbox.
pub fn run(inbox: &Mutex<Receiver<ToReports>>) {
    loop {
        // Whoever waits for a message holds the lock; the others wait for it.
        let message = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match message {
            Ok(ToReports::Make(job, reply)) => {
                let answer = catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| {
                    log::error("a report panicked", &[]);
                    ApiError::internal("the gateway made a mistake; it is in its log").into_answer()
                });
                reply.answer(Arc::new(answer));
            }
            Ok(ToReports::More(rest, reply)) => reply.answer(next(&rest)),
            Ok(ToReports::Finish) | Err(_) => return log::flush(),
        }
        log::flush();
    }
}

fn next(rest: &Rest) -> Piece {
    let failed = |reason: &str| {
        log::error("an export was cut off", &[("reason", Value::Text(reason))]);
        Piece::Broken
    };
    match catch_unwind(AssertUnwindSafe(|| rest.next())) {
        Ok(Ok(Some(bytes))) => Piece::Bytes(Arc::new(bytes)),
        Ok(Ok(None)) => Piece::End,
        Ok(Err(reason)) => failed(&reason),
        Err(_) => failed("it panicked"),
    }
}
