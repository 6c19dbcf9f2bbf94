//! The policy that asks a model which model is to answer.

use std::sync::Arc;

use super::chat::{ChatOptions, Said};
use super::{Asking, Caller, Heard};
use crate::config::policy::Llm;
use crate::dialect::ir::Role;
use crate::respond::GatewayError;
use crate::routing::External;
use crate::routing::llm::{Candidate, Question, REPAIR_SYSTEM, Score, read_scores};
use crate::snapshot::Target;
use crate::trace::{self, Detail};

/// Who may be chosen, with what the routing model is told of him.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct Choice {
    /// Index of the target.
    pub target: usize,
    /// What the project says about when to use it.
    pub guidance: Option<String>,
    /// How much of its limits is used, in words.
    pub limits: Vec<String>,
}

impl Caller<'_> {
    /// Asks the routing models of `rule` in turn until one has scored the `choices`. `earlier`: who answered before in this
    /// conversation, the latest one last.
    pub(in crate::gateway) async fn ask_model(
        &self,
        rule: &Llm,
        heard: &Heard,
        choices: &[Choice],
        earlier: &[Arc<str>],
    ) -> External {
        let ids: Vec<&str> =
            choices.iter().map(|choice| self.target(choice.target).model.id.as_str()).collect();
        let candidates: Vec<Candidate<'_>> = choices
            .iter()
            .zip(&ids)
            .map(|(choice, id)| Candidate {
                id,
                guidance: choice.guidance.as_deref(),
                limits: &choice.limits,
            })
            .collect();
        let question = Question {
            candidates: &candidates,
            additional: rule.additional_prompt.as_deref(),
            with_reason: rule.include_reason,
            system: &heard.system,
            earlier,
            message: &heard.message,
            message_chars_max: rule.max_user_message_chars.map(|chars| chars as usize),
        };
        let (system, user) = (question.system(), question.user());
        let mut last = "no routing model can be used".to_owned();
        let skip = |target: &Target, reason: &str| {
            self.note(Detail::LlmSkip { model: target.model.id.as_str().into(), reason: reason.into() });
        };
        let models = self.usable(&rule.models, skip);
        let mut asking = Asking::new(*self, &models);
        while let Some(model) = asking.next(|model, why| skip(self.target(model), why)) {
            match asking.scores(rule, &system, &user, &ids).await {
                Ok(scores) => {
                    let points: Vec<(usize, f64)> =
                        scores.iter().map(|score| (choices[score.candidate].target, score.point)).collect();
                    let traced = points.iter().map(|(target, point)| trace::Score {
                        target: *target as u32,
                        point: *point,
                        reason: None,
                    });
                    self.note(Detail::LlmScores { target: model as u32, scores: traced.collect() });
                    return External { points, ..External::default() };
                }
                Err(error @ GatewayError::Spent(_)) => {
                    last = error.cause();
                    skip(self.target(model), "budget_exhausted");
                }
                Err(error) => {
                    last = error.cause();
                    self.note(Detail::LlmError { target: model as u32, error: last.as_str().into() });
                }
            }
        }
        External { error: Some(last), ..External::default() }
    }
}

impl Asking<'_> {
    /// The scores by the routing model whose turn it is; what cannot be read it is asked to say again, once.
    async fn scores(
        &mut self,
        rule: &Llm,
        system: &str,
        user: &str,
        ids: &[&str],
    ) -> Result<Vec<Score>, GatewayError> {
        let (turn, target) = self.turn()?;
        let can_think = target.model.capabilities.thinking == Some(true);
        let options =
            ChatOptions { output_tokens_max: rule.max_completion_tokens, think: rule.thinking && can_think };
        let answer = self.chat(system, &[Said { role: Role::User, text: user }], options).await?;
        let scores = match read_scores(&answer, ids) {
            Some(scores) => scores,
            None => {
                self.caller.note(Detail::LlmRepair { target: turn.index as u32 });
                let options = ChatOptions { think: false, ..options };
                let said = Said { role: Role::User, text: answer.trim() };
                // An empty answer cannot be mended, and empty messages are refused.
                let unread = || GatewayError::UpstreamMalformed("no scores in the answer".to_owned());
                if said.text.is_empty() {
                    return Err(unread());
                }
                let mended = self.chat(REPAIR_SYSTEM, &[said], options).await?;
                read_scores(&mended, ids).ok_or_else(unread)?
            }
        };
        if scores.is_empty() {
            return Err(GatewayError::UpstreamMalformed("none of the scores is a candidate's".to_owned()));
        }
        Ok(scores)
    }
}
