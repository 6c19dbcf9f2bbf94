//! What the service manager is told, where one listens (`NOTIFY_SOCKET`, sd_notify(3)).

use sd_notify::NotifyState;

/// All cores listen. The process is named too: after a hand-over it is not the one that the manager started.
pub(super) fn serving() {
    tell(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
}

/// A signal has ended the service; open requests go on.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    // A manager that does not listen any more is nothing that serving depends on.
    let _ = sd_notify::notify(state);
}
