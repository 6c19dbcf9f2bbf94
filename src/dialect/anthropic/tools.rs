//! Functions, which of them are to be called, and answers that have to fit a schema.
//!
//! Models that know no schemas are asked for a forced call instead, whose input is the answer. Rules: the project's
//! dialect mapping, sections 5 and 7.

use std::collections::HashSet;

use super::marks::Marks;
use super::models::ModelRules;
use super::schema;
use crate::dialect::context::Undo;
use crate::dialect::ir::{CallKind, Format, Raw, Request, Text, Tool, ToolChoice, WebSearch};
use crate::dialect::loss::{BadRequest, Feature, Losses};
use crate::dialect::openai::is_tool_name;
use crate::dialect::tool_names::safe_name;
use crate::json::scan;
use crate::json::write::{Array, Object};

/// Longest name of a function, in bytes.
const NAME_LEN_MAX: usize = 128;
/// The function that stands for the answer.
const ANSWER_TOOL: &str = "respond";

/// A function's name as it is sent.
pub(super) fn sent_name<'t>(name: &'t Text<'_>, undo: &mut Undo) -> Text<'t> {
    safe_name(name, is_tool_name, NAME_LEN_MAX, undo)
}

/// What is to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forced {
    /// The model decides, or nothing.
    No,
    /// Something, or this.
    Call,
    /// The function that stands for the answer, or another one.
    Answer,
}

/// Which functions are sent, and how the model is made to call them.
#[derive(Debug)]
pub(super) struct Toolbox<'r> {
    pub(super) forced: Forced,
    request: &'r Request<'r>,
    /// Only these are sent.
    allowed: Option<HashSet<&'r str>>,
    /// The schema and the name of the function that stands for the answer.
    answer: Option<(&'r Raw<'r>, String)>,
}

impl<'r> Toolbox<'r> {
    /// Decides it.
    ///
    /// # Errors
    /// The model cannot be made to call, or something would be lost and reports are refusals.
    pub(super) fn new(
        request: &'r Request<'r>,
        rules: &ModelRules,
        losses: &mut Losses,
    ) -> Result<Self, BadRequest> {
        let has_tools = !request.tools.is_empty() || request.web_search.is_some();
        let (mut forced, mut allowed) = (Forced::No, None);
        match request.tool_choice.as_ref().filter(|_| has_tools) {
            Some(ToolChoice::Required | ToolChoice::Named(_)) => forced = Forced::Call,
            Some(ToolChoice::Allowed { required, names }) => {
                losses.meet(Feature::AllowedTools)?;
                allowed = Some(names.iter().map(Text::escaped).collect());
                forced = if *required { Forced::Call } else { Forced::No };
            }
            Some(ToolChoice::Auto | ToolChoice::None) | None => {}
        }
        let mut answer = None;
        if let Format::Schema { schema, .. } = &request.format
            && !rules.schemas
            // Where a call of the client's own is forced, no answer in words comes of it.
            && forced == Forced::No
        {
            let mut name = ANSWER_TOOL.to_owned();
            while request.tools.iter().any(|tool| tool.name.escaped() == name) && name.len() < NAME_LEN_MAX {
                name.push('_');
            }
            answer = Some((schema, name));
            forced = Forced::Answer;
        }
        if forced != Forced::No && !rules.forced_tool {
            return Err(losses.refuse(Feature::ForcedTool));
        }
        Ok(Self { forced, request, allowed, answer })
    }

    fn tools(&self) -> impl Iterator<Item = &'r Tool<'r>> {
        let allowed = self.allowed.as_ref();
        self.request
            .tools
            .iter()
            .filter(move |tool| allowed.is_none_or(|names| names.contains(tool.name.escaped())))
    }

    /// Cache marks on functions.
    pub(super) fn marks(&self) -> usize {
        self.tools().filter(|tool| tool.cache.is_some()).count()
    }

    /// Writes `tools`.
    ///
    /// # Errors
    /// Something would be lost, and reports are refusals.
    pub(super) fn write_tools(
        &self,
        body: &mut Object<'_>,
        rules: &ModelRules,
        marks: &mut Marks,
        undo: &mut Undo,
        losses: &mut Losses,
    ) -> Result<(), BadRequest> {
        if self.tools().next().is_none() && self.request.web_search.is_none() && self.answer.is_none() {
            return Ok(());
        }
        body.array("tools", |list| {
            for tool in self.tools() {
                list.object(|object| {
                    write_tool(object, tool, rules, undo, losses)?;
                    marks.write(object, tool.cache, losses)
                })?;
            }
            if let Some(search) = &self.request.web_search {
                write_web_search(list, search);
            }
            if let Some((schema, name)) = &self.answer {
                list.object(|object| {
                    object.plain("name", name);
                    object.plain("description", "Gives the answer to the user.");
                    write_input_schema(object, Some(*schema));
                });
                undo.answer_tool = Some(name.clone());
            }
            Ok(())
        })
    }

