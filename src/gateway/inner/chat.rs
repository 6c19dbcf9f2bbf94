//! A model is asked, and its text read.

use super::{Asking, Caller};
use crate::dialect::ir::{Content, Part, Reasoning, Request, Role, Text, Turn};
use crate::dialect::loss::Losses;
use crate::dialect::translate::{Pair, read_answer, write};
use crate::dialect::{Effort, UsageTap};
use crate::gateway::ledger::{Ending, Ledger};
use crate::gateway::translated;
use crate::provider::Call;
use crate::respond::GatewayError;
use crate::trace::{self, Detail, Entry};

/// One message to a model.
#[derive(Debug, Clone, Copy)]
pub(in crate::gateway) struct Said<'m> {
    /// Who said it.
    pub role: Role,
    /// What.
    pub text: &'m str,
}

impl<'m> Said<'m> {
    fn turn(&self) -> Turn<'m> {
        Turn { role: self.role, name: None, parts: vec![text(self.text)] }
    }
}

fn text(text: &str) -> Part<'_> {
    Content::Text { text: Text::from_plain(text), citations: Vec::new() }.into()
}

/// How a model is asked.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::gateway) struct ChatOptions {
    /// Most tokens of the answer; `None`: as many as the provider likes.
    pub output_tokens_max: Option<u64>,
    /// Whether it may think first.
    pub think: bool,
}

impl Asking<'_> {
    /// Asks the model whose turn it is, in whatever dialect it speaks, and returns the text of its answer. `system` is said
    /// before `messages`.
    ///
    /// # Errors
    /// A limit without room, no connection, no answer in time, an answer that is an error or cannot be read.
    pub(in crate::gateway) async fn chat(
        &mut self,
        system: &str,
        messages: &[Said<'_>],
        options: ChatOptions,
    ) -> Result<String, GatewayError> {
        let (turn, target) = self.turn()?;
        let (caller, index) = (self.caller, turn.index);
        let dialect = translated::dialect_of(target).ok_or(GatewayError::NoUpstream)?;
        let request = Request {
            system: vec![text(system)],
            turns: messages.iter().map(Said::turn).collect(),
            output_tokens_max: options.output_tokens_max,
            reasoning: Reasoning { effort: options.think.then_some(Effort::Medium), ..Reasoning::default() },
            ..Request::default()
        };
        let mut body = Vec::with_capacity(1024 + system.len());
        let model = translated::target_model(target, dialect);
        write(dialect, &request, &model, &mut Losses::new(dialect, false), &mut body)
            .map_err(|bad| GatewayError::InvalidRequest(bad.to_string()))?;
        let strip: Vec<&str> = target.model.strip_params.iter().map(String::as_str).collect();
        if !strip.is_empty() {
            body = translated::stripped(&body, &strip)?;
        }
        let call = trace::Call {
            caller: trace::Caller::Router,
            target: index as u32,
            stream: false,
            messages: u32::try_from(messages.len()).ok(),
            max_tokens: options.output_tokens_max.and_then(|tokens| u32::try_from(tokens).ok()),
        };
        let mut ledger = caller.books(caller.request.endpoint, body.len());
        ledger.admit(&body, None)?;
        ledger.choose(index, target)?;
        caller.note(Detail::RoutingRequest { call, system: None });
        let answered = self.post(&mut ledger, Call::generate(dialect, false), dialect, &body).await;
        let answered = answered.inspect_err(|_| caller.note_end(&ledger))?;
        let mut tap = UsageTap::new(dialect, false);
        tap.feed(&answered.body);
        let vendor = translated::vendor_of(target, dialect);
        let read = if (200..300).contains(&answered.status) {
            read_answer(dialect, vendor, &answered.body)
        } else {
            Err(Pair { from: dialect, vendor, to: dialect }.fault(answered.status, &answered.body))
        };
        ledger.settle(Some(&mut tap), &Ending::of_answer());
        caller.note_end(&ledger);
        match read {
            Ok(answer) => Ok(answer.choices.first().map(|choice| text_of(&choice.parts)).unwrap_or_default()),
            Err(fault) => Err(GatewayError::UpstreamMalformed(format!(
                "status {}: {}",
                answered.status,
                fault.message.decode().unwrap_or_default()
            ))),
        }
    }
}

impl Caller<'_> {
    /// Notes how a call ended whose books these are.
    fn note_end(&self, ledger: &Ledger) {
        match ledger.last_entry() {
            Some(Entry::Success(answered)) => {
                self.note(Detail::RoutingSuccess { answered: *answered, text: None, json: None });
            }
            Some(other) => self.note(other.clone()),
            None => {}
        }
    }
}

/// What the model said, without what it thought.
fn text_of(parts: &[Part<'_>]) -> String {
    let mut said = String::new();
    for part in parts {
        if let Content::Text { text, .. } = &part.content
            && let Some(text) = text.decode()
        {
            said.push_str(&text);
        }
    }
    said
}
