//! What is to be sent when, by whom: the queue, the channels' wishes and the clock together.
//!
//! Sends nothing itself: it hands out one delivery at a time and is told what became of it. Time is an argument.

use std::path::Path;

use jiff::tz::TimeZone;

use super::event::{Event, Notice};
use super::queue::{Delivery, Queue, Retry, Taken};
use super::quiet::quiet_until;
use super::{Failure, Sent};
use crate::config::notifications::Channel;
use crate::config::{Config, Settings};
use crate::limits::NOTIFY_QUEUE_MAX;
use crate::telemetry::log::{self, Value};
use crate::telemetry::metrics::NotifyMetrics;

/// The desk.
#[derive(Debug)]
pub(super) struct Desk<'m> {
    metrics: &'m NotifyMetrics,
    /// None while another process has it.
    queue: Option<Queue>,
    /// What came before the queue was there, at most [`NOTIFY_QUEUE_MAX`].
    early: Vec<Event>,
    /// What is being sent: id and channel.
    under_way: Option<(String, String)>,
    /// Whether the last line was written.
    was_written: bool,
}

/// Something to be sent now.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    pub delivery: Delivery,
    pub channel: Channel,
}

impl<'m> Desk<'m> {
    pub(super) fn new(metrics: &'m NotifyMetrics) -> Self {
        Self { metrics, queue: None, early: Vec::new(), under_way: None, was_written: true }
    }

    /// Reads what waits; this process sends it from now on.
    pub(super) fn open(&mut self, data: &Path, config: &Config, now_ms: u64) {
        let (queue, error) = Queue::open(data);
        if queue.len() > 0 {
            log::info("notifications wait", &[("count", Value::Integer(queue.len() as u64))]);
        }
        self.queue = Some(queue);
        self.written(error.map_or(Ok(()), Err));
        for event in std::mem::take(&mut self.early) {
            self.take(&event, config, now_ms);
        }
        self.count();
    }

    /// Whether it has the queue.
    pub(super) fn is_open(&self) -> bool {
        self.queue.is_some()
    }

    /// Leaves the queue to another process, unless something is under way.
    pub(super) fn close(&mut self) -> bool {
        if self.under_way.is_none() {
            self.queue = None;
        }
        self.queue.is_none()
    }

    /// Whether something is being sent.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// Takes an event in for the channels that want to be told.
    pub(super) fn take(&mut self, event: &Event, config: &Config, now_ms: u64) {
        let kind = event.kind();
        let wanting = config.settings().channels.iter().filter(|channel| channel.wants(kind));
        let channels: Vec<String> = wanting.map(|channel| channel.id.clone()).collect();
        if channels.is_empty() {
            return;
        }
        let Some(queue) = &mut self.queue else {
            if self.early.len() < NOTIFY_QUEUE_MAX {
                self.early.push(event.clone());
            } else {
                self.metrics.lost.add(channels.len() as u64);
            }
            return;
        };
        let notice = event.notice(config);
        let (id, count) = (notice.id.clone(), channels.len() as u64);
        let (taken, written) = queue.add(notice, channels, now_ms);
        if taken == Taken::Full {
            self.metrics.lost.add(count);
            let fields = [("event", Value::Text(&id)), ("waiting", Value::Integer(queue.len() as u64))];
            log::error("too many notifications wait; this one is lost", &fields);
        }
        self.written(written);
        self.count();
    }

    /// What is to be sent now; nothing while something is under way.
    pub(super) fn next(&mut self, settings: &Settings, now_ms: u64) -> Option<Errand> {
        if self.under_way.is_some() {
            return None;
        }
        let zone = TimeZone::get(&settings.timezone).unwrap_or(TimeZone::UTC);
        loop {
            let delivery = self.queue.as_ref()?.due(now_ms)?.clone();
            let (id, wanted) = (&delivery.notice.id, &delivery.channel);
            let channel = settings.channels.iter().find(|channel| channel.id == *wanted && channel.enabled);
            let Some(channel) = channel else {
                log::info("a notification has no channel any more", &fields_of(&delivery.notice, wanted));
                let written = self.queue.as_mut()?.done(id, wanted);
                self.metrics.lost.add(1);
                self.written(written);
                self.count();
                continue;
            };
            if let Some(until_ms) = channel.quiet_hours.and_then(|hours| quiet_until(hours, &zone, now_ms)) {
                self.queue.as_mut()?.put_off(id, wanted, until_ms);
                continue;
            }
            self.under_way = Some((id.clone(), wanted.clone()));
            return Some(Errand { channel: channel.clone(), delivery });
        }
    }

    /// When there is something to be done again, in milliseconds since the Unix epoch.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        if self.is_busy() { None } else { self.queue.as_ref()?.next_due_ms() }
    }

    /// What was under way is over.
    pub(super) fn settle(&mut self, result: &Result<Sent, Failure>, now_ms: u64, draw: u64) {
        let Some((id, channel)) = self.under_way.take() else { return };
        let Some(queue) = &mut self.queue else { return };
        let (event, to) = (Value::Text(&id), Value::Text(&channel));
        let written = match result {
            Ok(sent) => {
                self.metrics.sent.add(1);
                let mut fields = vec![("event", event), ("channel", to)];
                if let Some(secure) = sent.fixed_secure {
                    fields.push(("secure", Value::Flag(secure)));
                }
                log::info("notification sent", &fields);
                queue.done(&id, &channel)
            }
            Err(failure) => {
                self.metrics.failures.add(1);
                let (retry, written) = queue.failed(&id, &channel, failure.is_final, now_ms, draw);
                let reason = Value::Text(&failure.reason);
                match retry {
                    Retry::At(due_ms) => {
                        let seconds = Value::Integer(due_ms.saturating_sub(now_ms).div_ceil(1_000));
                        let fields =
                            [("event", event), ("channel", to), ("reason", reason), ("retryInS", seconds)];
                        log::warn("notification not sent", &fields);
                    }
                    Retry::GivenUp => {
                        self.metrics.lost.add(1);
                        let fields = [("event", event), ("channel", to), ("reason", reason)];
                        log::error("notification given up", &fields);
                    }
                }
                written
            }
        };
        self.written(written);
        self.count();
    }

    fn count(&self) {
        self.metrics.waiting.set(self.queue.as_ref().map_or(0, |queue| queue.len() as u64));
    }

    fn written(&mut self, written: std::io::Result<()>) {
        match (&written, self.was_written) {
            (Err(error), true) => {
                let fields = [("reason", Value::Display(error))];
                log::error("notifications that wait cannot be written; a restart would lose them", &fields);
            }
            (Ok(()), false) => log::warn("notifications that wait can be written again", &[]),
            _ => {}
        }
        self.was_written = written.is_ok();
    }
}

fn fields_of<'a>(notice: &'a Notice, channel: &'a str) -> [(&'static str, Value<'a>); 2] {
    [("event", Value::Text(&notice.id)), ("channel", Value::Text(channel))]
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
