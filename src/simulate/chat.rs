//! Answers in OpenAI's Chat Completions dialect.
//!
//! Owns the shape of the completion object and the order of its chunks: role, deltas, finish, usage if asked for,
//! `[DONE]`. Choices take turns in a stream. Thoughts are `reasoning_content`, as the servers that show them send.
//!
//! Source: OpenAI API reference, "Chat Completions"; recordings of `openai_chat`.

use super::ask::Ask;
use super::completion::{Choice, Completion, Finish};
use super::pen::Pen;
use super::plan::{PlanBuilder, Template};
use crate::dialect::Usage;

/// The whole completion.
pub(super) fn whole(completion: &Completion) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let pen = &mut Pen(&mut out);
    pen.raw(r#"{"id":"chatcmpl-sim"#).raw(&completion.id).raw(r#"","object":"chat.completion","created":"#);
    pen.num(completion.created).raw(r#","model":"#).text(&completion.model).raw(r#","choices":["#);
    pen.list(completion.choices.iter().enumerate(), |pen, (index, choice)| {
        pen.raw(r#"{"index":"#).num(index as u64).raw(r#","message":{"role":"assistant","content":"#);
        match &choice.text {
            Some(text) => pen.raw("\"").with(|pen| text.write_json(pen.0)).raw("\""),
            None => pen.raw("null"),
        };
        if let Some(thinking) = &choice.thinking {
            pen.raw(r#","reasoning_content":""#).with(|pen| thinking.write_json(pen.0)).raw("\"");
        }
        if !choice.calls.is_empty() {
            pen.raw(r#","tool_calls":["#);
            pen.list(&choice.calls, |pen, call| {
                pen.raw(r#"{"id":"call_"#).raw(&call.id).raw(r#"","type":"function","function":{"name":"#);
                pen.text(&call.name).raw(r#","arguments":""#).with(|pen| call.arguments.write_json(pen.0));
                pen.raw("\"}}");
            });
            pen.raw("]");
        }
        pen.raw(r#","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"#);
        pen.text(finish_reason(choice)).raw("}");
    });
    pen.raw(r#"],"usage":"#).with(|pen| write_usage(pen, &completion.usage));
    pen.raw(r#","service_tier":"default","system_fingerprint":"fp_simulated"}"#);
    out
}

/// The completion as a stream.
pub(super) fn stream(completion: &Completion, ask: &Ask, chunk_tokens: u64) -> PlanBuilder {
    let mut plan = PlanBuilder::new(chunk_tokens);
    let head = Head { completion, ask };
    for (index, choice) in completion.choices.iter().enumerate() {
        plan.event(|pen| {
            let content = if choice.text.is_some() { "\"\"" } else { "null" };
            head.open(pen, index);
            pen.raw(r#"{"role":"assistant","content":"#).raw(content).raw(r#","refusal":null}"#);
            head.close(pen, None);
        });
    }
    deltas(&mut plan, &head, "reasoning_content", |choice| choice.thinking.as_ref());
    deltas(&mut plan, &head, "content", |choice| choice.text.as_ref());
    for (index, choice) in completion.choices.iter().enumerate() {
        calls(&mut plan, &head, index, choice);
    }
    for (index, choice) in completion.choices.iter().enumerate() {
        plan.event(|pen| {
            head.open(pen, index);
            pen.raw("{}");
            head.close(pen, Some(finish_reason(choice)));
        });
    }
    if ask.include_usage {
        plan.event(|pen| {
            head.common(pen);
            pen.raw(r#""choices":[],"usage":"#).with(|pen| write_usage(pen, &completion.usage)).raw("}\n\n");
        });
    }
    plan.event(|pen| {
        pen.raw("data: [DONE]\n\n");
    });
    plan
}

/// The deltas of one kind of text, of all choices in turns.
fn deltas<'a>(
    plan: &mut PlanBuilder,
    head: &Head<'a>,
    key: &str,
    passage: impl Fn(&'a Choice) -> Option<&'a super::completion::Passage>,
) {
    let mut lanes = Vec::new();
    for (index, choice) in head.completion.choices.iter().enumerate() {
        let Some(passage) = passage(choice) else { continue };
        lanes.push(plan.lane(passage, |template| {
            template.fixed(|pen| {
                head.open(pen, index);
                pen.raw("{\"").raw(key).raw("\":\"");
            });
            head.close_delta(template.passage(), "\"}");
        }));
    }
    plan.deltas(lanes);
}

fn calls(plan: &mut PlanBuilder, head: &Head<'_>, index: usize, choice: &Choice) {
    for (number, call) in choice.calls.iter().enumerate() {
        plan.event(|pen| {
            head.open(pen, index);
            pen.raw(r#"{"tool_calls":[{"index":"#).num(number as u64).raw(r#","id":"call_"#).raw(&call.id);
            pen.raw(r#"","type":"function","function":{"name":"#).text(&call.name);
            pen.raw(r#","arguments":""}}]}"#);
            head.close(pen, None);
        });
        let lane = plan.lane(&call.arguments, |template| {
            template.fixed(|pen| {
                head.open(pen, index);
                pen.raw(r#"{"tool_calls":[{"index":"#)
                    .num(number as u64)
                    .raw(r#","function":{"arguments":""#);
            });
            head.close_delta(template.passage(), "\"}}]}");
        });
        plan.deltas(vec![lane]);
    }
}

/// What every chunk repeats.
struct Head<'a> {
    completion: &'a Completion,
    ask: &'a Ask,
}

impl Head<'_> {
    fn common(&self, pen: &mut Pen<'_>) {
        pen.raw(r#"data: {"id":"chatcmpl-sim"#).raw(&self.completion.id);
        pen.raw(r#"","object":"chat.completion.chunk","created":"#).num(self.completion.created);
        pen.raw(r#","model":"#).text(&self.completion.model);
        pen.raw(r#","service_tier":"default","system_fingerprint":"fp_simulated","#);
    }

    /// Up to the value of `delta`.
    fn open(&self, pen: &mut Pen<'_>, index: usize) {
        self.common(pen);
        pen.raw(r#""choices":[{"index":"#).num(index as u64).raw(r#","delta":"#);
    }

    /// From behind the value of `delta`.
    fn close(&self, pen: &mut Pen<'_>, finish: Option<&str>) {
        pen.raw(r#","logprobs":null,"finish_reason":"#).optional(finish).raw("}]");
        pen.raw(if self.ask.include_usage { ",\"usage\":null}\n\n" } else { "}\n\n" });
    }

    /// The same for a delta of which there are many, `shut` being what its own value lacks.
    fn close_delta(&self, template: &mut Template<'_>, shut: &str) {
        template.fixed(|pen| {
            pen.raw(shut).raw(r#","logprobs":null,"finish_reason":null}]"#);
            pen.raw(if self.ask.include_usage { ",\"usage\":null" } else { "" });
        });
        if self.ask.obfuscate {
            template.obfuscation();
        }
        template.fixed(|pen| {
            pen.raw("}\n\n");
        });
    }
}

fn finish_reason(choice: &Choice) -> &'static str {
    match choice.finish {
        Finish::Stop | Finish::StopSequence(_) => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    }
}

fn write_usage(pen: &mut Pen<'_>, usage: &Usage) {
    pen.raw(r#"{"prompt_tokens":"#).num(usage.input).raw(r#","completion_tokens":"#).num(usage.output);
    pen.raw(r#","total_tokens":"#).num(usage.input + usage.output);
    pen.raw(r#","prompt_tokens_details":{"cached_tokens":"#).num(usage.cached_input);
    if usage.cache_write > 0 {
        pen.raw(r#","cache_write_tokens":"#).num(usage.cache_write);
    }
    pen.raw(r#","audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":"#).num(usage.reasoning);
    pen.raw(r#","audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#);
}
