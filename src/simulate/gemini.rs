//! Answers in Gemini's generateContent dialect.
//!
//! Owns the shape of the response and of its chunks, as server-sent events with CRLF (`alt=sse`) or as one JSON
//! array. Texts come in pieces, function calls whole; every chunk carries the usage so far.
//!
//! Source: Gemini API reference, "generateContent"; recordings of `gemini`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ask::Thinking;
use super::completion::{Choice, Completion, Finish, Passage};
use super::pen::Pen;
use super::plan::{PlanBuilder, Template};
use crate::dialect::Usage;

/// The whole response.
pub(super) fn whole(completion: &Completion) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let pen = &mut Pen(&mut out);
    pen.raw("{\"candidates\": [");
    pen.list(completion.choices.iter().enumerate(), |pen, (index, choice)| {
        pen.raw("{\"content\": {\"parts\": [");
        let thought = choice.thinking.iter().map(|text| (text, true));
        let texts = thought.chain(choice.text.iter().map(|text| (text, false)));
        pen.list(texts, |pen, (text, thought)| {
            pen.raw("{\"text\": \"").with(|pen| text.write_json(pen.0));
            pen.raw(if thought { "\",\"thought\": true}" } else { "\"}" });
        });
        for (number, _) in choice.calls.iter().enumerate() {
            let first = number == 0 && choice.thinking.is_none() && choice.text.is_none();
            pen.raw(if first { "" } else { "," }).with(|pen| write_call(pen, completion, choice, number));
        }
        pen.raw("],\"role\": \"model\"},\"finishReason\": ").text(finish_reason(choice));
        pen.raw(",\"index\": ").num(index as u64).raw("}");
    });
    pen.raw("],").with(|pen| write_tail(pen, completion, &completion.usage)).raw("}\n");
    out
}

/// The response as a stream: events with `alt=sse`, else the items of an array.
pub(super) fn stream(completion: &Completion, sse: bool, chunk_tokens: u64) -> PlanBuilder {
    let mut plan = PlanBuilder::new(chunk_tokens);
    let frame = if sse { Frame::Sse } else { Frame::Array };
    let mut base = Usage { output: 0, reasoning: 0, ..completion.usage };
    for (index, choice) in completion.choices.iter().enumerate() {
        let index = index as u64;
        let reasoning = completion.usage.reasoning / completion.choices.len() as u64;
        if let Some(thinking) = &choice.thinking {
            deltas(&mut plan, completion, frame, index, thinking, &base, Count::Thoughts);
        }
        base.reasoning += reasoning;
        base.output += reasoning;
        if let Some(text) = &choice.text {
            deltas(&mut plan, completion, frame, index, text, &base, Count::Candidates);
            base.output += text.tokens;
        }
        for (number, call) in choice.calls.iter().enumerate() {
            base.output += call.arguments.tokens;
            let first = plan.events() == 0;
            plan.event(|pen| {
                frame.open(pen, first);
                pen.raw("{\"candidates\": [{\"content\": {\"parts\": [");
                write_call(pen, completion, choice, number);
                pen.raw("],\"role\": \"model\"},\"index\": ").num(index).raw("}],");
                write_tail(pen, completion, &base);
                frame.close(pen);
            });
        }
        let first = plan.events() == 0;
        plan.event(|pen| {
            frame.open(pen, first);
            pen.raw("{\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"\"}],\"role\": \"model\"},");
            pen.raw("\"finishReason\": ")
                .text(finish_reason(choice))
                .raw(",\"index\": ")
                .num(index)
                .raw("}],");
            write_tail(pen, completion, &base);
            frame.close(pen);
        });
    }
    if !sse {
        plan.event(|pen| {
            pen.raw("\r\n]");
        });
    }
    plan
}

/// How chunks are told apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    Sse,
    /// Items of an array, whose first brings the bracket along.
    Array,
}

impl Frame {
    fn open(self, pen: &mut Pen<'_>, first: bool) {
        match self {
            Self::Sse => pen.raw("data: "),
            Self::Array if first => pen.raw("["),
            Self::Array => pen.raw(",\r\n"),
        };
    }

