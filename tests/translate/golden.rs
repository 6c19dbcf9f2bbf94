//! What translations of recorded traffic look like, byte for byte, in `tests/golden/`: a folder for each pair, a file for
//! each recording with the request and the answer in the other dialect.
//!
//! A changed file is a change of behaviour: `UPDATE_GOLDEN=1 cargo test --test tests golden` writes them anew, to be read
//! in the diff. White space between the tokens of JSON is put in here; nothing else differs from what is sent. The
//! recordings themselves are not part of the repository; without them these tests pass and say so.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use routerly::dialect::ProofKey;
use routerly::dialect::context::{ClientContext, Ids, TargetModel};
use routerly::dialect::ir::Vendor;
use routerly::dialect::translate::{Ask, Pair, StreamTranslation, Translated, write_fault};

use super::recorded::{folder, native};
use super::{Dialect, pairs};
use crate::recordings::{Recording, recordings};

/// The recordings that are shown, by what they show.
const SHOWN: &[(Dialect, &[&str])] = &[
    (
        Dialect::Chat,
        &[
            "azure-grok-4-1-fast-non-reasoning-json-c8755283",     // 429
            "groq-llama-4-scout-17b-16e-instruct-json-d98cb40c",   // parallel calls, forced
            "ollama-gpt-oss-120b-sse-eaa38d66",                    // thoughts and a call, streamed
            "openai-gpt-3-5-turbo-json-a5dd4408",                  // sampling parameters, forced call
            "openai-gpt-4-1-nano-json-7a3b7e3c", // parallel calls and results in the history
            "openai-gpt-4o-json-80857c06",       // schema, refusal
            "openai-gpt-4o-mini-json-af660fe9",  // two answers
            "openai-gpt-4o-mini-json-e86d15ba",  // image at a URL
            "openai-gpt-4o-mini-search-preview-json-ea6937bf", // web search, citations
            "openai-gpt-4o-mini-sse-0372dc52",   // stop, seed, penalties, streamed
            "openai-gpt-4o-mini-sse-c3d05be8",   // parallel calls, streamed
            "openai-gpt-5-2-proo-json-2ea18124", // 404
            "openai-gpt-5-json-8b9a59b0",        // custom tool
            "openai-gpt-5-nano-sse-3dd720ab",    // verbosity, usage of reasoning, streamed
            "openrouter-claude-sonnet-4-5-json-327dd940", // thoughts with their proof
            "openrouter-minimax-m2-free-sse-d46e6c7c", // cut by length, then an error, streamed
            "together-llama-3-3-70b-instruct-turbo-json-5cbf5a9e", // 401
            "zai-glm-4-7-json-dd99f204",         // thoughts in the history
        ],
    ),
    (
        Dialect::Responses,
        &[
            "bedrock-mantle-openai-gpt-5-6-luna-sse-1e3c5614", // a call, streamed
            "deepseek-deepseek-v4-flash-json-bc8fa7e1",        // thoughts and parallel results in the history
            "openai-gpt-4-1-nano-json-61fac867",               // 401
            "openai-gpt-4o-json-21ff5032",                     // parallel calls
            "openai-gpt-4o-json-9556efe4",                     // web search, citations
            "openai-gpt-4o-json-c160b42a",                     // schema, refusal
            "openai-gpt-4o-json-cead6f5b",                     // a choice of some tools
            "openai-gpt-4o-mini-json-6664740c",                // log probabilities
            "openai-gpt-4o-sse-251e513a",                      // schema, streamed
            "openai-gpt-5-4-nano-json-588bae06",               // results in the history
            "openai-gpt-5-json-8895f07a",                      // custom tool
            "openai-gpt-5-mini-sse-af253e06",                  // cut by length while thinking, streamed
            "openai-invalid-model-json-061755d2",              // 400
            "openai-o3-json-4512cf27",                         // encrypted thoughts
            "xai-grok-4-3-json-f22746ab",                      // thoughts and parallel calls
        ],
    ),
    (
        Dialect::Anthropic,
        &[
            "anthropic-claude-3-7-sonnet-20250219-json-bc90fc27", // 401
            "anthropic-claude-haiku-4-5-20251001-json-0ed0670a",  // search results
            "anthropic-claude-haiku-4-5-20251001-json-30126fa8",  // 400
            "anthropic-claude-haiku-4-5-20251001-sse-4064fe00",   // thoughts and a call, streamed
            "anthropic-claude-haiku-4-5-json-53b9935f",           // cache marks, forced call
            "anthropic-claude-haiku-4-5-json-55082335",           // image at a URL
            "anthropic-claude-haiku-4-5-json-9666c66b",           // prefill
            "anthropic-claude-opus-4-8-json-799bd218",            // instructions in the middle
            "anthropic-claude-opus-5-json-a7c83c5f",              // effort, thoughts with their signature
            "anthropic-claude-sonnet-4-0-sse-57be931a",           // parallel calls, streamed
            "anthropic-claude-sonnet-4-0-sse-9ea0df2d",           // cut by length, streamed
            "anthropic-claude-sonnet-4-5-20250929-json-ae9c97ab", // hidden thoughts
            "anthropic-claude-sonnet-4-5-json-0d9dc3f1",          // schema, parallel results
            "anthropic-claude-sonnet-4-5-json-30cd25fa",          // stop sequence
            "anthropic-claude-sonnet-4-5-json-6ddb6605",          // image in a result
            "anthropic-claude-sonnet-4-5-sse-c106d37d",           // schema, streamed
        ],
    ),
    (
        Dialect::Gemini,
        &[
            "google-gemini-1-5-flash-json-78f6ff7a",       // filtered
            "google-gemini-2-5-flash-json-2f76f353",       // schema
            "google-gemini-2-5-flash-json-49fd2fb5",       // 429
            "google-gemini-2-5-flash-json-e6dfb1c8",       // 400: the key
            "google-gemini-2-5-flash-sse-35d570b7",        // cut by length, streamed
            "google-gemini-2-5-flash-sse-5feb6636",        // web page, citations, streamed
            "google-gemini-2-5-flash-sse-b1191fb4",        // thoughts, streamed
            "google-gemini-3-flash-preview-json-4dca2f9d", // parallel calls with a signature
            "google-gemini-3-flash-preview-json-59458fd8", // parallel results
            "google-gemini-3-flash-preview-sse-52d08158",  // a call with an id, streamed
            "google-gemini-3-pro-preview-json-02b98ac0",   // schema, level of thinking
            "vertex-gemini-2-5-flash-json-3f65b2ac",       // log probabilities
            "vertex-gemini-2-5-flash-json-dfe16821",       // prompt refused
            "vertex-gemini-2-5-pro-json-c4f51662",         // sampling parameters
            "vertex-gemini-3-flash-preview-json-2a9902f4", // thoughts in the history
        ],
    ),
];

