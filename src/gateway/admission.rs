//! What a request may spend: reserved before it goes to a provider, settled with what it has used.
//!
//! Owns the way from a request's facts to amounts, and what is said where a limit has no room. The counting is the
//! budget room's; who settles is the ledger. A configuration without limits costs one comparison per request.

use std::rc::Rc;

use super::ledger::Ledger;
use crate::budget::account::Account;
use crate::budget::hold::{Hold, Refusal};
use crate::budget::key::{Amounts, Key};
use crate::budget::money::Picodollars;
use crate::budget::plan::{Plan, Who};
use crate::budget::window::Moment;
use crate::clock;
use crate::config::Metric;
use crate::dialect::{Dialect, Needs, Usage, UsageTap, tokens_of_texts};
use crate::http1::writer;
use crate::json::facts::RequestFacts;
use crate::respond::{GatewayError, Spent};
use crate::routing::Pool;
use crate::shard::{Shard, View};
use crate::snapshot::Target;
use crate::telemetry::labels::{Endpoint, Outcome};
use crate::telemetry::text::TimestampFormatter;

/// The limits of one request. Dropped, it gives back what is held.
#[derive(Default)]
pub(super) struct Admission {
    hold: Option<Box<Hold<Rc<View>>>>,
    /// Tokens that the request may use, once they matter.
    tokens: Option<(u64, Option<u64>)>,
    /// A limit of the chosen target ends a stream that goes beyond it.
    may_stop: bool,
}

impl Admission {
    fn open<'h>(
        hold: &'h mut Option<Box<Hold<Rc<View>>>>,
        shard: &Shard,
        view: &Rc<View>,
        who: Who,
        admitted: Moment,
    ) -> &'h mut Hold<Rc<View>> {
        hold.get_or_insert_with(|| Box::new(Hold::open(Rc::clone(view), shard.index, who, admitted)))
    }

    /// For another call of the same request, of which nothing is held yet.
    pub(super) fn beside(&self) -> Self {
        Self { hold: None, tokens: self.tokens, may_stop: false }
    }

    /// Charges what an attempt has used. Calls are those whose provider did the work.
    pub(super) fn settle(
        &mut self,
        shard: &Shard,
        view: &Rc<View>,
        who: Who,
        admitted: Moment,
        attempt: (u32, Outcome, &Usage, u64),
    ) {
        if view.snapshot.budgets.is_empty() {
            return;
        }
        let (model, outcome, usage, cost) = attempt;
        let calls = u64::from(outcome.did_work());
        let used = Amounts { calls, input: usage.input, output: usage.output, cost };
        Self::open(&mut self.hold, shard, view, who, admitted).settle(model, &used);
    }
}

/// Appends what is left of rates, in the fields that clients of the dialect know. What the provider says of its own rates
/// makes room for it.
fn append_rates(head: &mut Vec<u8>, dialect: Dialect, hold: &Hold<Rc<View>>, now: Moment) {
    let mut rates: [Option<Rate>; 4] = [None; 4];
    for entry in hold.enforced() {
        let account = &hold.plan().entry(entry).account;
        let Some(kind) = rate_kind(&account.key) else { continue };
        let level = account.level(now);
        let clears_in_ms = account.clears_in_ms(now);
        let rate = Rate { limit: level.limit, remaining: level.remaining(), clears_in_ms };
        if rates[kind].is_none_or(|known| rate.remaining < known.remaining) {
            rates[kind] = Some(rate);
        }
    }
    if rates.iter().any(Option::is_some) {
        drop_provider_rates(head);
        write_rates(head, dialect, &rates, now);
    }
}

/// What is left of one rate.
#[derive(Debug, Clone, Copy)]
struct Rate {
    limit: u64,
    remaining: u64,
    clears_in_ms: u64,
}

/// Index of a rate among requests, tokens, input tokens, output tokens; none for what is no rate or has no field.
fn rate_kind(key: &Key) -> Option<usize> {
    let kind = match key.metric {
        Metric::Calls => 0,
        Metric::TotalTokens => 1,
        Metric::InputTokens => 2,
        Metric::OutputTokens => 3,
        Metric::Cost => return None,
    };
    key.window.is_rate().then_some(kind)
}

