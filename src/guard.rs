//! Panics stop at the edge of a task: monoio does not catch them, and one would end its core.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future that ends with what its inner one panicked with, instead of panicking itself.
pub struct Guard<F> {
    inner: Pin<Box<F>>,
}

/// Guards a future, boxed so that it can be dropped in place after a panic. The caller makes the box: a future of
/// some kilobytes that is handed on by value is copied at each hand.
pub fn guard<F: Future>(inner: Pin<Box<F>>) -> Guard<F> {
    Guard { inner }
}

/// A future on the heap, made there: `Box::pin` makes it on the stack first and copies all of its kilobytes, although
/// all but what it captures is still empty.
#[inline]
pub fn pinned<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    let place = Box::new_uninit();
    Box::into_pin(Box::write(place, make()))
}

impl<F: Future> Future for Guard<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The future is not polled again after a panic, so that its broken state is never seen; what it shares
        // with others are cells whose borrows end with the unwinding.
        match catch_unwind(AssertUnwindSafe(|| self.inner.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(text(panic.as_ref()))),
        }
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
        std::pin::pin!(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
    }

    #[test]
    fn a_panic_becomes_an_error_with_its_text() {
        let outcome = poll_once(guard(Box::pin(async { panic!("index {} out of range", 7) })));
        assert_eq!(outcome, Poll::Ready(Err::<(), _>("index 7 out of range".to_owned())));
    }

    #[test]
    fn what_does_not_panic_passes_through() {
        assert_eq!(poll_once(guard(Box::pin(async { 5 }))), Poll::Ready(Ok(5)));
        assert!(poll_once(guard(Box::pin(std::future::pending::<()>()))).is_pending());
    }
}