/// Of these only the answers are shown.
const ANSWERS_ONLY: &[&str] = &["openai-gpt-4o-json-80857c06", "openai-gpt-4o-json-c160b42a"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn proofs() -> ProofKey {
    ProofKey::new(&[7; 32])
}

fn vendor(dialect: Dialect, id: &str) -> Vendor {
    match dialect {
        Dialect::Anthropic => Vendor::Anthropic,
        Dialect::Gemini => Vendor::Google,
        Dialect::Chat | Dialect::Responses if id.starts_with("openai-") => Vendor::OpenAi,
        Dialect::Chat | Dialect::Responses => Vendor::Other,
    }
}

/// The model that requests are written for.
fn model(dialect: Dialect) -> TargetModel<'static> {
    let name = match dialect {
        Dialect::Chat => "gpt-4.1",
        Dialect::Responses => "gpt-5.2",
        Dialect::Anthropic => "claude-sonnet-4-5",
        Dialect::Gemini => "gemini-3-pro-preview",
    };
    TargetModel {
        name,
        vendor: vendor(dialect, "openai-"),
        token_limit_param: "max_completion_tokens",
        output_tokens_default: 8_192,
        reasoning_field: None,
    }
}

/// Appends the request of a client of `from` as a model of `to` gets it.
fn show_request(recording: &Recording, from: Dialect, to: Dialect, page: &mut String) {
    let body = recording.asked.to_string();
    let stream = recording.streaming;
    let proofs = proofs();
    let ask = Ask {
        dialect: native(from),
        body: body.as_bytes(),
        stream,
        proofs: &proofs,
        strict: false,
        media: &[],
    };
    let (mut out, model) = (Vec::new(), model(to));
    page.push_str(&format!("=== request, for {} ===\n", model.name));
    match ask.translate(native(to), &model, &mut out) {
        Ok(Translated { undo, losses, .. }) => {
            if !losses.is_empty() {
                page.push_str(&format!("x-routerly-translation: {}\n", losses.header_value()));
            }
            if undo != Default::default() {
                page.push_str(&format!("to be undone: {undo:?}\n"));
            }
            page.push_str(&pretty(&out));
        }
        Err(bad) => page.push_str(&format!("400 {bad}")),
    }
    page.push('\n');
}

