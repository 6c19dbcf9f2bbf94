//! What passes between those who ask for a report and the threads that make it.
//!
//! A long body is made piece by piece, each when the core asks for it: a slow client holds a piece and no thread.

use std::sync::{Arc, Mutex, PoisonError};

use super::{ApiAnswer, Reply};

/// What a thread that makes reports is told or asked.
pub enum ToReports {
    /// Make an answer.
    Make(Job, Arc<Reply<Arc<ApiAnswer>>>),
    /// Make the next piece of a body.
    More(Arc<Rest>, Arc<Reply<Piece>>),
    /// Nobody will ask any more: return. One for each thread.
    Finish,
}

impl std::fmt::Debug for ToReports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Make(..) => "Make(…)",
            Self::More(..) => "More(…)",
            Self::Finish => "Finish",
        })
    }
}

/// Makes an answer; may take its time.
pub type Job = Box<dyn FnOnce() -> ApiAnswer + Send>;

/// A body that is made piece by piece.
pub trait Pieces: Send {
    /// The next piece, not empty; none at the end.
    ///
    /// # Errors
    /// Why there is no more, for the log. The client must see that the body is not complete.
    fn next(&mut self) -> Result<Option<Vec<u8>>, String>;
}

/// The body of an answer that is made while it is sent.
pub struct Rest {
    /// Of the body.
    pub content_type: &'static str,
    pieces: Mutex<Box<dyn Pieces>>,
}

impl Rest {
    /// Nothing of it is made yet.
    pub fn new(content_type: &'static str, pieces: impl Pieces + 'static) -> Self {
        Self { content_type, pieces: Mutex::new(Box::new(pieces)) }
    }

    /// Makes the next piece; blocks.
    ///
    /// # Errors
    /// See [`Pieces::next`].
    pub fn next(&self) -> Result<Option<Vec<u8>>, String> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rest").field("content_type", &self.content_type).finish_non_exhaustive()
    }
}

/// What a core gets of such a body.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Some bytes; more may follow.
    Bytes(Arc<Vec<u8>>),
    /// Nothing more.
    End,
    /// It cannot go on.
    Broken,
}