    /// Writes `tool_choice`.
    pub(super) fn write_choice(&self, body: &mut Object<'_>, undo: &mut Undo) {
        let has_tools = self.tools().next().is_some() || self.request.web_search.is_some();
        let choice = self.request.tool_choice.as_ref();
        let alone = self.request.parallel_tool_calls == Some(false);
        let (kind, name) = match (&self.answer, choice) {
            // Another function may still be called, unless the client has ruled it out.
            (Some((_, name)), choice) if !has_tools || choice == Some(&ToolChoice::None) => {
                ("tool", Some(Text::from_plain(name)))
            }
            (Some(_), _) => ("any", None),
            (None, _) if !has_tools => return,
            (None, Some(ToolChoice::None)) => ("none", None),
            (None, Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. })) => ("any", None),
            (None, Some(ToolChoice::Named(name))) => ("tool", Some(sent_name(name, undo))),
            (None, Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. })) => ("auto", None),
            (None, None) if alone => ("auto", None),
            (None, None) => return,
        };
        body.object("tool_choice", |choice| {
            choice.plain("type", kind);
            if let Some(name) = name {
                choice.text("name", &name);
            }
            if alone && kind != "none" {
                choice.boolean("disable_parallel_tool_use", true);
            }
        });
    }
}

fn write_tool(
    object: &mut Object<'_>,
    tool: &Tool<'_>,
    rules: &ModelRules,
    undo: &mut Undo,
    losses: &mut Losses,
) -> Result<(), BadRequest> {
    let name = sent_name(&tool.name, undo);
    object.text("name", &name);
    if let Some(description) = &tool.description {
        object.text("description", description);
    }
    if tool.kind == CallKind::Custom {
        losses.meet(Feature::CustomTool)?;
        if tool.grammar.is_some() {
            losses.meet(Feature::Grammar)?;
        }
        object.json(
            "input_schema",
            r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}"#,
        );
        undo.custom_tools.push(name.decode().unwrap_or_default().into_owned());
        return Ok(());
    }
    if tool.strict {
        let fitted = tool.schema.as_ref().and_then(schema::fit).filter(|fitted| !fitted.narrowed);
        match fitted.filter(|_| rules.schemas) {
            Some(fitted) => {
                if fitted.moved {
                    losses.change(Feature::SchemaKeywords)?;
                }
                write_input_schema(object, Some(&fitted.schema));
                object.boolean("strict", true);
                return Ok(());
            }
            None => losses.change(Feature::ToolStrict)?,
        }
    }
    write_input_schema(object, tool.schema.as_ref());
    Ok(())
}

/// Writes a schema, whose `type` has to be there.
fn write_input_schema(object: &mut Object<'_>, schema: Option<&Raw<'_>>) {
    let Some(schema) = schema else {
        object.json("input_schema", r#"{"type":"object","properties":{}}"#);
        return;
    };
    let json = schema.as_str();
    let members = json.strip_prefix('{').map(str::trim_start);
    match members.filter(|_| scan::member(json.as_bytes(), "type").is_none()) {
        None => object.raw("input_schema", schema),
        Some(members) => {
            let out = object.member("input_schema");
            out.extend_from_slice(b"{\"type\":\"object\"");
            if !members.starts_with('}') {
                out.push(b',');
            }
            out.extend_from_slice(members.as_bytes());
        }
    }
}

fn write_web_search(list: &mut Array<'_>, search: &WebSearch<'_>) {
    list.object(|object| {
        object.plain("type", "web_search_20250305");
        object.plain("name", "web_search");
        if !search.allowed_domains.is_empty() {
            object.array("allowed_domains", |domains| {
                search.allowed_domains.iter().for_each(|domain| domains.text(domain));
            });
        }
        if let Some(place) = &search.location {
            object.object("user_location", |location| {
                location.plain("type", "approximate");
                // What is no object has no members.
                let _ = scan::members(place.as_str().as_bytes(), |key, value| {
                    for name in ["city", "region", "country", "timezone"] {
                        if let Some(text) = Text::from_token(value.raw).filter(|_| key.is(name)) {
                            location.text(name, &text);
                        }
                    }
                });
            });
        }
    });
}

/// Writes `output_config`: the effort, and the schema that the answer has to fit.
///
/// # Errors
/// Any JSON would do, or the schema is none; or something would be lost, and reports are refusals.
pub(super) fn write_output_config(
    body: &mut Object<'_>,
    format: &Format<'_>,
    effort: Option<&str>,
    rules: &ModelRules,
    losses: &mut Losses,
) -> Result<(), BadRequest> {
    let fitted = match format {
        Format::Text => None,
        Format::Json => return Err(losses.refuse(Feature::JsonObject)),
        Format::Schema { .. } if !rules.schemas => None,
        Format::Schema { schema, .. } => {
            let fitted = schema::fit(schema).ok_or_else(|| BadRequest {
                field: Feature::JsonSchema.row().name.to_owned(),
                problem: "is not a schema, or nested too deeply".to_owned(),
            })?;
            if fitted.moved || fitted.narrowed {
                losses.change(Feature::SchemaKeywords)?;
            }
            Some(fitted)
        }
    };
    if fitted.is_none() && effort.is_none() {
        return Ok(());
    }
    body.object("output_config", |config| {
        if let Some(effort) = effort {
            config.plain("effort", effort);
        }
        if let Some(fitted) = fitted {
            config.object("format", |format| {
                format.plain("type", "json_schema");
                format.raw("schema", &fitted.schema);
            });
        }
    });
    Ok(())
}
