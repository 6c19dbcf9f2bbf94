//! Notices edits by hand.
//!
//! Owns the comparison of what was read with what is there now: a few `stat` calls a poll, no content. An edit is
//! reported once it has held still for one poll, so that an editor's half-written file is not looked at. Writes of
//! our own are accepted by the state they left, not by time, so that an edit right after them still shows.

use std::path::{Path, PathBuf};

use super::files::Stamp;

/// The files of one home as they were read.
#[derive(Debug, Default)]
pub struct Watch {
    files: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// What the running configuration was made from; none: the file was not there.
    accepted: Option<Stamp>,
    /// What the last poll saw.
    seen: Option<Stamp>,
}

impl Watch {
    pub(super) fn add(&mut self, path: PathBuf, stamp: Option<Stamp>) {
        self.files.push(Watched { path, accepted: stamp, seen: stamp });
    }

    /// Whether a file differs from what was accepted and has held still since the last poll. Says so once for each
    /// edit, whether or not the reading that follows succeeds.
    pub fn poll(&mut self) -> bool {
        let mut changed = false;
        for file in &mut self.files {
            let now = Stamp::read(&file.path);
            let held_still = now == file.seen;
            file.seen = now;
            if held_still && now != file.accepted {
                file.accepted = now;
                changed = true;
            }
        }
        changed
    }

    /// Accepts the state that our own write left.
    pub fn accept(&mut self, path: &Path, stamp: Stamp) {
        for file in self.files.iter_mut().filter(|file| file.path == path) {
            file.accepted = Some(stamp);
            file.seen = Some(stamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::files::replace;

    #[test]
    fn an_edit_shows_once_it_has_held_still_and_only_once() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.json");
        fs::write(&path, "1").unwrap();
        let mut watch = Watch::default();
        watch.add(path.clone(), Stamp::read(&path));
        assert!(!watch.poll() && !watch.poll());
        fs::write(&path, "22").unwrap();
        assert!(!watch.poll(), "just changed");
        fs::write(&path, "333").unwrap();
        assert!(!watch.poll(), "changed again");
        assert!(watch.poll());
        assert!(!watch.poll());
        fs::remove_file(&path).unwrap();
        assert!(!watch.poll());
        assert!(watch.poll(), "a file that went away is an edit");
    }

    #[test]
    fn our_own_write_is_no_edit_but_one_after_it_is() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.json");
        let mut watch = Watch::default();
        watch.add(path.clone(), None);
        let stamp = replace(&path, b"ours").unwrap();
        watch.accept(&path, stamp);
        assert!(!watch.poll() && !watch.poll());
        let stamp = replace(&path, b"ours again").unwrap();
        fs::write(&path, "theirs").unwrap();
        watch.accept(&path, stamp);
        assert!(!watch.poll());
        assert!(watch.poll());
    }
}
