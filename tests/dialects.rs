//! `docs/dialects.md` is written from the table that the codecs act on.

use std::fmt::Write as _;
use std::path::Path;

use routerly::dialect::Dialect;
use routerly::dialect::loss::{Fate, Feature, Row, Saying};

const DIALECTS: [(Dialect, &str); 4] = [
    (Dialect::OpenAiChat, "Chat"),
    (Dialect::OpenAiResponses, "Responses"),
    (Dialect::AnthropicMessages, "Anthropic"),
    (Dialect::Gemini, "Gemini"),
];

const HEAD: &str = "\
# Dialects

Written from the table in `src/dialect/loss.rs`, which the code acts on, by `UPDATE_DOCS=1 cargo test --test tests
dialects`; the same test without the variable compares.

A client speaks one of four dialects: OpenAI Chat Completions (`openai-chat`), OpenAI Responses (`openai-responses`),
Anthropic Messages (`anthropic-messages`) and Gemini (`gemini`). A model is called in one of the dialects that its
provider takes. Where both are the same the bytes are relayed as they are. Where they differ request, answer, stream and
errors are translated; what the other dialect cannot say is handled feature by feature:

| Word | What happens | What the client sees |
|---|---|---|
| carried | said in the other dialect | nothing |
| changed | something else that means nearly the same is said | the name in `x-routerly-translation: changed=…` |
| dropped | left out | the name in `x-routerly-translation: dropped=…` |
| left out | left out; nothing in the answer could tell | nothing |
| refused | the request is refused: without it the answer would mean something else | 400 that names the field |
| depends | on the value or the model, as the note says | one of the above |

With `x-routerly-strict: true`, or `translation: strict` in the project, whatever would be changed or dropped is refused.
A request that is refused for one model is tried with the project's next one; 400 is the answer where none can carry it.
`translation: off` in a project leaves out the models that would need a translation.

Streams are translated event by event: what has arrived is sent on at once, arguments of calls in the pieces they came in
(but for Gemini's clients, whose dialect has whole calls only). A provider's failure within a stream, and a stream that
stops without its end mark, end in the error event of the client's dialect.

A conversation that a provider keeps itself (`previous_response_id` of a Responses model that is called in its own dialect)
goes on at that provider alone. The gateway remembers which model issued an id (the last 65,536 at least, per project, until
it is started again) and asks that one first, also for `GET /v1/responses/{id}` and the like. Where it does not remember, a
model that does not know the id leads to the next one that is called by Responses, which costs a call. Conversations that the
gateway keeps go on anywhere.

A model of Anthropic may pause in the middle of a turn (`pause_turn`), where a built-in tool has much to do. For clients of
other dialects the gateway has it go on: what it has said is sent back to it, up to five times, and the client sees one
answer, whose token counts are those of all parts. Each part is an attempt with a record of its own. If a part fails, the
answer does: in a stream by the error event. What is longer than 4 MiB, and what a limit has no room for, ends where it has
paused.

Pictures that a model answers with are `images` in Chat Completions, as OpenRouter has them, and `image_generation_call` in
Responses.

The rate limits that a provider tells in its head (`x-ratelimit-…`, `anthropic-ratelimit-…`: requests and tokens) are told
in the family of the client's dialect, `retry-after-ms` and `x-should-retry` as they are. Gemini has none.

Tokens are counted by the provider where it has an endpoint for that (Anthropic, Gemini); else the answer is an estimate
and says so with `x-routerly-estimate: 1`: words, numbers, marks and scripts weighed as OpenAI's vocabulary splits them on
average, which comes within a fifth for text; 1,000 tokens for an image.

";

fn document() -> String {
    let mut out = HEAD.to_owned();
    features(&mut out);
    answers(&mut out);
    pairs(&mut out);
    out
}

fn features(out: &mut String) {
    out.push_str("## Features\n\nWho can say it, and what becomes of it on the way to a model that is called in each dialect.\n\n");
    out.push_str("| Feature | Said by | Chat | Responses | Anthropic | Gemini | Note |\n|---|---|---|---|---|---|---|\n");
    Feature::ALL.iter().for_each(|feature| row(out, &feature.row()));
}

fn answers(out: &mut String) {
    out.push_str(
        "\n## Answers\n\nWhich models can say it, and what becomes of it on the way to a client of each dialect. What is changed is\n\
         reported with whole answers; the head of a stream has gone before.\n\n",
    );
    out.push_str(
        "| What | Said by | Chat | Responses | Anthropic | Gemini | Note |\n|---|---|---|---|---|---|---|\n",
    );
    Saying::ALL.iter().for_each(|saying| row(out, &saying.row()));
}

fn row(out: &mut String, row: &Row) {
    let said: Vec<&str> =
        DIALECTS.iter().filter(|(dialect, _)| row.said_by[dialect.column()]).map(|(_, name)| *name).collect();
    let said = if said.len() == DIALECTS.len() { "all".to_owned() } else { said.join(", ") };
    let fates = DIALECTS.map(|(dialect, _)| row.fates[dialect.column()].as_str()).join(" | ");
    let _ = writeln!(out, "| `{}` | {said} | {fates} | {} |", row.name, row.note);
}

fn pairs(out: &mut String) {
    out.push_str("\n## Pairs\n\nHow many of the features that the client's dialect can say are carried, changed, dropped, left out, refused, or depend.\n\n");
    out.push_str(
        "| Client | Chat model | Responses model | Anthropic model | Gemini model |\n|---|---|---|---|---|\n",
    );
    for (from, name) in DIALECTS {
        let cells = DIALECTS.map(|(to, _)| {
            if from == to {
                return "relayed as it is".to_owned();
            }
            let count = |fate| said(from, to, fate).len().to_string();
            FATES.map(count).join(" · ")
        });
        let _ = writeln!(out, "| {name} | {} |", cells.join(" | "));
    }
    for (from, client) in DIALECTS {
        for (to, model) in DIALECTS.into_iter().filter(|(to, _)| *to != from) {
            let _ = write!(out, "\n### {client} client, {model} model\n\n");
            for fate in FATES {
                let names = said(from, to, fate);
                if !names.is_empty() {
                    let _ = writeln!(out, "- {}: {}", fate.as_str(), names.join(", "));
                }
            }
        }
    }
}

const FATES: [Fate; 6] =
    [Fate::Carried, Fate::Changed, Fate::Dropped, Fate::Silent, Fate::Refused, Fate::Depends];

/// The features that clients of `from` can ask for and that have this fate on the way to `to`.
fn said(from: Dialect, to: Dialect, fate: Fate) -> Vec<String> {
    Feature::ALL
        .iter()
        .filter(|feature| feature.row().said_by[from.column()] && feature.fate(to) == fate)
        .map(|feature| format!("`{}`", feature.row().name))
        .collect()
}

#[test]
fn the_document_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dialects.md");
    let expected = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/dialects.md is not what the table says: UPDATE_DOCS=1 cargo test --test tests dialects"
    );
}
