//! Why a command failed, and the exit code that says so.

use std::process::ExitCode;

/// What kind of failure it was. The number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Anything else.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Nobody is signed in, or not any more.
    SignIn = 3,
    /// He may not.
    Denied = 4,
    /// There is no such thing.
    NotFound = 5,
    /// It does not fit to what is there.
    Conflict = 6,
    /// The gateway cannot be reached.
    Unreachable = 7,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::SignIn => "unauthorized",
            Self::Denied => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Unreachable => "unreachable",
        }
    }

    /// The kind of an HTTP status.
    pub(super) fn of_status(status: u16) -> Self {
        match status {
            401 => Self::SignIn,
            403 => Self::Denied,
            404 => Self::NotFound,
            409 | 412 => Self::Conflict,
            _ => Self::Failed,
        }
    }
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Failure {
    pub(super) kind: Kind,
    message: String,
    /// The word in parentheses: the gateway's own where it said one.
    code: String,
}

impl Failure {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), code: kind.word().to_owned() }
    }

    /// What the gateway said.
    pub(super) fn of_answer(status: u16, code: &str, message: &str) -> Self {
        Self { kind: Kind::of_status(status), message: message.to_owned(), code: code.to_owned() }
    }

    pub(in crate::cli) fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    pub(in crate::cli) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub(in crate::cli) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    pub(in crate::cli) fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// Says it on standard error; the exit code.
    #[expect(clippy::print_stderr, reason = "the command line's own voice")]
    pub(in crate::cli) fn report(&self) -> ExitCode {
        eprintln!("error: {} ({})", self.message, self.code);
        ExitCode::from(self.kind as u8)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_exit_code() {
        for (status, code) in
            [(400, 1), (401, 3), (403, 4), (404, 5), (409, 6), (412, 6), (429, 1), (500, 1), (503, 1)]
        {
            assert_eq!(Kind::of_status(status) as u8, code, "{status}");
        }
    }
}
