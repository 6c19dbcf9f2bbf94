//! Limits on the control thread: what is said of them.

use crate::budget::event::{Event, Kind};
use crate::budget::key::in_words;
use crate::telemetry::log::{self, Value};

/// Writes a line about something that happened to a limit.
pub(super) fn log_event(event: &Event) {
    let Event { kind, key, limit, used, .. } = event;
    let [limit, used] = [*limit, *used].map(|amount| in_words(key.metric, amount));
    let name = key.subject.ids().join(" / ");
    let mut fields = vec![
        ("level", Value::Text(key.subject.level())),
        ("name", Value::Text(&name)),
        ("window", Value::Display(&key.window)),
        ("limit", Value::Text(&limit)),
        ("used", Value::Text(&used)),
    ];
    match kind {
        Kind::Threshold { percent } => {
            fields.push(("percent", Value::Integer(u64::from(*percent))));
            log::warn("budget threshold reached", &fields);
        }
        Kind::Exhausted => log::warn("budget exhausted", &fields),
        Kind::Reset => log::info("budget reset", &fields),
    }
}
