//! Releases: what runs, and that nothing newer is known. No server is asked, and nothing is installed from here.

use serde_json::{Value, json};

use super::answer::{ApiError, json_answer};
use super::ask::Ask;
use super::office::Office;
use super::routes::Answered;
use super::shape::{Field, Kind, Record};
use super::sign_in::timestamp;
use crate::config::account::ADMIN;

pub(super) static RELEASES: Record = Record {
    name: "Releases",
    about: "Channels that `channel` can name.",
    key: "",
    fields: &[
        Field::new("channels", Kind::List(&Kind::Text)).answers().always(),
        Field::new("versions", Kind::List(&Kind::Text)).answers().always(),
    ],
};

pub(super) static UPDATE_INFO: Record = Record {
    name: "UpdateInfo",
    about: "Whether there is a newer release. No release server is asked: there is none.",
    key: "",
    fields: &[
        Field::new("available", Kind::Flag).answers().always(),
        Field::new("currentVersion", Kind::Text).answers().always(),
        Field::new("latestVersion", Kind::Text).answers().always(),
        Field::new("channel", Kind::Text).answers().always(),
        Field::new("checkedAt", Kind::Time).answers().always(),
    ],
};

pub(super) static OAUTH_TEST: Record = Record {
    name: "OauthTest",
    about: "A file of ChatGPT's sign-in.",
    key: "",
    fields: &[Field::new("authFilePath", Kind::Text)],
};

pub(super) static OAUTH_RESULT: Record = Record {
    name: "OauthResult",
    about: "Whether the file can be used.",
    key: "",
    fields: &[Field::new("ok", Kind::Flag).answers().always(), Field::new("error", Kind::Text).answers()],
};

/// `GET /api/system/releases`.
pub(super) fn list(_: &mut Office, _: &Ask<'_>) -> Answered {
    Ok(json_answer(200, &json!({"channels": ["latest", "stable", "develop"], "versions": []})))
}

/// `GET /api/system/update-check`.
pub(super) fn check(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let version = env!("CARGO_PKG_VERSION");
    let info = json!({
        "available": false,
        "currentVersion": version,
        "latestVersion": version,
        "channel": office.config().settings().channel,
        "checkedAt": timestamp(ask.now_ms),
    });
    Ok(json_answer(200, &info))
}

/// `POST /api/system/update`: refused; a program that is reached from outside does not replace itself.
pub(super) fn update(_: &mut Office, ask: &Ask<'_>) -> Answered {
    if ask.who()?.role != ADMIN {
        return Err(ApiError::forbidden("this needs the role admin"));
    }
    Err(ApiError::conflict("nothing newer is known; install a release and run `routerly start --replace`"))
}

/// `POST /api/test/openai-oauth`: no file is read, as the provider is not served.
pub(super) fn test_oauth(_: &mut Office, ask: &Ask<'_>) -> Answered {
    ask.object()?;
    let result: Value = json!({"ok": false, "error": "models of the provider openai-oauth are not served"});
    Ok(json_answer(200, &result))
}
