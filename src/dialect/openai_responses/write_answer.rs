//! An answer in one piece for a client of this dialect, and its errors.

use super::write_output::{
    Call, Head, Holder, ItemStatus, Standing, append_annotation, append_image, append_message,
    append_reasoning, append_refusal_part, append_response, append_text_part, append_to_run, explanation,
    image_data,
};
use crate::dialect::context::ClientContext;
use crate::dialect::ir::{Answer, Arguments, CallKind, Choice, Content, Fault, Finish, Part, Text, ToolCall};
use crate::dialect::{Dialect, media, openai};
use crate::json::text;

/// Appends the response object.
pub(in crate::dialect) fn write_answer(answer: &Answer<'_>, client: &mut ClientContext, out: &mut Vec<u8>) {
    let head = Head {
        id: client.ids.own("resp_"),
        model: match &answer.model {
            Some(model) => model.clone().into_owned(),
            None => Text::from(client.model.clone()),
        },
        created: answer.created.unwrap_or(client.unix_seconds),
        echo: std::mem::take(&mut client.echo),
    };
    // This dialect has no `n`: a request for more was refused.
    let nothing = Choice::new(Vec::new(), Finish::Stop);
    let choice = answer.choices.first().unwrap_or(&nothing);
    let standing = Standing::of(&choice.finish, client.unix_seconds);
    let mut output =
        Output { client, items: Vec::new(), message: Vec::new(), logprobs: Vec::new(), has_refusal: false };
    openai::append_logprobs(&mut output.logprobs, &choice.logprobs);
    for (index, part) in choice.parts.iter().enumerate() {
        let is_last = index + 1 == choice.parts.len();
        output.part(part, if is_last { standing.of_item() } else { ItemStatus::Completed });
    }
    if let Some(words) = explanation(&choice.finish).filter(|_| !output.has_refusal) {
        append_to_run(&mut output.message, |part| append_refusal_part(part, words));
    }
    output.close_message(standing.of_item());
    append_response(out, &head, standing, &output.items, answer.usage.as_ref());
}

/// Appends the error body for a provider's fault; its status.
pub(in crate::dialect) fn write_fault(fault: &Fault<'_>, trace_id: &str, out: &mut Vec<u8>) -> u16 {
    openai::write_fault(fault, Dialect::OpenAiResponses, trace_id, out)
}

/// The items so far.
struct Output<'c> {
    client: &'c mut ClientContext,
    /// Joined by commas.
    items: Vec<u8>,
    /// Parts of the message that is not over yet, joined by commas.
    message: Vec<u8>,
    /// Tokens that go with the next text, joined by commas: the shared form does not tell those of several texts apart.
    logprobs: Vec<u8>,
    has_refusal: bool,
}

impl Output<'_> {
    /// Texts and refusals that follow one another are one message; all else is an item of its own.
    fn part(&mut self, part: &Part<'_>, status: ItemStatus) {
        match &part.content {
            Content::Text { text, citations } => append_to_run(&mut self.message, |part| {
                let chars = text::char_count(text.escaped().as_bytes());
                let mut annotations = Vec::new();
                for citation in citations {
                    append_to_run(&mut annotations, |run| append_annotation(run, citation, chars));
                }
                append_text_part(part, text, &annotations, &std::mem::take(&mut self.logprobs));
            }),
            Content::Refusal(text) => {
                self.has_refusal = true;
                append_to_run(&mut self.message, |part| append_refusal_part(part, text));
            }
            Content::Thinking { text, proof, redacted } => {
                let holder = if *redacted { Holder::Redacted } else { Holder::Thought };
                let sealed = proof.as_ref().map(|proof| holder.seal(proof, &self.client.proofs));
                self.reasoning(text, sealed.as_ref());
            }
            Content::ToolCall(call) => self.call(call, status),
            Content::Media(media) => match image_data(media) {
                Some(data) => {
                    self.close_message(ItemStatus::Completed);
                    let id = self.client.ids.make("ig_");
                    append_to_run(&mut self.items, |item| append_image(item, &id, status, Some(data)));
                }
                None => append_to_run(&mut self.message, |part| {
                    append_text_part(part, &media::note(media), b"", b"");
                }),
            },
            // No model says any of these.
            Content::Document(_)
            | Content::SearchResult { .. }
            | Content::ToolResult(_)
            | Content::Unknown(_) => {}
        }
    }

    fn reasoning(&mut self, text: &Text<'_>, sealed: Option<&Text<'_>>) {
        self.close_message(ItemStatus::Completed);
        let id = self.client.ids.make("rs_");
        append_to_run(&mut self.items, |item| append_reasoning(item, &id, text, sealed));
    }

    fn call(&mut self, call: &ToolCall<'_>, status: ItemStatus) {
        self.close_message(ItemStatus::Completed);
        let call_id = match &call.id {
            Some(id) => id.borrow(),
            None => Text::from(self.client.ids.make("call_")),
        };
        if let Some(proof) = &call.proof {
            let sealed = Holder::Call(call_id.borrow()).seal(proof, &self.client.proofs);
            self.reasoning(&Text::default(), Some(&sealed));
        }
        let input = match &call.arguments {
            Arguments::Text(text) if call.kind == CallKind::Custom => text.borrow(),
            arguments => arguments.as_text(),
        };
        let id = self.client.ids.make(Call::id_prefix(call.kind));
        let written = Call { kind: call.kind, call_id, name: call.name.borrow() };
        append_to_run(&mut self.items, |item| written.append(item, &id, status, &input));
    }

    fn close_message(&mut self, status: ItemStatus) {
        if self.message.is_empty() {
            return;
        }
        let parts = std::mem::take(&mut self.message);
        let id = self.client.ids.make("msg_");
        append_to_run(&mut self.items, |item| append_message(item, &id, status, &parts));
    }
}