fn client(from: Dialect, to: Dialect) -> ClientContext {
    // What a client of Responses has said is in its answer again.
    let said = br#"{"model":"auto","input":"Hi","temperature":0.5}"#;
    let proofs = proofs();
    let ask = Ask {
        dialect: native(Dialect::Responses),
        body: said,
        stream: false,
        proofs: &proofs,
        strict: false,
        media: &[],
    };
    let echo = match to {
        Dialect::Responses => ask.translate(native(from), &model(from), &mut Vec::new()).unwrap().echo,
        Dialect::Chat | Dialect::Anthropic | Dialect::Gemini => Vec::new(),
    };
    ClientContext {
        model: "asked".to_owned(),
        unix_seconds: 1_700_000_000,
        stream_usage: true,
        legacy_functions: false,
        echo,
        ids: Ids::new(1),
        proofs,
    }
}

/// Appends the answer of a provider of `from` as a client of `to` gets it.
fn show_answer(recording: &Recording, from: Dialect, to: Dialect, page: &mut String) {
    let pair = Pair { from: native(from), vendor: vendor(from, &recording.id), to: native(to) };
    let mut client = client(from, to);
    let mut out = Vec::new();
    if recording.is_events() && recording.status == 200 {
        // Three times in a stream, the same in each.
        client.echo = b"\"echo\":true".to_vec();
        let mut stream = StreamTranslation::new(pair, Default::default(), client, Ids::new(2), false);
        stream.feed(&recording.answer, &mut out);
        stream.finish(&mut out);
        page.push_str("=== stream ===\n");
        page.push_str(std::str::from_utf8(&out).unwrap());
        return;
    }
    let fault = match recording.status {
        200 => pair.answer(&[], &recording.answer, &Default::default(), &mut client, &mut out).err(),
        status => Some(pair.fault(status, &recording.answer)),
    };
    let status = match &fault {
        None => 200,
        Some(fault) => {
            out.clear();
            write_fault(pair.to, fault, "trace", &mut out)
        }
    };
    page.push_str(&format!("=== answer ===\n{status}\n"));
    if let Some(seconds) = fault.and_then(|fault| fault.retry_after_s) {
        page.push_str(&format!("retry-after: {seconds}\n"));
    }
    page.push_str(&pretty(&out));
    page.push('\n');
}

/// A document with a line for each member and element; its tokens stay as they are.
fn pretty(json: &[u8]) -> String {
    let json = std::str::from_utf8(json).unwrap();
    serde_json::from_str::<serde::de::IgnoredAny>(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let (mut out, mut depth, mut in_string, mut escaped) = (String::new(), 0, false, false);
    let mut chars = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', 2 * depth));
    };
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                if chars.peek().is_some_and(|next| !matches!(next, '}' | ']')) {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                if !out.ends_with(['{', '[']) {
                    depth -= 1;
                    line(&mut out, depth);
                }
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

#[test]
fn golden_files_are_what_is_translated() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let (mut differ, mut expected) = (Vec::new(), BTreeSet::new());
    for (from, ids) in SHOWN {
        let all = recordings(folder(*from));
        if all.is_empty() {
            return;
        }
        for id in *ids {
            let recording = all
                .iter()
                .find(|recording| recording.id == *id)
                .unwrap_or_else(|| panic!("no recording {id}"));
            for (_, to) in pairs().filter(|(client, _)| client == from) {
                let mut page = String::new();
                if !ANSWERS_ONLY.contains(id) {
                    show_request(recording, *from, to, &mut page);
                }
                show_answer(recording, *from, to, &mut page);
                let folder = golden().join(format!("{}_to_{}", from.id(), to.id()));
                let path = folder.join(format!("{id}.txt"));
                if update {
                    std::fs::create_dir_all(&folder).unwrap();
                    std::fs::write(&path, &page).unwrap();
                }
                if std::fs::read_to_string(&path).unwrap_or_default() != page {
                    differ.push(path.strip_prefix(golden()).unwrap().display().to_string());
                }
                expected.insert(path);
            }
        }
    }
    let folders = std::fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path());
    for file in folders.flat_map(|folder| std::fs::read_dir(folder).unwrap()) {
        let path = file.unwrap().path();
        if !expected.contains(&path) {
            differ.push(format!("{}: nothing is translated to it", path.display()));
        }
    }
    assert!(
        differ.is_empty(),
        "another translation than in tests/golden: {differ:#?}\nUPDATE_GOLDEN=1 cargo test --test tests golden"
    );
}

#[test]
fn documents_are_laid_out_without_being_changed() {
    let json = r#"{"a":[],"b":{"c":"x\"{,\\","d":[1.50,{}]},"e":null}"#;
    let shown = pretty(json.as_bytes());
    assert_eq!(shown.lines().count(), 11);
    assert!(shown.contains(r#""c": "x\"{,\\","#) && shown.contains("1.50"), "{shown}");
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(parse(&shown), parse(json));
}
