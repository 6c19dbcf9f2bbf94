//! An answer on its way from a blocking thread to a waiting core.

use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

/// A place for one answer, for any number of waiters on any core.
#[derive(Debug)]
pub struct Reply<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    answer: Option<T>,
    waiting: Vec<Waker>,
}

impl<T> Default for Reply<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { answer: None, waiting: Vec::new() }) }
    }
}

impl<T: Clone> Reply<T> {
    /// Puts the answer there and wakes who waits for it.
    pub fn answer(&self, answer: T) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.answer = Some(answer);
        for waker in state.waiting.drain(..) {
            waker.wake();
        }
    }

    /// The answer, if it is there.
    pub fn now(&self) -> Option<T> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).answer.clone()
    }

    /// Waits for the answer. The caller bounds the time.
    pub async fn wait(&self) -> T {
        std::future::poll_fn(|cx| {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match &state.answer {
                Some(answer) => Poll::Ready(answer.clone()),
                None => {
                    if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                        state.waiting.push(cx.waker().clone());
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }
}
