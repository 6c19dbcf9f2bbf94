//! An answer on its way from a blocking thread to a waiting core.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

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

    /// Waits for the answer on a thread that may block; none where it does not come within `patience`.
    pub fn wait_blocking(&self, patience: Duration) -> Option<T> {
        let (bell, rung) = sync_channel(1);
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.answer.is_some() {
                return state.answer.clone();
            }
            state.waiting.push(Waker::from(Arc::new(Bell(bell))));
        }
        // Rung by the answer; if not, there is none.
        let _ = rung.recv_timeout(patience);
        self.now()
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

/// Wakes a thread.
struct Bell(SyncSender<()>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // Who does not listen any more has given up.
        let _ = self.0.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocking_thread_gets_the_answer_or_gives_up() {
        let reply = Arc::new(Reply::default());
        assert_eq!(reply.wait_blocking(Duration::ZERO), None::<u8>);
        std::thread::scope(|scope| {
            scope.spawn(|| reply.answer(7));
            assert_eq!(reply.wait_blocking(Duration::from_secs(60)), Some(7));
        });
        assert_eq!(reply.wait_blocking(Duration::ZERO), Some(7));
    }
}