/// Removes the lines of a head that tell of a provider's rates.
fn drop_provider_rates(head: &mut Vec<u8>) {
    const PREFIXES: [&[u8]; 2] = [b"x-ratelimit-", b"anthropic-ratelimit-"];
    let mut kept = Vec::with_capacity(head.len());
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let is_rate =
            |prefix: &&[u8]| line.get(..prefix.len()).is_some_and(|name| name.eq_ignore_ascii_case(prefix));
        if !PREFIXES.iter().any(is_rate) {
            kept.extend_from_slice(line);
        }
    }
    *head = kept;
}

/// OpenAI's fields count requests and tokens, and say in how long (`1s`, `6m0s`); Anthropic's count input and output too,
/// and say when. Sources: OpenAI API docs, "Rate limits in headers"; Anthropic API docs, "Rate limits: response headers".
fn write_rates(head: &mut Vec<u8>, dialect: Dialect, rates: &[Option<Rate>; 4], now: Moment) {
    let mut field = |name: String, value: &str| writer::own_field(head, &name, value.as_bytes());
    if dialect == Dialect::AnthropicMessages {
        let mut times = TimestampFormatter::default();
        for (kind, rate) in ["requests", "tokens", "input-tokens", "output-tokens"].iter().zip(rates) {
            let Some(rate) = rate else { continue };
            let clears_at = times.format(now.wall_ms + rate.clears_in_ms.next_multiple_of(1_000));
            field(format!("anthropic-ratelimit-{kind}-limit"), &rate.limit.to_string());
            field(format!("anthropic-ratelimit-{kind}-remaining"), &rate.remaining.to_string());
            field(format!("anthropic-ratelimit-{kind}-reset"), clears_at.as_str());
        }
        return;
    }
    let tokens = rates[1..].iter().flatten().min_by_key(|rate| rate.remaining);
    for (kind, rate) in [("requests", rates[0].as_ref()), ("tokens", tokens)] {
        let Some(rate) = rate else { continue };
        field(format!("x-ratelimit-limit-{kind}"), &rate.limit.to_string());
        field(format!("x-ratelimit-remaining-{kind}"), &rate.remaining.to_string());
        let (seconds, ms) = (rate.clears_in_ms / 1_000, rate.clears_in_ms % 1_000);
        let clears_in = match (seconds / 60, seconds % 60, ms) {
            (0, 0, ms) => format!("{ms}ms"),
            (0, seconds, 0) => format!("{seconds}s"),
            (0, seconds, ms) => format!("{seconds}.{ms:03}s"),
            (minutes, seconds, _) => format!("{minutes}m{seconds}s"),
        };
        field(format!("x-ratelimit-reset-{kind}"), &clears_in);
    }
}

impl Ledger {
    /// Admits a request: its call is held on the limits of platform, project and token. `body` as far as it is known, and
    /// its facts where they were read.
    ///
    /// # Errors
    /// The limit without room.
    pub(super) fn admit(&mut self, body: &[u8], facts: Option<&RequestFacts>) -> Result<(), GatewayError> {
        if self.view.snapshot.budgets.is_empty() {
            return Ok(());
        }
        let (who, admitted) = (self.who(), self.admitted());
        let hold = Admission::open(&mut self.limits.hold, &self.shard, &self.view, who, admitted);
        let needs_amounts = !body.is_empty() && hold.plan().counts_amounts();
        if needs_amounts && self.endpoint != Endpoint::CountTokens {
            let (input, output) = tokens(body, facts.filter(|_| self.endpoint != Endpoint::Gemini));
            let choices = facts.and_then(|facts| facts.n).unwrap_or(1).max(1);
            let output = output.map(|tokens| tokens.saturating_mul(choices));
            let output = if self.endpoint == Endpoint::Embeddings { Some(0) } else { output };
            self.limits.tokens = Some((input, output));
        }
        let call = Amounts { calls: 1, ..Amounts::default() };
        hold.admit(&call).map_err(|refusal| spent(hold.plan(), refusal, admitted))
    }

