//! Read buffers of one core, lent while bytes are in hand and returned after.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::limits::{POOLED_BUFFERS_MAX, READ_BUFFER_BYTES};

/// A stack of equal, initialised buffers. Nobody waits for one: an empty stack allocates.
#[derive(Debug, Clone, Default)]
pub struct BufferPool {
    free: Rc<RefCell<Vec<Box<[u8]>>>>,
}

impl BufferPool {
    /// Lends a buffer of [`READ_BUFFER_BYTES`] bytes; its content is whatever the last user left.
    pub fn take(&self) -> Buffer {
        let bytes = self.free.borrow_mut().pop();
        let bytes = bytes.unwrap_or_else(|| vec![0; READ_BUFFER_BYTES].into_boxed_slice());
        Buffer { bytes, pool: self.clone() }
    }
}

/// A lent buffer; dropping it gives it back.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    pool: BufferPool,
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.pool.free.borrow_mut();
        if free.len() < POOLED_BUFFERS_MAX {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_is_lent_again() {
        let pool = BufferPool::default();
        let mut first = pool.take();
        first[0] = 7;
        let address = first.as_ptr();
        drop(first);
        assert_eq!(pool.take().as_ptr(), address);
    }

    #[test]
    fn the_pool_keeps_a_bounded_number() {
        let pool = BufferPool::default();
        let lent: Vec<_> = (0..POOLED_BUFFERS_MAX + 5).map(|_| pool.take()).collect();
        drop(lent);
        assert_eq!(pool.free.borrow().len(), POOLED_BUFFERS_MAX);
    }
}
