//! What a person is asked, and how secrets come in: on a terminal only, never as an echo.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use super::failure::Failure;

/// Longest secret that is read from standard input, in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Whether there is a person to ask.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a line. `flag` is what to say where nobody can be asked.
pub(super) fn line(question: &str, flag: &str) -> Result<String, Failure> {
    if !is_interactive() {
        return Err(Failure::usage(format!("{flag} is missing, and there is no terminal to ask on")));
    }
    prompt(question)?;
    let mut text = String::new();
    let read = io::stdin().lock().read_line(&mut text);
    match read {
        Ok(0) => Err(Failure::failed("no answer")),
        Ok(_) => Ok(text.trim().to_owned()),
        Err(error) => Err(Failure::failed(format!("cannot read the answer: {error}"))),
    }
}

/// Asks for a line; an empty one is the default.
pub(super) fn line_or(question: &str, default: &str, flag: &str) -> Result<String, Failure> {
    let answer = line(&format!("{question} [{default}]"), flag)?;
    Ok(if answer.is_empty() { default.to_owned() } else { answer })
}

/// Asks yes or no; an empty answer is no.
pub(super) fn yes(question: &str) -> Result<bool, Failure> {
    let answer = line(&format!("{question} [y/N]"), "--yes")?;
    Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}

/// Goes on with something that cannot be undone: `--yes`, or a person who says so.
pub(super) fn confirm(yes_flag: bool, question: &str) -> Result<(), Failure> {
    if yes_flag || yes(question)? { Ok(()) } else { Err(Failure::failed("nothing was done")) }
}

/// A secret: as a flag, from standard input, or asked for without an echo.
pub(super) fn secret(
    given: Option<&String>,
    from_stdin: bool,
    question: &str,
    flag: &str,
) -> Result<String, Failure> {
    match optional_secret(given, from_stdin)? {
        Some(secret) => Ok(secret),
        None if is_interactive() => hidden(question),
        None => Err(Failure::usage(format!(
            "{flag}-stdin (or {flag}) is missing, and there is no terminal to ask on"
        ))),
    }
}

/// The same where it may be left out.
pub(super) fn optional_secret(given: Option<&String>, from_stdin: bool) -> Result<Option<String>, Failure> {
    if let Some(given) = given {
        return Ok(Some(given.clone()));
    }
    if !from_stdin {
        return Ok(None);
    }
    let mut text = String::new();
    let read = io::stdin().lock().take(SECRET_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| Failure::failed(format!("cannot read standard input: {error}")))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(Failure::usage("standard input is empty"));
    }
    Ok(Some(secret.to_owned()))
}

/// Asks for a secret; what is typed is not shown.
pub(super) fn hidden(question: &str) -> Result<String, Failure> {
    prompt(question)?;
    rpassword::read_password().map_err(|error| Failure::failed(format!("cannot read the answer: {error}")))
}

fn prompt(question: &str) -> Result<(), Failure> {
    let mut out = io::stderr().lock();
    let written = write!(out, "{question}: ").and_then(|()| out.flush());
    written.map_err(|error| Failure::failed(format!("cannot ask: {error}")))
}
