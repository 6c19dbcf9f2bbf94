//! `generationConfig`, into the shared form. Rules: the project's dialect mapping, sections 2, 6.1 and 7.

use super::fields::{each, note, object};
use super::read_request::format;
use super::schema::to_json_schema;
use crate::dialect::Effort;
use crate::dialect::ir::{Raw, Request, Setting, SummaryWish, Text};
use crate::dialect::loss::{BadRequest, Feature};
use crate::dialect::members::{Path, boolean, number, raw, raw_object, text};
use crate::json::token::{Kind, Value};

/// What of it acts on the contents.
#[derive(Debug, Default)]
pub(super) struct Config {
    /// How closely to look at each image.
    pub(super) detail: Option<&'static str>,
}

/// Reads it into `request`.
pub(super) fn read<'a>(
    config: &Value<'a>,
    path: &Path<'_>,
    request: &mut Request<'a>,
) -> Result<Config, BadRequest> {
    const NAMES: [&str; 17] = [
        "temperature",
        "topP",
        "topK",
        "seed",
        "frequencyPenalty",
        "presencePenalty",
        "maxOutputTokens",
        "candidateCount",
        "stopSequences",
        "responseLogprobs",
        "logprobs",
        "responseMimeType",
        "responseSchema",
        "responseJsonSchema",
        "thinkingConfig",
        "responseModalities",
        "mediaResolution",
    ];
    let [
        temperature,
        top_p,
        top_k,
        seed,
        frequency,
        presence,
        limit,
        count,
        stop,
        logprobs_on,
        logprobs,
        media_type,
        openapi,
        json_schema,
        thinking,
        modalities,
        resolution,
    ] = object(config, path, NAMES, note(&mut request.unknown))?;
    for (value, name, feature) in [
        (temperature, "temperature", Feature::Temperature),
        (top_p, "topP", Feature::TopP),
        (frequency, "frequencyPenalty", Feature::FrequencyPenalty),
        (presence, "presencePenalty", Feature::PresencePenalty),
    ] {
        if let Some(value) = value {
            set(request, feature, number(&value, &Path::Member(path, name))?);
        }
    }
    // Python's SDK writes it as 40.0.
    if let Some(value) = whole(top_k, &Path::Member(path, "topK"))? {
        set_number(request, Feature::TopK, value);
    }
    if let Some(seed) = seed {
        let path = Path::Member(path, "seed");
        let seed = number(&seed, &path)?;
        if seed.as_str().parse::<i64>().is_err() {
            return Err(path.bad("must be a whole number"));
        }
        set(request, Feature::Seed, seed);
    }
    request.output_tokens_max = whole(limit, &Path::Member(path, "maxOutputTokens"))?;
    if let Some(count) = whole(count, &Path::Member(path, "candidateCount"))?.filter(|count| *count > 1) {
        set_number(request, Feature::AnswerCount, count);
    }
    if let Some(stop) = stop {
        each(&stop, &Path::Member(path, "stopSequences"), |sequence, path| {
            request.stop.push(text(&sequence, path)?);
            Ok(())
        })?;
    }
    let others = whole(logprobs, &Path::Member(path, "logprobs"))?;
    let wanted = logprobs_on.map(|on| boolean(&on, &Path::Member(path, "responseLogprobs"))).transpose()?;
    if wanted == Some(true) {
        set_number(request, Feature::Logprobs, others.unwrap_or(0));
    }
    let openapi =
        openapi.map(|schema| raw_object(&schema, &Path::Member(path, "responseSchema"))).transpose()?;
    let json_schema = json_schema
        .map(|schema| raw_object(&schema, &Path::Member(path, "responseJsonSchema")))
        .transpose()?;
    let type_path = Path::Member(path, "responseMimeType");
    let media_type = media_type.map(|name| text(&name, &type_path)).transpose()?;
    let schema = json_schema.or_else(|| openapi.as_ref().map(to_json_schema));
    request.format = format(media_type.as_ref(), schema, &type_path)?;
    if let Some(thinking) = thinking {
        read_thinking(&thinking, &Path::Member(path, "thinkingConfig"), request)?;
    }
    if let Some(modalities) = modalities {
        read_modalities(&modalities, &Path::Member(path, "responseModalities"), request)?;
    }
    let detail = match resolution {
        Some(resolution) => detail(&text(&resolution, &Path::Member(path, "mediaResolution"))?),
        None => None,
    };
    Ok(Config { detail })
}

fn set<'a>(request: &mut Request<'a>, feature: Feature, value: Raw<'a>) {
    request.settings.push(Setting { feature, value });
}

fn set_number(request: &mut Request<'_>, feature: Feature, value: u64) {
    set(request, feature, Raw::from_written(value.to_string()));
}

/// A whole number, which may be written as 1.0.
fn whole(value: Option<Value<'_>>, path: &Path<'_>) -> Result<Option<u64>, BadRequest> {
    let Some(value) = value else { return Ok(None) };
    let number = Some(&value).filter(|value| value.kind == Kind::Number).and_then(Value::as_count);
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(path.bad(format!("must be a whole number of at least 0, found {}", value.kind.as_str()))),
    }
}

fn read_thinking<'a>(
    value: &Value<'a>,
    path: &Path<'_>,
    request: &mut Request<'a>,
) -> Result<(), BadRequest> {
    let [shown, budget, level] = object(
        value,
        path,
        ["includeThoughts", "thinkingBudget", "thinkingLevel"],
        note(&mut request.unknown),
    )?;
    if let Some(shown) = shown {
        let shown = boolean(&shown, &Path::Member(path, "includeThoughts"))?;
        request.reasoning.show = Some(if shown { SummaryWish::Auto } else { SummaryWish::Hidden });
    }
    // -1: as the model likes.
    if let Some(budget) = budget.filter(|budget| budget.raw != b"-1") {
        request.reasoning.budget_tokens = whole(Some(budget), &Path::Member(path, "thinkingBudget"))?;
    }
    if let Some(level) = level {
        let path = Path::Member(path, "thinkingLevel");
        let level = text(&level, &path)?.escaped().to_ascii_lowercase();
        request.reasoning.effort = match Effort::parse(&level) {
            Some(effort) if effort != Effort::None => Some(effort),
            _ if matches!(level.as_str(), "" | "thinking_level_unspecified") => None,
            _ => return Err(path.bad("must be MINIMAL, LOW, MEDIUM or HIGH")),
        };
    }
    Ok(())
}

/// Text only is what every answer is.
fn read_modalities<'a>(
    value: &Value<'a>,
    path: &Path<'_>,
    request: &mut Request<'a>,
) -> Result<(), BadRequest> {
    let mut others = false;
    each(value, path, |modality, path| {
        let modality = text(&modality, path)?;
        others |=
            !modality.escaped().eq_ignore_ascii_case("text") && modality.escaped() != "MODALITY_UNSPECIFIED";
        Ok(())
    })?;
    if others {
        set(request, Feature::Modalities, raw(value, path)?);
    }
    Ok(())
}

/// How closely to look at an image, in OpenAI's words; `None`: as the model likes.
pub(super) fn detail(resolution: &Text<'_>) -> Option<&'static str> {
    match resolution.escaped() {
        "MEDIA_RESOLUTION_LOW" => Some("low"),
        "MEDIA_RESOLUTION_HIGH" | "MEDIA_RESOLUTION_ULTRA_HIGH" => Some("high"),
        _ => None,
    }
}
