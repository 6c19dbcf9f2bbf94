//! Answers in Anthropic's Messages dialect.
//!
//! Owns the shape of the message and the order of its events: start, then each block's start, deltas and stop with a
//! ping after the first start, then the message's delta and stop. Events carry the meaningless spaces that
//! Anthropic puts before the last brace.
//!
//! Source: Anthropic API docs, "Messages" and "Streaming Messages"; recordings of `anthropic_messages`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ask::Thinking;
use super::completion::{Choice, Completion, Finish, Passage};
use super::pen::Pen;
use super::plan::PlanBuilder;
use super::random::Random;
use crate::dialect::Usage;

/// The whole message.
pub(super) fn whole(completion: &Completion) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let pen = &mut Pen(&mut out);
    pen.raw(r#"{"model":"#).text(&completion.model).raw(r#","id":"msg_sim"#).raw(&completion.id);
    pen.raw(r#"","type":"message","role":"assistant","content":["#);
    pen.list(blocks(completion), |pen, block| match block {
        Block::Thinking(text) => {
            pen.raw(r#"{"type":"thinking","thinking":""#);
            pen.with(|pen| text.into_iter().for_each(|text| text.write_json(pen.0)));
            pen.raw(r#"","signature":""#).raw(&signature(completion)).raw("\"}");
        }
        Block::Text(text) => {
            pen.raw(r#"{"type":"text","text":""#).with(|pen| text.write_json(pen.0)).raw("\"}");
        }
        Block::Call(id, name, arguments) => {
            pen.raw(r#"{"type":"tool_use","id":"toolu_"#).raw(id).raw(r#"","name":"#).text(name);
            pen.raw(r#","input":"#).raw(&arguments.raw()).raw("}");
        }
    });
    pen.raw(r#"],"stop_reason":"#).with(|pen| write_stop(pen, completion));
    pen.raw(r#","stop_details":null,"usage":"#);
    pen.with(|pen| write_start_usage(pen, &completion.usage, completion.usage.output, true)).raw("}");
    out
}

/// The message as a stream.
pub(super) fn stream(completion: &Completion, chunk_tokens: u64) -> PlanBuilder {
    let mut plan = PlanBuilder::new(chunk_tokens);
    plan.event(|pen| {
        pen.raw("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":");
        pen.text(&completion.model).raw(r#","id":"msg_sim"#).raw(&completion.id);
        pen.raw(
            r#"","type":"message","role":"assistant","content":[],"stop_reason":null,"stop_sequence":null,"#,
        );
        pen.raw(r#""stop_details":null,"usage":"#);
        pen.with(|pen| write_start_usage(pen, &completion.usage, 1, false)).raw("}      }\n\n");
    });
    for (index, block) in blocks(completion).into_iter().enumerate() {
        let index = index as u64;
        plan.event(|pen| {
            pen.raw("event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":")
                .num(index);
            pen.raw(",\"content_block\":");
            match &block {
                Block::Thinking(_) => pen.raw(r#"{"type":"thinking","thinking":"","signature":""}"#),
                Block::Text(_) => pen.raw(r#"{"type":"text","text":""}"#),
                Block::Call(id, name, _) => pen
                    .raw(r#"{"type":"tool_use","id":"toolu_"#)
                    .raw(id)
                    .raw(r#"","name":"#)
                    .text(name)
                    .raw(r#","input":{}}"#),
            };
            pen.raw("  }\n\n");
        });
        if index == 0 {
            plan.event(|pen| {
                pen.raw("event: ping\ndata: {\"type\": \"ping\"}\n\n");
            });
        }
        match block {
            Block::Thinking(text) => {
                deltas(&mut plan, index, "thinking_delta", "thinking", text);
                let signature = signature(completion);
                delta(&mut plan, index, "signature_delta", "signature", &signature);
            }
            Block::Text(text) => deltas(&mut plan, index, "text_delta", "text", Some(text)),
            Block::Call(_, _, arguments) => {
                delta(&mut plan, index, "input_json_delta", "partial_json", "");
                deltas(&mut plan, index, "input_json_delta", "partial_json", Some(arguments));
            }
        }
        plan.event(|pen| {
            pen.raw("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":");
            pen.num(index).raw("    }\n\n");
        });
    }
    plan.event(|pen| {
        pen.raw("event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":");
        pen.with(|pen| write_stop(pen, completion)).raw(r#","stop_details":null},"usage":"#);
        pen.with(|pen| write_end_usage(pen, &completion.usage)).raw("  }\n\n");
    });
    plan.event(|pen| {
        pen.raw("event: message_stop\ndata: {\"type\":\"message_stop\"          }\n\n");
    });
    plan
}

/// One delta that comes whole.
fn delta(plan: &mut PlanBuilder, index: u64, kind: &str, key: &str, text: &str) {
    plan.event(|pen| {
        open_delta(pen, index, kind, key);
        pen.raw(text).raw("\"}  }\n\n");
    });
}

/// The deltas of a text.
fn deltas(plan: &mut PlanBuilder, index: u64, kind: &str, key: &str, text: Option<&Passage>) {
    let Some(text) = text else { return };
    let lane = plan.lane(text, |template| {
        template.fixed(|pen| open_delta(pen, index, kind, key)).passage();
        template.fixed(|pen| {
            pen.raw("\"}");
        });
        template.padding().fixed(|pen| {
            pen.raw("}\n\n");
        });
    });
    plan.deltas(vec![lane]);
}

fn open_delta(pen: &mut Pen<'_>, index: u64, kind: &str, key: &str) {
    pen.raw("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":").num(index);
    pen.raw(",\"delta\":{\"type\":").text(kind).raw(",").text(key).raw(":\"");
}

enum Block<'a> {
    /// With its text, unless the request wants it left out.
    Thinking(Option<&'a Passage>),
    Text(&'a Passage),
    Call(&'a str, &'a str, &'a Passage),
}

/// The blocks of the first choice, the only one this dialect has.
fn blocks(completion: &Completion) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    for choice in completion.choices.iter().take(1) {
        match completion.thinking_kind {
            Thinking::Shown | Thinking::Hidden => blocks.push(Block::Thinking(choice.thinking.as_ref())),
            Thinking::Off => {}
        }
        blocks.extend(choice.text.iter().map(Block::Text));
        blocks.extend(choice.calls.iter().map(|call| Block::Call(&call.id, &call.name, &call.arguments)));
    }
    blocks
}

/// A signature that looks like one and proves nothing.
fn signature(completion: &Completion) -> String {
    let seed =
        completion.id.bytes().fold(0u64, |seed, byte| seed.wrapping_mul(131).wrapping_add(u64::from(byte)));
    STANDARD.encode(Random::new(seed, 0).bytes(96))
}

/// The values of `stop_reason` and `stop_sequence`, with the second key between them.
fn write_stop(pen: &mut Pen<'_>, completion: &Completion) {
    let finish = completion.choices.first().map_or(&Finish::Stop, |choice: &Choice| &choice.finish);
    let (reason, sequence) = match finish {
        Finish::Stop => ("end_turn", None),
        Finish::StopSequence(sequence) => ("stop_sequence", Some(sequence.as_str())),
        Finish::Length => ("max_tokens", None),
        Finish::ToolCalls => ("tool_use", None),
    };
    pen.text(reason).raw(r#","stop_sequence":"#).optional(sequence);
}

fn write_input_usage(pen: &mut Pen<'_>, usage: &Usage) {
    pen.raw(r#"{"input_tokens":"#).num(usage.input - usage.cached_input - usage.cache_write);
    pen.raw(r#","cache_creation_input_tokens":"#).num(usage.cache_write);
    pen.raw(r#","cache_read_input_tokens":"#).num(usage.cached_input);
}

fn write_start_usage(pen: &mut Pen<'_>, usage: &Usage, output: u64, last: bool) {
    write_input_usage(pen, usage);
    pen.raw(r#","cache_creation":{"ephemeral_5m_input_tokens":"#).num(usage.cache_write);
    pen.raw(r#","ephemeral_1h_input_tokens":0},"output_tokens":"#).num(output);
    if last && usage.reasoning > 0 {
        pen.raw(r#","output_tokens_details":{"thinking_tokens":"#).num(usage.reasoning).raw("}");
    }
    pen.raw(r#","service_tier":"standard","inference_geo":"not_available"}"#);
}

fn write_end_usage(pen: &mut Pen<'_>, usage: &Usage) {
    write_input_usage(pen, usage);
    pen.raw(r#","output_tokens":"#).num(usage.output);
    if usage.reasoning > 0 {
        pen.raw(r#","output_tokens_details":{"thinking_tokens":"#).num(usage.reasoning).raw("}");
    }
    pen.raw("}");
}
