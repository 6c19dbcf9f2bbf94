//! Answers in OpenAI's Responses dialect.
//!
//! Owns the shape of the response object, of its items and of the events that build them up, each with its sequence
//! number: created, in progress, per item added, parts, deltas and done, at last completed or incomplete.
//!
//! Source: OpenAI API reference, "Responses" and "Streaming events"; recordings of `openai_responses`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

use super::ask::{Ask, Thinking};
use super::completion::{Call, Choice, Completion, Finish, Passage};
use super::pen::Pen;
use super::plan::PlanBuilder;
use crate::dialect::Usage;

/// The whole response.
pub(super) fn whole(completion: &Completion, ask: &Ask) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    let response = Response { completion, ask };
    response.write(&mut Pen(&mut out), response.end());
    out
}

/// The response as a stream.
pub(super) fn stream(completion: &Completion, ask: &Ask, chunk_tokens: u64) -> PlanBuilder {
    let mut plan = PlanBuilder::new(chunk_tokens);
    let response = Response { completion, ask };
    for kind in ["response.created", "response.in_progress"] {
        event(&mut plan, kind, |pen| {
            pen.raw("\"response\":").with(|pen| response.write(pen, Stage::InProgress));
        });
    }
    for (index, item) in response.items().into_iter().enumerate() {
        let index = index as u64;
        event(&mut plan, "response.output_item.added", |pen| {
            pen.raw("\"item\":").with(|pen| response.write_item(pen, &item, index, false));
            pen.raw(",\"output_index\":").num(index);
        });
        match item {
            Item::Reasoning(Some(text)) => response.stream_summary(&mut plan, text, index),
            Item::Reasoning(None) => {}
            Item::Message(text) => response.stream_text(&mut plan, text, index),
            Item::Call(call) => response.stream_arguments(&mut plan, call, index),
        }
        event(&mut plan, "response.output_item.done", |pen| {
            pen.raw("\"item\":").with(|pen| response.write_item(pen, &item, index, true));
            pen.raw(",\"output_index\":").num(index);
        });
    }
    let last = match response.end() {
        Stage::Incomplete => "response.incomplete",
        Stage::InProgress | Stage::Completed | Stage::Failed(_) => "response.completed",
    };
    event(&mut plan, last, |pen| {
        pen.raw("\"response\":").with(|pen| response.write(pen, response.end()));
    });
    plan
}

/// The response object of a stream that failed; `error` is the error object's JSON.
pub(super) fn write_failed(completion: &Completion, ask: &Ask, error: &str, pen: &mut Pen<'_>) {
    Response { completion, ask }.write(pen, Stage::Failed(error));
}