    fn close(self, pen: &mut Pen<'_>) {
        match self {
            Self::Sse => pen.raw("}\r\n\r\n"),
            Self::Array => pen.raw("}"),
        };
    }
}

/// Which count a text's tokens go to.
#[derive(Clone, Copy)]
enum Count {
    Thoughts,
    Candidates,
}

fn deltas(
    plan: &mut PlanBuilder,
    completion: &Completion,
    frame: Frame,
    index: u64,
    text: &Passage,
    base: &Usage,
    count: Count,
) {
    let lane = plan.lane(text, |template: &mut Template<'_>| {
        let prompt = base.input;
        match frame {
            Frame::Sse => template.fixed(|pen| frame.open(pen, false)),
            Frame::Array => template.bracket_or_comma(),
        };
        template.fixed(|pen| {
            pen.raw("{\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"");
        });
        template.passage().fixed(|pen| {
            pen.raw(match count {
                Count::Thoughts => "\",\"thought\": true}],\"role\": \"model\"},\"index\": ",
                Count::Candidates => "\"}],\"role\": \"model\"},\"index\": ",
            });
            pen.num(index).raw("}],\"usageMetadata\": {\"promptTokenCount\": ").num(prompt);
            pen.raw(match count {
                Count::Thoughts => ",\"thoughtsTokenCount\": ",
                Count::Candidates => ",\"candidatesTokenCount\": ",
            });
        });
        let (own, other) = match count {
            Count::Thoughts => (base.reasoning, base.output - base.reasoning),
            Count::Candidates => (base.output - base.reasoning, base.reasoning),
        };
        template.tokens_sent(own).fixed(|pen| {
            pen.raw(match count {
                Count::Thoughts => ",\"candidatesTokenCount\": ",
                Count::Candidates => ",\"thoughtsTokenCount\": ",
            });
            pen.num(other).raw(",\"totalTokenCount\": ");
        });
        template.tokens_sent(prompt + base.output).fixed(|pen| {
            pen.with(|pen| write_details(pen, base)).raw(",");
            write_names(pen, completion);
            frame.close(pen);
        });
    });
    plan.deltas(vec![lane]);
}

fn write_call(pen: &mut Pen<'_>, completion: &Completion, choice: &Choice, number: usize) {
    let Some(call) = choice.calls.get(number) else { return };
    pen.raw("{\"functionCall\": {\"name\": ").text(&call.name);
    pen.raw(",\"args\": ").raw(&call.arguments.raw()).raw("}");
    // Only the first of parallel calls is signed.
    if number == 0 && completion.thinking_kind != Thinking::Off {
        pen.raw(",\"thoughtSignature\": ").text(&STANDARD.encode(&completion.id));
    }
    pen.raw("}");
}

/// The keys behind `candidates`, without the closing brace.
fn write_tail(pen: &mut Pen<'_>, completion: &Completion, usage: &Usage) {
    pen.raw("\"usageMetadata\": {\"promptTokenCount\": ").num(usage.input);
    pen.raw(",\"candidatesTokenCount\": ").num(usage.output - usage.reasoning);
    if usage.reasoning > 0 {
        pen.raw(",\"thoughtsTokenCount\": ").num(usage.reasoning);
    }
    pen.raw(",\"totalTokenCount\": ").num(usage.input + usage.output);
    write_details(pen, usage);
    pen.raw(",");
    write_names(pen, completion);
}

/// The last keys of `usageMetadata`, with its closing brace.
fn write_details(pen: &mut Pen<'_>, usage: &Usage) {
    if usage.cached_input > 0 {
        pen.raw(",\"cachedContentTokenCount\": ").num(usage.cached_input);
    }
    pen.raw(",\"promptTokensDetails\": [{\"modality\": \"TEXT\",\"tokenCount\": ")
        .num(usage.input)
        .raw("}]}");
}

fn write_names(pen: &mut Pen<'_>, completion: &Completion) {
    pen.raw("\"modelVersion\": ")
        .text(&completion.model)
        .raw(",\"responseId\": \"sim")
        .raw(&completion.id)
        .raw("\"");
}

fn finish_reason(choice: &Choice) -> &'static str {
    match choice.finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls => "STOP",
        Finish::Length => "MAX_TOKENS",
    }
}
