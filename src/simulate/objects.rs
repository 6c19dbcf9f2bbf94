//! Lists and objects of the management endpoints, and the echo of everything else.
//!
//! Owns models, files and batches as a server without a memory can show them, and the account of a request that
//! lets a test see what arrived. Secrets in that account are hashed.
//!
//! Source: OpenAI API reference, "Models", "Files", "Batch"; Anthropic API docs, "List Models"; Gemini API
//! reference, "models.list".

use ring::digest::{SHA256, digest};

use super::engine::SimRequest;
use super::errors::Refusal;
use super::media::form;
use super::pen::Pen;
use super::random::Random;
use super::settings::SimulatedSettings;
use super::words::Walk;
use crate::dialect::Dialect;

/// When the simulated models came out: 2025-01-01.
const MODEL_CREATED: u64 = 1_735_689_600;

/// The list of models in the shape of `dialect`.
pub(super) fn models(settings: &SimulatedSettings, dialect: Dialect) -> Vec<u8> {
    let names = &settings.models.0;
    let mut out = Vec::new();
    let pen = &mut Pen(&mut out);
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => pen.raw(r#"{"object":"list","data":["#),
        Dialect::AnthropicMessages => pen.raw(r#"{"data":["#),
        Dialect::Gemini => pen.raw("{\"models\": ["),
    };
    pen.list(names, |pen, name| write_model(pen, name, dialect)).raw("]");
    if dialect == Dialect::AnthropicMessages {
        pen.raw(r#","has_more":false,"first_id":"#).optional(names.first().map(String::as_str));
        pen.raw(r#","last_id":"#).optional(names.last().map(String::as_str));
    }
    pen.raw("}");
    out
}

/// One model; only those of the list are there.
pub(super) fn model(settings: &SimulatedSettings, name: &str, dialect: Dialect) -> Result<Vec<u8>, Refusal> {
    if !settings.models.0.iter().any(|known| known == name) {
        return Err(match dialect {
            Dialect::AnthropicMessages => Refusal::not_found(format!("model: {name}")),
            Dialect::Gemini => {
                Refusal::not_found(format!("models/{name} is not found for API version v1beta."))
            }
            Dialect::OpenAiChat | Dialect::OpenAiResponses => Refusal {
                code: Some("model_not_found"),
                param: Some("model"),
                ..Refusal::not_found(format!("The model '{name}' does not exist"))
            },
        });
    }
    let mut out = Vec::new();
    write_model(&mut Pen(&mut out), name, dialect);
    Ok(out)
}

fn write_model(pen: &mut Pen<'_>, name: &str, dialect: Dialect) {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            pen.raw("{\"id\":").text(name).raw(r#","object":"model","created":"#).num(MODEL_CREATED);
            pen.raw(r#","owned_by":"simulated"}"#);
        }
        Dialect::AnthropicMessages => {
            pen.raw(r#"{"type":"model","id":"#).text(name).raw(r#","display_name":"#).text(name);
            pen.raw(r#","created_at":"2025-01-01T00:00:00Z"}"#);
        }
        Dialect::Gemini => {
            pen.raw("{\"name\": ").text(&format!("models/{name}")).raw(",\"displayName\": ").text(name);
            pen.raw(",\"inputTokenLimit\": 1048576,\"outputTokenLimit\": 65536,");
            pen.raw("\"supportedGenerationMethods\": [\"generateContent\",\"countTokens\"]}");
        }
    }
}

/// The object of an uploaded file: what the form said, and how many bytes came.
pub(super) fn upload(request: &SimRequest<'_>, random: &mut Random) -> Vec<u8> {
    let parts = form(request.header("content-type").unwrap_or_default(), request.body);
    let file = parts.iter().find(|part| part.filename.is_some());
    let purpose =
        parts.iter().find(|part| part.name == "purpose").map(|part| String::from_utf8_lossy(part.bytes));
    let (name, bytes) =
        file.map_or(("upload.bin", request.body), |part| (part.filename.unwrap_or_default(), part.bytes));
    let id = random.id(24);
    file_object(
        &id,
        name,
        bytes.len() as u64,
        purpose.as_deref().unwrap_or("user_data"),
        request.unix_seconds,
    )
}

/// The object of a file by its id.
pub(super) fn file(id: &str, method: &str, created: u64) -> Vec<u8> {
    if method == "DELETE" {
        let mut out = Vec::new();
        Pen(&mut out).raw("{\"id\":").text(id).raw(r#","object":"file","deleted":true}"#);
        return out;
    }
    file_object(id.strip_prefix("file-sim").unwrap_or(id), "upload.bin", 1024, "user_data", created)
}

fn file_object(id: &str, name: &str, bytes: u64, purpose: &str, created: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let pen = &mut Pen(&mut out);
    pen.raw(r#"{"id":"#).text(&format!("file-sim{id}")).raw(r#","object":"file","bytes":"#).num(bytes);
    pen.raw(r#","created_at":"#).num(created).raw(r#","expires_at":null,"filename":"#).text(name);
    pen.raw(r#","purpose":"#).text(purpose).raw(r#","status":"processed","status_details":null}"#);
    out
}

/// The content of a file: text that depends on its id.
pub(super) fn file_content(id: &str) -> Vec<u8> {
    let start = id.bytes().fold(0u64, |seed, byte| seed.wrapping_mul(131).wrapping_add(u64::from(byte)));
    let mut text = String::new();
    Walk::new(start).write_raw(128, &mut text);
    text.into_bytes()
}

/// The object of a batch: new ones wait, others are done.
pub(super) fn batch(id: &str, status: &str, created: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let pen = &mut Pen(&mut out);
    pen.raw(r#"{"id":"#)
        .text(id)
        .raw(r#","object":"batch","endpoint":"/v1/chat/completions","errors":null,"#);
    pen.raw(r#""input_file_id":"file-sim","completion_window":"24h","status":"#).text(status);
    pen.raw(r#","output_file_id":null,"error_file_id":null,"created_at":"#).num(created);
    pen.raw(r#","expires_at":"#).num(created.saturating_add(86_400));
    pen.raw(r#","request_counts":{"total":0,"completed":0,"failed":0},"metadata":null}"#);
    out
}

/// A list without items.
pub(super) fn empty_list() -> Vec<u8> {
    br#"{"object":"list","data":[],"has_more":false}"#.to_vec()
}

/// What arrived, byte counts and hashes included.
pub(super) fn echo(request: &SimRequest<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let pen = &mut Pen(&mut out);
    pen.raw("{\"method\":").text(request.method).raw(",\"path\":").text(request.path);
    pen.raw(",\"query\":").optional(request.query).raw(",\"bytes\":").num(request.body.len() as u64);
    pen.raw(",\"sha256\":\"").raw(&sha256(request.body)).raw("\",\"headers\":[");
    pen.list(request.headers, |pen, (name, value)| {
        const SECRETS: [&str; 5] =
            ["authorization", "proxy-authorization", "x-api-key", "x-goog-api-key", "api-key"];
        let secret = SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret));
        pen.raw("[").text(name).raw(",");
        if secret {
            pen.text(&format!("sha256:{}", sha256(value)));
        } else {
            pen.text(&String::from_utf8_lossy(value));
        }
        pen.raw("]");
    });
    pen.raw("]}");
    out
}

/// The SHA-256 of `bytes` in lower-case hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