/// One event around what `write` puts between its type and its sequence number.
fn event(plan: &mut PlanBuilder, kind: &str, write: impl FnOnce(&mut Pen<'_>)) {
    let number = plan.events();
    plan.event(|pen| {
        pen.raw("event: ").raw(kind).raw("\ndata: {\"type\":\"").raw(kind).raw("\",");
        pen.with(write).raw(",\"sequence_number\":").num(number).raw("}\n\n");
    });
}

/// The deltas of a text; `place` writes the fields behind the delta that say where it belongs.
fn deltas(plan: &mut PlanBuilder, ask: &Ask, kind: &str, text: &Passage, place: impl FnOnce(&mut Pen<'_>)) {
    let lane = plan.lane(text, |template| {
        template.fixed(|pen| {
            pen.raw("event: ").raw(kind).raw("\ndata: {\"type\":\"").raw(kind).raw("\",\"delta\":\"");
        });
        template.passage().fixed(|pen| {
            pen.raw("\",").with(place);
        });
        if ask.obfuscate {
            template.obfuscation();
        }
        template.fixed(|pen| {
            pen.raw(",\"sequence_number\":");
        });
        template.event_number().fixed(|pen| {
            pen.raw("}\n\n");
        });
    });
    plan.deltas(vec![lane]);
}

/// How far a response has come.
#[derive(Clone, Copy)]
enum Stage<'a> {
    InProgress,
    Completed,
    Incomplete,
    Failed(&'a str),
}

enum Item<'a> {
    /// With its summary, if the request wants one.
    Reasoning(Option<&'a Passage>),
    Message(&'a Passage),
    Call(&'a Call),
}

struct Response<'a> {
    completion: &'a Completion,
    ask: &'a Ask,
}

impl<'a> Response<'a> {
    fn choice(&self) -> Option<&'a Choice> {
        self.completion.choices.first()
    }

    fn end(&self) -> Stage<'static> {
        match self.choice().map(|choice| &choice.finish) {
            Some(Finish::Length) => Stage::Incomplete,
            None | Some(Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls) => Stage::Completed,
        }
    }

    fn items(&self) -> Vec<Item<'a>> {
        let mut items = Vec::new();
        if let Some(choice) = self.choice() {
            match self.completion.thinking_kind {
                Thinking::Shown | Thinking::Hidden => items.push(Item::Reasoning(choice.thinking.as_ref())),
                Thinking::Off => {}
            }
            items.extend(choice.text.iter().map(Item::Message));
            items.extend(choice.calls.iter().map(Item::Call));
        }
        items
    }

    fn write_item_id(&self, pen: &mut Pen<'_>, item: &Item<'_>, index: u64) {
        let prefix = match item {
            Item::Reasoning(_) => "\"rs_sim",
            Item::Message(_) => "\"msg_sim",
            Item::Call(_) => "\"fc_sim",
        };
        pen.raw(prefix).raw(&self.completion.id).num(index).raw("\"");
    }

    fn write_item(&self, pen: &mut Pen<'_>, item: &Item<'_>, index: u64, done: bool) {
        pen.raw("{\"id\":").with(|pen| self.write_item_id(pen, item, index));
        let cut = matches!(self.end(), Stage::Incomplete);
        let status = match (done, cut) {
            (false, _) => "in_progress",
            (true, false) => "completed",
            (true, true) => "incomplete",
        };
        match item {
            Item::Reasoning(summary) => {
                pen.raw(r#","type":"reasoning","summary":["#);
                if let (Some(summary), true) = (summary, done) {
                    write_summary(pen, Some(summary));
                }
                pen.raw("]");
                if self.ask.echo.encrypted_reasoning {
                    pen.raw(",\"encrypted_content\":");
                    pen.text(&URL_SAFE.encode(format!("simulated reasoning of {}", self.completion.id)));
                }
            }
            Item::Message(text) => {
                pen.raw(r#","type":"message","status":"#).text(status).raw(",\"content\":[");
                if done {
                    write_text_part(pen, Some(text));
                }
                pen.raw(r#"],"role":"assistant""#);
            }
            Item::Call(call) => {
                pen.raw(r#","type":"function_call","status":"#).text(status).raw(",\"arguments\":\"");
                if done {
                    call.arguments.write_json(pen.0);
                }
                pen.raw(r#"","call_id":"call_"#).raw(&call.id).raw(r#"","name":"#).text(&call.name);
            }
        }
        pen.raw("}");
    }

    fn stream_summary(&self, plan: &mut PlanBuilder, text: &Passage, index: u64) {
        let place = |pen: &mut Pen<'_>| {
            pen.raw("\"item_id\":").with(|pen| self.write_item_id(pen, &Item::Reasoning(None), index));
            pen.raw(",\"output_index\":").num(index).raw(",\"summary_index\":0");
        };
        event(plan, "response.reasoning_summary_part.added", |pen| {
            pen.with(place).raw(",\"part\":").with(|pen| write_summary(pen, None));
        });
        deltas(plan, self.ask, "response.reasoning_summary_text.delta", text, place);
        event(plan, "response.reasoning_summary_text.done", |pen| {
            pen.with(place).raw(",\"text\":\"").with(|pen| text.write_json(pen.0)).raw("\"");
        });
        event(plan, "response.reasoning_summary_part.done", |pen| {
            pen.with(place).raw(",\"part\":").with(|pen| write_summary(pen, Some(text)));
        });
    }

    fn stream_text(&self, plan: &mut PlanBuilder, text: &Passage, index: u64) {
        let place = |pen: &mut Pen<'_>| {
            pen.raw("\"content_index\":0,\"item_id\":");
            pen.with(|pen| self.write_item_id(pen, &Item::Message(text), index))
                .raw(",\"output_index\":")
                .num(index);
        };
        event(plan, "response.content_part.added", |pen| {
            pen.with(place).raw(",\"part\":").with(|pen| write_text_part(pen, None));
        });
        deltas(plan, self.ask, "response.output_text.delta", text, |pen| {
            pen.with(place).raw(",\"logprobs\":[]");
        });
        event(plan, "response.output_text.done", |pen| {
            pen.with(place).raw(",\"logprobs\":[],\"text\":\"").with(|pen| text.write_json(pen.0)).raw("\"");
        });
        event(plan, "response.content_part.done", |pen| {
            pen.with(place).raw(",\"part\":").with(|pen| write_text_part(pen, Some(text)));
        });
    }

    fn stream_arguments(&self, plan: &mut PlanBuilder, call: &Call, index: u64) {
        let place = |pen: &mut Pen<'_>| {
            pen.raw("\"item_id\":").with(|pen| self.write_item_id(pen, &Item::Call(call), index));
            pen.raw(",\"output_index\":").num(index);
        };
        deltas(plan, self.ask, "response.function_call_arguments.delta", &call.arguments, place);
        event(plan, "response.function_call_arguments.done", |pen| {
            pen.raw("\"arguments\":\"").with(|pen| call.arguments.write_json(pen.0)).raw("\",").with(place);
        });
    }

    /// The response object. What the request set stands in it again, the rest with OpenAI's defaults, because SDKs
    /// check that the fields are there.
    fn write(&self, pen: &mut Pen<'_>, stage: Stage<'_>) {
        let completion = self.completion;
        let (status, over) = match stage {
            Stage::InProgress => ("in_progress", false),
            Stage::Completed => ("completed", true),
            Stage::Incomplete => ("incomplete", true),
            Stage::Failed(_) => ("failed", false),
        };
        pen.raw(r#"{"id":"resp_sim"#).raw(&completion.id).raw(r#"","object":"response","created_at":"#);
        pen.num(completion.created)
            .raw(r#","status":"#)
            .text(status)
            .raw(r#","background":false,"completed_at":"#);
        match stage {
            Stage::Completed => pen.num(completion.created),
            Stage::InProgress | Stage::Incomplete | Stage::Failed(_) => pen.raw("null"),
        };
        pen.raw(",\"error\":");
        match stage {
            Stage::Failed(error) => pen.raw(error),
            Stage::InProgress | Stage::Completed | Stage::Incomplete => pen.raw("null"),
        };
        pen.raw(",\"frequency_penalty\":0.0,\"incomplete_details\":");
        match stage {
            Stage::Incomplete => pen.raw(r#"{"reason":"max_output_tokens"}"#),
            Stage::InProgress | Stage::Completed | Stage::Failed(_) => pen.raw("null"),
        };
        pen.raw(",\"max_tool_calls\":null,\"model\":").text(&completion.model).raw(",\"output\":[");
        if over {
            pen.list(self.items().iter().enumerate(), |pen, (index, item)| {
                self.write_item(pen, item, index as u64, true);
            });
        }
        pen.raw(r#"],"presence_penalty":0.0,"prompt_cache_key":null,"safety_identifier":null,"#);
        pen.raw(r#""service_tier":"default","top_logprobs":0,"usage":"#);
        if over {
            write_usage(pen, &completion.usage);
        } else {
            pen.raw("null");
        }
        self.write_echo(pen);
        pen.raw("}");
    }

    fn write_echo(&self, pen: &mut Pen<'_>) {
        const DEFAULTS: [(&str, &str); 14] = [
            ("instructions", "null"),
            ("max_output_tokens", "null"),
            ("metadata", "{}"),
            ("parallel_tool_calls", "true"),
            ("previous_response_id", "null"),
            ("reasoning", r#"{"effort":null,"summary":null}"#),
            ("store", "true"),
            ("temperature", "1.0"),
            ("text", r#"{"format":{"type":"text"},"verbosity":"medium"}"#),
            ("tool_choice", r#""auto""#),
            ("tools", "[]"),
            ("top_p", "1.0"),
            ("truncation", r#""disabled""#),
            ("user", "null"),
        ];
        for (key, default) in DEFAULTS {
            pen.raw(",\"").raw(key).raw("\":");
            match self.ask.echo.fields.iter().find(|(name, _)| *name == key) {
                Some((_, value)) => pen.value(value),
                None => pen.raw(default),
            };
        }
    }
}

fn write_summary(pen: &mut Pen<'_>, text: Option<&Passage>) {
    pen.raw(r#"{"type":"summary_text","text":""#);
    pen.with(|pen| text.into_iter().for_each(|text| text.write_json(pen.0))).raw("\"}");
}

fn write_text_part(pen: &mut Pen<'_>, text: Option<&Passage>) {
    pen.raw(r#"{"type":"output_text","annotations":[],"logprobs":[],"text":""#);
    pen.with(|pen| text.into_iter().for_each(|text| text.write_json(pen.0))).raw("\"}");
}

fn write_usage(pen: &mut Pen<'_>, usage: &Usage) {
    pen.raw(r#"{"input_tokens":"#).num(usage.input).raw(r#","input_tokens_details":{"cached_tokens":"#);
    pen.num(usage.cached_input);
    if usage.cache_write > 0 {
        pen.raw(r#","cache_write_tokens":"#).num(usage.cache_write);
    }
    pen.raw(r#"},"output_tokens":"#)
        .num(usage.output)
        .raw(r#","output_tokens_details":{"reasoning_tokens":"#);
    pen.num(usage.reasoning).raw(r#"},"total_tokens":"#).num(usage.input + usage.output).raw("}");
}
