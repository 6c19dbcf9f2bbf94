//! Trying a notification channel out.

use std::sync::Arc;

use serde_json::json;

use super::answer::{ApiError, json_answer};
use super::ask::Ask;
use super::office::Office;
use super::shape::{Field, Kind, Record};
use crate::config::notifications::{Route, is_address};
use crate::mailbox::Job;
use crate::notify;

pub(super) static TRIAL: Record = Record {
    name: "NotificationTrial",
    about: "Which channel is tried out.",
    key: "",
    fields: &[
        Field::new("channelId", Kind::Text)
            .also(&["channelName", "channel"])
            .bodies()
            .required()
            .about("Its id or name."),
        Field::new("to", Kind::Text)
            .bodies()
            .about("Recipient of a mail; the channel's own where it is left out."),
    ],
};

pub(super) static OUTCOME: Record = Record {
    name: "NotificationOutcome",
    about: "What became of a test message.",
    key: "",
    fields: &[
        Field::new("ok", Kind::Flag).answers().always().about("It was taken."),
        Field::new("message", Kind::Text).answers().always(),
        Field::new("fixedSecure", Kind::Flag).answers().about("What `secure` of the channel should be."),
    ],
};

/// `POST /api/notifications/test`: sends a test message over a channel as it is stored. What becomes of it is in the body;
/// a mail server that says no is no error of this API.
pub(super) fn test(office: &Office, ask: &Ask<'_>) -> Result<Job, ApiError> {
    let mut form = ask.form()?;
    let named = form.required(&["channelId", "channelName", "channel"]);
    let to = form.string(&["to"]).map(|to| to.trim().to_owned()).filter(|to| !to.is_empty());
    if to.as_deref().is_some_and(|to| !is_address(to)) {
        form.problem("to", "is no mail address");
    }
    form.finish()?;
    let config = Arc::clone(&office.mailbox.snapshot().config);
    let channels = &config.settings().channels;
    let found = channels.iter().position(|channel| channel.id == named);
    let found = found.or_else(|| channels.iter().position(|channel| channel.name == named));
    let Some(index) = found else {
        return Err(ApiError::fields(vec![(
            "channelId".to_owned(),
            format!("there is no channel `{named}`"),
        )]));
    };
    let is_mail = !matches!(channels[index].route, Route::Webhook { .. });
    if is_mail && to.is_none() && channels[index].to.is_empty() {
        let problem = "is missing, and the channel has no recipients of its own";
        return Err(ApiError::fields(vec![("to".to_owned(), problem.to_owned())]));
    }
    // Each may take as long as a mail server lets it; the threads are there for reports, too.
    let turn = Arc::clone(&office.tests);
    if Arc::strong_count(&turn) > 2 {
        return Err(ApiError::busy("another channel is being tried out; try again in a moment"));
    }
    let home = office.home.root().to_owned();
    Ok(Box::new(move || {
        let _turn = turn;
        let settings = config.settings();
        let body = match notify::try_out(&settings.channels[index], to.as_deref(), settings, &home) {
            Ok(notify::Sent { fixed_secure: None }) => json!({"ok": true, "message": "sent"}),
            Ok(notify::Sent { fixed_secure: Some(secure) }) => {
                let word = if secure { "TLS from the first byte" } else { "STARTTLS" };
                let message = format!("sent, with {word}: secure should be {secure}");
                json!({"ok": true, "message": message, "fixedSecure": secure})
            }
            Err(failure) => json!({"ok": false, "message": failure.reason}),
        };
        json_answer(200, &body)
    }))
}