    /// Holds what a target may use at most, instead of what another one might have.
    ///
    /// # Errors
    /// The limit without room; another target may have some.
    pub(super) fn choose(&mut self, index: usize, target: &Target) -> Result<(), GatewayError> {
        let admitted = self.admitted();
        let Admission { hold: Some(hold), tokens, may_stop } = &mut self.limits else { return Ok(()) };
        let mut ask = Amounts { calls: 1, ..Amounts::default() };
        if let Some((input, output)) = *tokens
            && hold.needs_amounts(index as u32)
        {
            let fallback = self.view.snapshot.config.settings().reserve_output_tokens;
            let ceiling = target.model.context_window.unwrap_or(u64::MAX);
            ask.input = input;
            ask.output = output.unwrap_or(fallback).min(ceiling);
            let usage = Usage { input, output: ask.output, ..Usage::default() };
            ask.cost = target.price.cost(&usage).total().0;
        }
        let chosen = hold.choose(index as u32, &ask);
        *may_stop = chosen.is_ok() && hold.stops_streams();
        chosen.map_err(|refusal| spent(hold.plan(), refusal, admitted))
    }

    /// Holds a call of its own, and what a target may use at most, for an attempt beside another one.
    ///
    /// # Errors
    /// The limit without room.
    pub(super) fn hold_beside(&mut self, index: usize, target: &Target) -> Result<(), GatewayError> {
        self.working();
        if self.view.snapshot.budgets.is_empty() {
            return Ok(());
        }
        let (who, admitted) = (self.who(), self.admitted());
        let hold = Admission::open(&mut self.limits.hold, &self.shard, &self.view, who, admitted);
        let call = Amounts { calls: 1, ..Amounts::default() };
        hold.admit(&call).map_err(|refusal| spent(hold.plan(), refusal, admitted))?;
        self.choose(index, target)
    }

    /// Whether the limits have room for what a stream has used so far. One comparison unless a limit stops streams.
    ///
    /// # Errors
    /// The limit without room: the stream is to end.
    #[inline]
    pub(super) fn go_on(&mut self, tap: Option<&UsageTap>) -> Result<(), GatewayError> {
        match tap {
            Some(tap) if self.limits.may_stop => self.hold_more(tap),
            _ => Ok(()),
        }
    }

    fn hold_more(&mut self, tap: &UsageTap) -> Result<(), GatewayError> {
        let (estimate, reported) = (self.estimate(tap.output_chars_so_far()), tap.usage_so_far());
        let (Some(hold), Some(index)) = (&mut self.limits.hold, self.last_target) else { return Ok(()) };
        let input = self.limits.tokens.map_or(estimate.input, |(input, _)| input);
        // Some providers tell the input at the beginning, and of the output as much as there is.
        let usage = match reported {
            Some(reported) => Usage { output: reported.output.max(estimate.output), ..reported },
            None => Usage { input, ..estimate },
        };
        let cost = self.view.snapshot.targets[index].price.cost(&usage).total().0;
        let used = Amounts { calls: 1, input: usage.input, output: usage.output, cost };
        let admitted = hold.admitted();
        hold.grow(&used).map_err(|refusal| spent(hold.plan(), refusal, admitted))
    }

    /// Tells the candidates of a request what is left of their limits.
    pub(super) fn fill_standing(&self, pool: &mut Pool) {
        let plan = &self.view.snapshot.budgets;
        if plan.is_empty() {
            return;
        }
        let (who, now) = (self.who(), self.admitted());
        for candidate in pool.candidates_mut() {
            let headroom = plan.headroom(who, candidate.target as u32, now);
            candidate.standing.headroom = headroom;
            candidate.standing.is_exhausted = headroom <= 0.0;
        }
    }

    /// How much of the limits of a target is used, in words, for a model that is to choose among targets.
    pub(super) fn limits_in_words(&self, target: usize) -> Vec<String> {
        let plan = &self.view.snapshot.budgets;
        let now = self.admitted();
        let entries = plan.model(self.who(), target as u32).entries();
        let enforced = entries.filter(|(_, enforced)| *enforced);
        enforced.map(|(entry, _)| in_words(&plan.entry(entry).account, now)).collect()
    }

    /// The first limit that is used up of the first candidate that has one: why nobody could be asked.
    pub(super) fn exhausted(&self, pool: &mut Pool) -> Option<GatewayError> {
        let plan = &self.view.snapshot.budgets;
        let now = self.admitted();
        for candidate in pool.candidates_mut() {
            for (entry, enforced) in plan.model(self.who(), candidate.target as u32).entries() {
                if enforced && let Err(full) = plan.entry(entry).account.look(now) {
                    return Some(spent(plan, Refusal { entry, full }, now));
                }
            }
        }
        None
    }

