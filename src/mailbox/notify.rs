//! What the thread that sends notifications is told.

use crate::notify::event::Event;
use crate::notify::{Failure, Sent};

/// What the thread is told.
#[derive(Debug)]
pub enum ToNotifier {
    /// Something happened.
    Event(Box<Event>),
    /// What became of the delivery that was under way.
    Settled(Result<Sent, Failure>),
    /// Nothing more will come: return.
    Finish,
}
