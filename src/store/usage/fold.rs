//! Who is told of records on their way into the usage files.

use std::path::Path;

use crate::store::journal::Facts;

/// Keeps something about finished attempts: sums, windows, metrics. Told by the [`Merger`](super::Merger) on the control
/// thread, of each record once.
///
/// What goes with the usage files (and is checkpointed with a position in them) is kept by `stored` and `stored_line`;
/// what has to go on while the disk refuses, by `seen`.
pub trait Fold {
    /// An attempt of this process was taken from its core's journal. It may not be stored yet.
    fn seen(&mut self, facts: &Facts);

    /// The record of an attempt of this process is in the usage file now.
    fn stored(&mut self, facts: &Facts);

    /// A record is in the usage file now that another process left or leaves behind: the indexes of its facts mean
    /// nothing here.
    fn stored_line(&mut self, line: &[u8]);

    /// The open usage file is a segment now: what was told before is in it, what is told from now on goes into a new
    /// file.
    fn rotated(&mut self, segment: &Path);

    /// Somebody deleted the open usage file. What was told is gone, but for the segments.
    fn restarted(&mut self);
}

/// At the start nothing is kept yet: what is, is read from the files afterwards.
pub(super) struct Nobody;

impl Fold for Nobody {
    fn seen(&mut self, _facts: &Facts) {}
    fn stored(&mut self, _facts: &Facts) {}
    fn stored_line(&mut self, _line: &[u8]) {}
    fn rotated(&mut self, _segment: &Path) {}
    fn restarted(&mut self) {}
}