    /// Appends what is left of rates to the head of an answer.
    pub(super) fn append_rates(&self, head: &mut Vec<u8>, dialect: Dialect) {
        let Some(hold) = self.limits.hold.as_ref().filter(|hold| hold.has_rates()) else { return };
        let now = clock::now();
        let now = Moment { wall_ms: self.shard.unix_ms(now), steady_ms: clock::steady_ms(now) };
        append_rates(head, dialect, hold, now);
    }

    pub(super) fn who(&self) -> Who {
        Who { project: self.project, owner: self.principal.project, token: self.principal.token }
    }

    /// When the request was admitted, on both clocks.
    pub(super) fn admitted(&self) -> Moment {
        Moment { wall_ms: self.admitted_ms, steady_ms: self.admitted_steady_ms }
    }
}

/// Input tokens of a request, and the bound on its output tokens. `facts` where they tell of that bound: with them, a small
/// body of texts need not be read again.
fn tokens(body: &[u8], facts: Option<&RequestFacts>) -> (u64, Option<u64>) {
    if let Some(facts) = facts
        && let Some(input) = tokens_of_texts(body)
    {
        return (input, facts.output_tokens_max());
    }
    let needs = Needs::of(body);
    (needs.input_tokens, needs.output_tokens_max)
}

/// `calls, daily, model: 3 of 10 used, 7 left`.
fn in_words(account: &Account, now: Moment) -> String {
    let Key { subject, metric, window } = &account.key;
    let level = account.level(now);
    let amount = |value: u64| match metric {
        Metric::Cost => {
            let mut usd = Vec::new();
            Picodollars(value).write_usd(&mut usd);
            format!("{} USD", String::from_utf8_lossy(&usd))
        }
        _ => value.to_string(),
    };
    let used = level.used.saturating_add(level.reserved);
    let (used, limit, left) = (amount(used), amount(level.limit), amount(level.remaining()));
    format!("{}, {window}, {}: {used} of {limit} used, {left} left", metric.as_str(), subject.level())
}

/// A refusal in words.
fn spent(plan: &Plan, refusal: Refusal, now: Moment) -> GatewayError {
    let key = &plan.entry(refusal.entry).account.key;
    GatewayError::Spent(Box::new(Spent {
        level: key.subject.level(),
        metric: key.metric,
        window: key.window,
        is_rate: key.window.is_rate(),
        used: refusal.full.level.used,
        reserved: refusal.full.level.reserved,
        limit: refusal.full.level.limit,
        asked: refusal.full.asked,
        resets_at_ms: refusal.full.resets_at_ms,
        resets_in_ms: refusal.full.resets_at_ms.saturating_sub(now.wall_ms),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { limit: 10, remaining: 7, clears_in_ms: 59_001 };

    fn text(dialect: Dialect, rates: [Option<Rate>; 4]) -> String {
        let mut head = b"HTTP/1.1 200 OK\r\nX-RateLimit-Limit-Requests: 9000\r\nx-a: b\r\n\
            anthropic-ratelimit-tokens-limit: 5\r\n"
            .to_vec();
        let now = Moment { wall_ms: 1_763_337_600_500, steady_ms: 0 };
        drop_provider_rates(&mut head);
        write_rates(&mut head, dialect, &rates, now);
        String::from_utf8(head).unwrap()
    }

    #[test]
    fn each_dialect_has_its_fields_and_the_providers_own_are_gone() {
        let less = Rate { remaining: 3, clears_in_ms: 2_000, ..RATE };
        let openai = text(Dialect::OpenAiChat, [Some(RATE), Some(RATE), None, Some(less)]);
        assert_eq!(
            openai,
            "HTTP/1.1 200 OK\r\nx-a: b\r\nx-ratelimit-limit-requests: 10\r\nx-ratelimit-remaining-requests: 7\r\n\
             x-ratelimit-reset-requests: 59.001s\r\nx-ratelimit-limit-tokens: 10\r\n\
             x-ratelimit-remaining-tokens: 3\r\nx-ratelimit-reset-tokens: 2s\r\n"
        );
        let anthropic = text(Dialect::AnthropicMessages, [None, None, Some(less), None]);
        assert_eq!(
            anthropic,
            "HTTP/1.1 200 OK\r\nx-a: b\r\nanthropic-ratelimit-input-tokens-limit: 10\r\n\
             anthropic-ratelimit-input-tokens-remaining: 3\r\n\
             anthropic-ratelimit-input-tokens-reset: 2025-11-17T00:00:02.500Z\r\n"
        );
    }
}
